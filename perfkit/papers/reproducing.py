"""Published cost tables made again, and the whole model's cost beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, overload

from perfkit.papers.correcting import Correction, correct
from perfkit.papers.published import Basis, Promise, PublishedColumn, PublishedPaper, PublishedRow, PublishedTable
from perfkit.papers.reading import load_paper, paper_names
from perfkit.papers.reckoning import reckon
from perfkit.units import Amount


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: as printed (None where the paper prints none), and made again, both in the paper's `unit`.

    `matches` by the table's rule. `filled` is `formula` with the numbers put in: arithmetic that anybody can redo.
    `misprint`: why the printed figure is taken to be wrong, empty where it is not.
    """

    table: str
    row: str
    column: str
    unit: str
    printed: str | None
    value: Amount
    matches: bool
    basis: Basis
    convention: str
    rule: str
    formula: str
    filled: str
    inputs: dict[str, Any] = field(hash=False)
    source: str
    note: str = ""
    misprint: str = ""

    @property
    def reproduced(self) -> float:
        """The figure made again."""
        return float(self.value)

    @property
    def is_fitted(self) -> bool:
        """Whether its tokens were chosen so that this figure comes out."""
        return self.basis == "fitted" and self.printed is not None

    @property
    def is_tried(self) -> bool:
        """Whether it comes out under a choice that does not explain its kind."""
        return self.basis == "tried" and self.matches


class KeptPromise(NamedTuple):
    """How many times less the second row costs than the first: printed, made again, and for the whole model.

    `corrected_time` is of times to first token; None where no device is named or a row is not corrected.
    """

    what: str
    column: str
    printed: float
    reproduced: float
    corrected_flops: float | None
    corrected_time: float | None


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A paper's tables made again: every cell, what corrects the rows, and what is left of promised savings."""

    paper: PublishedPaper
    cells: tuple[Cell, ...]
    corrected: tuple[Correction, ...]
    promises: tuple[KeptPromise, ...]

    @property
    def printed(self) -> tuple[Cell, ...]:
        """Cells that the paper prints."""
        return tuple(cell for cell in self.cells if cell.printed is not None)

    @property
    def matched(self) -> tuple[Cell, ...]:
        """Cells that come out as printed, without those of a choice that was only tried."""
        return tuple(cell for cell in self.printed if cell.matches and not cell.is_tried)

    @property
    def tried(self) -> tuple[Cell, ...]:
        """Cells that come out under a choice that does not explain their kind: no evidence of anything."""
        return tuple(cell for cell in self.printed if cell.is_tried)

    @property
    def fitted(self) -> tuple[Cell, ...]:
        """Cells whose tokens were fitted to them."""
        return tuple(cell for cell in self.printed if cell.is_fitted)

    @property
    def misprints(self) -> tuple[Cell, ...]:
        """Cells that are taken for printed wrong."""
        return tuple(cell for cell in self.printed if cell.misprint)


@overload
def reproduce(name: str) -> Reproduction:
    """Tables of one paper."""


@overload
def reproduce(name: None = None) -> tuple[Reproduction, ...]:
    """Tables of all papers."""


def reproduce(name: str | None = None) -> Reproduction | tuple[Reproduction, ...]:
    """Tables of one paper made again, or of all: the argument of `perfkit reproduce`.

    Raises:
        UnknownName: no such paper.

    >>> prumerge = reproduce("prumerge")
    >>> len(prumerge.printed), len(prumerge.matched), prumerge.misprints[0].printed
    (32, 31, '0.28')
    """
    if name is None:
        return tuple(reproduce_paper(load_paper(one)) for one in paper_names())
    return reproduce_paper(load_paper(name))


def reproduce_paper(paper: PublishedPaper) -> Reproduction:
    """A paper's tables made again, from values."""
    cells = tuple(cell for table in paper.tables for row in table.rows for cell in _cells(table, row, paper.source))
    corrected = tuple(correct(request) for request in paper.corrections)
    promises = tuple(_kept(promise, cells, corrected) for promise in paper.promises)
    return Reproduction(paper, cells, corrected, promises)


def _cells(table: PublishedTable, row: PublishedRow, source: str) -> Iterator[Cell]:
    """Printed cells of a row; all of its columns where the paper prints none."""
    for column in table.columns:
        if column.name in row.printed or not row.printed:
            yield _cell(table, row, column, source)


def _cell(table: PublishedTable, row: PublishedRow, column: PublishedColumn, source: str) -> Cell:
    printed, made = row.printed.get(column.name), reckon(table, row, column)
    return Cell(
        table=table.what,
        row=row.name,
        column=column.name,
        unit=column.unit,
        printed=printed,
        value=made.value,
        matches=printed is not None and table.rule(printed, made.value),
        basis=row.basis,
        convention=table.convention.label,
        rule=table.rule_name,
        formula=made.formula,
        filled=made.filled,
        inputs=made.inputs,
        source=source,
        note=row.notes.get(column.name, ""),
        misprint=row.misprints.get(column.name, ""),
    )


def _kept(promise: Promise, cells: tuple[Cell, ...], corrected: tuple[Correction, ...]) -> KeptPromise:
    found = {(cell.row, cell.column): cell for cell in cells}
    before, after = found[promise.before, promise.column], found[promise.after, promise.column]
    whole = {correction.row: correction for correction in corrected}
    first, second = whole.get(promise.before), whole.get(promise.after)
    flops = first.matmul_flops / second.matmul_flops if first and second else None
    seconds = (first.ttft_roofline_s, second.ttft_roofline_s) if first and second else (None, None)
    return KeptPromise(
        promise.what,
        promise.column,
        float(Fraction(before.printed or 0) / Fraction(after.printed or 1)),
        float(before.value / after.value),
        flops,
        seconds[0] / seconds[1] if seconds[0] and seconds[1] else None,
    )
