"""Labels on axes: measured, placed where they cover nothing, and written with a line to what they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.charts.placing import Box, Obstacles, Spot, Wish, place
from perfkit.charts.sheet import text_width
from perfkit.charts.style import FAINT, INK, LEADING, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


INSIDE = 1.0  # points that labels stay within the frame
ABOVE = 4.0  # where labels and their lines stand among what is drawn: over every mark

Spots = Callable[[float, float], Spot]  # from a place in data to one on the figure, in points


class Label(NamedTuple):
    """A text, and where it would stand."""

    text: str
    wish: Wish
    color: str = INK


def text_size(text: str) -> tuple[float, float]:
    """Width and height of a label of one or several lines, in points."""
    return text_width(text, TEXT), TEXT * LEADING * (text.count("\n") + 1)


def settle(axes: Axes) -> None:
    """Let the layout find its sizes and keep them, so that places on the axes are known at any resolution."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def frame_of(axes: Axes) -> Box:
    """The axes on the figure, in points."""
    scale, frame = _points(axes), axes.get_window_extent()
    return Box(scale * frame.x0, scale * frame.y0, scale * frame.x1, scale * frame.y1)


def spots_of(axes: Axes) -> Spots:
    """Where on the figure, in points, a place in data stands."""
    scale = _points(axes)

    def spot(x: float, y: float) -> Spot:
        across, up = axes.transData.transform((x, y))
        return float(scale * across), float(scale * up)

    return spot


def _points(axes: Axes) -> float:
    return 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]


def write_labels(axes: Axes, labels: Sequence[Label], obstacles: Obstacles) -> None:
    """Write each label at the first place of its wish that is free, with a line to its mark; some may find none."""
    places = place([label.wish for label in labels], frame_of(axes).grown(-INSIDE), obstacles)
    for label, box in zip(labels, places, strict=True):
        if box:
            _write(axes, label, box)


def _write(axes: Axes, label: Label, box: Box) -> None:
    middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    where: dict[str, Any] = {"xycoords": "figure points", "textcoords": "figure points"}
    style: dict[str, Any] = {"fontsize": TEXT, "color": label.color, "ha": "center", "va": "center", "linespacing": 1.1}
    style["zorder"] = ABOVE
    style["bbox"] = {"facecolor": "#FFFFFF", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    leader = label.wish.leader(box)
    if leader:
        line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=leader[0], xytext=leader[1], arrowprops=line, zorder=ABOVE, **where).set_in_layout(False)
    axes.annotate(label.text, xy=middle, xytext=middle, **where, **style).set_in_layout(False)
