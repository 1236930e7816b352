"""FastV: after layer k the visual tokens that the last text token attends to least are dropped.

The scores are those of layer k - 1 (from 0), the last that sees all tokens: their mean over the heads, of the last
token's row. So that layer runs eager attention.

Source: Chen et al., FastV (arXiv 2403.06764, ECCV 2024); pkunlp-icler/FastV at 49dfad7,
src/FastV/lmms-eval-with-kvcache/fastv_kvcache.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from perfkit.errors import InvalidValue
from perfkit.ops import OpCost
from perfkit.reduction import costs
from perfkit.reduction.method import Drop, Entry, Pruner
from perfkit.reduction.parameters import Parameters, decimal
from perfkit.units import Amount


@dataclass(frozen=True, slots=True)
class FastV(Pruner):
    """The first `k` layers see all visual tokens, later ones all but the fraction `r`, rounded down.

    >>> FastV(2, Fraction("0.5")).schedule(32, 576)
    (LayerGroup(layers=2, visual_tokens=576), LayerGroup(layers=30, visual_tokens=288))
    """

    name: ClassVar[str] = "fastv"
    title: ClassVar[str] = "FastV"
    reads_scores: ClassVar[bool] = True
    k: int
    r: Fraction

    @property
    def parameters(self) -> dict[str, str]:
        """`k` and `r`."""
        return {"k": str(self.k), "r": decimal(self.r)}

    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """At layer k, floor(r n) of the n tokens."""
        tokens = entry.visual_tokens
        return ((self.k, tokens - tokens * self.r.numerator // self.r.denominator),)

    def allowed_layers(self, layers: int) -> str:
        """At least one layer scores, and at least one sees fewer."""
        return f"k is from 1 to {layers - 1}"

    def selection_ops(self, drop: Drop) -> Iterator[OpCost]:
        """Mean of the last token's scores over the heads, and the best tokens."""
        heads, scores = drop.stack.attention.heads, drop.batch * drop.before
        yield costs.mean(drop.place, "mean_last_row", heads, scores)
        yield costs.pick(drop.place, "pick_tokens", scores, drop.batch * drop.after)
        yield drop.gather()

    @property
    def note(self) -> str:
        """Which layer is not fused."""
        return f"{self.name}: layer {self.k - 1} (from 0) runs eager attention, because its scores choose the tokens"


def read(given: Parameters) -> FastV:
    """Method of its parameters; k = 2, r = 0.5 are the paper's usual ones.

    Raises:
        InvalidValue: r = 1, which leaves no tokens.
    """
    given.only("k", "r")
    k, r = given.count("k", "2"), given.fraction("r", "0.5")
    if r == 1:
        raise InvalidValue(f"fastv: r must be below 1, since it leaves no tokens; vtw:k={k} drops all after layer {k}")
    return FastV(k, r)
