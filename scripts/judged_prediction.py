"""A prediction that was committed before a machine was measured, held against what was then measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.measuring.cases import PhaseCase
from perfkit.metrics import mape, worst
from perfkit.tables import Column, Table
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import Validation

COLUMNS = (
    Column("phase", "phase"),
    Column("points", "points", "n"),
    Column("before", "predicted before", "share"),
    Column("worst", "worst", "share"),
    Column("inside", "in its range", "share"),
    Column("now", "expected now", "share"),
)
NOTES = (
    "predicted before: mean of |expected - measured| over measured of {file}, made with calibration {calibration}, "
    "which had seen no kernel of this card; in its range: share of the points whose median lies between its "
    "ends, which are to hold nine of ten.",
    "expected now: the same mean of the tables above, by today's calibration, fitted to kernels alone.",
)


def judged(validation: Validation, file: Path) -> Table:
    """Errors by phase of the prediction in `file`, beside those of today's expectation."""
    document = json.loads(file.read_text(encoding="utf-8"))
    predicted = {PhaseCase(*(point[key] for key in PhaseCase._fields)): point for point in document["points"]}
    timed = [point for point in validation.points if point.measured_s is not None and point.case in predicted]
    ways = dict.fromkeys((point.case.phase, point.case.runtime) for point in timed)
    rows = [_row(way, [p for p in timed if (p.case.phase, p.case.runtime) == way], predicted) for way in ways]
    notes = tuple(note.format(file=file.name, calibration=document["calibration"]) for note in NOTES)
    return Table(COLUMNS, tuple(rows), title="Predicted before it was measured", notes=notes)


def _row(
    way: tuple[str, str], points: Sequence[ComparedPoint], predicted: dict[PhaseCase, dict[str, Any]]
) -> tuple[object, ...]:
    phase, runtime = way
    figures = [(predicted[point.case], point.measured_s or 0.0) for point in points]
    before = [(each["expected_s"], measured) for each, measured in figures]
    inside = [each["expected_low_s"] <= measured <= each["expected_high_s"] for each, measured in figures]
    now = [(p.expected_s, p.measured_s) for p in points if p.expected_s is not None and p.measured_s is not None]
    name = f"{phase}, {runtime}" if phase == "decode" else phase
    return (name, len(points), mape(before), worst(before), sum(inside) / len(inside), mape(now))
