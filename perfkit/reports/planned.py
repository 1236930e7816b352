"""Reports of `Planned`: plans by their rank, what was rejected and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.planning.candidates import Point
from perfkit.planning.planner import Plan, Planned, Rejected
from perfkit.reports.expected import expected_in_words
from perfkit.reports.requests import request_record
from perfkit.tables import Column, Table
from perfkit.units import format_quantity

SHOWN_REJECTED = 12

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


def overview(several: Sequence[Planned]) -> list[Table]:
    """Plans, the nearest of what was rejected, and what the figures are."""
    return [part for planned in several for part in (_plans(planned), _rejections(planned)) if part.rows]


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


# --- what people see


def _plans(planned: Planned) -> Table:
    columns = (
        Column("rank", ""),
        Column("device", "GPU"),
        Column("gpus", "n"),
        Column("formats", "formats", "", 8),
        Column("tokens", "visual", "n"),
        Column("batch", "batch", "n"),
        Column("ttft", "TTFT"),
        Column("tpot", "TPOT"),
        Column("memory", "memory", "B", 4),
        Column("tokens_per_s", "tokens/s", "", 5),
        Column("usd", "$/Mtoken", "", 7),
        Column("joules", "J/token", "", 6),
        Column("hangs_on", "hangs on", "", 3),
    )
    rows = tuple(_row(number, one) for number, one in enumerate(planned.plans, 1))
    return Table(columns, rows, title=_title(planned), notes=tuple(_notes(planned)))


def _row(number: int, plan: Plan) -> tuple[Any, ...]:
    e, f = plan.point.cell.execution, plan.figures
    ttft, tpot = (_time(plan, name) for name in ("ttft", "tpot"))
    hangs = ", ".join(one.lowered for one in plan.sensitivity if one.misses)
    return (
        f"{number}{' *' if plan.on_front else ''}",
        plan.point.cell.choice.device.id,
        str(e.gpus) + (f" (tp {e.tp}, pp {e.pp})" if e.pp > 1 else ""),
        e.formats,
        plan.point.visual_tokens,
        plan.point.batch,
        ttft + ("" if plan.sure else " ?"),
        tpot,
        f.memory_bytes,
        f"{f.tokens_per_s:.0f}",
        None if f.usd_per_mtoken is None else f"{f.usd_per_mtoken:.3g}",
        None if f.j_per_token is None else f"{f.j_per_token:.3g}",
        hangs,
    )


def _time(plan: Plan, name: str) -> str:
    """A time with its range, where it has one."""
    p = plan.prediction
    if p.expectation.calibration is None or plan.figures.ttft_s == plan.figures.ttft_high_s:
        return format_quantity(getattr(plan.figures, f"{name}_s"), "s")
    if name == "ttft":
        low, high = p.ttft_range_s or (None, None)
        return expected_in_words(p.ttft_expected_s, low, high) or ""
    step = p.mean_decode
    assert step is not None  # noqa: S101  # a plan is of a model that makes tokens
    return expected_in_words(step.expected_s, step.expected_low_s, step.expected_high_s) or ""


def _title(planned: Planned) -> str:
    grid, goals = planned.request.grid, planned.request.goals
    asked = [
        ("TTFT", goals.ttft_s, "s"),
        ("TPOT", goals.tpot_s, "s"),
        ("memory", goals.memory_bytes, "B"),
    ]
    limits = [f"{name} up to {format_quantity(value, unit)}" for name, value, unit in asked if value is not None]
    limits += [f"${goals.usd_per_hour:g} an hour"] if goals.usd_per_hour is not None else []
    w = planned.plans[0].prediction.workload
    what = f"{grid.model[0]}: {w.text_tokens} text tokens, {w.new_tokens} new, images {w.images}"
    counts = f"{planned.feasible.sum()} of {len(planned.feasible)} candidates meet them"
    return f"{what}\n{', '.join(limits) or 'no goals'}; {counts}"


def _notes(planned: Planned) -> Iterator[str]:
    by = {
        "usd": "price of a million new tokens",
        "energy": "energy of a new token",
        "latency": "time of a request",
    }[planned.request.rank]
    basis = (
        "by the kernel model; in brackets nine of ten" if planned.request.grid.basis == "expected" else "by roofline"
    )
    yield f"Ranked by {by}: of each GPU, format, degrees and tokens the best batch. Times: predicted {basis}."
    yield (
        "tokens/s, $ and J: of new tokens, prompts included, all GPUs together, always a full batch. "
        "*: no candidate is as good in rank, TTFT and TPOT and better in one."
    )
    if planned.request.grid.basis == "expected":
        yield "?: the high end of a time misses a goal."
    yield "hangs on: with 20 % less of it a goal is missed. Fewer visual tokens may cost answers: that is not in here."
    yield from _prices(planned)
    sources = dict.fromkeys(plan.energy for plan in planned.plans if plan.energy)
    if sources:
        yield f"J: of the boards, {' or '.join(sources)}."


def _prices(planned: Planned) -> Iterator[str]:
    """What an hour of each shown GPU costs, and how old that is."""
    found = {plan.point.cell.choice.device.id: plan.price for plan in planned.plans if plan.price is not None}
    if not found:
        return
    listed = [
        f"{device} ${price.usd_per_hour:.2f} ({price.low_usd_per_hour:.2f}-{price.high_usd_per_hour:.2f})"
        if price.low_usd_per_hour != price.high_usd_per_hour
        else f"{device} ${price.usd_per_hour:.2f}"
        for device, price in found.items()
    ]
    newest = max(price.newest for price in found.values())
    yield f"Prices of a GPU-hour, listed on demand, the median and all (the last of {newest}): {', '.join(listed)}."


def _rejections(planned: Planned) -> Table:
    """Of every choice without any feasible batch the reason of its nearest one, the nearest first."""
    columns = (Column("point", "rejected"), Column("why", "why", "prose"))
    excess = planned.candidates.excess(planned.request.goals)
    nearest: dict[tuple[float, float], int] = {}
    kept = set()
    for place in excess.argsort(kind="stable").tolist():
        key = (planned.candidates.cells[place], planned.candidates.visual_tokens[place])
        if planned.feasible[place]:
            kept.add(key)
        elif key not in kept:
            nearest.setdefault(key, place)
    rejected = {rejected.point: rejected for rejected in planned.rejected_at(list(nearest.values())[:SHOWN_REJECTED])}
    rows = tuple((str(point), "; ".join(one.why)) for point, one in rejected.items())
    more = len(nearest) - len(rows)
    notes = (f"and {more} more; --format json has every candidate",) if more > 0 else ()
    return Table(columns, rows, title="No batch of these meets the goals; their nearest", notes=notes)
