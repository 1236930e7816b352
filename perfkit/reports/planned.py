"""Reports of `Planned`: plans by their rank, what was rejected and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.planning.candidates import Point
from perfkit.planning.planner import Planned, Rejected
from perfkit.planning.plans import Plan
from perfkit.reports.planned_overview import overview
from perfkit.reports.requests import request_record
from perfkit.tables import Column, Table

__all__ = ["document", "overview", "table"]

_COLUMNS = (
    Column("rank", "rank", "n"),
    Column("device", "device"),
    Column("gpus", "GPUs", "n"),
    Column("tp", "TP", "n"),
    Column("pp", "PP", "n"),
    Column("weights", "weights"),
    Column("activations", "activations"),
    Column("kv", "KV"),
    Column("visual_tokens", "visual tokens", "n"),
    Column("batch", "batch", "n"),
    Column("ttft_s", "TTFT", "s"),
    Column("ttft_high_s", "TTFT at most", "s"),
    Column("tpot_s", "TPOT", "s"),
    Column("tpot_high_s", "TPOT at most", "s"),
    Column("request_s", "request", "s"),
    Column("tokens_per_s", "tokens/s", "x"),
    Column("memory_bytes", "memory", "B"),
    Column("usd_per_hour", "$/h", "x"),
    Column("usd_per_mtoken", "$/Mtoken", "x"),
    Column("usd_per_mtoken_low", "low", "x"),
    Column("usd_per_mtoken_high", "high", "x"),
    Column("j_per_token", "J/token", "x"),
    Column("energy_source", "energy"),
    Column("on_front", "on front"),
    Column("sure", "sure"),
    Column("hangs_on", "hangs on"),
)


def document(planned: Planned) -> dict[str, Any]:
    """Goals, plans, every rejected candidate with its reasons, and the counts behind them."""
    request = planned.request
    return {
        "perfkit": perfkit.__version__,
        "basis": request.grid.basis,
        "rank": request.rank,
        "goals": request.goals._asdict(),
        "candidates": len(planned.feasible),
        "feasible": int(planned.feasible.sum()),
        "plans": [_plan_record(number, one) for number, one in enumerate(planned.plans, 1)],
        "front": [_point_record(point) for point in front_points(planned)],
        "rejected": [_rejected_record(one) for one in planned.rejected()],
        "left_out": list(planned.left_out),
        "warnings": list(planned.warnings),
    }


def front_points(planned: Planned) -> Iterator[Point]:
    """Candidates that no other beats."""
    for place in planned.on_front.nonzero()[0].tolist():
        yield planned.candidates.point(place)


def table(several: Sequence[Planned]) -> Table:
    """A row a plan."""
    rows = (_record(number, one) for planned in several for number, one in enumerate(planned.plans, 1))
    return Table(_COLUMNS, tuple(tuple(row[column.key] for column in _COLUMNS) for row in rows))


# --- records


def _record(number: int, plan: Plan) -> dict[str, Any]:
    e, figures, price = plan.point.cell.execution, plan.figures, plan.price
    low, high = (None, None) if price is None else (price.low_usd_per_hour, price.high_usd_per_hour)
    return {
        "rank": number,
        "device": plan.point.cell.choice.device.id,
        "gpus": e.gpus,
        "tp": e.tp,
        "pp": e.pp,
        "weights": e.weights.value,
        "activations": e.activations.value,
        "kv": e.kv.value,
        "visual_tokens": plan.point.visual_tokens,
        "batch": plan.point.batch,
        **{key: value for key, value in figures._asdict().items() if not key.startswith(("context", "capacity"))},
        "usd_per_mtoken_low": _of_price(plan, low),
        "usd_per_mtoken_high": _of_price(plan, high),
        "energy_source": plan.energy,
        "on_front": plan.on_front,
        "sure": plan.sure,
        "hangs_on": ", ".join(one.lowered for one in plan.sensitivity if one.misses),
    }


def _of_price(plan: Plan, usd_per_hour: float | None) -> float | None:
    """$/Mtoken at another price of an hour."""
    if usd_per_hour is None or plan.price is None:
        return None
    return float(plan.figures.usd_per_mtoken * usd_per_hour / plan.price.usd_per_hour)


def _plan_record(number: int, plan: Plan) -> dict[str, Any]:
    price = None if plan.price is None else plan.price._asdict()
    sensitivity = [{"lowered": one.lowered, "misses": list(one.misses)} for one in plan.sensitivity]
    return {
        **request_record(plan.prediction),
        **_record(number, plan),
        "limits": {limit.name: {"value": limit.value, "most": limit.most} for limit in plan.limits},
        "price": price,
        "sensitivity": sensitivity,
        "served": None if plan.served is None else plan.served._asdict(),
    }


def _point_record(point: Point) -> dict[str, Any]:
    e = point.cell.execution
    return {
        "device": point.cell.choice.device.id,
        "tp": e.tp,
        "pp": e.pp,
        "weights": e.weights.value,
        "activations": e.activations.value,
        "kv": e.kv.value,
        "visual_tokens": point.visual_tokens,
        "batch": point.batch,
    }


def _rejected_record(rejected: Rejected) -> dict[str, Any]:
    return {**_point_record(rejected.point), "why": "; ".join(rejected.why)}
