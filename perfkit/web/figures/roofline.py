"""Ops under roofs, to be pointed at: each mark tells op, FLOPs, bytes, time and bound."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10, sqrt
from typing import Any, NamedTuple

from perfkit.units import format_quantity
from perfkit.views.roofline import Roof, RooflineView, RoofPoint
from perfkit.web.figures.looks import DEVICES, EDGE, SYMBOLS, Figure, Trace, color_of, decades, figure, point_trace

MARK, WIDEST = 9.0, 46.0  # pixels: a mark, and the disc of all the time
HEIGHT = 470


def roofline_figure(view: RooflineView) -> Figure:
    """The chart of a view: a mark a point, around it a disc whose area is its share of the time."""
    left, right, bottom, top = _limits(view)
    return figure(
        [*_roofs(view, left, right), *_discs(view), *_marks(view)],
        HEIGHT,
        xaxis={
            "type": "log",
            "range": [log10(left), log10(right)],
            "title": {"text": "arithmetic intensity, FLOP/B (counted)"},
            **decades(left, right, ""),
        },
        yaxis={
            "type": "log",
            "range": [log10(bottom), log10(top)],
            "title": {"text": "FLOP/s (predicted)"},
            **decades(bottom, top, "FLOP/s"),
        },
        hovermode="closest",
    )


def hover_of(point: RoofPoint, device: str) -> str:
    """What a mark tells.

    >>> hover_of(RoofPoint("prefill", "linear", ("q_proj",), 32, 6e9, 3e9, 0.002, 0.25, "compute"), "v100")
    '<b>q_proj</b>, prefill<br>v100<br>32 launches<br>FLOPs: 6.00 GFLOP (counted)<br>bytes: 3.00 GB (counted)<br>time: 2.00 ms (predicted), 25 % of TTFT<br>bound: compute'
    """  # noqa: E501  # as one text
    of = "the step" if point.phase == "decode" else "TTFT"
    lines = [
        f"<b>{', '.join(point.names)}</b>, {point.phase}",
        device,
        f"{point.launches} launches",
        f"FLOPs: {format_quantity(point.flops, 'FLOP')} (counted)",
        f"bytes: {format_quantity(point.bytes, 'B')} (counted)",
        f"time: {format_quantity(point.roofline_s, 's')} (predicted), {100 * point.share:.2g} % of {of}",
        f"bound: {point.bound}",
    ]
    return "<br>".join(lines)


def _limits(view: RooflineView) -> tuple[float, float, float, float]:
    points = [point for roof in view.roofs for point in roof.points]
    ceilings = [ceiling for roof in view.roofs for ceiling in roof.ceilings]
    right = max([4 * ceiling.ridge for ceiling in ceilings] + [3 * point.intensity for point in points])
    top = 3 * max(ceiling.peak.flops_per_s for ceiling in ceilings)
    left, bottom = (min(getattr(point, name) for point in points) for name in ("intensity", "flops_per_s"))
    return left / 2, right, bottom / 3, top


def _roofs(view: RooflineView, left: float, right: float) -> Iterator[Trace]:
    several = len(view.roofs) > 1
    for i, roof in enumerate(view.roofs):
        color = DEVICES[i] if several else EDGE
        for line in _lines(roof, left, right):
            style = {"color": color, "width": 2 if line.dash == "solid" else 1.2, "dash": line.dash}
            hover = f"{roof.prediction.device.id}<br>{line.name}<extra></extra>"
            trace = point_trace(x=line.x, y=line.y, mode="lines", line=style, hovertemplate=hover)
            yield trace if several else {**trace, **_label(line)}


def _label(line: _Line) -> dict[str, Any]:
    """The rate written along a line: of memory at its foot, of an engine at its end. Rates of several devices meet."""
    ceiling = line.y[0] == line.y[1]  # written a line higher, clear of marks
    texts, places = (["", f"{line.rate}<br> "], "top left") if ceiling else ([line.rate, ""], "bottom right")
    return {"mode": "lines+text", "text": texts, "textposition": places, "textfont": {"size": 12}}


class _Line(NamedTuple):
    """A straight line of a roof; `rate` as its source prints it, `name` with what it is of."""

    x: list[float]
    y: list[float]
    dash: str
    rate: str
    name: str


def _lines(roof: Roof, left: float, right: float) -> Iterator[_Line]:
    """The slope of memory up to the last ridge, and each ceiling from its own."""
    device = roof.prediction.device
    last = max(roof.ceilings, key=lambda ceiling: ceiling.ridge)
    origin = "measured" if device.file else "datasheet"
    slope = [left * device.bytes_per_s, last.peak.flops_per_s]
    bandwidth = device.bandwidth.printed
    yield _Line([left, last.ridge], slope, "solid", bandwidth, f"memory: {bandwidth} ({origin})")
    for ceiling in roof.ceilings:
        peak = ceiling.peak
        name = f"{peak.precision} {peak.engine}: {peak.rate.printed} ({origin}), ridge {ceiling.ridge:.3g} FLOP/B"
        rates = [peak.flops_per_s, peak.flops_per_s]
        rate = f"{peak.rate.printed} {peak.precision} {peak.engine}"
        yield _Line([ceiling.ridge, right], rates, "solid" if ceiling.products else "dash", rate, name)


def _discs(view: RooflineView) -> Iterator[Trace]:
    for i, roof in enumerate(view.roofs):
        colors = [_color(view, i, point) for point in roof.points]
        sizes = [WIDEST * sqrt(point.share) for point in roof.points]
        look = {"size": sizes, "color": colors, "opacity": 0.25, "line": {"width": 0}}
        x, y = _places(roof.points)
        yield point_trace(x=x, y=y, mode="markers", marker=look, hoverinfo="skip")


def _marks(view: RooflineView) -> Iterator[Trace]:
    """A trace a device and phase, so that the legend names each."""
    several = len(view.roofs) > 1
    for i, roof in enumerate(view.roofs):
        for phase in dict.fromkeys(point.phase for point in roof.points):
            points = [point for point in roof.points if point.phase == phase]
            device = roof.prediction.device.id
            look = {"symbol": SYMBOLS[phase], "size": MARK, "color": _color(view, i, points[0])}
            x, y = _places(points)
            yield point_trace(
                x=x,
                y=y,
                mode="markers",
                name=f"{phase}, {device}" if several else phase,
                marker={**look, "line": {"width": 1, "color": EDGE}},
                text=[hover_of(point, device) for point in points],
                hovertemplate="%{text}<extra></extra>",
            )


def _color(view: RooflineView, i: int, point: RoofPoint) -> str:
    return DEVICES[i] if len(view.roofs) > 1 else color_of(point.phase)


def _places(points: tuple[RoofPoint, ...] | list[RoofPoint]) -> tuple[list[float], list[float]]:
    return [point.intensity for point in points], [point.flops_per_s for point in points]
