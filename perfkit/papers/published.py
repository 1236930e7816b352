"""What papers print about cost, as it stands in `tables/`: values that `reading` makes and `reproducing` uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from perfkit.conventions import Convention
from perfkit.models.spec import ModelSpec
from perfkit.printed import Rule
from perfkit.units import Amount, Precision

FigureKind = Literal[
    "total", "mean layer", "share", "rounded share", "reduction", "time", "bytes", "stored activations"
]
Basis = Literal["stated", "inferred", "fitted", "tried"]

# Arithmetic that brings FLOPs (or MACs), seconds or bytes to a unit as printed.
UNITS: dict[str, str] = {"T": " / 10**12", "B": " / 10**9", "%": "", "ms": " * 10**3", "GB": " / 10**9"}
FIGURES: dict[FigureKind, tuple[str, ...]] = {
    "total": ("T", "B"),
    "mean layer": ("T", "B"),
    "share": ("%",),
    "rounded share": ("T", "B"),
    "reduction": ("%",),
    "time": ("ms",),
    "bytes": ("GB",),
    "stored activations": ("GB",),
}
SHARES: tuple[FigureKind, ...] = ("share", "rounded share", "reduction")  # of the same with all visual tokens
# How the tokens and the formula behind a figure are known.
BASES: dict[Basis, str] = {
    "stated": "by the paper or its code",
    "inferred": "the one choice under which figures that are independent of each other come out",
    "fitted": "chosen so that this very figure comes out: what it stands for, and no evidence",
    "tried": "a choice often made, or the nearest: it leaves figures out, so one that comes out proves nothing",
}


class Seen(NamedTuple):
    """`layers` consecutive layers of the language model see `visual` visual tokens a sequence, a fraction perhaps."""

    layers: int
    visual: Amount


class PaperDevice(NamedTuple):
    """Rates that a paper reckons with; `note` says which card has them, or that none has."""

    name: str
    fp16_per_s: Amount
    int8_per_s: Amount
    bytes_per_s: Amount
    note: str

    def rate(self, precision: Precision) -> Amount:
        """Operations a second where weights, activations and cache are all in `precision`."""
        return self.int8_per_s if precision.bits <= 8 else self.fp16_per_s


class PublishedColumn(NamedTuple):
    """A column of figures: its unit as printed, and what of a row's cost it is.

    `whole`: the printed figure that a rounded share is taken of, empty for all others.
    """

    name: str
    unit: str
    figure: FigureKind
    whole: str = ""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row: what was counted, and what is printed of it, column -> text.

    `other` tokens stand beside the visual ones in every layer. `notes` are on single cells, column -> text;
    `misprints`, column -> arithmetic, name cells that are taken for printed wrong.
    """

    name: str
    model: ModelSpec
    seen: tuple[Seen, ...]
    other: Amount
    precision: Precision
    basis: Basis
    printed: dict[str, str] = field(hash=False)
    notes: dict[str, str] = field(hash=False)
    misprints: dict[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table, or a part of one that is counted in one way.

    `of`: visual tokens of the whole model, which shares are taken of; None where no column has one.
    """

    what: str
    convention: Convention
    rule_name: str
    rule: Rule
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]
    device: PaperDevice | None
    of: Amount | None
    notes: tuple[str, ...]


class Request(NamedTuple):
    """What a corrected row asks perfkit for: options of `perfkit roofline` where `gpu` is named, else of `count`."""

    row: str
    gpu: str | None
    options: dict[str, str | int]


class Promise(NamedTuple):
    """A speed-up or saving that two rows of a paper promise; `column` holds the figures that are compared."""

    what: str
    column: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PublishedPaper:
    """A source: its tables, and what is asked of perfkit to put the whole model's cost beside them."""

    name: str
    source: str
    summary: str
    tables: tuple[PublishedTable, ...]
    corrections: tuple[Request, ...]
    promises: tuple[Promise, ...]
    notes: tuple[str, ...]
