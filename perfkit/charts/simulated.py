"""Simulations as a picture: TTFT and TPOT against the rate, and tokens a second against visual tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit import reports
from perfkit.charts.rendering import write_figure
from perfkit.charts.sheet import Heading, sheet
from perfkit.charts.style import FAINT, GREY, INK, MARKERS, SERIES, TEXT, plain_axes, seconds_axis
from perfkit.serving.curves import REDUCER_S, RateCurve, rate_curve, tokens_curve
from perfkit.serving.figures import Quantiles
from perfkit.serving.request import Policy
from perfkit.serving.simulating import Simulated
from perfkit.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from perfkit.charts.sheet import Sign

HEIGHT = 2.5  # inches of the panels
MARK = 3.2
STYLES = {"p50": "-", "p90": "--", "p99": ":"}


def draw_simulated(several: Sequence[Simulated], path: Path | str, width: str = "page") -> None:
    """Write a chart of simulations: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending or width.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(several, width), reports.overview(several))


def figure_of(several: Sequence[Simulated], width: str = "page") -> Figure:
    """The chart as a figure."""
    columns = 3 if width == "page" else 1
    figure = sheet(width, HEIGHT * (3 // columns), _heading(several), list(_legend(several)))
    first, token, most = figure.subplots(3 // columns, columns, squeeze=False).ravel()
    curves = [rate_curve(one) for one in several]
    goals = several[0].request.goals
    _draw_times(first, curves, lambda curve: curve.ttft_s, "TTFT", goals.ttft_s)
    _draw_times(token, curves, lambda curve: curve.tpot_s, "TPOT", goals.tpot_s)
    _draw_tokens(most, several)
    return figure


def _heading(several: Sequence[Simulated]) -> Heading:
    request, traffic = several[0].request, several[0].traffic
    text, new = (float(lengths.mean()) for lengths in (traffic.text_tokens, traffic.new_tokens))
    basis = "expected by the kernel model" if request.server.basis == "expected" else "predicted by the roofline"
    return Heading(
        f"Serving {request.server.cell.spec.name}",
        (
            f"{text:.4g} text and {new:.4g} new tokens on average; {_policy(request.policy)}. Step times {basis}.",
            "Right: new tokens a second of a replica whose waiting line is never empty; left of the dotted line a "
            f"reducer that takes {format_quantity(REDUCER_S, 's')} of it a request pays.",
        ),
    )


def _policy(policy: Policy) -> str:
    chunks = "" if policy.chunk_tokens is None else f", prompts in chunks of {policy.chunk_tokens} tokens a step"
    waits = f", waiting up to {format_quantity(policy.wait_s, 's')}" if policy.wait_s else ""
    return f"{policy.batching} batches of up to {policy.max_batch}{waits}{chunks}"


# --- panels


def _draw_times(
    axes: Axes,
    curves: Sequence[RateCurve],
    times_of: Callable[[RateCurve], tuple[Quantiles, ...] | None],
    label: str,
    goal: float | None,
) -> None:
    """Median, p90 and p99 of each simulation up to nearly its capacity."""
    plain_axes(axes, grid="both")
    axes.set_yscale("log")
    for curve, color in zip(curves, _colors(len(curves)), strict=True):
        times = times_of(curve)
        for name, style in STYLES.items():
            if times is not None:
                axes.plot(curve.rates, [getattr(one, name) for one in times], style, color=color, lw=1.2)
    if goal is not None:
        axes.axhline(goal, color=GREY, lw=0.9, ls="-.")
    axes.set_xlim(left=0)
    seconds_axis(axes.yaxis)
    _labelled(axes, "requests/s", label, "up to nearly the capacity")


def _draw_tokens(axes: Axes, several: Sequence[Simulated]) -> None:
    """One curve for simulations that differ in nothing but their visual tokens."""
    plain_axes(axes, grid="both")
    for place, (one, color) in enumerate(zip(several, _colors(len(several)), strict=True)):
        earlier = [other.request.server for other in several[:place]]
        if one.request.server not in earlier:
            curve = tokens_curve(one)
            axes.plot(curve.tokens, curve.tokens_per_s, "-", color=color, marker=MARKERS[place % len(MARKERS)], ms=MARK)
            if (below := curve.pays_below()) is not None:
                axes.axvline(below, color=color, lw=0.9, ls=":")
    axes.set_ylim(bottom=0)
    _labelled(axes, "visual tokens", "new tokens/s", "at capacity")


def _labelled(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    axes.set_title(title, fontsize=TEXT, color=FAINT, loc="left")


# --- legend


def _colors(count: int) -> list[str]:
    return [SERIES[place % len(SERIES)] for place in range(count)]


def _legend(several: Sequence[Simulated]) -> Iterator[list[Sign]]:
    from matplotlib.lines import Line2D

    yield [
        Line2D([], [], color=color, lw=1.2, label=_name(one))
        for one, color in zip(several, _colors(len(several)), strict=True)
    ]
    lines: list[Sign] = [Line2D([], [], color=INK, lw=1.2, ls=style, label=name) for name, style in STYLES.items()]
    has_goal = any(goal is not None for goal in several[0].request.goals)
    yield [*lines, *([Line2D([], [], color=GREY, lw=0.9, ls="-.", label="goal")] if has_goal else [])]


def _name(simulated: Simulated) -> str:
    cell = simulated.request.server.cell
    gpus = f" x {cell.execution.gpus}" if cell.execution.gpus > 1 else ""
    return f"{cell.choice.device.id}{gpus}, {simulated.traffic.visual_tokens.mean():.4g} visual tokens"
