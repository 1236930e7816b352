"""Gains of a token reducer as a picture: a panel a GPU, a cell a batch and an answer length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log
from typing import TYPE_CHECKING, Any

from perfkit.charts.headings import listed, origin_of_rates, shared_work
from perfkit.charts.sheet import Heading, known_width, sheet
from perfkit.charts.style import FAINT, INK, SERIES, TEXT, hide_frame, is_dark, plain_axes, tint
from perfkit.latency import Prediction
from perfkit.views.gains import Gain, GainsView, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from perfkit.charts.sheet import Sign

ROW, AROUND = 0.34, 0.62  # inches of a row of cells; of a panel's title and axis
IN_A_ROW = {"column": 1, "page": 3}  # panels
FASTER, SLOWER = SERIES[0], SERIES[1]
NO_ROOM = {"only reduced": "////", "neither": "xxxx"}  # hatches
PALE = "#BBBBBB"
DEEPEST, DEEP = 8.0, 0.9  # times as fast, at which a colour is deepest, and how deep that is
NEARLY = 1.005  # what is less away from 1 would be printed as 1.00: no gain, no loss


def figure_of(view: GainsView, width: str) -> Figure:
    """The chart as a figure."""
    columns = min(IN_A_ROW[known_width(width)], len(view.panels))
    rows = ceil(len(view.panels) / columns)
    height = rows * (AROUND + ROW * len(view.batches))
    figure = sheet(width, height, _heading(view), list(_legend(view)))
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for place, one in enumerate(axes):
        if place < len(view.panels):
            _draw(one, view, view.panels[place], left=place % columns == 0)
        else:
            one.set_axis_off()
    return figure


def _heading(view: GainsView) -> Heading:
    before, after = ([getattr(gain, name) for gain in view.gains] for name in ("before", "after"))
    methods, devices = (listed(getattr(panel, name) for panel in view.panels) for name in ("reduction", "device"))
    visual = f"{_counts(before, 'visual_tokens')} to {_counts(after, 'visual_tokens')} visual tokens"
    text = f"{_counts(before, 'text_tokens')} of text"
    return Heading(
        f"How many times as fast a request is with {methods}: {before[0].model.name} on {devices}",
        (
            f"{visual}, {text}; {shared_work(before, tokens=False)}; {_runtime(before)}",
            "Upper figure: expected by the kernel model; lower: predicted by the roofline from counted FLOPs and bytes "
            f"and {origin_of_rates(before)}. A request: to the first token, and a decode step for each that follows.",
        ),
    )


def _counts(predictions: Sequence[Prediction], name: str) -> str:
    return listed(f"{getattr(p.workload, name):g}" for p in predictions)


def _runtime(predictions: Sequence[Prediction]) -> str:
    return f"runtime {listed(p.execution.runtime for p in predictions)}"


def _legend(view: GainsView) -> Iterator[list[Sign]]:
    from matplotlib.patches import Patch

    speeds = [_speed(gain) for gain in view.gains if gain.room == "both"]
    rooms = {gain.room for gain in view.gains}
    signs: list[tuple[bool, dict[str, Any], str]] = [
        (any(speed >= NEARLY for speed in speeds), {"facecolor": _color(3)}, "faster, the deeper the more"),
        (any(speed <= 1 / NEARLY for speed in speeds), {"facecolor": _color(0.7)}, "slower"),
        ("only reduced" in rooms, _hatched("only reduced"), "fits only with the reducer"),
        ("neither" in rooms, _hatched("neither"), "fits neither way"),
    ]
    yield [Patch(**{"edgecolor": FAINT, **look}, linewidth=0.4, label=label) for there, look, label in signs if there]


def _hatched(room: str) -> dict[str, Any]:
    return {"facecolor": "#FFFFFF", "hatch": NO_ROOM[room], "edgecolor": PALE}


# --- cells


def _draw(axes: Axes, view: GainsView, panel: Panel, *, left: bool) -> None:
    several = len({other.reduction for other in view.panels}) > 1
    title = f"{panel.device}, {panel.reduction}" if several else panel.device
    axes.set_title(title, fontsize=TEXT, color=INK, loc="left", fontweight="bold", pad=4)
    plain_axes(axes)
    hide_frame(axes, "left", "bottom")
    axes.set_xlim(-0.5, len(view.new_tokens) - 0.5)
    axes.set_ylim(-0.5, len(view.batches) - 0.5)
    axes.set_xticks(range(len(view.new_tokens)), [str(count) for count in view.new_tokens])
    axes.set_yticks(range(len(view.batches)), [str(count) for count in view.batches])
    axes.tick_params(length=0)
    axes.set_xlabel("new tokens", fontsize=TEXT, color=INK)
    if left:
        axes.set_ylabel("batch", fontsize=TEXT, color=INK)
    for (batch, new_tokens), gain in panel.gains.items():
        _draw_cell(axes, view.new_tokens.index(new_tokens), view.batches.index(batch), gain)


def _draw_cell(axes: Axes, x: int, y: int, gain: Gain) -> None:
    from matplotlib.patches import Rectangle

    corner = (x - 0.5, y - 0.5)
    if gain.room != "both":
        axes.add_patch(Rectangle(corner, 1, 1, linewidth=0, **_hatched(gain.room)))
    else:
        color = _color(_speed(gain))
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, linewidth=0))
        _write(axes, x, y, gain, "#FFFFFF" if is_dark(color) else INK)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#FFFFFF", linewidth=1.2))


def _write(axes: Axes, x: int, y: int, gain: Gain, ink: str) -> None:
    style: dict[str, Any] = {"ha": "center", "color": ink}
    if gain.expected is None:
        axes.text(x, y, _times(gain.roofline), va="center", fontsize=TEXT - 1, **style)
        return
    axes.text(x, y + 0.02, _times(gain.expected), va="bottom", fontsize=TEXT, fontweight="bold", **style)
    axes.text(x, y - 0.06, _times(gain.roofline), va="top", fontsize=TEXT - 1, **style)


def _times(speed: float) -> str:
    """As many decimals in every cell.

    >>> _times(5.0), _times(0.9951)
    ('5.00', '1.00')
    """
    return f"{speed:.2f}"


def _speed(gain: Gain) -> float:
    """The best that is known of it."""
    return gain.roofline if gain.expected is None else gain.expected


def _color(speed: float) -> str:
    """White where nothing changes; each doubling is a step of the same size.

    >>> _color(1.0), _color(8.0) == _color(20.0), _color(0.5) == _color(2.0)
    ('#ffffff', True, False)
    """
    depth = DEEP * min(1.0, abs(log(speed)) / log(DEEPEST))
    return tint(FASTER if speed >= 1 else SLOWER, depth)
