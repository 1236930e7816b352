"""Reports of a `Reproduction`: published figures, the same made again, and the whole model's cost beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.papers.correcting import Correction
from perfkit.papers.reproducing import Cell, Reproduction
from perfkit.reports.reproduction_overview import overview
from perfkit.tables import Column, Table

__all__ = ["document", "overview", "printed", "table"]

_COLUMNS = (
    Column("paper", "paper"),
    Column("kind", "kind"),
    Column("table", "table"),
    Column("row", "row"),
    Column("column", "column"),
    Column("unit", "unit"),
    Column("published", "published"),
    Column("reproduced", "reproduced", "x"),
    Column("match", "match"),
    Column("basis", "basis"),
    Column("convention", "convention"),
    Column("formula", "formula"),
    Column("filled", "with the numbers put in"),
    Column("inputs", "inputs"),
    Column("note", "note"),
    Column("source", "source"),
)
_OFF_A_PAGE = ("filled",)  # up to thousands of terms a cell

# Figures of a corrected row, with their SI units and how they are known, in tidy rows.
_CORRECTED = {
    "matmul_flops": ("FLOP", "counted"),
    "bytes": ("B", "counted"),
    "stored_bytes": ("B", "counted"),
    "prefill_roofline_s": ("s", "predicted"),
    "ttft_roofline_s": ("s", "predicted"),
    "tpot_roofline_s": ("s", "predicted"),
    "memory_bytes": ("B", "counted"),
    "fits": ("", "counted"),
}


def document(reproduction: Reproduction) -> dict[str, Any]:
    """The contract's JSON of `perfkit reproduce NAME`: both figures of a row in the paper's own unit."""
    paper = reproduction.paper
    return {
        "paper": paper.name,
        "source": paper.source,
        "summary": paper.summary,
        "rows": [_cell_record(cell) for cell in reproduction.cells],
        "corrected": [_corrected_record(correction) for correction in reproduction.corrected],
        "promises": [promise._asdict() for promise in reproduction.promises],
        "notes": list(paper.notes),
    }


def _cell_record(cell: Cell) -> dict[str, Any]:
    return {
        "row": cell.row,
        "column": cell.column,
        "unit": cell.unit,
        "published": None if cell.printed is None else float(cell.printed),
        "printed": cell.printed,
        "reproduced": cell.reproduced,
        "match": cell.matches,
        "note": note_of(cell),
        "basis": cell.basis,
        "rule": cell.rule,
        "table": cell.table,
        "convention": cell.convention,
        "formula": cell.formula,
        "filled": cell.filled,
        "inputs": cell.inputs,
        "source": cell.source,
    }


def note_of(cell: Cell) -> str:
    """What is to be said of a cell: that it is taken for a misprint, or why it does not come out."""
    return f"probably a misprint: {cell.misprint}" if cell.misprint else cell.note


def _corrected_record(correction: Correction) -> dict[str, Any]:
    return {
        "row": correction.row,
        "command": correction.command,
        "matmul_flops": correction.matmul_flops,
        "by_phase": correction.by_phase,
        "bytes": correction.bytes,
        "stored_bytes": correction.stored_bytes,
        "prefill_roofline_s": correction.prefill_roofline_s,
        "ttft_roofline_s": correction.ttft_roofline_s,
        "tpot_roofline_s": correction.tpot_roofline_s,
        "memory_bytes": correction.memory_bytes,
        "fits": correction.fits,
    }


def table(reproductions: Sequence[Reproduction]) -> Table:
    """A row a published figure (`kind` published, in the paper's unit), and one a corrected figure (in SI)."""
    return _of(_COLUMNS, reproductions)


def printed(reproductions: Sequence[Reproduction]) -> Table:
    """The same without the columns that no page has room for."""
    return _of(tuple(column for column in _COLUMNS if column.key not in _OFF_A_PAGE), reproductions)


def _of(columns: tuple[Column, ...], reproductions: Sequence[Reproduction]) -> Table:
    records = [record for reproduction in reproductions for record in _records(reproduction)]
    return Table(columns, tuple(tuple(record.get(column.key) for column in columns) for record in records))


def _records(reproduction: Reproduction) -> Iterator[dict[str, Any]]:
    shared = {"paper": reproduction.paper.name, "source": reproduction.paper.source}
    for cell in reproduction.cells:
        record = {**_cell_record(cell), "published": cell.printed, "inputs": json.dumps(cell.inputs)}
        yield {**shared, "kind": "published", **record}
    for correction in reproduction.corrected:
        for key, (unit, basis) in _CORRECTED.items():
            figure = getattr(correction, key)
            if figure is not None:
                start = {"kind": "corrected", "row": correction.row, "column": key, "unit": unit, "basis": basis}
                yield {**shared, **start, "reproduced": figure, "inputs": correction.command}
