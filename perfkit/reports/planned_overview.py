"""What people see of `Planned`: plans by their rank, or under a request rate, and the nearest of what was rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.planning.planner import Planned
from perfkit.planning.plans import Plan
from perfkit.reports.expected import expected_in_words
from perfkit.tables import Column, Table
from perfkit.units import format_quantity

SHOWN_REJECTED = 12


def overview(several: Sequence[Planned]) -> list[Table]:
    """Plans, the nearest of what was rejected, and what the figures are."""
    return [part for planned in several for part in _parts(planned) if part.rows]


def _parts(planned: Planned) -> tuple[Table, ...]:
    first = _plans(planned) if planned.request.rate is None else _served(planned)
    return first, _rejections(planned)


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


def _served(planned: Planned) -> Table:
    """Plans under a request rate."""
    columns = (
        Column("rank", "", "n"),
        Column("device", "GPU"),
        Column("formats", "formats", "", 8),
        Column("tokens", "visual", "n"),
        Column("largest", "1/s each", ""),
        Column("replicas", "replicas", "n"),
        Column("gpus", "GPUs", "n"),
        Column("ttft", "TTFT p90", "s"),
        Column("tpot", "TPOT p90", "s"),
        Column("busy", "busy", "share", 5),
        Column("usd_per_hour", "$/h", ""),
        Column("usd", "$/Mtoken", ""),
        Column("joules", "J/token", "", 6),
    )
    rows = tuple(
        (
            number,
            one.point.cell.choice.device.id,
            one.point.cell.execution.formats,
            one.point.visual_tokens,
            f"{s.largest:.3g}",
            s.replicas,
            s.gpus,
            s.ttft_p90_s,
            s.tpot_p90_s,
            s.busy,
            None if s.usd_per_hour is None else f"{s.usd_per_hour:.2f}",
            None if s.usd_per_mtoken is None else f"{s.usd_per_mtoken:.3g}",
            None if s.j_per_token is None else f"{s.j_per_token:.3g}",
        )
        for number, one in enumerate(planned.plans, 1)
        if (s := one.served) is not None
    )
    notes = (
        f"{planned.request.rate:g} requests a second, shared evenly; simulated, continuous batching. 1/s each: the "
        "most that one replica serves so that nine of ten requests meet the goals. busy: share of the time in which "
        "GPUs compute. $, J: of all GPUs, idle or not. Simulated are the best by rank without load, --top of them.",
        *_prices(planned),
    )
    return Table(columns, rows, title=_title(planned), notes=notes)


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
