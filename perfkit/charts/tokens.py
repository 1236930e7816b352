"""Costs against visual tokens as a picture: FLOPs and time to the first token, memory, time per output token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit import reports
from perfkit.charts.curves import Room, Series, drawn_apart, memory_of, rooms_of, series_of
from perfkit.charts.headings import listed, origin_of_rates, shared_work
from perfkit.charts.labelling import settle
from perfkit.charts.rendering import write_figure
from perfkit.charts.sheet import Heading, known_width, sheet, unbroken
from perfkit.charts.style import GREY, INK, PHASES, TEXT, tint
from perfkit.charts.tokens_labels import name_memory, name_tokens
from perfkit.charts.tokens_panels import CROSSING, FILLED, MARK, PANELS, REST, ROOM, STACKED, WEIGHTS
from perfkit.units import format_quantity
from perfkit.views.tokens import Curve, TokensView

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

GRIDS = {"column": (4, 1), "page": (2, 2)}  # rows and columns of panels
HEIGHTS = {"column": 1.45, "page": 1.6}  # inches of a row of them


def draw_tokens(view: TokensView, path: Path | str, width: str = "page") -> None:
    """Write a chart of `view`: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending or width.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(view, width), reports.overview(view))


def figure_of(view: TokensView, width: str) -> Figure:
    """The chart as a figure."""
    series = series_of(view)
    rows, columns = GRIDS[known_width(width)]
    figure = sheet(width, HEIGHTS[width] * rows, _heading(view), list(_legend(series)))
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for panel, draw in zip(panels, PANELS, strict=True):
        draw(panel, view, series)
    for panel in panels[-columns:]:
        panel.set_xlabel("visual tokens", fontsize=TEXT, color=INK)
    settle(panels[0])
    name_tokens(panels[0], view, [])
    name_tokens(panels[1], view, series)
    name_memory(panels[2], drawn_apart(series, memory_of), series)
    return figure


# --- heading and legend


def _heading(view: TokensView) -> Heading:
    predictions = [curve.swept for curve in view.curves]
    models, devices = listed(p.model.name for p in predictions), listed(p.device.id for p in predictions)
    work = shared_work(predictions, tokens=False)
    bounds = f"; {bounds_of(view.curves[0])}" if len(view.curves) == 1 else ""
    origin = f"FLOPs and memory counted; times predicted by the roofline from {origin_of_rates(predictions)}."
    marks = ", ".join(unbroken(f"{mark.name} ({mark.tokens})") for mark in view.marks)
    dotted = f" Dotted: papers' averages, {marks}." if marks else ""
    return Heading(f"Cost of visual tokens: {models} on {devices}", (work + bounds, origin + dotted))


def _legend(series: Sequence[Series]) -> Iterator[list[Line2D]]:
    if series[0].alone:
        present = [phase.phase for phase in series[0].curve.first]
        keys = [_area(phase, PHASES[phase].color) for phase in reversed(STACKED) if phase in present]
    else:
        yield [_line(f"{one.label}: {bounds_of(one.curve)}", one.color, "-", one.marker) for one in series]
        keys = [_line("TTFT, all FLOPs", GREY, "-"), _line("prefill", GREY, "--")]
    color = INK if series[0].alone else GREY
    if any(one.curve.crossings for one in series):
        keys.append(_mark("prefill changes its bound", CROSSING, inside=color, edge=color))
    if any(one.curve.tokens[0] == 0 for one in series):
        keys.append(_mark("no image", "o", inside="#FFFFFF", edge=color))
    yield keys
    if len(drawn_apart(series, memory_of)) == 1:
        yield [_area("weights", WEIGHTS), _area("KV cache and activations", REST)]
    yield [_line(f"room: {'; '.join(map(_room, rooms_of(series)))}", INK, ROOM)]


def _room(room: Room) -> str:
    drawn = "" if room.drawn else " (not drawn)"
    return f"{listed(room.devices)} {unbroken(format_quantity(room.bytes, 'B'))}{drawn}"


def bounds_of(curve: Curve) -> str:
    """What bounds prefill, and from how many tokens on.

    >>> from perfkit.latency import analyze
    >>> from perfkit.views.tokens import tokens_view
    >>> bounds_of(tokens_view([analyze("v100")]).curves[0])
    'prefill compute-bound from 86 tokens'
    """
    if not curve.crossings:
        return f"prefill {'compute' if curve.prefill.compute_bound[0] else 'memory'}-bound"
    return "prefill " + ", ".join(f"{found.bound}-bound from {found.tokens} tokens" for found in curve.crossings)


def _area(label: str, color: str) -> Line2D:
    return _mark(label, "s", inside=tint(color, FILLED), edge=INK)


def _mark(label: str, marker: str, inside: str, edge: str) -> Line2D:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"markerfacecolor": inside, "markeredgecolor": edge, "markeredgewidth": 0.6}
    return Line2D([], [], linestyle="", marker=marker, markersize=MARK + 1, label=label, **style)


def _line(label: str, color: str, dashes: str, marker: str = "") -> Line2D:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": dashes, "marker": marker, "markersize": MARK}
    return Line2D([], [], color=color, linewidth=1.2, label=label, **style)
