"""A plan as a picture: the Pareto front, times against batch, and where over tokens and batch the goals are met."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit import reports
from perfkit.charts.rendering import write_figure
from perfkit.charts.sheet import Heading, sheet
from perfkit.charts.style import FAINT, GREY, INK, MARKERS, SERIES, TEXT, decade_axis, plain_axes, seconds_axis, tint
from perfkit.planning.planner import Planned, cost_of
from perfkit.planning.regions import MET, Region, region_of
from perfkit.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

HEIGHT = 2.5  # inches of the panels
DOT = 3.2
COSTS = {"usd": "$ a million new tokens", "energy": "J a new token", "latency": "s a request"}
LIMITS = {"memory": SERIES[3], "context": SERIES[6], "TTFT": SERIES[5], "TPOT": SERIES[4], "price": GREY}
FREE, MISSED = "#FFFFFF", 0.55


def draw_planned(planned: Planned, path: Path | str, width: str = "page") -> None:
    """Write a chart of plans: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending or width.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(planned, width), reports.overview(planned))


def figure_of(planned: Planned, width: str = "page") -> Figure:
    """The chart as a figure."""
    region = region_of(planned)
    columns = 3 if width == "page" else 1
    figure = sheet(width, HEIGHT * (3 // columns), _heading(planned, region), list(_legend(planned, region)))
    front, times, area = figure.subplots(3 // columns, columns, squeeze=False).ravel()
    _draw_front(front, planned)
    _draw_times(times, planned, region)
    _draw_region(area, planned, region)
    return figure


def _heading(planned: Planned, region: Region) -> Heading:
    grid, goals = planned.request.grid, planned.request.goals
    w = planned.plans[0].prediction.workload
    limits = [
        f"{name} up to {format_quantity(value, 's')}"
        for name, value in (("TTFT", goals.ttft_s), ("TPOT", goals.tpot_s))
        if value is not None
    ]
    work = f"{w.text_tokens} text and {w.new_tokens} new tokens; {', '.join(limits) or 'no goal in time'}"
    basis = "expected by the kernel model" if grid.basis == "expected" else "predicted by the roofline"
    return Heading(
        f"Plans for {grid.model[0]}", (work, f"Times {basis}. Middle and right: {region.title}, the first plan's GPUs.")
    )


def _looks(planned: Planned) -> dict[str, tuple[str, str]]:
    """Colour and marker of each device that a plan uses; the others are grey dots."""
    shown = dict.fromkeys(plan.point.cell.choice.device.id for plan in planned.plans)
    return dict(zip(shown, zip(SERIES, MARKERS, strict=False), strict=False))


# --- panels


def _draw_front(axes: Axes, planned: Planned) -> None:
    """Every feasible candidate, and the front over cost and TTFT."""
    import numpy

    plain_axes(axes, grid="both")
    c = planned.candidates
    cost = numpy.asarray(cost_of(c.figures, planned.request.rank))
    known = planned.feasible & numpy.isfinite(cost)
    devices = numpy.array([cell.choice.device.id for cell in c.grid.cells])[c.cells.astype(int)]
    looks = _looks(planned)
    for device in dict.fromkeys(devices[known].tolist()):
        which = known & (devices == device)
        color, marker = looks.get(device, (GREY, "."))
        axes.plot(cost[which], c.figures.ttft_s[which], marker, ms=DOT, color=tint(color, 0.6), mew=0, zorder=2)
    on = known & planned.on_front
    axes.plot(cost[on], c.figures.ttft_s[on], "o", ms=DOT + 2, mfc="none", mec=INK, mew=0.7, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    decade_axis(axes.xaxis, "{:g}".format)
    seconds_axis(axes.yaxis)
    _labelled(axes, COSTS[planned.request.rank], "TTFT", "feasible, and not beaten")


def _draw_times(axes: Axes, planned: Planned, region: Region) -> None:
    """TTFT and TPOT of the first plan's choice against batch, with their goals."""
    plain_axes(axes, grid="both")
    place = region.tokens.tolist().index(planned.plans[0].point.visual_tokens)
    goals = planned.request.goals
    for times, goal, color in (
        (region.ttft_s[:, place], goals.ttft_s, SERIES[0]),
        (region.tpot_s[:, place], goals.tpot_s, SERIES[2]),
    ):
        axes.plot(region.batches, times, "-o", color=color, ms=DOT, lw=1.2)
        if goal is not None:
            axes.axhline(goal, color=color, lw=0.9, ls="--")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(region.batches, [f"{batch:.0f}" for batch in region.batches])
    axes.minorticks_off()
    seconds_axis(axes.yaxis)
    _labelled(axes, "batch", "TTFT, TPOT", f"{planned.plans[0].point.visual_tokens} visual tokens")


def _draw_region(axes: Axes, planned: Planned, region: Region) -> None:
    """A cell a point, white where all goals are met, else the colour of the limit that binds."""
    from matplotlib.colors import ListedColormap

    plain_axes(axes)
    colors = [FREE, *(tint(LIMITS[name], MISSED) for name in region.names)]
    rows = range(len(region.batches))
    axes.pcolormesh(
        region.tokens,
        list(rows),
        region.binding,
        cmap=ListedColormap(colors),
        vmin=MET - 0.5,
        vmax=len(region.names) - 0.5,
        shading="nearest",
        edgecolor="#FFFFFF",
        linewidth=0.4,
    )
    point = planned.plans[0].point
    axes.plot(point.visual_tokens, region.batches.tolist().index(point.batch), "*", color=INK, ms=7)
    axes.set_yticks(list(rows), [f"{batch:.0f}" for batch in region.batches])
    _labelled(axes, "visual tokens", "batch", "white: all goals are met")


def _labelled(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    axes.set_title(title, fontsize=TEXT, color=FAINT, loc="left")


# --- legend


def _legend(planned: Planned, region: Region) -> Iterator[list[Line2D | Patch]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots: list[Line2D | Patch] = [
        Line2D([], [], ls="", marker=marker, ms=DOT + 1, mec="none", mfc=color, label=device)
        for device, (color, marker) in _looks(planned).items()
    ]
    ring: dict[str, Any] = {"marker": "o", "ms": DOT + 2, "mfc": "none", "mec": INK, "mew": 0.7}
    yield [*dots, Line2D([], [], ls="", label="on the front of cost, TTFT and TPOT", **ring)]
    lines: list[Line2D | Patch] = [
        Line2D([], [], color=color, lw=1.2, marker="o", ms=DOT, label=name)
        for name, color in (("TTFT", SERIES[0]), ("TPOT", SERIES[2]))
    ]
    yield [*lines, Line2D([], [], color=GREY, lw=0.9, ls="--", label="its goal")]
    missed = {name for place, name in enumerate(region.names) if (region.binding == place).any()}
    binding: list[Line2D | Patch] = [
        Patch(facecolor=tint(LIMITS[name], MISSED), label=f"{name} binds") for name in region.names if name in missed
    ]
    yield [*binding, Line2D([], [], ls="", marker="*", ms=7, color=INK, label="the first plan")]
