"""Candidates of a plan: cost against time to the first token, those that nothing beats in a ring."""

from __future__ import annotations

from math import log10
from typing import Any

from perfkit.charts.planned import COSTS
from perfkit.planning.planner import Planned, cost_of
from perfkit.units import format_quantity
from perfkit.web.figures.looks import DEVICES, EDGE, Figure, Trace, decades, figure, point_trace

HEIGHT = 420
SPARE = 1.3  # times the values, between them and the frame
MOST_DOTS = 2000  # of one device, that a browser draws at once


def front_figure(planned: Planned) -> Figure | None:
    """Every feasible candidate by GPU, and the front of cost, TTFT and TPOT; None where no cost is known."""
    import numpy

    c, rank = planned.candidates, planned.request.rank
    cost = numpy.asarray(cost_of(c.figures, rank))
    known = planned.feasible & numpy.isfinite(cost)
    if not known.any():
        return None
    devices = numpy.array([cell.choice.device.id for cell in c.grid.cells])[c.cells.astype(int)]
    traces: list[Trace] = []
    for device, color in zip(dict.fromkeys(devices[known].tolist()), DEVICES * 5, strict=False):
        which = (known & (devices == device)).nonzero()[0]
        which = which[:: max(1, -(-len(which) // MOST_DOTS))].tolist()
        traces.append(_dots(planned, cost, which, device, {"size": 6, "color": color, "opacity": 0.75}))
    on = (known & planned.on_front).nonzero()[0].tolist()
    ring = {"symbol": "circle-open", "size": 11, "color": EDGE, "line": {"width": 2}}
    traces.append(_dots(planned, cost, on, "no candidate is as good in all and better in one", ring))
    return figure(
        traces,
        HEIGHT,
        title={"text": "candidates that meet the goals (predicted)", "font": {"size": 14}},
        xaxis=_axis(cost[known], COSTS[rank], "s" if rank == "latency" else ""),
        yaxis=_axis(c.figures.ttft_s[known], "TTFT", "s"),
        hovermode="closest",
    )


def _axis(values: Any, title: str, unit: str) -> dict[str, Any]:
    low, high = float(values.min()) / SPARE, float(values.max()) * SPARE
    return {
        "type": "log",
        "range": [log10(low), log10(high)],
        "title": {"text": title},
        **decades(low, high, unit, (1, 2, 5)),
    }


def _dots(planned: Planned, cost: Any, which: list[int], name: str, look: dict[str, Any]) -> Trace:
    c = planned.candidates
    return point_trace(
        x=[float(cost[i]) for i in which],
        y=[float(c.figures.ttft_s[i]) for i in which],
        mode="markers",
        name=name,
        marker=look,
        text=[_told(planned, i) for i in which],
        hovertemplate="%{text}<extra></extra>",
    )


def _told(planned: Planned, place: int) -> str:
    f, point = planned.candidates.figures, planned.candidates.point(place)
    times = f"TTFT {format_quantity(float(f.ttft_s[place]), 's')}, TPOT {format_quantity(float(f.tpot_s[place]), 's')}"
    return f"{point}<br>{times} (predicted)"
