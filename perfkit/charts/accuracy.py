"""How good predictions were, at a glance: measured against predicted, and what fewer visual tokens gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.charts.headings import listed
from perfkit.charts.sheet import Heading, known_width, sheet
from perfkit.charts.style import (
    FAINT,
    GREY,
    INK,
    PHASES,
    TEXT,
    decade_axis,
    hide_frame,
    plain_axes,
    shade,
    tick_text,
    tint,
)
from perfkit.documents import shortened
from perfkit.errors import InvalidValue
from perfkit.reports.validation_overview import Facets, case_order, facets_of
from perfkit.tables import show
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import ALL_PHASES, Errors, Validation, way_of
from perfkit.validation.speedup import Speedup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HEIGHTS = {"column": 2.6, "page": 2.9}  # inches of a panel
ROW, ERRORS, AROUND = 0.19, 0.32, 0.6  # inches of a row of speed-ups, of one of errors; of their title and axis
LONGEST_NAME = 120  # letters of a machine's
MARK, BAR = 3.4, 0.36  # points of a mark; rows that a bar takes
LEAST, MOST = 1.25, 16  # times as fast, of a promise that is shown; such rows
PALE = 0.25  # of a colour
ROOM = {"column": 1.0, "page": 0.65}  # of the longest bar: beside it for its figures
STEPS = {"column": 3, "page": 4}  # of the axis below them
APART = 0.015  # of it, from bars to their figures
CAPTURED = ("#CC79A7", "v")  # decode as a CUDA graph, beside that of launched kernels


class _Way(NamedTuple):
    """A phase, and how it was run, with its colour and marker."""

    name: str
    color: str
    marker: str
    points: tuple[ComparedPoint, ...]


def figure_of(validation: Validation, width: str) -> Figure:
    """The chart as a figure: every point, and the mean error of each phase; on a page speed-ups below them.

    Raises:
        InvalidValue: no phase was timed.
    """
    ways = list(_ways(validation))
    if not ways:
        raise InvalidValue(
            f"{shortened(validation.machine.name, LONGEST_NAME)}: no phase was timed, nothing to compare"
        )
    beside = known_width(width) == "page"
    promised = _promises(validation) if beside else []
    shape = (1, 2) if beside else (2, 1)
    rows = len({errors.phase for errors in validation.errors})
    heights = [shape[0] * max(HEIGHTS[width], AROUND + ERRORS * rows)] + [AROUND + ROW * len(promised)] * bool(promised)
    figure = sheet(width, sum(heights), _heading(validation), list(_legend(ways)))
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).ravel()
    points, errors = above.subplots(*shape)
    _draw_points(points, ways)
    _draw_errors(errors, validation, ways, width)
    for part in below:
        _draw_speedups(part.subplots(), promised, {way.name: way.color for way in ways})
    return figure


def _promises(validation: Validation) -> list[Speedup]:
    """Phases of the language model of which most was promised, and more than timings scatter."""
    found = [s for s in validation.speedups if s.new_tokens is None and s.case.phase in ("prefill", "decode")]
    largest = sorted((s for s in found if s.promised >= LEAST), key=lambda s: -s.promised)[:MOST]
    return sorted(largest, key=lambda s: case_order(s.case))


def _ways(validation: Validation) -> Iterator[_Way]:
    timed = [point for point in validation.points if point.measured_s is not None]
    for name in dict.fromkeys(way_of(point.case) for point in validation.points):
        members = tuple(point for point in timed if way_of(point.case) == name)
        look = PHASES[name.partition(",")[0]]
        color, marker = CAPTURED if name.endswith("graph") else look
        if members:
            yield _Way(name, color, marker, members)


def _heading(v: Validation) -> Heading:
    shaky = sum(point.status != "ok" and point.measured_s is not None for point in v.points)
    unstable = f"; {shaky} medians are not known to 1 %" if shaky else ""
    timed = sum(point.measured_s is not None for point in v.points)
    models = listed(sorted({point.case.model for point in v.points}))
    return Heading(
        f"Measured against predicted: {shortened(v.machine.name, LONGEST_NAME)}",
        (
            f"{timed} timed phases of {models}, predicted for {v.device.id}{unstable}.",
            "Full marks: expected by the kernel model; hollow: by the roofline, a bound. Upright lines: 95 % intervals "
            "of the measured median.",
        ),
    )


def _legend(ways: Sequence[_Way]) -> Iterator[list[Line2D]]:
    from matplotlib.lines import Line2D

    bare: dict[str, Any] = {"linestyle": "", "markersize": MARK + 1}
    yield [
        Line2D([], [], mfc=way.color, mec=shade(way.color), mew=0.3, marker=way.marker, label=way.name, **bare)
        for way in ways
    ]


# --- points


def _draw_points(axes: Axes, ways: Sequence[_Way]) -> None:
    plain_axes(axes, grid="both")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for way in ways:
        for point in way.points:
            _draw_point(axes, way, point)
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=INK, linewidth=0.7, zorder=1)
    for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        limit(low, high)
        decade_axis(axis, lambda seconds: tick_text(seconds, "s"))
    axes.set_xlabel("predicted", fontsize=TEXT, color=INK)
    axes.set_ylabel("measured", fontsize=TEXT, color=INK)
    axes.set_title("a mark a phase; on the line: as predicted", fontsize=TEXT, color=FAINT, loc="left")


def _draw_point(axes: Axes, way: _Way, point: ComparedPoint) -> None:
    measured = point.measured_s or inf
    style: dict[str, Any] = {"marker": way.marker, "mec": shade(way.color), "ms": MARK, "ls": ""}
    axes.plot([point.roofline_s], [measured], mfc="none", mew=0.5, zorder=2, **style)
    if point.expected_s is not None:
        if point.interval_s:
            axes.plot([point.expected_s] * 2, point.interval_s, color=shade(way.color), linewidth=0.8, zorder=3)
        axes.plot([point.expected_s], [measured], mfc=way.color, mew=0.3, zorder=4, **style)


# --- errors


def _draw_errors(axes: Axes, v: Validation, ways: Sequence[_Way], width: str) -> None:
    """Mean error of each phase as a bar, full for the expected time and pale for the roofline, the worst in words."""
    from matplotlib.ticker import MaxNLocator

    plain_axes(axes, grid="x")
    hide_frame(axes, "left")
    looks = {way.name: way.color for way in ways} | {ALL_PHASES: GREY}
    names = list(dict.fromkeys(errors.phase for errors in v.errors))
    places = {name: place for place, name in enumerate(names)}
    widest = max(errors.mape for errors in v.errors)
    # A part of a phase is named by it, and looks like it.
    colors = {name: next(looks[way] for way in looks if name.startswith(way)) for name in names}
    for errors in v.errors:
        expected = errors.predictor == "expected"
        y = places[errors.phase] + (-BAR / 2 if expected else BAR / 2)
        color = tint(colors[errors.phase], 0.9 if expected else PALE)
        axes.barh([y], [errors.mape], height=0.9 * BAR, facecolor=color, edgecolor=INK, linewidth=0.4)
        axes.text(errors.mape + APART * widest, y, _told(errors), va="center", fontsize=TEXT - 1, color=INK)
    axes.set_yticks(list(places.values()), list(places))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(places) - 0.5, -0.5)
    most, steps = (1 + ROOM[width]) * widest, MaxNLocator(STEPS[width], steps=[1, 2.5, 5, 10])
    ticks = [tick for tick in steps.tick_values(0, widest) if tick < most]
    axes.set_xticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])
    axes.set_xlim(0, most)
    axes.set_xlabel("mean error, of the measured time", fontsize=TEXT, color=INK)
    axes.set_title("full: expected; pale: roofline", fontsize=TEXT, color=FAINT, loc="left")


def _told(errors: Errors) -> str:
    """A mean error and the worst one.

    >>> _told(Errors("vision", "expected", 7, mape=0.2575, worst=0.5917))
    '26 %, worst 59 %'
    """
    return f"{show(errors.mape, 'share')}, worst {show(errors.worst, 'share')}"


# --- speed-ups


def _draw_speedups(axes: Axes, speedups: Sequence[Speedup], colors: dict[str, str]) -> None:
    """A row a case, with a line from what the roofline promised to what came."""
    plain_axes(axes, grid="x")
    hide_frame(axes, "left")
    axes.axvline(1, color=INK, linewidth=0.7)
    facets = facets_of((one.case for one in speedups), tokens=False)
    for y, one in enumerate(speedups):
        color = colors[way_of(one.case)]
        axes.plot([one.promised, one.got], [y, y], color=GREY, linewidth=0.8, zorder=2)
        axes.plot([one.promised], [y], "o", mfc="#FFFFFF", mec=GREY, ms=MARK, mew=0.8, zorder=3)
        axes.plot([one.got], [y], "o", mfc=color, mec=shade(color), ms=MARK + 1, mew=0.3, zorder=4)
        if one.expected is not None:
            axes.plot([one.expected], [y], "|", color=INK, ms=7, mew=1.0, zorder=5)
    names = [_row_name(one, facets) for one in speedups]
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    axes.set_xlim(low, high)
    axes.set_xlabel("times as fast with fewer visual tokens", fontsize=TEXT, color=INK)
    told = "full: measured; |: expected; hollow: promised by the roofline"
    axes.set_title(told, fontsize=TEXT, color=FAINT, loc="left")


def _row_name(one: Speedup, facets: Facets) -> str:
    """What was timed, what tells it from the others where anything does, and the tokens of both ends."""
    parts = (facets.label(one.case), f"{one.case.visual_tokens} to {one.to_tokens}")
    return f"{way_of(one.case)}: {', '.join(filter(None, parts))}"
