"""Reports of `CalibrationRun`: errors by engine and range of m, before the fit and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.calibration.calibrating import CalibrationRun, RangeErrors
from perfkit.calibration.fitting import RANGES
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
    """A row a range of m on an engine."""
    columns = (
        Column("calibration", "calibration"),
        Column("engine", "engine"),
        Column("first", "m from", "n"),
        Column("last", "m to", "n"),
        Column("rows", "rows", "n"),
        Column("before", "off by before", "share"),
        Column("after", "off by after", "share"),
    )
    return Table(columns, tuple((run.calibration.id, *each) for run in runs for each in run.ranges))


def overview(runs: Sequence[CalibrationRun]) -> list[Table]:
    """What people see: errors by range, then what the numbers are."""
    return [_ranges(run) for run in runs]


def _ranges(run: CalibrationRun) -> Table:
    columns = (
        Column("engine", "engine"),
        Column("m", "rows of the input, m"),
        Column("rows", "products", "n"),
        Column("before", "off by before", "share"),
        Column("after", "off by after", "share"),
    )
    rows = tuple((each.engine, _range(each), each.rows, each.before, each.after) for each in run.ranges)
    return Table(columns, rows, title=_title(run), notes=tuple(_notes(run)))


def _title(run: CalibrationRun) -> str:
    made = run.calibration
    tables = ", ".join(dict.fromkeys(f"{each.table} ({each.device})" for each in made.fitted_on))
    return f"Calibration {made.id}: {made.title}\nfitted on {tables}"


def _range(errors: RangeErrors) -> str:
    return f"{errors.first} and more" if errors.last == RANGES[-1][1] else f"{errors.first}-{errors.last}"


def _notes(run: CalibrationRun) -> Iterator[str]:
    yield f"off by: mean of |predicted - measured| over measured. Before: calibration {run.before.id}, on all rows."
    devices = {each.device for each in run.calibration.fitted_on}
    seen = "by the other devices" if len(devices) > 1 else "by fits to the rows of other weights (n, k), in five parts"
    yield f"After: each row predicted {seen}."
    yield from _spread(run.calibration)


def _spread(calibration: Calibration) -> Iterator[str]:
    for error in calibration.errors:
        spread = calibration.spread_of(error.op)
        assert spread is not None  # noqa: S101  # an op with an error has one
        yield (
            f"{error.op}: off by {error.mape:.1%}, nine of ten rows within {error.p90:.1%}; nine of ten measured times "
            f"lie from {spread.low:.2f} to {spread.high:.2f} of the expected one."
        )
