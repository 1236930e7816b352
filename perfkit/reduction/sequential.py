"""The first n tokens of an image: the plainest baseline.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388), "sequential sampling".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from perfkit import ops
from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction.method import Reducer, TowerOutput
from perfkit.reduction.parameters import Parameters, check_whole
from perfkit.reduction.tensors import Choice, Seen, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequential(Reducer):
    """Keeps `n` tokens of an image; which ones costs nothing to find, so all that it does is a copy.

    Without `n`, --tokens or a ratio says how many.

    >>> Sequential(64).text
    'sequential:n=64'
    """

    name: ClassVar[str] = "sequential"
    title: ClassVar[str] = "Sequential"
    n: int | None = None

    def __post_init__(self) -> None:
        if self.n is not None:
            check_whole(f"{self.name}: n", self.n)

    @property
    def parameters(self) -> dict[str, str]:
        """`n`, where it is given."""
        return {} if self.n is None else {"n": str(self.n)}

    @property
    def says_tokens(self) -> bool:
        """Whether `n` is given."""
        return self.n is not None

    def image_tokens(self, spec: ModelSpec) -> int:  # noqa: ARG002  # the interface's
        """`n`, of whatever image.

        Raises:
            InvalidValue: without `n`.
        """
        if self.n is None:
            raise InvalidValue(f"{self.name} needs n, as in {self.name}:n=64")
        return self.n

    def reduction_ops(self, place: Place, tower: TowerOutput) -> Iterator[OpCost]:
        """A copy of what is kept."""
        yield ops.copy(place, "gather_kept", tower.kept, tower.features)

    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """As many patches as `n` or the ratio says.

        Raises:
            InvalidValue: neither or both of them, or a number that the image does not have.
        """
        count = self._count(seen.patches, ratio)
        return Choice(self.picked(seen.features, count), count)

    def picked(self, features: Tensor, count: int) -> Tensor:
        """(batch, count): the first patches of features (batch, patches, hidden)."""
        import torch

        return torch.arange(count, device=features.device).expand(features.shape[0], -1)

    def _count(self, patches: int, ratio: float | None) -> int:
        if (self.n is None) == (ratio is None):
            problem = "needs n or a ratio" if ratio is None else f"has n={self.n}, and a ratio is given as well"
            raise InvalidValue(f"{self.name} {problem}: one of them says how many tokens are kept")
        count = self.n if ratio is None else share(patches, ratio)
        if count is None or not 1 <= count <= patches:
            asked = (
                f"ratio {ratio} of {patches} patches keeps none" if ratio else f"{self}: there are {patches} patches"
            )
            raise InvalidValue(f"{asked}; 1 to {patches} can be kept")
        return count

    @classmethod
    def read(cls, given: Parameters) -> Self:
        """Method of its parameters."""
        return cls(given.count("n") if "n" in given.only("n").given else None)


read = Sequential.read
