"""Kernels as a picture: predicted against measured times, a panel a device and an op, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.calibration.left_out import EXPECTED, LeftOut
from perfkit.calibration.thinning import evenly
from perfkit.charts.rendering import write_figure
from perfkit.charts.style import (
    GREY,
    INK,
    SERIES,
    TEXT,
    TITLE,
    WIDTHS,
    plain_axes,
    shade,
    tick_text,
)
from perfkit.tables import Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy import ndarray

DRAWN = 120  # kernels of a panel at the most
PANEL = 1.75  # inches: the height of one
ROOM = 1.3  # times: between the outermost point and the frame
DEPTH = 30.0  # times below all measured times a roofline is still shown; what lies deeper is drawn at the lower edge
MARK = 1.8  # points across a dot
LENGTH = 1.001  # times: from one end of a dot to the other
LOOKS = (("roofline", GREY, "roofline, and its mean error"), (EXPECTED, SERIES[0], "expected, and its mean error"))
TICKS = (6, 5, 4, 3)  # of an axis at the most, where so many panels stand side by side


class Panel(NamedTuple):
    """Kernels that share a panel, and what they are."""

    title: str
    kernels: LeftOut


def draw_predicted_kernels(panels: Sequence[Panel], path: Path | str, *, columns: int) -> None:
    """Write a chart of panels, so many side by side: png, svg, pdf or (with a table) html, by the ending of `path`.

    Raises:
        UnknownName: another ending.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: _figure(panels, columns), [_errors(panels)])


def _errors(panels: Sequence[Panel]) -> Table:
    columns = (
        Column("kernels", "kernels"),
        Column("rows", "rows", "n"),
        *(Column(name, f"{name} off by", "share") for name, _, _ in LOOKS),
    )
    rows = [(p.title, p.kernels.rows, *(p.kernels.error(name) for name, _, _ in LOOKS)) for p in panels]
    return Table(columns, tuple(rows), title="Predicted against measured kernels")


def _figure(panels: Sequence[Panel], columns: int) -> Figure:
    from matplotlib.figure import Figure

    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTHS["page"], PANEL * rows + 0.5))
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)  # inches
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw(axes, panel)
        for axis in (axes.xaxis, axes.yaxis):
            _ticks(axis, most=TICKS[min(columns, len(TICKS)) - 1])
        if i % columns == 0:
            axes.set_ylabel("predicted", fontsize=TEXT, color=INK)
        if i >= len(panels) - columns:
            axes.set_xlabel("measured", fontsize=TEXT, color=INK)
    _legend(figure)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    shown = _thinned(panel.kernels)
    measured, expected = shown.measured_s, shown.seconds[EXPECTED]
    low, high = float(min(measured.min(), expected.min())), float(max(measured.max(), expected.max()))
    first, last = low / ROOM, high * ROOM
    bottom = max(float(shown.seconds["roofline"].min()), low / DEPTH) / ROOM
    axes.set(xscale="log", yscale="log", xlim=(first, last), ylim=(min(bottom, first), last))
    axes.plot([first, last], [first, last], color=INK, linewidth=0.6, zorder=1)
    for name, color, _ in LOOKS:
        _dots(axes, measured, shown.seconds[name].clip(bottom), color)
    plain_axes(axes)
    axes.set_title(panel.title, fontsize=TITLE, color=INK, loc="left", pad=3)
    for i, (name, color, _) in enumerate(reversed(LOOKS)):
        error = f"{100 * panel.kernels.error(name):.1f} %"
        style: dict[str, Any] = {"transform": axes.transAxes, "color": shade(color), "fontsize": TEXT, "va": "top"}
        axes.text(0.05, 0.98 - 0.1 * i, error, **style)


def _dots(axes: Axes, x: ndarray, y: ndarray, color: str) -> None:
    """All in one path, as strokes of hardly any length: a marker for each takes four times as large a file."""
    import numpy
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Stroke

    ends = numpy.stack([numpy.stack([x, y], 1), numpy.stack([x * LENGTH, y], 1)], 1).reshape(-1, 2)
    strokes = Stroke(ends, [Stroke.MOVETO, Stroke.LINETO] * len(x))
    strokes.should_simplify = False
    style: dict[str, Any] = {"linewidth": MARK, "capstyle": "round", "snap": False, "zorder": 2}
    axes.add_patch(PathPatch(strokes, facecolor="none", edgecolor=color, **style))


def _ticks(axis: Axis, *, most: int) -> None:
    """As many as there is room for: at 1, 2 and 5 of each tenfold, at 1 and 3, at 1, or at every other tenfold."""
    low, high = axis.get_view_interval()
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for bases, step in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2)):
        ticks = [base * 10.0**power for power in powers if power % step == 0 for base in bases]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) <= most:
            break
    axis.set_ticks(shown, [tick_text(tick, "s") for tick in shown])
    axis.set_ticks([], minor=True)


def _thinned(kernels: LeftOut) -> LeftOut:
    return kernels if kernels.rows <= DRAWN else kernels.take(evenly(kernels.size, DRAWN))


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=3, color=color, mew=0, label=label)
        for _, color, label in LOOKS
    ]
    same = Line2D([], [], color=INK, linewidth=0.6, label="predicted = measured")
    figure.legend(handles=[*dots, same], loc="outside upper left", ncols=3, fontsize=TEXT, frameon=False)
