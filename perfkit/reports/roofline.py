"""Reports of a `Prediction`: the contract's JSON, and one tidy table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit import remarks
from perfkit.latency import Prediction
from perfkit.ops import OpCost
from perfkit.phases import PhaseTime
from perfkit.reports.requests import request_record
from perfkit.reports.roofline_overview import intensity_of, overview
from perfkit.roofline import OpTime
from perfkit.tables import Column, Table

__all__ = ["document", "overview", "table"]

_COST_COLUMNS = (
    Column("flops", "FLOPs", "FLOP", 6),
    Column("matmul_flops", "matmul", "FLOP"),
    Column("weight_bytes", "weights", "B"),
    Column("read_bytes", "read", "B"),
    Column("write_bytes", "written", "B"),
    Column("kv_read_bytes", "KV read", "B"),
    Column("kv_write_bytes", "KV written", "B"),
    Column("bytes", "bytes", "B"),
    Column("intensity", "FLOP/B", "x"),
    Column("roofline_s", "roofline", "s"),
    Column("expected_s", "expected", "s"),
    Column("expected_low_s", "low", "s"),
    Column("expected_high_s", "high", "s"),
    Column("bound", "bound"),
    Column("memory_bytes", "memory", "B"),
    Column("fits", "fits"),
)
_TIDY_COLUMNS = (
    Column("device", "device"),
    Column("model", "model"),
    Column("level", "level"),
    Column("phase", "phase"),
    Column("name", "op"),
    Column("kind", "kind"),
    Column("repeat", "launches", "n"),
    *_COST_COLUMNS,
)


# --- JSON


def document(prediction: Prediction) -> dict[str, Any]:
    """The contract's JSON of `perfkit roofline`."""
    p, need = prediction, prediction.footprint
    return {
        "perfkit": perfkit.__version__,
        **request_record(p),
        "phases": [_phase_record(phase) for phase in p.phases],
        "ops": [_op_record(time) for time in p.ops],
        "skipped": _phase_record(p.skipped) if p.skipped else None,
        "totals": {
            "ttft_roofline_s": p.ttft_roofline_s,
            "ttft_expected_s": p.ttft_expected_s,
            "tpot_roofline_s": p.tpot_roofline_s,
            "tpot_expected_s": p.tpot_expected_s,
            "memory_bytes": {
                "weights": need.weights,
                "kv": need.kv,
                "activations": need.activations,
                "total": need.total,
            },
            "fits": bool(p.fits),
        },
        "warnings": [*remarks.notes(p), *remarks.warnings(p)],
    }


def _phase_record(phase: PhaseTime) -> dict[str, Any]:
    return {"phase": phase.phase, **_figures(phase, phase)}


def _op_record(time: OpTime) -> dict[str, Any]:
    op = time.cost
    return {
        "phase": op.phase,
        "name": op.name,
        "kind": op.kind,
        "repeat": op.repeat,
        **_figures(op, time),
    }


def _figures(cost: OpCost | PhaseTime, time: OpTime | PhaseTime) -> dict[str, Any]:
    return {
        "flops": cost.flops,
        "matmul_flops": cost.matmul_flops,
        "weight_bytes": cost.weight_bytes,
        "read_bytes": cost.read_bytes,
        "write_bytes": cost.write_bytes,
        "kv_read_bytes": cost.kv_read_bytes,
        "kv_write_bytes": cost.kv_write_bytes,
        "bytes": cost.bytes,
        "intensity": intensity_of(cost),
        "roofline_s": time.roofline_s,
        "expected_s": time.expected_s,
        "expected_low_s": time.expected_low_s,
        "expected_high_s": time.expected_high_s,
        "bound": time.bound,
    }


# --- one tidy table


def table(predictions: Sequence[Prediction]) -> Table:
    """Phases, ops, times of a request and memory of each prediction; `level` tells them apart.

    Sum over one level only: ops make up phases, and phases the time to first token. What is `skipped` stands in the
    vision phase.
    """
    rows: list[tuple[Any, ...]] = []
    for p in predictions:
        start = {"device": p.device.id, "model": p.model.name}
        rows += [tuple({**start, **record}.get(column.key) for column in _TIDY_COLUMNS) for record in _records(p)]
    return Table(_TIDY_COLUMNS, tuple(rows))


def _records(p: Prediction) -> Iterator[dict[str, Any]]:
    for phase in p.phases:
        yield {"level": "phase", **_phase_record(phase)}
    for time in p.ops:
        yield {"level": "op", **_op_record(time)}
    if p.skipped:
        yield {"level": "skipped", **_phase_record(p.skipped)}
    yield {"level": "request", "name": "ttft", "roofline_s": p.ttft_roofline_s, "expected_s": p.ttft_expected_s}
    if p.mean_decode is not None:
        yield {"level": "request", "name": "tpot", **_figures(p.mean_decode, p.mean_decode)}
    for name, amount in p.footprint._asdict().items():
        yield {"level": "memory", "name": name, "memory_bytes": amount}
    yield {"level": "memory", "name": "total", "memory_bytes": p.footprint.total, "fits": bool(p.fits)}
