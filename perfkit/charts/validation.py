"""A validation as a picture: measured over predicted, where the time goes, and speed-ups promised and got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit import reports
from perfkit.charts.rendering import write_figure
from perfkit.charts.style import MARKERS, SERIES, hide_frame
from perfkit.documents import shortened
from perfkit.measuring.cases import PhaseCase
from perfkit.reports.validation_overview import Facets, case_order, facets_of, name_of
from perfkit.units import format_quantity
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import Validation
from perfkit.validation.speedup import NEW_TOKENS, Speedup
from perfkit.validation.waterfall import Waterfall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW, SPEEDUPS, MARGINS = 11.0, 0.21, 3.1, 1.7  # inches: all; a row; the lower panel; titles and axes
APART = 0.2  # rows: half between what the roofline and what the expected time is held against
LONGEST_NAME = 60  # letters of a machine's: what a title has room for; a CPU tells 48 at most
MOST_SHOWN = 1.6  # of a bar, of which 1 is the measured time

PARTS = (
    ("roofline (predicted)", "#0072B2", ""),
    ("slower kernels (measured alone)", "#E69F00", "////"),
    ("launch gaps", "#F0E442", "...."),
    ("unexplained", "#FFFFFF", ""),
)


def draw_validation(validation: Validation, path: Path | str) -> None:
    """Write a chart of `validation`: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(validation), reports.overview(validation))


class _Row(NamedTuple):
    """A line of the upper panels, `y` down from 0: the heading of a phase, or a point of it."""

    y: int
    label: str
    point: ComparedPoint | None
    fall: Waterfall | None


def figure_of(v: Validation) -> Figure:
    """The chart as a figure."""
    from matplotlib.figure import Figure

    facets = facets_of(point.case for point in v.points)
    rows = list(_rows(v, facets))
    requests = [speedup for speedup in v.speedups if speedup.new_tokens is not None]
    upper, lower = ROW * len(rows), SPEEDUPS if requests else 0.0
    figure = Figure(figsize=(WIDTH, upper + lower + MARGINS))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)  # inches
    machine, device = shortened(v.machine.name, LONGEST_NAME), v.device.id
    figure.suptitle(f"{machine} (measured) against {device} (predicted)\n{facets.shared}", fontsize=11)
    grid = figure.add_gridspec(2 if requests else 1, 1, height_ratios=[upper + 0.9, lower] if requests else None)
    above = grid[0].subgridspec(1, 2, width_ratios=(2, 3))
    ratios = figure.add_subplot(above[0])
    _draw_ratios(ratios, rows)
    _draw_parts(figure.add_subplot(above[1], sharey=ratios), rows)
    if requests:
        _draw_speedups(figure.add_subplot(grid[1]), requests)
    return figure


def _rows(v: Validation, facets: Facets) -> Iterator[_Row]:
    falls = {fall.case: fall for fall in v.waterfalls}
    y, last = 0, ""
    for point in sorted(v.points, key=lambda point: case_order(point.case)):
        if (name := name_of(point.case)) != last:
            yield _Row(y, name, None, None)
            y, last = y + 1, name
        yield _Row(y, facets.label(point.case), point, falls.get(point.case))
        y += 1


# --- measured over predicted


class _Ratio(NamedTuple):
    """Measured over predicted of a row, and the interval of it."""

    y: float
    ratio: float
    interval: tuple[float, float]


def _draw_ratios(axes: Axes, rows: Sequence[_Row]) -> None:
    timed = [(row.y, row.point) for row in rows if row.point and row.point.timing]
    expected = [_ratio(y + APART, point, point.expected_s) for y, point in timed if point.expected_s is not None]
    up = APART if expected else 0.0
    steady = [_ratio(y - up, point, point.roofline_s) for y, point in timed if point.status == "ok"]
    shaky = [_ratio(y - up, point, point.roofline_s) for y, point in timed if point.status != "ok"]
    _dots(axes, steady, "over roofline", "o", SERIES[0])
    _dots(axes, shaky, "over roofline, unstable", "X", SERIES[1])
    _dots(axes, expected, "over expected", "D", SERIES[2])
    axes.axvline(1, color="#444444", linewidth=1)
    axes.set_xscale("log")
    _plain_ticks(axes, [ratio.ratio for ratio in (*steady, *shaky, *expected)])
    axes.set_xlabel("measured / predicted", fontsize=9)
    _label_rows(axes, rows)
    if timed:
        _legend_above(axes, columns=2)


def _ratio(y: float, point: ComparedPoint, predicted_s: float) -> _Ratio:
    measured_s = point.measured_s or inf
    low, high = point.interval_s or (measured_s, measured_s)
    return _Ratio(y, measured_s / predicted_s, (low / predicted_s, high / predicted_s))


