"""What requests are made of as a picture: bars of phases and sorts of work, to the first token and of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit import reports
from perfkit.charts.headings import listed, origin_of_rates, shared_work
from perfkit.charts.labelling import settle, spots_of
from perfkit.charts.rendering import write_figure
from perfkit.charts.sheet import Heading, known_width, sheet, text_width
from perfkit.charts.style import GREY, INK, PHASES, TEXT, WIDTHS, hide_frame, is_dark, plain_axes, quantity_axis, tint
from perfkit.units import format_quantity
from perfkit.views.breakdown import WORK, BreakdownView, Part
from perfkit.views.naming import labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

ROW, AROUND = 0.36, 0.52  # inches of a row: its name and its bar; of a panel's title and axis
THICK = 0.5  # of a row that its bar takes
RATIOS = (3, 2)  # widths of the panels of a page
PAD = 3.0  # points beside a text


class Texture(NamedTuple):
    """How much of its phase's colour a sort of work has, and its hatch: told apart in grey too."""

    part: float
    hatch: str


TEXTURES = {
    "linear layers": Texture(0.9, ""),
    "attention": Texture(0.5, "////"),
    "element-wise": Texture(0.25, "----"),
    "token selection": Texture(0.5, "xxxx"),
    "copies": Texture(0.0, ""),
    "communication": Texture(0.25, "...."),
}


class _Panel(NamedTuple):
    """Bars under a title, each with its name; no parts where a request has none."""

    title: str
    names: tuple[str, ...]
    bars: tuple[tuple[Part, ...], ...]

    @property
    def longest_s(self) -> float:
        return max(_total_s(parts) for parts in self.bars)


def draw_breakdown(view: BreakdownView, path: Path | str, width: str = "page") -> None:
    """Write a chart of `view`: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending or width.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(view, width), reports.overview(view))


def figure_of(view: BreakdownView, width: str) -> Figure:
    """The chart as a figure."""
    panels = list(_panels(view))
    beside = known_width(width) == "page" and len(panels) > 1
    height = AROUND + ROW * len(view.bars)
    figure = sheet(width, height if beside else height * len(panels), _heading(view), list(_legend(view)))
    shape, ratios = ((1, len(panels)), {"width_ratios": RATIOS}) if beside else ((len(panels), 1), {})
    drawn = figure.subplots(*shape, squeeze=False, gridspec_kw=ratios).ravel()
    part = RATIOS[1] / sum(RATIOS) if beside else 1.0
    for axes, panel in zip(drawn, panels, strict=True):
        _draw_panel(axes, panel, 72 * WIDTHS[width] * part)
    settle(drawn[0])
    for axes, panel in zip(drawn, panels, strict=True):
        _write_shares(axes, panel)
    return figure


def _panels(view: BreakdownView) -> Iterator[_Panel]:
    names = labels_of([bar.prediction for bar in view.bars])
    first = "time to the first token (TTFT)" if any(bar.step for bar in view.bars) else "time of the forward"
    yield _Panel(first, names, tuple(bar.first for bar in view.bars))
    if any(bar.step for bar in view.bars):
        yield _Panel("time per output token (TPOT)", names, tuple(bar.step for bar in view.bars))


# --- heading and legend


def _heading(view: BreakdownView) -> Heading:
    predictions = [bar.prediction for bar in view.bars]
    models, devices = listed(p.model.name for p in predictions), listed(p.device.id for p in predictions)
    origin = origin_of_rates(predictions)
    return Heading(
        f"Where the time goes: {models} on {devices}",
        (shared_work(predictions), f"Predicted by the roofline from counted FLOPs and bytes and {origin}."),
    )


def _legend(view: BreakdownView) -> Iterator[list[Patch]]:
    parts = [part for bar in view.bars for part in (*bar.first, *bar.step)]
    phases, works = ({part.phase for part in parts}, {part.work for part in parts})
    yield [_patch(look.color, TEXTURES["linear layers"], phase) for phase, look in PHASES.items() if phase in phases]
    yield [_patch(GREY, TEXTURES[work], work) for work in WORK if work in works]


def _patch(color: str, texture: Texture, label: str) -> Patch:
    from matplotlib.patches import Patch

    inside = tint(color, texture.part)
    return Patch(facecolor=inside, hatch=texture.hatch, edgecolor=INK, linewidth=0.4, label=label)


# --- bars


def _draw_panel(axes: Axes, panel: _Panel, points: float) -> None:
    axes.set_title(panel.title, fontsize=TEXT, color=INK, loc="left", fontweight="bold", pad=4)
    plain_axes(axes, grid="x")
    hide_frame(axes, "left")
    for y, parts in enumerate(panel.bars):
        for start, part in _starts(parts):
            _draw_part(axes, y, start, part)
    axes.set_yticks([])
    axes.set_ylim(len(panel.bars) - 0.6, -0.75)
    # Beside the longest bar stands its total.
    widest = max(text_width(format_quantity(_total_s(parts), "s"), TEXT) for parts in panel.bars)
    axes.set_xlim(0, panel.longest_s / (1 - (widest + 4 * PAD) / points))
    quantity_axis(axes.xaxis, "s")


def _draw_part(axes: Axes, y: int, start: float, part: Part) -> None:
    texture = TEXTURES[part.work]
    style: dict[str, Any] = {"facecolor": tint(PHASES[part.phase].color, texture.part), "hatch": texture.hatch}
    axes.barh([y], [part.roofline_s], left=start, height=THICK, edgecolor=INK, linewidth=0.4, **style)


def _starts(parts: Sequence[Part]) -> Iterator[tuple[float, Part]]:
    yield from zip(accumulate((part.roofline_s for part in parts), initial=0.0), parts, strict=False)


def _total_s(parts: Sequence[Part]) -> float:
    return sum(part.roofline_s for part in parts)


# --- texts


def _write_shares(axes: Axes, panel: _Panel) -> None:
    """Names above bars, totals beside them, and in each part as much of what it is as has room."""
    spot = spots_of(axes)
    offset: dict[str, Any] = {"textcoords": "offset points", "fontsize": TEXT, "color": INK, "annotation_clip": False}
    for y, (name, parts) in enumerate(zip(panel.names, panel.bars, strict=True)):
        axes.annotate(name, (0, y - THICK / 2), (0, 2), va="bottom", **offset)
        if parts:
            total = _total_s(parts)
            axes.annotate(format_quantity(total, "s"), (total, y), (PAD, 0), va="center", **offset)
        for start, part in _starts(parts):
            room = spot(start + part.roofline_s, y)[0] - spot(start, y)[0] - 2 * PAD
            if text := next((text for text in _texts(part) if text_width(text, TEXT) <= room), None):
                _write_share(axes, start + part.roofline_s / 2, y, part, text)


def _texts(part: Part) -> tuple[str, ...]:
    """What a part is, longest first."""
    share = f"{100 * part.share:.0f}\N{NO-BREAK SPACE}%"
    return f"{part.phase}: {part.work}, {share}", f"{part.work}, {share}", share


def _write_share(axes: Axes, x: float, y: int, part: Part, text: str) -> None:
    texture = TEXTURES[part.work]
    white = not texture.hatch and is_dark(tint(PHASES[part.phase].color, texture.part))
    behind = {"facecolor": "#FFFFFF", "alpha": 0.85, "edgecolor": "none", "pad": 0.8} if texture.hatch else None
    color = "#FFFFFF" if white else INK
    axes.text(x, y, text, fontsize=TEXT, ha="center", va="center", color=color, bbox=behind)
