"""A roofline as a picture: ceilings of devices, ops as marks on them, their share of the time as the area of a disc."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit import reports
from perfkit.charts.headings import listed, origin_of_rates, shared_work, short_name
from perfkit.charts.placing import Line
from perfkit.charts.rendering import write_figure
from perfkit.charts.roofline_labels import write_ends, write_names
from perfkit.charts.roofs import (
    MARK,
    Series,
    diameter,
    disc_style,
    mark_style,
    of_devices,
    of_workloads,
    points_of,
    segments_of,
    series_of,
)
from perfkit.charts.sheet import Heading, known_width, sheet, unbroken
from perfkit.charts.style import GREY, INK, PHASES, TEXT, decade_axis, plain_axes
from perfkit.units import format_quantity
from perfkit.views.naming import WORK_FACETS, labels_of
from perfkit.views.roofline import Roof, RooflineView, RoofPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HEIGHTS = {"column": 2.8, "page": 3.6}  # inches of the axes


def draw_roofline(view: RooflineView, path: Path | str, width: str = "page") -> None:
    """Write a chart of `view`: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending or width.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(view, width), reports.overview(view))


def figure_of(view: RooflineView, width: str) -> Figure:
    """The chart as a figure."""
    series = series_of(view)
    figure = sheet(width, HEIGHTS[known_width(width)], _heading(view), list(_legend(series, width)))
    axes = figure.add_subplot()
    _frame(axes, view)
    for one in of_devices(series):
        _draw_roof(axes, one.roof, one.color if one.color and len(of_devices(series)) > 1 else INK)
    # Where marks cover each other, the largest share's is on top, and the smallest disc.
    by_share = sorted(points_of(series), key=lambda pair: pair[1].share)
    for one, point in reversed(by_share):
        _draw_disc(axes, one, point, width)
    for one, point in by_share:
        _draw_mark(axes, one, point)
    write_ends(axes, series)
    write_names(axes, series, width)
    return figure


# --- heading and legend


def _heading(view: RooflineView) -> Heading:
    predictions = [roof.prediction for roof in view.roofs]
    of = "TTFT, in decode of a step" if predictions[0].model.has_decoder else "the forward"
    origin = origin_of_rates(predictions)
    return Heading(
        f"Roofline of {predictions[0].model.name} on {listed(p.device.id for p in predictions)}",
        (
            shared_work(predictions),
            f"Predicted from counted FLOPs and bytes and {origin}, so marks lie on the roof. Discs: share of {of}.",
        ),
    )


def _legend(series: Sequence[Series], width: str) -> Iterator[list[Line2D]]:
    devices = of_devices(series)
    workloads = of_workloads(series)
    phases = [phase for phase in PHASES if any(point.phase == phase for _, point in points_of(series))]
    single = series[0].color is None
    marks = [_mark(phase, PHASES[phase].color if single else GREY, PHASES[phase].marker) for phase in phases]
    discs = [_disc_mark(share, width) for share in (0.05, 0.25, 1.0)]
    yield from [marks, discs] if width == "column" else [[*marks, *discs]]
    if len(workloads) > 1:
        labels = labels_of([one.roof.prediction for one in workloads], WORK_FACETS)
        colors = [GREY if len(devices) > 1 else one.color or GREY for one in workloads]
        looks = zip(labels, colors, workloads, strict=True)
        yield [_mark(label, color, "o", one.fill) for label, color, one in looks]
    if len(devices) > 1:
        yield from ([_device(one)] for one in devices)


def _mark(label: str, color: str, marker: str, fill: str = "full") -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, markersize=MARK, label=label, **mark_style(color, fill))


def _disc_mark(share: float, width: str) -> Line2D:
    from matplotlib.lines import Line2D

    style = disc_style(GREY)
    return Line2D(
        [], [], linestyle="", marker="o", markersize=diameter(share, width), label=f"{share * 100:.0f} %", **style
    )


def _device(one: Series) -> Line2D:
    """A device with its rates, which have no room beside the lines of several."""
    from matplotlib.lines import Line2D

    p = one.roof.prediction
    name = f"{short_name(p)}: {p.device.id}" if p.choice.is_alias else p.device.id
    rates = [f"{c.peak.rate.printed} {c.peak.precision} ({c.peak.engine})" for c in one.roof.ceilings]
    ridges = " and ".join(f"{c.ridge:.3g}" for c in one.roof.ceilings if c.products)
    figures = [p.device.bandwidth.printed, f"ridge {ridges} FLOP/B", *rates]
    label = f"{name}, {', '.join(unbroken(figure) for figure in figures)}"
    return Line2D([], [], color=one.color, linewidth=1.5, label=label)


# --- roofs and points


def _frame(axes: Axes, view: RooflineView) -> None:
    """Limits that hold all points and ridges, with room for labels beside them; decades in plain figures."""
    points = [point for roof in view.roofs for point in roof.points]
    ceilings = [ceiling for roof in view.roofs for ceiling in roof.ceilings]
    right = max([4 * ceiling.ridge for ceiling in ceilings] + [3 * point.intensity for point in points])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(point.intensity for point in points) / 2, right)
    axes.set_ylim(min(point.flops_per_s for point in points) / 3, 5 * max(c.peak.flops_per_s for c in ceilings))
    axes.set_xlabel("arithmetic intensity, FLOP/B", fontsize=TEXT, color=INK)
    axes.set_ylabel("FLOP/s (predicted)", fontsize=TEXT, color=INK)
    plain_axes(axes, grid="both")
    decade_axis(axes.xaxis, lambda intensity: f"{intensity:g}")
    decade_axis(axes.yaxis, lambda rate: format_quantity(rate, "", 1))


def _draw_roof(axes: Axes, roof: Roof, color: str) -> None:
    segments = segments_of(axes, roof)
    _draw_line(axes, segments.slope, color, 1.2, "-")
    for ceiling, flat in segments.flats:
        _draw_line(axes, flat, color, *((1.2, "-") if ceiling.products else (0.8, "--")))
    for _, drop in segments.drops:
        _draw_line(axes, drop, color, 0.8, ":")


def _draw_line(axes: Axes, line: Line, color: str, width: float, dashes: str) -> None:
    (x, y), (to_x, to_y) = line
    axes.plot([x, to_x], [y, to_y], color=color, linewidth=width, linestyle=dashes)


def _draw_disc(axes: Axes, one: Series, point: RoofPoint, width: str) -> None:
    look = disc_style(one.color or PHASES[point.phase].color)
    at = [point.intensity], [point.flops_per_s]
    axes.plot(*at, linestyle="", marker="o", markersize=diameter(point.share, width), zorder=2.5, **look)


def _draw_mark(axes: Axes, one: Series, point: RoofPoint) -> None:
    phase = PHASES[point.phase]
    look = mark_style(one.color or phase.color, one.fill)
    at = [point.intensity], [point.flops_per_s]
    axes.plot(*at, linestyle="", marker=phase.marker, markersize=MARK, zorder=3, **look)
