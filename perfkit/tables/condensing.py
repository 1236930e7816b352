"""A tidy table made short for a reader: what all rows share said once, long texts cut, many rows left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfkit.tables.plain import show

if TYPE_CHECKING:
    from perfkit.tables.plain import Column, Table

MOST_ROWS, MOST_LETTERS = 30, 60


def condensed(table: Table) -> Table:
    """The table as it is shown where it is the value of a cell; `render` and `to_frame` have all of it.

    >>> from perfkit.tables import Column, Table
    >>> columns = (Column("gpu", "GPU"), Column("batch", "batch", "n"), Column("why", "why"))
    >>> short = condensed(Table(columns, (("v100", 1, None), ("v100", 8, None))))
    >>> short.rows, short.notes
    (((1,), (8,)), ('in all rows: GPU v100',))
    """
    if len(table.rows) < 2:
        return table
    alike = [i for i in range(len(table.columns)) if all(row[i] == table.rows[0][i] for row in table.rows)]
    kept = [i for i in range(len(table.columns)) if i not in alike or table.columns[i].unit == "bar"]
    rows = tuple(tuple(_cut(row[i], table.columns[i]) for i in kept) for row in table.rows[:MOST_ROWS])
    notes = (*_shared(table, alike), *_left_out(table), *table.notes)
    return table._replace(columns=tuple(table.columns[i] for i in kept), rows=rows, notes=notes)


def _cut(value: Any, column: Column) -> Any:
    if column.unit or not isinstance(value, str) or len(value) <= MOST_LETTERS:
        return value
    return f"{value[: MOST_LETTERS - 1]}…"


def _shared(table: Table, alike: list[int]) -> list[str]:
    told = [(table.columns[i], table.rows[0][i]) for i in alike if table.rows[0][i] not in (None, "")]
    words = [f"{column.header} {show(_cut(value, column), column.unit)}" for column, value in told if column.header]
    return [f"in all rows: {', '.join(words)}"] if words else []


def _left_out(table: Table) -> list[str]:
    more = len(table.rows) - MOST_ROWS
    return [f"{more} more rows: .to_frame() and .render(form) have all {len(table.rows)}"] if more > 0 else []
