"""Parts of a roofline chart and how they look: series of points, discs of their shares, lines of their roofs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.charts.placing import Line
from perfkit.charts.style import INK, SERIES, tint
from perfkit.views.roofline import Ceiling, Roof, RooflineView, RoofPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = {"column": 22.0, "page": 28.0}  # points across the disc of all the time
MARK = 4.5  # points across a mark
FILLS = ("full", "none", "tint")  # of the marks of the first, second and third workload


class Series(NamedTuple):
    """How a prediction looks: one colour for all its points, or None for those of the phases, and the fill of marks."""

    roof: Roof
    color: str | None
    fill: str


def series_of(view: RooflineView) -> list[Series]:
    """Series of a view: a colour a device, or of one device a colour a workload; a fill a workload."""
    devices = list(dict.fromkeys(roof.prediction.device for roof in view.roofs))
    workloads = list(dict.fromkeys(roof.prediction.workload for roof in view.roofs))
    found = []
    for roof in view.roofs:
        device, workload = devices.index(roof.prediction.device), workloads.index(roof.prediction.workload)
        color = SERIES[device] if len(devices) > 1 else SERIES[workload] if len(workloads) > 1 else None
        found.append(Series(roof, color, FILLS[workload]))
    return found


def of_devices(series: Sequence[Series]) -> list[Series]:
    """The first series of each device: the roof is the same for all its workloads."""
    return list({one.roof.prediction.device: one for one in reversed(series)}.values())[::-1]


def of_workloads(series: Sequence[Series]) -> list[Series]:
    """The first series of each workload."""
    return list({one.roof.prediction.workload: one for one in reversed(series)}.values())[::-1]


def points_of(series: Sequence[Series]) -> Iterator[tuple[Series, RoofPoint]]:
    """All points, each with its series."""
    for one in series:
        yield from ((one, point) for point in one.roof.points)


def diameter(share: float, width: str) -> float:
    """Points across a disc whose area is in proportion to a share of the time."""
    return WIDEST[width] * sqrt(share)


def mark_style(color: str, fill: str) -> dict[str, Any]:
    """Of a mark."""
    full = fill == "full"
    inside = {"full": color, "none": "#FFFFFF", "tint": tint(color, 0.45)}[fill]
    return {
        "markerfacecolor": inside,
        "markeredgecolor": INK if full else color,
        "markeredgewidth": 0.4 if full else 1.0,
    }


def disc_style(color: str) -> dict[str, Any]:
    """Of a disc."""
    from matplotlib.colors import to_rgba

    return {"markerfacecolor": to_rgba(color, 0.2), "markeredgecolor": to_rgba(color, 0.9), "markeredgewidth": 0.6}


class Segments(NamedTuple):
    """Lines of a roof, in data: the slope of memory, flat ceilings, and below ridges of products where these begin."""

    slope: Line
    flats: tuple[tuple[Ceiling, Line], ...]
    drops: tuple[tuple[Ceiling, Line], ...]

    @property
    def roof(self) -> tuple[Line, ...]:
        """The slope, and the ceilings of products."""
        return (self.slope, *(line for ceiling, line in self.flats if ceiling.products))

    @property
    def level(self) -> tuple[Line, ...]:
        """The slope, and all ceilings."""
        return (self.slope, *(line for _, line in self.flats))


def segments_of(axes: Axes, roof: Roof) -> Segments:
    """Lines of a roof within the limits of its axes."""
    (left, right), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    bandwidth = roof.prediction.device.bytes_per_s
    top = max(roof.ceilings, key=lambda ceiling: ceiling.ridge)
    flats = [(c, ((c.ridge, c.peak.flops_per_s), (right, c.peak.flops_per_s))) for c in roof.ceilings]
    drops = [(c, ((c.ridge, bottom), (c.ridge, c.peak.flops_per_s))) for c in roof.ceilings if c.products]
    return Segments(((left, left * bandwidth), (top.ridge, top.peak.flops_per_s)), tuple(flats), tuple(drops))
