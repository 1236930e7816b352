"""Reports of a `Sweep` that is kept in memory: a tidy row a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import perfkit
from perfkit.sweeping.columns import fields_of
from perfkit.sweeping.request import TEXTS
from perfkit.sweeping.running import Sweep
from perfkit.tables import ALWAYS, Column, Table

# What people see first; figures that follow from others go first where the terminal is narrow.
_IMPORTANT = ("ttft_roofline_s", "tpot_roofline_s", "ttft_expected_s", "tpot_expected_s", "fits")
_SECOND = ("tokens_per_s_roofline", "memory_total_bytes")


def document(sweep: Sweep) -> dict[str, Any]:
    """Rows as the tidy table has them, and what was left out."""
    return {
        "perfkit": perfkit.__version__,
        "basis": sweep.request.basis,
        "rows": list(table([sweep]).records()),
        "warnings": list(sweep.left_out),
    }


def table(sweeps: Sequence[Sweep]) -> Table:
    """A row a point, all columns, None where a figure is not known."""
    fields = fields_of(max((sweep.request for sweep in sweeps), key=lambda request: len(request.basis)).basis)
    columns = tuple(Column(field.key, field.header, field.unit) for field in fields)
    rows = [row for sweep in sweeps for row in zip(*(_values(sweep.columns[f.key]) for f in fields), strict=True)]
    return Table(columns, tuple(rows))


def overview(sweeps: Sequence[Sweep]) -> list[Table]:
    """The same for people: of what the points share nothing but the title."""
    tidy = table(sweeps)
    varying = [i for i, column in enumerate(tidy.columns) if _shown(column, {row[i] for row in tidy.rows})]
    columns = tuple(tidy.columns[i]._replace(importance=_importance(tidy.columns[i])) for i in varying)
    return [Table(columns, tuple(tuple(row[i] for i in varying) for row in tidy.rows), title=_title(tidy))]


def _values(column: Any) -> list[Any]:
    """Python values of an array; NaN is not known."""
    return [None if value != value else value for value in column.tolist()]


def _is_axis(column: Column) -> bool:
    return column.unit == "n" or column.key in (*TEXTS, "device", "runtime", "calibration")


def _shown(column: Column, values: set[Any]) -> bool:
    return not _is_axis(column) or len(values) > 1


def _importance(column: Column) -> int:
    if _is_axis(column) or column.key in _IMPORTANT:
        return ALWAYS
    return 6 if column.key in _SECOND else 3


def _title(tidy: Table) -> str:
    """What all points share."""
    shared = []
    for i, column in enumerate(tidy.columns):
        values = {row[i] for row in tidy.rows}
        if _is_axis(column) and len(values) == 1:
            shared.append(f"{column.header} {values.pop()}")
    return ", ".join(shared)
