"""Measured times against predictions: a mark a phase, on the line where both are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10
from typing import Any

from perfkit.reports.validation_overview import Facets, facets_of, name_of
from perfkit.units import format_quantity
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import Validation
from perfkit.web.figures.looks import EDGE, SYMBOLS, Figure, Trace, color_of, decades, figure, point_trace

HEIGHT = 440


def validation_figure(v: Validation) -> Figure:
    """Measured time against the expected one, or the roofline's where none is expected."""
    points = [point for point in v.points if point.measured_s is not None]
    facets = facets_of(point.case for point in v.points)
    times = [time for point in points for time in (point.measured_s or 0.0, predicted_of(point))]
    low, high = (min(times) / 2, max(times) * 2) if times else (1e-3, 1.0)
    same = {"color": EDGE, "width": 1.5, "dash": "dash"}
    line = point_trace(x=[low, high], y=[low, high], mode="lines", line=same, name="as predicted", hoverinfo="skip")
    axis = {"type": "log", "range": [log10(low), log10(high)], **decades(low, high, "s")}
    return figure(
        [line, *_marks(points, facets)],
        HEIGHT,
        xaxis={**axis, "title": {"text": "predicted"}},
        yaxis={**axis, "title": {"text": "measured"}},
        hovermode="closest",
    )


def predicted_of(point: ComparedPoint) -> float:
    """The expected time, or the roofline's."""
    return float(point.roofline_s if point.expected_s is None else point.expected_s)


def _marks(points: Sequence[ComparedPoint], facets: Facets) -> Iterator[Trace]:
    for name in dict.fromkeys(name_of(point.case) for point in points):
        found = [point for point in points if name_of(point.case) == name]
        phase = found[0].case.phase
        eager = name.endswith("eager")
        symbol = f"{SYMBOLS[phase]}-open" if eager else SYMBOLS[phase]
        look: dict[str, Any] = {"symbol": symbol, "size": 9, "color": color_of(phase)}
        look["line"] = {"width": 2 if eager else 1, "color": color_of(phase) if eager else EDGE}
        yield point_trace(
            x=[predicted_of(point) for point in found],
            y=[point.measured_s for point in found],
            mode="markers",
            name=name,
            marker=look,
            text=[_told(name, point, facets) for point in found],
            hovertemplate="%{text}<extra></extra>",
        )


def _told(name: str, point: ComparedPoint, facets: Facets) -> str:
    lines = [
        f"<b>{escape(name)}</b> {escape(facets.label(point.case))}",
        f"measured {format_quantity(point.measured_s, 's')}",
    ]
    lines.append(f"roofline {format_quantity(point.roofline_s, 's')} (predicted)")
    if point.expected_s is not None:
        lines.append(f"expected {format_quantity(point.expected_s, 's')} (predicted)")
    return "<br>".join(lines)
