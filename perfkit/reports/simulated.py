"""Reports of `Simulated`: quantiles of a run, and runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.reports.requests import request_record
from perfkit.serving.figures import Quantiles
from perfkit.serving.largest_rate import STEP
from perfkit.serving.simulating import Simulated
from perfkit.tables import Column, Table
from perfkit.units import format_quantity

_TIMES = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("latency_s", "request"), ("waiting_s", "waiting"))
_COLUMNS = (
    Column("device", "device"),
    Column("tp", "TP", "n"),
    Column("pp", "PP", "n"),
    Column("model", "model"),
    Column("batching", "batching"),
    Column("max_batch", "max batch", "n"),
    Column("visual_tokens", "visual tokens", "x"),
    Column("text_tokens", "text tokens", "x"),
    Column("new_tokens", "new tokens", "x"),
    Column("requests", "requests", "n"),
    Column("seed", "seed", "n"),
    Column("rate_per_s", "rate, 1/s", "x"),
    Column("capacity_per_s", "capacity, 1/s", "x"),
    *(Column(f"{key[:-2]}_{name}_s", f"{title} {name}", "s") for key, title in _TIMES for name in Quantiles._fields),
    Column("requests_per_s", "requests/s", "x"),
    Column("tokens_per_s", "tokens/s", "x"),
    Column("utilisation", "utilisation", "share"),
    Column("running", "running", "x"),
    Column("in_system", "in system", "x"),
    Column("kv_mean_bytes", "mean cache", "B"),
    Column("kv_peak_bytes", "peak cache", "B"),
    Column("kv_room_bytes", "room for caches", "B"),
    Column("goals_met", "goals met", "share"),
    Column("largest_rate_per_s", "largest rate, 1/s", "x"),
)


def document(simulated: Simulated) -> dict[str, Any]:
    """Request, distributions and seed; capacity, results, and what is known of the goals."""
    request, largest = simulated.request, simulated.largest
    alone = request_record(simulated.alone)
    return {
        "perfkit": perfkit.__version__,
        **{key: alone[key] for key in ("model", "device", "calibration", "execution")},
        "basis": request.server.basis,
        "request": {
            "rate_per_s": request.rate,
            "arrivals": "file" if request.played is not None else request.arrivals,
            "requests": len(simulated.traffic.arrival_s),
            "seed": request.seed,
            "images": request.server.images,
            "file": None if request.path is None else str(request.path),
            **request.policy._asdict(),
        },
        "distributions": {name: _distribution(simulated, name) for name in _LENGTHS},
        "alone": {"workload": alone["workload"], "ttft_s": _alone(simulated)[0], "tpot_s": _alone(simulated)[1]},
        "capacity_per_s": simulated.capacity,
        "results": _results(simulated),
        "goals": {
            **request.goals._asdict(),
            "met": simulated.figures.goals_met,
            "largest_rate": None if largest is None else {**largest._asdict(), "step": STEP},
        },
        "warnings": list(simulated.warnings),
    }


def table(several: Sequence[Simulated]) -> Table:
    """A row a run."""
    rows = (_record(one) for one in several)
    return Table(_COLUMNS, tuple(tuple(row[column.key] for column in _COLUMNS) for row in rows))


def overview(several: Sequence[Simulated]) -> list[Table]:
    """Quantiles of each run, then what the replicas do."""
    return [*(_quantiles(one) for one in several), _load(several)]


# --- records

_LENGTHS = ("text_tokens", "visual_tokens", "new_tokens")


def _distribution(simulated: Simulated, name: str) -> dict[str, Any]:
    """As it was asked for, and what was drawn."""
    request, drawn = simulated.request, getattr(simulated.traffic, name)
    asked = str(request.path) if request.path is not None else getattr(request, name).text
    return {"asked": asked, "mean": float(drawn.mean()), "least": int(drawn.min()), "most": int(drawn.max())}


def _results(simulated: Simulated) -> dict[str, Any]:
    figures = simulated.figures._asdict()
    del figures["goals_met"]
    return {key: value._asdict() if isinstance(value, Quantiles) else value for key, value in figures.items()}


def _alone(simulated: Simulated) -> tuple[Any, Any]:
    """TTFT and TPOT of a request by itself."""
    p = simulated.alone
    if simulated.request.server.basis == "roofline":
        return p.ttft_roofline_s, p.tpot_roofline_s
    return p.ttft_expected_s, p.tpot_expected_s


def _record(simulated: Simulated) -> dict[str, Any]:
    request, figures = simulated.request, simulated.figures
    cell, largest = request.server.cell, simulated.largest
    times: dict[str, Any] = {}
    for key, _ in _TIMES:
        quantiles = getattr(figures, key) or (None,) * len(Quantiles._fields)
        times |= {f"{key[:-2]}_{name}_s": value for name, value in zip(Quantiles._fields, quantiles, strict=True)}
    return {
        **{name: float(getattr(simulated.traffic, name).mean()) for name in _LENGTHS},
        **times,
        **figures._asdict(),
        "device": cell.choice.device.id,
        "tp": cell.execution.tp,
        "pp": cell.execution.pp,
        "model": cell.spec.name,
        "batching": request.policy.batching,
        "max_batch": request.policy.max_batch,
        "requests": len(simulated.traffic.arrival_s),
        "seed": request.seed,
        "rate_per_s": request.rate or simulated.traffic.rate,
        "capacity_per_s": simulated.capacity,
        "largest_rate_per_s": None if largest is None else largest.rate,
    }


# --- what people see


def _quantiles(simulated: Simulated) -> Table:
    columns = (Column("time", ""), *(Column(name, name, "s") for name in Quantiles._fields), Column("alone", "alone"))
    ttft, tpot = _alone(simulated)
    alone = {"ttft_s": ttft, "tpot_s": tpot, "waiting_s": 0.0}
    rows = []
    for key, title in _TIMES:
        quantiles = getattr(simulated.figures, key)
        if quantiles is not None:
            rows.append((title, *quantiles, format_quantity(alone[key], "s") if key in alone else None))
    return Table(columns, tuple(rows), title=_title(simulated), notes=tuple(_notes(simulated)))


def _title(simulated: Simulated) -> str:
    request, traffic = simulated.request, simulated.traffic
    policy = request.policy
    chunks = f", prompts in chunks: {policy.chunk_tokens} tokens a step" if policy.chunk_tokens else ""
    waits = f", waiting up to {format_quantity(policy.wait_s, 's')}" if policy.wait_s else ""
    how = f"{policy.batching} batches of up to {policy.max_batch}{waits}{chunks}"
    lengths = ", ".join(f"{_shown(simulated, name)} {name.partition('_')[0]}" for name in _LENGTHS)
    return (
        f"{request.server.cell}: {_rate(simulated)} requests/s, {how}\n"
        f"{len(traffic.arrival_s)} requests of {lengths} tokens, "
        f"{'arriving as the file says' if request.played is not None else f'{request.arrivals} arrivals'}, "
        f"seed {request.seed}"
    )


def _rate(simulated: Simulated) -> str:
    rate = simulated.request.rate or simulated.traffic.rate
    return "-" if rate is None else f"{rate:.4g}"


def _shown(simulated: Simulated, name: str) -> str:
    """A length, or its ends and mean."""
    found = _distribution(simulated, name)
    same = found["least"] == found["most"]
    return str(found["least"]) if same else f"{found['least']}-{found['most']} (mean {found['mean']:.3g})"


def _notes(simulated: Simulated) -> Iterator[str]:
    request, largest = simulated.request, simulated.largest
    asked = [
        f"{name} up to {format_quantity(value, 's')}"
        for name, value in zip(("TTFT", "TPOT"), request.goals, strict=True)
        if value is not None
    ]
    if asked:
        yield f"{', '.join(asked)}: met by {100 * (simulated.figures.goals_met or 0):.3g} % of the requests."
    if largest is not None and not largest.rate:
        yield "At no rate do nine of ten requests meet the goals: one by itself misses them."
    elif largest is not None:
        yield (
            f"Nine of ten meet them up to {largest.rate:.3g} requests/s ({largest.least:.3g}-{largest.most:.3g} over "
            f"three seeds of {largest.requests} requests, each within {100 * STEP:g} %)."
        )


def _load(several: Sequence[Simulated]) -> Table:
    columns = (
        Column("device", "GPU"),
        Column("tokens", "visual"),
        Column("rate", "rate, 1/s"),
        Column("capacity", "capacity", "", 8),
        Column("tokens_per_s", "tokens/s"),
        Column("utilisation", "busy", "", 7),
        Column("running", "running", "", 6),
        Column("in_system", "in system", "", 5),
        Column("kv", "cache, mean", "B", 4),
        Column("peak", "peak", "B", 6),
        Column("room", "of", "B", 6),
    )
    basis = "expected by the kernel model" if several[0].request.server.basis == "expected" else "by roofline"
    return Table(
        columns,
        tuple(_load_row(one) for one in several),
        title="Load",
        notes=(
            f"Step times {basis}. busy: share of the time in which the GPUs compute, however few requests run. "
            "alone: a request of mean lengths by itself. tokens/s: new tokens.",
        ),
    )


def _load_row(simulated: Simulated) -> tuple[Any, ...]:
    figures, cell = simulated.figures, simulated.request.server.cell
    shared = f" x {cell.execution.gpus}" if cell.execution.gpus > 1 else ""
    return (
        f"{cell.choice.device.id}{shared}",
        _shown(simulated, "visual_tokens"),
        _rate(simulated),
        f"{simulated.capacity:.4g}",
        f"{figures.tokens_per_s:.4g}",
        f"{100 * figures.utilisation:.0f} %",
        f"{figures.running:.3g}",
        f"{figures.in_system:.3g}",
        figures.kv_mean_bytes,
        figures.kv_peak_bytes,
        figures.kv_room_bytes,
    )
