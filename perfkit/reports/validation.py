"""Reports of a `Validation`: the contract's JSON, and one tidy table of its points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perfkit.reports.validation_overview import overview
from perfkit.tables import Column, Table
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import Errors, Validation
from perfkit.validation.speedup import Speedup
from perfkit.validation.waterfall import Waterfall

__all__ = ["document", "overview", "table"]

_COLUMNS = (
    Column("device", "device"),
    Column("machine", "machine"),
    Column("model", "model"),
    Column("phase", "phase"),
    Column("visual_tokens", "visual tokens", "n"),
    Column("text_tokens", "text tokens", "n"),
    Column("batch", "batch", "n"),
    Column("precision", "precision"),
    Column("attention", "attention"),
    Column("runtime", "runtime"),
    Column("flushed", "cold cache"),
    Column("status", "status"),
    Column("measured_s", "measured", "s"),
    Column("measured_low_s", "low", "s"),
    Column("measured_high_s", "high", "s"),
    Column("roofline_s", "roofline", "s"),
    Column("expected_s", "expected", "s"),
    Column("roofline_ratio", "measured / roofline", "x"),
    Column("expected_ratio", "measured / expected", "x"),
    Column("matmul_flops", "matmul", "FLOP"),
    Column("bytes", "bytes", "B"),
    Column("mfu", "MFU", "share"),
    Column("mbu", "MBU", "share"),
    Column("kernels_s", "kernels", "s"),
    Column("launch_s", "launch gaps", "s"),
    Column("unexplained_s", "unexplained", "s"),
)


def document(validation: Validation) -> dict[str, Any]:
    """Points, errors, waterfall and speed-ups; errors and shares are fractions."""
    return {
        "device": validation.device.id,
        "machine": validation.machine._asdict(),
        "hosts": [host._asdict() for host in validation.hosts],
        "points": [_point_record(point) for point in validation.points],
        "errors": _errors_record(validation.errors),
        "waterfall": [_waterfall_record(waterfall) for waterfall in validation.waterfalls],
        "speedups": [_speedup_record(speedup) for speedup in validation.speedups],
        "warnings": list(validation.warnings),
    }


def _point_record(point: ComparedPoint) -> dict[str, Any]:
    low, high = point.interval_s or (None, None)
    return {
        **point.case._asdict(),
        "status": point.status,
        "measured_s": point.measured_s,
        "measured_low_s": low,
        "measured_high_s": high,
        "roofline_s": point.roofline_s,
        "expected_s": point.expected_s,
        "roofline_ratio": point.roofline_ratio,
        "expected_ratio": point.expected_ratio,
        "matmul_flops": point.predicted.matmul_flops,
        "bytes": point.predicted.bytes,
        "mfu": point.mfu,
        "mbu": point.mbu,
        "launches": point.launches,
    }


def _errors_record(errors: Iterable[Errors]) -> dict[str, dict[str, dict[str, float]]]:
    """Phase (or `all`) -> predictor -> its errors."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in errors:
        figures = {"points": one.points, "mape": one.mape, "worst": one.worst}
        found.setdefault(one.phase, {})[one.predictor] = figures
    return found


def _waterfall_record(waterfall: Waterfall) -> dict[str, Any]:
    return {
        **waterfall.case._asdict(),
        "measured_s": waterfall.measured_s,
        "roofline_s": waterfall.roofline_s,
        "kernels_s": waterfall.kernels_s,
        "slower_kernels_s": waterfall.slower_kernels_s,
        "launch_s": waterfall.launch_s,
        "unexplained_s": waterfall.unexplained_s,
        "kernel_shares": waterfall.shares,
        "unmeasured_ops": list(waterfall.unmeasured),
    }


def _speedup_record(speedup: Speedup) -> dict[str, Any]:
    case = {key: value for key, value in speedup.case._asdict().items() if key not in ("phase", "visual_tokens")}
    return {
        "what": speedup.what,
        **case,
        "new_tokens": speedup.new_tokens,
        "from_tokens": speedup.case.visual_tokens,
        "to_tokens": speedup.to_tokens,
        "promised": speedup.promised,
        "expected": speedup.expected,
        "got": speedup.got,
        "share": speedup.share,
    }


def table(validations: Sequence[Validation]) -> Table:
    """A row a point, timed or not, with the parts of its time."""
    rows = []
    for validation in validations:
        parts = {waterfall.case: _waterfall_record(waterfall) for waterfall in validation.waterfalls}
        start = {"device": validation.device.id, "machine": validation.machine.name}
        for point in validation.points:
            record = {**start, **parts.get(point.case, {}), **_point_record(point)}
            rows.append(tuple(record.get(column.key) for column in _COLUMNS))
    return Table(_COLUMNS, tuple(rows))
