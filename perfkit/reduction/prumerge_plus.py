"""PruMerge+: PruMerge with spatially uniform patches beside the outliers.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025), section 3.3; 42Shawn/LLaVA-PruMerge at 1ca8b2b,
llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction import costs
from perfkit.reduction.method import Reducer, TowerOutput
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.tensors import Choice, Seen
from perfkit.units import Amount

if TYPE_CHECKING:
    from torch import Tensor

AVERAGE_SHARE = 4  # one of so many tokens: 144 of LLaVA-1.5's 576; on Video-LLaVA 512 of 2048, 64 of a frame's 256


@dataclass(frozen=True, slots=True)
class PruMergePlus(PruMerge):
    """Merges into outliers and into a uniform grid alike."""

    name: ClassVar[str] = "prumerge+"
    title: ClassVar[str] = "PruMerge+"
    assumed: ClassVar[str] = "a quarter of the visual tokens"

    def image_tokens(self, spec: ModelSpec) -> int:
        """Its paper's average, of each tile; a part of a token is none."""
        return spec.tiles * (spec.projected_tokens // spec.tiles // AVERAGE_SHARE)

    def _selection(self, place: Place, tower: TowerOutput, kept: Amount) -> Iterator[OpCost]:
        """How many of the kept are outliers is unknown: each patch is looked at once for either choice."""
        patches = tower.tiles * tower.tokens
        yield costs.pick(place, "pick_outliers", patches, kept)
        yield costs.pick(place, "supplement_grid", patches, kept)

    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """PruMerge's patches, and behind them those of a grid that are not among them, row by row.

        The grid: every floor(floor(N / n) / 3)-th of N patches, n of them outliers, at least every one; none without
        outliers. With a ratio: every floor(1 / ratio)-th, from half of that on.
        """
        first = PruMerge.choose(self, seen, ratio)
        if ratio is None:
            return _supplemented(first, seen.patches, _adaptive_grid(first.counts, first.order))
        grid = _fixed_grid(first.order, seen.patches, ratio)
        bound = first.most + len(range(*_fixed_steps(seen.patches, ratio)))
        return _supplemented(first, seen.patches, grid).first(min(bound, seen.patches))

    def as_published(self) -> Reducer:
        """As the authors' code runs it."""
        from perfkit.reduction.published import PublishedPruMergePlus

        return PublishedPruMergePlus(self.k)


def _adaptive_grid(counts: Tensor | int, order: Tensor) -> Tensor:
    """(batch, patches), True on the grid of each image."""
    import torch

    patches = order.shape[1]
    outlying = torch.as_tensor(counts, device=order.device).view(-1, 1)
    step = (patches // outlying.clamp(min=1) // 3).clamp(min=1)
    return (torch.arange(patches, device=order.device) % step == 0) & (outlying > 0)


def _fixed_steps(patches: int, ratio: float) -> tuple[int, int, int]:
    """First, end and step of the grid's patches; none are left from a step of twice the patches on."""
    step = int(min(1 / ratio, 2 * patches) + 1e-9)  # 1 / (1 / 93) is 92.99999999999999 in binary
    return step // 2, patches, step


def _fixed_grid(order: Tensor, patches: int, ratio: float) -> Tensor:
    """(1, patches), True on the grid, the same for all images."""
    import torch

    first, _, step = _fixed_steps(patches, ratio)
    places = torch.arange(patches, device=order.device)
    return ((places >= first) & ((places - first) % step == 0)).unsqueeze(0)


def _supplemented(first: Choice, patches: int, grid: Tensor) -> Choice:
    """A choice of all `patches` in order: those kept first by their rank, then the grid's by place."""
    import torch

    ranks = torch.arange(first.most, device=first.order.device).expand_as(first.order)
    last = 2 * patches  # behind every rank and every place of the grid
    places = torch.arange(patches, device=first.order.device) + patches
    behind = torch.where(grid, places, last).expand(first.order.shape[0], -1)
    ranks = torch.where(first.filled(), ranks, behind.gather(1, first.order))
    wanted = behind.scatter(1, first.order, ranks)
    order = wanted.sort(dim=1, stable=True).indices
    return first._replace(order=order, counts=(wanted < last).sum(dim=1))


read = PruMergePlus.read
