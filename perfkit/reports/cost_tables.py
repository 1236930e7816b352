"""Reports of a `CostTable`: for a paper, for a terminal, tidy, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import perfkit
from perfkit import remarks
from perfkit.cost_tables.building import CostTable
from perfkit.cost_tables.columns import CostColumn, Point, columns_of
from perfkit.cost_tables.keys import Key, keys_of
from perfkit.cost_tables.remarking import background_of, caption_of, footnotes_of, notes_of
from perfkit.errors import InvalidValue
from perfkit.tables import Column, Table
from perfkit.tables.paper import Heading, Note, PaperRow, PaperTable, aligned

_KEYS = (
    Column("model", "model"),
    Column("device", "device"),
    Column("weights", "weights"),
    Column("activations", "activations"),
    Column("kv", "KV"),
    Column("reduction", "reduction"),
    Column("visual_tokens", "visual tokens", "n"),
)
DIGITS = 3  # significant ones on paper
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _columns(table: CostTable) -> tuple[CostColumn, ...]:
    return columns_of(table.request.columns, table.convention)


# --- JSON


def document(table: CostTable) -> dict[str, Any]:
    """The request, its columns with what they rest on, and a row a combination, in SI units."""
    return {
        "perfkit": perfkit.__version__,
        "commands": list(table.commands),
        "request": asdict(table.request),
        "caption": caption_of(table),
        "columns": [
            {"column": c.key, "key": c.si_key, "basis": c.basis, "what": c.what, "header": c.header, "unit": c.unit}
            for c in _columns(table)
        ],
        "rows": [_document_row(table, point) for point in table.points],
        "notes": [*notes_of(table), *background_of(table)],
    }


def _document_row(table: CostTable, point: Point) -> dict[str, Any]:
    figures = {column.si_key: column.of(point) for column in _columns(table)}
    return {**_key_record(point), **figures, "warnings": remarks.warnings(point.prediction)}


def _key_record(point: Point) -> dict[str, Any]:
    p = point.prediction
    return {
        "model": p.model.name,
        "device": p.device.id,
        "weights": p.execution.weights.value,
        "activations": p.execution.activations.value,
        "kv": p.execution.kv.value,
        "reduction": p.workload.reduction or None,
        "visual_tokens": p.workload.visual_tokens,
    }


# --- one tidy table


def table(tables: Sequence[CostTable]) -> Table:
    """Rows of all tables below each other, with every axis, in SI units."""
    chosen = list(dict.fromkeys(column for one in tables for column in _columns(one)))
    columns = (*_KEYS, *(Column(c.si_key, c.header, c.si_unit) for c in chosen))
    rows = [(*_key_record(p).values(), *(c.of(p) for c in chosen)) for one in tables for p in one.points]
    return Table(columns, tuple(rows))


# --- a terminal


def overview(tables: Sequence[CostTable]) -> list[Table]:
    """Each table as a terminal shows it: keys that vary, figures with prefixes, notes below."""
    return [_overview(table) for table in tables]


def _overview(table: CostTable) -> Table:
    keys, chosen, paper = keys_of(table), _columns(table), for_paper(table)
    columns = [Column(f"key_{i}", key.header, "" if key.text else "n") for i, key in enumerate(keys.columns)]
    # The last that were asked for go first where the terminal is narrow.
    columns += [Column(c.key, c.header, c.si_unit, max(1, 8 - i)) for i, c in enumerate(chosen)]
    marked = any(row.marks for row in paper.rows)
    columns += [Column("marks", "note")] if marked else []
    rows = []
    for index, (point, row) in enumerate(zip(table.points, paper.rows, strict=True)):
        names = [_key(key, row.keys[i], paper.span(index, i)) for i, key in enumerate(keys.columns)]
        rows.append((*names, *(_shown(column.of(point)) for column in chosen), *([row.marks] if marked else [])))
    notes = [f"[{note.mark}] {note.text}" if note.mark else note.text for note in paper.notes]
    rules = frozenset(i for i, row in enumerate(paper.rows) if row.rule)
    return Table(tuple(columns), tuple(rows), title=paper.caption, notes=tuple(notes), rule_before=rules)


def _key(key: Key, shown: str, span: int) -> str | int:
    if not key.text:
        return int(shown)
    return shown if span else ""


def _shown(value: Any) -> Any:
    return ("no", "yes")[value] if isinstance(value, bool) else value


# --- a paper


def printed(tables: Sequence[CostTable]) -> PaperTable:
    """What a paper prints of one table.

    Raises:
        InvalidValue: several tables.
    """
    if len(tables) > 1:
        raise InvalidValue(f"a paper prints one table at a time, not {len(tables)}")
    return for_paper(tables[0])


def for_paper(table: CostTable) -> PaperTable:
    """A table as a paper prints it; `perfkit.tables.paper` says how."""
    keys, chosen = keys_of(table), _columns(table)
    notes, marks = _notes(table)
    figures = list(zip(*(_figures(table, column) for column in chosen), strict=True))
    rows = []
    for index, point in enumerate(table.points):
        above = table.points[index - 1] if index else None
        names = tuple(key.shown(point) for key in keys.columns)
        starts = keys.starts(above, point) if above else 0
        rows.append(PaperRow(names, figures[index], starts, index % table.block == 0 < index, marks[index]))
    return PaperTable(
        keys=tuple(Heading(key.header, text=key.text) for key in keys.columns),
        figures=tuple(Heading(column.header, column.unit, column.key == "fits") for column in chosen),
        rows=tuple(rows),
        caption=caption_of(table),
        label=table.request.label,
        notes=tuple(notes),
        origin=table.commands,
    )


def _figures(table: CostTable, column: CostColumn) -> list[str]:
    values = [column.of(point) for point in table.points]
    if any(isinstance(value, bool) for value in values):
        return [_shown(value) for value in values]
    return aligned([None if value is None else value / column.scale for value in values], DIGITS)


def _notes(table: CostTable) -> tuple[list[Note], list[str]]:
    """Notes of all rows, then those of some, and for each row the marks of its own."""
    notes, marks = [Note(text) for text in notes_of(table)], [""] * len(table.points)
    used = 0
    for text, rows in footnotes_of(table):
        if len(rows) == len(table.points):
            notes.append(Note(text))
            continue
        mark, used = _mark(used), used + 1
        notes.append(Note(text, mark))
        for row in rows:
            marks[row] += f",{mark}" if marks[row] else mark
    return notes, marks


def _mark(number: int) -> str:
    """a to z, then aa and on.

    >>> _mark(0), _mark(25), _mark(26)
    ('a', 'z', 'aa')
    """
    more, last = divmod(number, len(_LETTERS))
    return (_mark(more - 1) if more else "") + _LETTERS[last]
