"""The first n tokens of an image: the plainest baseline.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388), "sequential sampling".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from perfkit import ops
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction.method import Reducer, TowerOutput
from perfkit.reduction.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Sequential(Reducer):
    """Keeps `n` tokens of an image; which ones costs nothing to find, so all that it does is a copy.

    >>> Sequential(64).text
    'sequential:n=64'
    """

    name: ClassVar[str] = "sequential"
    title: ClassVar[str] = "Sequential"
    n: int

    @property
    def parameters(self) -> dict[str, str]:
        """`n`."""
        return {"n": str(self.n)}

    def image_tokens(self, spec: ModelSpec) -> int:  # noqa: ARG002  # the interface's
        """`n`, of whatever image."""
        return self.n

    def reduction_ops(self, place: Place, tower: TowerOutput) -> Iterator[OpCost]:
        """A copy of what is kept."""
        yield ops.copy(place, "gather_kept", tower.kept, tower.features)

    @classmethod
    def read(cls, given: Parameters) -> Self:
        """Method of its parameters."""
        return cls(given.only("n").count("n"))


read = Sequential.read
