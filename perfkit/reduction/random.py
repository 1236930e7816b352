"""n random tokens of an image: what every selector has to beat.

Source: a draw without replacement, every set of n patches as likely as any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from perfkit.ops import OpCost, Place
from perfkit.reduction import costs
from perfkit.reduction.method import TowerOutput
from perfkit.reduction.sequential import Sequential

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Random(Sequential):
    """Keeps `n` tokens drawn anew for each image, in their order.

    Draws from torch's generator of the device, which `torch.manual_seed` sets.

    >>> Random(64).text
    'random:n=64'
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random"

    def reduction_ops(self, place: Place, tower: TowerOutput) -> Iterator[OpCost]:
        """The largest of one draw a patch, and a copy of what is kept."""
        yield costs.pick(place, "pick_random", tower.tiles * tower.tokens, tower.kept)
        yield from Sequential.reduction_ops(self, place, tower)

    def picked(self, features: Tensor, count: int) -> Tensor:
        """(batch, count): patches in rising order, none twice."""
        import torch

        draws = torch.rand(features.shape[:2], device=features.device)
        return draws.topk(count, dim=1, sorted=False).indices.sort(dim=1).values


read = Random.read
