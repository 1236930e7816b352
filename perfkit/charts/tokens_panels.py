"""Panels of a chart of tokens: a curve alone is stacked by its phases, several are lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from perfkit.charts.curves import Series, drawn_apart, memory_of, rooms_of
from perfkit.charts.style import FAINT, INK, PHASES, TEXT, plain_axes, quantity_axis, tint
from perfkit.phases import PhaseTime
from perfkit.units import Amount
from perfkit.views.tokens import Curve, TokensView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STACKED = ("prefill", "projector", "reduction", "vision")  # upwards: what changes with the tokens first
CROSSING = "X"  # marker where prefill changes its bound
MARK = 3.5  # points across a marker
ROOM = "-."  # dashes of what a card holds
FILLED = 0.6  # of a colour that areas have
DRAWN = 144  # counts of a curve
WEIGHTS, REST = "#D8D8D8", "#56B4E9"  # of memory


def _draw_flops(axes: Axes, view: TokensView, series: Sequence[Series]) -> None:
    _draw_first(axes, drawn_apart(series, lambda curve: curve.first_flops), lambda phase: phase.flops)
    _finish(axes, view, "FLOPs to the first token", "FLOP")


def _draw_time(axes: Axes, view: TokensView, series: Sequence[Series]) -> None:
    _draw_first(axes, series, lambda phase: phase.roofline_s)
    edge: dict[str, Any] = {"markersize": MARK + 2.5, "markeredgecolor": "#FFFFFF", "markeredgewidth": 0.5}
    for one in series:
        for found in one.curve.crossings:
            place = [found.tokens], [found.prefill_s]
            axes.plot(*place, linestyle="", marker=CROSSING, color=one.color, zorder=4, **edge)
    _finish(axes, view, "time to the first token (TTFT)", "s")


def _draw_memory(axes: Axes, view: TokensView, series: Sequence[Series]) -> None:
    apart = drawn_apart(series, memory_of)
    if len(apart) == 1:
        curve = apart[0].curve
        weights = curve.swept.footprint.weights
        _fill(axes, curve, (0, weights), WEIGHTS)
        _fill(axes, curve, (weights, memory_of(curve)), REST)
    for one in apart:
        _draw_line(axes, one, memory_of(one.curve), "-")
    for room in rooms_of(series):
        if room.drawn:
            axes.axhline(room.bytes, color=INK, linewidth=0.9, linestyle=ROOM)
    _finish(axes, view, "memory", "B", spare=1.3)


def _draw_step(axes: Axes, view: TokensView, series: Sequence[Series]) -> None:
    for one in series:
        if one.alone:
            _fill(axes, one.curve, (0, one.curve.swept.tpot_roofline_s), PHASES["decode"].color)
        _draw_line(axes, one, one.curve.swept.tpot_roofline_s, "-")
    _finish(axes, view, "time per output token (TPOT)", "s")


PANELS = (_draw_flops, _draw_time, _draw_memory, _draw_step)


def _draw_first(axes: Axes, series: Sequence[Series], figure: Callable[[PhaseTime], Amount]) -> None:
    """Phases before decode: stacked where a curve is alone, else their sum, and prefill in dashes."""
    for one in series:
        total: Amount = 0
        for phase in sorted(one.curve.first, key=lambda phase: STACKED.index(phase.phase)):
            if one.alone:
                _fill(axes, one.curve, (total, total + figure(phase)), PHASES[phase.phase].color)
            total = total + figure(phase)
        _draw_line(axes, one, total, "-")
        if not one.alone:
            _draw_line(axes, one._replace(marker=""), figure(one.curve.prefill), "--")


def _fill(axes: Axes, curve: Curve, between: tuple[Amount, Amount], color: str) -> None:
    (tokens, low), (_, high) = (_with_images(curve, figure) for figure in between)
    axes.fill_between(tokens, low, high, facecolor=tint(color, FILLED), edgecolor=INK, linewidth=0.3)


def _draw_line(axes: Axes, one: Series, figure: Amount, dashes: str) -> None:
    """A figure against visual tokens, with marks now and then; what it is without an image stands apart."""
    tokens, along = _with_images(one.curve, figure)
    step = max(1, len(tokens) // 4)
    style: dict[str, Any] = {"color": one.color, "markersize": MARK, "linewidth": 1.2, "zorder": 3, "clip_on": False}
    marks: dict[str, Any] = {"marker": "" if one.alone else one.marker, "markevery": (step, step)}
    axes.plot(tokens, along, linestyle=dashes, **marks, **style)
    if one.curve.tokens[0] == 0:
        open_mark: dict[str, Any] = {"marker": "o", "markerfacecolor": "#FFFFFF", "markeredgewidth": 0.8}
        axes.plot([0], one.curve.along(figure)[:1], linestyle="", **open_mark, **style)


def _with_images(curve: Curve, figure: Amount) -> tuple[Any, Any]:
    """Counts with an image and the figure at them: about DRAWN, the last included, which no eye tells from all."""
    start = int(curve.tokens[0] == 0)
    step = max(1, (len(curve.tokens) - start) // DRAWN)
    last = (len(curve.tokens) - 1 - start) % step  # so that steps end at the last count
    chosen = [start, *range(start + (last or step), len(curve.tokens), step)]
    return curve.tokens[chosen], curve.along(figure)[chosen]


def _finish(axes: Axes, view: TokensView, title: str, unit: str, *, spare: float = 1.15) -> None:
    """Marks, limits from 0 to `spare` times what is drawn, ticks and the title."""
    most = int(max(curve.tokens[-1] for curve in view.curves))
    axes.set_ylim(0, spare * axes.dataLim.y1)
    for mark in view.marks:
        axes.axvline(mark.tokens, color=FAINT, linewidth=0.7, linestyle=":", zorder=2.5)
    axes.set_xlim(0, most)
    plain_axes(axes, grid="y")
    axes.set_xticks([round(most * part / 4) for part in range(5)])
    axes.tick_params(labelbottom=True)
    quantity_axis(axes.yaxis, unit)
    axes.set_title(title, fontsize=TEXT, color=INK, loc="left", fontweight="bold", pad=4)
