"""Reports of a `PublishedValidation`: predictions beside what others measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfkit.metrics import percentage_error
from perfkit.tables import Column, Table
from perfkit.validation.published import PublishedPoint, PublishedValidation

_COLUMNS = (
    Column("paper", "paper"),
    Column("device", "device"),
    Column("what", "what"),
    Column("measured_s", "measured", "s"),
    Column("predictor", "predictor"),
    Column("predicted_s", "predicted", "s"),
    Column("percentage_error", "error", "x"),
    Column("source", "source", "", 3),
)


def document(validation: PublishedValidation) -> dict[str, Any]:
    """Every point, and the errors of each predictor by source and device; errors are fractions."""
    return {
        "points": [_record(point) for point in validation.points],
        "errors": [errors._asdict() for errors in validation.errors()],
    }


def _record(point: PublishedPoint) -> dict[str, Any]:
    return {
        "paper": point.paper.name,
        "device": point.device,
        "what": point.what,
        "source": point.source,
        "measured_s": point.measured_s,
        "roofline_s": point.roofline_s,
        "expected_s": point.expected_s,
        "expected_low_s": point.expected_low_s,
        "expected_high_s": point.expected_high_s,
        "others": point.others,
    }


def table(validations: Sequence[PublishedValidation]) -> Table:
    """A row a prediction: a point under each of its predictors, with the signed error as a fraction."""
    rows = [row for validation in validations for point in validation.points for row in _rows(point)]
    return Table(_COLUMNS, tuple(rows))


def _rows(point: PublishedPoint) -> list[tuple[Any, ...]]:
    return [
        (
            point.paper.name,
            point.device,
            point.what,
            point.measured_s,
            predictor,
            seconds,
            percentage_error(seconds, point.measured_s),
            point.source,
        )
        for predictor, seconds in point.predictions.items()
    ]


def overview(validations: Sequence[PublishedValidation]) -> list[Table]:
    """The points of each source on each device, then how far each predictor is off."""
    return [table for validation in validations for table in _tables(validation)]


def _tables(validation: PublishedValidation) -> list[Table]:
    groups = validation.by_source()
    last = {points[0].paper: i for i, points in enumerate(groups)}  # a paper's notes stand once, below its last device
    notes = [points[0].paper.notes if last[points[0].paper] == i else () for i, points in enumerate(groups)]
    return [*map(_points_table, groups, notes), _summary(validation)]


def _points_table(points: tuple[PublishedPoint, ...], notes: tuple[str, ...]) -> Table:
    """Measured and predicted times of one source on one device."""
    paper, predictors = points[0].paper, tuple(points[0].predictions)
    columns = (
        Column("what", "what"),
        Column("measured_s", "measured", "s"),
        *(_predictor_column(name, "s") for name in predictors),
        Column("ratio", "ratio", "x", 8),
    )
    rows = tuple(
        (
            point.what,
            point.measured_s,
            *(point.predictions.get(name) for name in predictors),
            point.measured_s / point.roofline_s,
        )
        for point in points
    )
    title = f"{paper.name} on {points[0].device}: {paper.source}\nmeasured: {paper.measured}"
    return Table(columns, rows, title=title, notes=("ratio: measured / roofline", *notes))


def _summary(validation: PublishedValidation) -> Table:
    """A row a source and device: mean absolute percentage error of each predictor."""
    found = {(error.paper, error.device, error.predictor): error for error in validation.errors()}
    predictors = tuple(dict.fromkeys(predictor for _, _, predictor in found))
    columns = (
        Column("paper", "paper"),
        Column("device", "device"),
        Column("points", "points", "n", 7),
        *(_predictor_column(name, "share") for name in predictors),
    )
    rows = []
    for points in validation.by_source():
        place = (points[0].paper.name, points[0].device)
        errors = [found.get((*place, name)) for name in predictors]
        rows.append((*place, len(points), *(error.mape if error else None for error in errors)))
    notes = ("A roofline is a bound, not a guess: its error is how far the measured runs stay behind the datasheet.",)
    return Table(columns, tuple(rows), title="Mean absolute percentage error", notes=notes)


def _predictor_column(name: str, unit: str) -> Column:
    return Column(name, name, unit, 9 if name in ("roofline", "expected") else 6)
