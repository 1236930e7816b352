"""Reports of `CalibrationRun`: errors by op and range of sizes, before the fit and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.calibration.calibrating import CalibrationRun
from perfkit.calibration.ranges import RangeErrors, range_label
from perfkit.kernels.calibrations import Calibration
from perfkit.tables import Column, Table


def document(run: CalibrationRun) -> dict[str, Any]:
    """The calibration, its errors and spread, and errors by range, as fractions."""
    made = run.calibration
    return {
        "perfkit": perfkit.__version__,
        "calibration": made.id,
        "before": run.before.id,
        "fitted_on": [each._asdict() for each in made.fitted_on],
        "products": {engine: parameters._asdict() for engine, parameters in made.products.items()},
        "forms": {name: parameters._asdict() for name, parameters in made.forms.items()},
        "errors": [each._asdict() for each in made.errors],
        "spread": {op: each._asdict() for op, each in made.spread.items()},
        "ranges": [each._asdict() for each in run.ranges],
        "warnings": list(run.warnings),
    }


def table(runs: Sequence[CalibrationRun]) -> Table:
    """A row an op, an engine and a range of sizes."""
    columns = (
        Column("calibration", "calibration"),
        Column("op", "op"),
        Column("engine", "engine"),
        Column("size", "size"),
        Column("first", "from", "n"),
        Column("last", "to", "n"),
        Column("rows", "rows", "n"),
        Column("before", "off by before", "share"),
        Column("after", "off by after", "share"),
    )
    return Table(columns, tuple((run.calibration.id, *each) for run in runs for each in run.ranges))


def overview(runs: Sequence[CalibrationRun]) -> list[Table]:
    """What people see: errors by op and range, then what the numbers are."""
    return [_ranges(run) for run in runs]


def _ranges(run: CalibrationRun) -> Table:
    columns = (
        Column("op", "op"),
        Column("range", "range"),
        Column("rows", "rows", "n"),
        Column("before", "off by before", "share"),
        Column("after", "off by after", "share"),
    )
    rows = tuple((_op(each), range_label(each), each.rows, each.before, each.after) for each in run.ranges)
    starts = frozenset(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0])
    return Table(columns, rows, title=_title(run), notes=tuple(_notes(run)), rule_before=starts)


def _op(errors: RangeErrors) -> str:
    return f"{errors.op}, {errors.engine} engine" if errors.engine else errors.op


def _title(run: CalibrationRun) -> str:
    made = run.calibration
    tables = ", ".join(dict.fromkeys(f"{each.table} ({each.device})" for each in made.fitted_on))
    return f"Calibration {made.id}: {made.title}\nfitted on {tables}"


def _notes(run: CalibrationRun) -> Iterator[str]:
    saw = ", which its fit saw" if _saw_the_same(run) else ""
    yield "off by: mean of |predicted - measured| over measured."
    yield f"Before: calibration {run.before.id}, on all rows{saw}."
    alone = run.calibration.device or run.calibration.family
    others = "fits to rows of other sizes, in five parts" if alone else "the other families, where there are several"
    yield f"After: each row predicted by {others}."
    if any(each.size != "m" for each in run.ranges):
        yield "tokens: of all prompts together; cache: keys and values, as of 16 bits."
    yield from _spread(run.calibration)


def _saw_the_same(run: CalibrationRun) -> bool:
    before = {each.sha256 for each in run.before.fitted_on}
    return any(each.sha256 in before for each in run.calibration.fitted_on)


def _spread(calibration: Calibration) -> Iterator[str]:
    for error in calibration.errors:
        spread = calibration.spread_of(error.op)
        assert spread is not None  # noqa: S101  # an op with an error has one
        yield (
            f"{error.op}: off by {error.mape:.1%}, nine of ten rows within {error.p90:.1%}; nine of ten measured times "
            f"lie from {spread.low:.2f} to {spread.high:.2f} of the expected one."
        )
