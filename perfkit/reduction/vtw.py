"""VTW: all visual tokens are withdrawn after layer k.

Source: Lin et al., Boosting Multimodal Large Language Models with Visual Tokens Withdrawal (arXiv 2405.05803);
lzhxmu/VTW at 34a4199, llava/model/language_model/VTW.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from perfkit.reduction.method import Entry, Pruner
from perfkit.reduction.parameters import Parameters
from perfkit.units import Amount


@dataclass(frozen=True, slots=True)
class VTW(Pruner):
    """The first `k` layers see all visual tokens, later ones none; nothing is scored, text is copied together.

    >>> VTW(16).schedule(32, 576)[1]
    LayerGroup(layers=16, visual_tokens=0)
    """

    name: ClassVar[str] = "vtw"
    title: ClassVar[str] = "VTW"
    may_drop_all: ClassVar[bool] = True
    k: int

    @property
    def parameters(self) -> dict[str, str]:
        """`k`."""
        return {"k": str(self.k)}

    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """At layer k, all."""
        return ((self.k, 0 * entry.visual_tokens),)

    def allowed_layers(self, layers: int) -> str:
        """At least one layer with, and one without."""
        return f"k is from 1 to {layers - 1}"


def read(given: Parameters) -> VTW:
    """Method of its parameters; k = 16 is half of LLaVA-1.5-7B's layers."""
    return VTW(given.only("k").count("k", "16"))