def _dots(axes: Axes, ratios: Sequence[_Ratio], label: str, marker: str, color: str) -> None:
    if not ratios:
        return
    for ratio in ratios:
        axes.plot(ratio.interval, [ratio.y, ratio.y], color=color, linewidth=1.5)
    places = [ratio.ratio for ratio in ratios], [ratio.y for ratio in ratios]
    axes.plot(*places, linestyle="", marker=marker, color=color, markersize=5, label=label)


def _plain_ticks(axes: Axes, ratios: Sequence[float]) -> None:
    """Ticks at 1, 2, 5 and their tenfolds (at tenfolds alone where those are many), and all ratios and 1 within."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min([0.8, *ratios]) / 1.1, max([2.2, *ratios]) * 1.1
    steps = [base * 10.0**power for power in range(-6, 9) for base in ((1, 2, 5) if high < 60 * low else (1,))]
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _label_rows(axes: Axes, rows: Sequence[_Row]) -> None:
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([row.y for row in rows], [row.label for row in rows], fontsize=8)
    axes.tick_params(axis="y", length=0)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("normal" if row.point else "bold")
    hide_frame(axes, "top", "right", "left")


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=8, frameon=False, borderaxespad=0.2)


# --- where the time goes


def _draw_parts(axes: Axes, rows: Sequence[_Row]) -> None:
    for i, (label, color, hatch) in enumerate(PARTS):
        bars = [(row.y, *_span(row.fall, i)) for row in rows if row.fall]
        heights, starts, widths = ([bar[k] for bar in bars] for k in range(3))
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.5}
        axes.barh(heights, widths, left=starts, height=0.72, label=label, **style)
    for row in rows:
        if row.point:
            axes.text(_end(row.fall) + 0.02, row.y, _outcome(row.point, row.fall), va="center", fontsize=8)
    axes.axvline(1, color="#444444", linewidth=1)
    widest = max([1.0, *(_end(row.fall) for row in rows if row.fall)])
    axes.set_xlim(0, widest + 0.3)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("share of the measured time; beyond 100 %: too much explained", fontsize=9)
    axes.tick_params(axis="y", labelleft=False, length=0)
    hide_frame(axes, "top", "right", "left")
    _legend_above(axes, columns=2)


def _span(fall: Waterfall, part: int) -> tuple[float, float]:
    """Start and width of a part, as shares of the measured time; parts below zero have no width."""
    widths = [max(seconds, 0.0) / fall.measured_s for seconds in fall.parts_s]
    start = min(sum(widths[:part]), MOST_SHOWN)
    return start, min(widths[part], MOST_SHOWN - start)


def _end(fall: Waterfall | None) -> float:
    return sum(_span(fall, len(PARTS) - 1)) if fall else 0.0


def _outcome(point: ComparedPoint, fall: Waterfall | None) -> str:
    if fall is None:
        return point.status
    measured = format_quantity(point.measured_s, "s")
    cut = sum(max(seconds, 0.0) for seconds in fall.parts_s) > MOST_SHOWN * fall.measured_s
    return f"{measured} (bar cut)" if cut else measured


# --- speed-ups


def _draw_speedups(axes: Axes, requests: Sequence[Speedup]) -> None:
    facets = facets_of((request.case for request in requests), tokens=False)
    expected = any(request.expected for request in requests)
    for i, case in enumerate(dict.fromkeys(request.case for request in requests)):
        members = [request for request in requests if request.case == case]
        color, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
        tokens = [request.new_tokens or 0 for request in members]
        axes.plot(tokens, [s.promised for s in members], color=color, linestyle="--", linewidth=1.2)
        if expected:
            axes.plot(tokens, [s.expected or inf for s in members], color=color, linestyle=":", linewidth=1.2)
        label = _series_label(case, members[0].to_tokens, facets)
        axes.plot(tokens, [s.got for s in members], color=color, marker=marker, markersize=5, label=label)
    _style_speedups(axes, expected=expected)


def _series_label(case: PhaseCase, to_tokens: int, facets: Facets) -> str:
    return ", ".join(
        filter(None, (f"{case.runtime} decode", facets.label(case), f"{case.visual_tokens} to {to_tokens} tokens"))
    )


def _style_speedups(axes: Axes, *, expected: bool) -> None:
    from matplotlib.lines import Line2D

    axes.axhline(1, color="#444444", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(NEW_TOKENS, [str(tokens) for tokens in NEW_TOKENS])
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("new tokens of a request (vision + projector + prefill + decode)", fontsize=9)
    axes.set_ylabel("speed-up", fontsize=9)
    hide_frame(axes, "top", "right")
    keys = [Line2D([], [], color="#444444", linestyle="--", label="promised (roofline)")]
    keys += [Line2D([], [], color="#444444", linestyle=":", label="expected")] if expected else []
    keys += [Line2D([], [], color="#444444", linestyle="-", label="got (measured)")]
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    axes.legend(handles=[*keys, *lines], loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False)
