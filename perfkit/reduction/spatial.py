"""A uniform grid of n tokens of an image.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388), "spatial sampling".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from perfkit.reduction.sequential import Sequential

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Spatial(Sequential):
    """Keeps `n` tokens at equal distances, row by row, at the cost of the first `n`: a copy.

    >>> Spatial(64).text
    'spatial:n=64'
    """

    name: ClassVar[str] = "spatial"
    title: ClassVar[str] = "Spatial"

    def picked(self, features: Tensor, count: int) -> Tensor:
        """(batch, count): patches floor(i patches / count), i below count."""
        return Sequential.picked(self, features, count) * features.shape[1] // count


read = Spatial.read
