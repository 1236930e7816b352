"""A uniform grid of n tokens of an image.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388), "spatial sampling".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from perfkit.reduction.sequential import Sequential


@dataclass(frozen=True, slots=True)
class Spatial(Sequential):
    """Keeps `n` tokens at equal distances, at the cost of the first `n`: a copy.

    >>> Spatial(64).text
    'spatial:n=64'
    """

    name: ClassVar[str] = "spatial"
    title: ClassVar[str] = "Spatial"


read = Spatial.read
