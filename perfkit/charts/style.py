"""How all charts look: colours and marks that any eye and grey paper tell apart, sizes of a paper's column and page."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, log10
from typing import TYPE_CHECKING, NamedTuple

from perfkit.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

WIDTHS = {"column": 3.4, "page": 7.0}  # inches, as papers of two columns have them
TITLE, TEXT = 8.5, 7.0  # points at the size at which a paper prints the chart
LEADING = 1.3  # height of a line over its size
INK, FAINT, GREY, GRID = "#222222", "#666666", "#888888", "#E4E4E4"

# Okabe and Ito's colours, in steps of lightness: told apart by any eye, and in grey.
# Source: Okabe and Ito, Color Universal Design (2008).
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*X"


class Look(NamedTuple):
    """Colour and marker of a phase."""

    color: str
    marker: str


PHASES = {
    "vision": Look("#E69F00", "o"),
    "reduction": Look("#CC79A7", "v"),
    "projector": Look("#F0E442", "D"),
    "prefill": Look("#0072B2", "s"),
    "decode": Look("#009E73", "^"),
}


# --- axes


def plain_axes(axes: Axes, *, grid: str = "") -> None:
    """Axes in the style of all charts: no frame above and right, small figures, a light grid along `grid`."""
    hide_frame(axes, "top", "right")
    axes.tick_params(labelsize=TEXT, colors=INK, width=0.6, length=2.5)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(0.6)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def hide_frame(axes: Axes, *sides: str) -> None:
    """Leave out these sides of the frame."""
    for side in sides:
        axes.spines[side].set_visible(False)


# --- colours


def tint(color: str, part: float) -> str:
    """So much of a colour, the rest white.

    >>> tint("#000000", 0.2)  # 0.8 * 255 = 204
    '#cccccc'
    """
    return _mixed(color, 1.0, part)


def shade(color: str) -> str:
    """A colour darkened, so that small letters in it can be read on white.

    >>> shade("#804000")  # 0.75 * 128 = 96, 0.75 * 64 = 48
    '#603000'
    """
    return _mixed(color, 0.0, 0.75)


def is_dark(color: str) -> bool:
    """Whether white letters can be read on a colour better than black ones.

    >>> is_dark("#0072B2"), is_dark("#F0E442")
    (True, False)
    """
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # luma of Rec. 601


def _mixed(color: str, other: float, part: float) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (part * channel + (1 - part) * other for channel in to_rgb(color))
    return to_hex((red, green, blue))


# --- quantities


def quantity_axis(axis: Axis, unit: str) -> None:
    """A few round ticks within the limits of an axis, each with its unit."""
    from matplotlib.ticker import MaxNLocator

    low, high = axis.get_view_interval()
    ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= tick <= high]
    axis.set_ticks(ticks, [tick_text(tick, unit) for tick in ticks])


def decade_axis(axis: Axis, text: Callable[[float], str]) -> None:
    """A tick at each tenfold within the limits of a logarithmic axis."""
    low, high = axis.get_view_interval()
    ticks = [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)]
    axis.set_ticks(ticks, [text(tick) for tick in ticks])
    axis.set_ticks([], minor=True)


def seconds_axis(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of each tenfold within the limits of a logarithmic axis, each with its unit."""
    low, high = axis.get_view_interval()
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [step * 10.0**power for power in decades for step in (1, 2, 5) if low <= step * 10.0**power <= high]
    axis.set_ticks(ticks, [tick_text(tick, "s") for tick in ticks])
    axis.set_ticks([], minor=True)


def tick_text(value: float, unit: str) -> str:
    """A figure on an axis, without zeros that say nothing.

    >>> tick_text(2.5e12, "FLOP"), tick_text(0.04, "s"), tick_text(0, "s")
    ('2.5 TFLOP', '40 ms', '0')
    """
    number, _, prefixed = format_quantity(value, unit).partition(" ")
    return f"{float(number):g} {prefixed}" if value else "0"
