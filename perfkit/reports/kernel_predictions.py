"""Reports of `KernelPredictions`: the table that was read with four columns behind, and errors by op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

import perfkit
from perfkit.errors import InvalidValue
from perfkit.kernels.tables import KernelGroup
from perfkit.tables import Column, Table
from perfkit.validation.kernel_tables import KernelPredictions

_PREDICTED = ("roofline_s", "expected_s", "expected_low_s", "expected_high_s")
MOST_ROWS = 10  # that a terminal lists


def document(p: KernelPredictions) -> dict[str, Any]:
    """Errors by op, as fractions; null where nothing was measured."""
    return {
        "perfkit": perfkit.__version__,
        "device": p.device.id,
        "calibration": p.calibration.id,
        "ops": {one.op: {key: value for key, value in one._asdict().items() if key != "op"} for one in p.ops},
        "warnings": list(p.warnings),
    }


def table(predictions: Sequence[KernelPredictions]) -> Table:
    """The columns that were read, as they stand there, and the predicted times of each row.

    Raises:
        InvalidValue: several tables, or one that has a column of such a name already.
    """
    if len(predictions) > 1:
        raise InvalidValue("tables of kernels are written one at a time")
    (p,) = predictions
    taken = [key for key in _PREDICTED if key in p.table.columns]
    if taken:
        raise InvalidValue(f"{p.table.file}: has a column {taken[0]} already: rename it or leave it out")
    columns = [Column(name, name) for name in p.table.columns] + [Column(key, key, "s") for key in _PREDICTED]
    rows = ((*cells, *times) for cells, times in zip(p.table.rows, _times(p), strict=True))
    return Table(tuple(columns), tuple(rows))


def _times(p: KernelPredictions) -> Iterator[tuple[float | None, ...]]:
    lists = [getattr(p, key).tolist() for key in _PREDICTED]
    for seconds in zip(*lists, strict=True):
        yield tuple(map(_known, seconds))


def _known(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds


# --- for people


def overview(predictions: Sequence[KernelPredictions]) -> list[Table]:
    """Errors by op where times were measured; else the first rows, and sums by op."""
    return [found for p in predictions for found in _tables(p)]


def _tables(p: KernelPredictions) -> Iterator[Table]:
    if p.table.measured_s is not None:
        yield _errors(p)
        return
    yield _first_rows(p)
    yield _sums(p)


def _title(p: KernelPredictions) -> str:
    calibration = p.calibration
    return f"{p.table.file} on {p.device.id}\nexpected by calibration {calibration.id}: {calibration.title}"


def _errors(p: KernelPredictions) -> Table:
    columns = (
        Column("op", "op"),
        Column("rows", "rows", "n"),
        Column("roofline_mape", "roofline off by", "share"),
        Column("expected_mape", "expected off by", "share"),
        Column("expected_p90", "nine of ten within", "share"),
    )
    notes = (
        "off by: mean of |predicted - measured| over measured. A roofline is a bound: its error is what kernels leave.",
        "--format csv lists every row.",
    )
    return Table(columns, p.ops, title=_title(p), notes=notes)


def _first_rows(p: KernelPredictions) -> Table:
    columns = (
        Column("op", "op"),
        Column("precision", "precision", "", 8),
        Column("sizes", "sizes", "prose"),
        Column("roofline_s", "roofline", "s"),
        Column("expected_s", "expected", "s"),
        Column("expected_low_s", "from", "s", 7),
        Column("expected_high_s", "to", "s", 7),
    )
    first = sorted((row for group in p.table.groups for row in _described(group)), key=lambda row: row[0])
    times = list(_times(p))
    shown = tuple((*cells, *times[place]) for place, *cells in first[:MOST_ROWS])
    rest = sum(len(group.places) for group in p.table.groups) - len(shown)
    notes = ["from, to: where nine of ten measured times are to be expected."]
    notes += [f"{rest} more rows; --format csv lists all."] if rest else []
    return Table(columns, shown, title=_title(p), notes=tuple(notes))


def _described(group: KernelGroup) -> Iterator[tuple[Any, ...]]:
    """Place, op, precision and sizes of the first rows of a group."""
    sizes = group.shape._asdict()
    for i, place in enumerate(group.places[:MOST_ROWS].tolist()):
        named = [f"{name} {size[i]:g}" for name, size in sizes.items() if hasattr(size, "shape")]
        yield place, group.op, group.precision.value, ", ".join(named)


def _sums(p: KernelPredictions) -> Table:
    columns = (
        Column("op", "op"),
        Column("rows", "rows", "n"),
        Column("roofline_s", "roofline", "s"),
        Column("expected_s", "expected", "s"),
    )
    rows = tuple(
        (one.op, one.rows, *(_sum(p, one.op, times) for times in (p.roofline_s, p.expected_s))) for one in p.ops
    )
    return Table(columns, rows, title="All rows of an op together")


def _sum(p: KernelPredictions, op: str, times: Any) -> float | None:
    return _known(sum(float(times[group.places].sum()) for group in p.table.groups if group.op == op))
