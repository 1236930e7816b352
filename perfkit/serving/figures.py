"""Figures of a run: quantiles over requests, rates, and what the replica was doing."""

from __future__ import annotations

from typing import Any, NamedTuple

from perfkit.serving.ledger import Run
from perfkit.serving.request import Goals
from perfkit.serving.traffic import Traffic


class Quantiles(NamedTuple):
    """Mean, median, and what nine and 99 of a hundred requests stay below."""

    mean: float
    p50: float
    p90: float
    p99: float


class Figures(NamedTuple):
    """Of all requests of a run, from the first arrival to the last end; times in seconds.

    `tpot_s`: (end - first token) / (new tokens - 1), None where no request makes two tokens. `waiting_s`: until a
    request's first step begins. `utilisation`: share of the time in which the GPUs compute. `running`, `in_system`:
    mean requests that run, and that wait or run. `kv_mean_bytes`, `kv_peak_bytes`: cache given to requests on a GPU, of
    `kv_room_bytes`. `goals_met`: share of requests that meet all goals, None where there are none.
    """

    ttft_s: Quantiles
    tpot_s: Quantiles | None
    latency_s: Quantiles
    waiting_s: Quantiles
    requests_per_s: float
    tokens_per_s: float
    utilisation: float
    running: float
    in_system: float
    kv_mean_bytes: float
    kv_peak_bytes: float
    kv_room_bytes: float
    goals_met: float | None


def quantiles_of(seconds: Any) -> Quantiles:
    """Quantiles of an array, linear between neighbours.

    >>> import numpy
    >>> quantiles_of(numpy.arange(11.0))
    Quantiles(mean=5.0, p50=5.0, p90=9.0, p99=9.9)
    """
    import numpy

    return Quantiles(float(seconds.mean()), *map(float, numpy.percentile(seconds, (50, 90, 99))))


def tpot_of(run: Run, traffic: Traffic) -> Any:
    """Time per output token of the requests that make at least two."""
    several = traffic.new_tokens > 1
    return (run.ended - run.first)[several] / (traffic.new_tokens - 1)[several]


def figures_of(run: Run, traffic: Traffic, goals: Goals, streams: int, room_bytes: float) -> Figures:
    """Figures of a run."""
    tpot = tpot_of(run, traffic)
    return Figures(
        ttft_s=quantiles_of(run.ttft_s),
        tpot_s=quantiles_of(tpot) if len(tpot) else None,
        latency_s=quantiles_of(run.latency_s),
        waiting_s=quantiles_of(run.waiting_s),
        requests_per_s=len(run.arrived) / run.span_s,
        tokens_per_s=float(traffic.new_tokens.sum()) / run.span_s,
        utilisation=run.busy / streams,
        running=run.running,
        in_system=run.in_system,
        kv_mean_bytes=run.kv_bytes,
        kv_peak_bytes=run.kv_peak_bytes,
        kv_room_bytes=room_bytes,
        goals_met=None if goals == Goals() else _share_met(run, traffic, goals),
    )


def _share_met(run: Run, traffic: Traffic, goals: Goals) -> float:
    """A request of one token has no time per output token to miss."""
    met = run.ttft_s == run.ttft_s
    if goals.ttft_s is not None:
        met = met & (run.ttft_s <= goals.ttft_s)
    if goals.tpot_s is not None:
        several = traffic.new_tokens > 1
        met[several] = met[several] & (tpot_of(run, traffic) <= goals.tpot_s)
    return float(met.mean())
