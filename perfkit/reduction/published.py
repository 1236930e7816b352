"""PruMerge and PruMerge+ as their authors' code runs them, so that results can be compared number for number.

What differs from the paper's intent:

- the ratio of outliers is pooled over a batch, so that an image's tokens depend on the others;
- PruMerge+ takes its grid from 575 patches, whatever the grid; with a ratio it keeps a patch twice that outlies and
  stands on the grid, and then drops the first patches of the rest;
- equal scores and equal cosines go in any order;
- everything is computed in the format of the inputs.

Where that code stops with an error, so does this.

Source: 42Shawn/LLaVA-PruMerge at 1ca8b2b, llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from perfkit.errors import InvalidValue
from perfkit.reduction.method import Reducer
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.prumerge_plus import PruMergePlus
from perfkit.reduction.tensors import Choice, Seen, rows_of

if TYPE_CHECKING:
    from torch import Tensor

GRID_END = 575  # of its 576 patches


@dataclass(frozen=True, slots=True)
class PublishedPruMerge(PruMerge):
    """The published PruMerge."""

    pools: ClassVar[bool] = True

    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """The int(patches ratio) patches with the greatest attention; without a ratio, that of the batch's outliers."""
        scores = _class_attention(*seen.attention_inputs)
        return _with_neighbours(_greatest(scores, _pooled_ratio(scores) if ratio is None else ratio), seen, self.k)

    def combine(self, seen: Seen, choice: Choice) -> Tensor:
        """Kept patches merged with their nearest, and one token of the rest."""
        return _combined(seen, choice, self.k)

    def as_published(self) -> Reducer:
        """Itself."""
        return self


@dataclass(frozen=True, slots=True)
class PublishedPruMergePlus(PruMergePlus):
    """The published PruMerge+; its `order` may hold a patch twice."""

    pools: ClassVar[bool] = True

    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """Those of PruMerge, and the grid."""
        scores = _class_attention(*seen.attention_inputs)
        found = _with_grid(scores) if ratio is None else _with_overlapping_grid(scores, ratio)
        return _with_neighbours(found, seen, self.k)

    def combine(self, seen: Seen, choice: Choice) -> Tensor:
        """Kept patches merged with their nearest, and one token of the rest."""
        return _combined(seen, choice, self.k)

    def as_published(self) -> Reducer:
        """Itself."""
        return self


def _with_neighbours(choice: Choice, seen: Seen, neighbours: int) -> Choice:
    """The same, if each kept patch has so many others; where none is kept, none is looked for."""
    if choice.most > 0 and seen.patches <= neighbours:
        raise _stops(f"needs more than {neighbours} patches for {neighbours} neighbours, there are {seen.patches}")
    return choice


def _stops(why: str) -> InvalidValue:
    return InvalidValue(f"strict_reference: the published code {why}, and stops with an error")


def _class_attention(queries: Tensor, keys: Tensor) -> Tensor:
    logits: Tensor = (queries @ keys.mT) * keys.shape[-1] ** -0.5
    return logits.softmax(dim=-1)[:, 0, 1:]


def _pooled_ratio(scores: Tensor) -> float:
    """Outliers of all images together, as a share of all patches; numpy's percentiles, in float32."""
    import numpy as np

    pooled = scores.float().cpu().numpy().flatten()
    low, high = np.percentile(pooled, 25), np.percentile(pooled, 75)
    return int((pooled > high + 1.5 * (high - low)).sum()) / len(pooled)


def _greatest(scores: Tensor, ratio: float) -> Choice:
    count = int(scores.shape[1] * ratio)
    return Choice(scores.topk(count, dim=1).indices, count, scores)


def _with_grid(scores: Tensor) -> Choice:
    """Outliers of the only image, then the grid's patches that are not among them."""
    import torch

    if scores.shape[0] > 1:
        raise _stops(f"takes one image at a time in adaptive PruMerge+, not {scores.shape[0]}")
    ratio = _pooled_ratio(scores)
    if ratio == 0:
        raise _stops("divides by the share of outliers, and there are none")
    first = _greatest(scores, ratio)
    # At most a quarter of the patches lies above the third quartile, so the step is at least int(4 / 3).
    grid = _patches_of(_grid(0, int(int(1 / ratio) / 3)), scores)
    order = torch.cat([first.order, grid[~torch.isin(grid, first.order)].unsqueeze(0)], dim=1)
    return Choice(order, int(order.shape[1]), scores)


def _with_overlapping_grid(scores: Tensor, ratio: float) -> Choice:
    """Greatest and grid in twice as many places as there are greatest; torch lets one patch fill any number of them."""
    import torch

    first = _greatest(scores, ratio)
    step = int(min(1 / ratio, 4 * GRID_END))  # a number too large to be whole ends as badly as one that long
    grid = _grid(step // 2, step)
    if first.most + len(grid) not in (1, 2 * first.most):
        raise _stops(f"has room for {first.most} patches of a grid, and ratio {ratio} makes {len(grid)}")
    if first.most == 0:
        return first
    order = torch.cat([first.order, _patches_of(grid, scores).expand(scores.shape[0], -1)], dim=1)
    return Choice(order.expand(-1, 2 * first.most), 2 * first.most, scores)


def _grid(first: int, step: int) -> range:
    if first > GRID_END:
        raise _stops(f"has a grid that starts behind its end, patch {GRID_END}")
    return range(first, GRID_END, step)


def _patches_of(grid: range, scores: Tensor) -> Tensor:
    """The grid as a tensor, if the images have its patches."""
    import torch

    patches = scores.shape[1]
    if grid and grid[-1] >= patches:
        raise _stops(f"has a grid up to patch {grid[-1]}, and there are {patches} patches")
    return torch.tensor(grid, dtype=torch.long, device=scores.device)


def _combined(seen: Seen, choice: Choice, neighbours: int) -> Tensor:
    """(batch, choice.most + 1, hidden): neighbours are sought among the other kept ones and the rest."""
    import torch

    scores, (_, keys) = choice.scores, seen.attention_inputs
    assert scores is not None  # noqa: S101  # `choose` gives them
    rest = _complement(choice.order, seen.patches)
    places = torch.cat([choice.order, rest], dim=1)
    features, weights = rows_of(seen.features, places), scores.gather(1, places).unsqueeze(-1)
    units = torch.nn.functional.normalize(rows_of(keys[:, 1:], places), dim=-1)
    cosines = units[:, : choice.most] @ units.mT
    # Each row without its own column, as published: equal cosines, frequent in half formats, go by where they stand.
    columns = torch.arange(cosines.shape[2] - 1, device=cosines.device)
    own = torch.arange(choice.most, device=cosines.device).unsqueeze(1)
    others = (columns + (columns >= own)).expand(len(cosines), -1, -1)
    near = others.gather(2, cosines.gather(2, others).topk(min(neighbours, len(columns)), dim=-1).indices)
    weighted = features * weights
    added = rows_of(weighted, near.flatten(1)).view(*near.shape, weighted.shape[-1]).sum(dim=2)
    merged = features[:, : choice.most] + added
    return torch.cat([merged, weighted[:, choice.most :].sum(dim=1, keepdim=True)], dim=1)


def _complement(order: Tensor, patches: int) -> Tensor:
    """(batch, patches - most): patches not in `order`, less the first where `order` repeats some."""
    import torch

    places = torch.arange(patches, device=order.device).expand(order.shape[0], -1)
    return places.scatter(1, order, 0).sort(dim=1).values[:, order.shape[1] :]
