"""An empty figure as wide as a paper's column or page, with its heading above and its legend below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from perfkit.charts.style import FAINT, INK, LEADING, TEXT, TITLE, WIDTHS
from perfkit.units import parse_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    Sign: TypeAlias = Line2D | Patch  # of a legend, with its label

WIDER = 1.04  # letters fitted to pixels are so much wider than their outlines
EDGE = 4.0  # points left free around a figure
HANDLE, GAP, APART = 16.0, 4.0, 10.0  # points: a line of a legend, from a sign to its text, between entries


class Heading(NamedTuple):
    """What stands above a chart: its title, and lines that say of what it is and how its figures came about."""

    title: str
    lines: tuple[str, ...]


def sheet(width: str, height: float, heading: Heading, legend: Sequence[Sequence[Sign]] = ()) -> Figure:
    """Empty figure of one of WIDTHS, `height` inches of it for axes, with its heading above and its legend below.

    The legend's groups stand below each other, each in as many rows as it needs.

    Raises:
        UnknownName: no such width.
    """
    from matplotlib.figure import Figure

    inches = WIDTHS[known_width(width)]
    room = 72 * inches - 2 * EDGE
    lines = list(_heading_lines(heading, room))
    rows = [row for group in legend for row in _legend_rows(group, room)]
    above = EDGE + sum(LEADING * line.size for line in lines)
    below = EDGE + sum(map(_row_height, rows))
    total = above + 72 * height + below
    figure = Figure(figsize=(inches, total / 72))
    _write_heading(figure, lines)
    _write_legend(figure, rows, below)
    middle = (0, below / total, 1, 72 * height / total)
    figure.set_layout_engine("constrained", rect=middle, w_pad=EDGE / 72, h_pad=EDGE / 72)
    return figure


def known_width(width: str) -> str:
    """`width` if it is one of WIDTHS.

    Raises:
        UnknownName: no such width.
    """
    return parse_choice("width", width, WIDTHS)


# --- heading


class _HeadingLine(NamedTuple):
    text: str
    size: float
    weight: str
    color: str


def _heading_lines(heading: Heading, room: float) -> Iterator[_HeadingLine]:
    for text in wrapped(heading.title, room, TITLE, bold=True):
        yield _HeadingLine(text, TITLE, "bold", INK)
    for line in heading.lines:
        yield from (_HeadingLine(text, TEXT, "normal", FAINT) for text in wrapped(line, room, TEXT))


def _write_heading(figure: Figure, lines: Sequence[_HeadingLine]) -> None:
    width, height = (72 * inches for inches in figure.get_size_inches())
    y = height - EDGE
    for line in lines:
        style: dict[str, Any] = {"fontsize": line.size, "fontweight": line.weight, "color": line.color, "va": "top"}
        figure.text(EDGE / width, y / height, line.text, parse_math=False, **style)  # a name may have dollars in it
        y -= LEADING * line.size


# --- legends


def _legend_rows(handles: Sequence[Sign], room: float) -> list[list[Sign]]:
    """Handles in rows, as many to each as `room` points hold; labels too long for a row take several lines."""
    rows: list[list[Sign]] = []
    used = 0.0
    for handle in handles:
        label = wrapped(str(handle.get_label()), room - _sign_width(handle) - GAP, TEXT)
        handle.set_label("\n".join(label))
        asked = _entry_width(handle)
        if not rows or used + asked > room + APART:
            rows.append([])
            used = 0.0
        rows[-1].append(handle)
        used += asked
    return rows


def _mark_size(handle: Sign) -> float:
    """Points across its marker; 0 for patches and bare lines."""
    marker = getattr(handle, "get_marker", str)()
    return float(handle.get_markersize()) if marker not in ("", "None", None) else 0.0  # type: ignore[union-attr]


def _sign_width(handle: Sign) -> float:
    return _mark_size(handle) + 2 if handle.get_linestyle() == "None" else HANDLE


def _entry_width(handle: Sign) -> float:
    return _sign_width(handle) + GAP + text_width(str(handle.get_label()), TEXT) + APART


def _row_height(row: Sequence[Sign]) -> float:
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in row)
    return max(LEADING * TEXT * lines, *map(_mark_size, row)) + 2


def _write_legend(figure: Figure, rows: Sequence[Sequence[Sign]], below: float) -> None:
    width, height = (72 * inches for inches in figure.get_size_inches())
    y = below
    for row in rows:
        x = EDGE
        for handle in row:
            _write_entry(figure, handle, (x / width, (y - _row_height(row) / 2) / height))
            x += _entry_width(handle)
        y -= _row_height(row)


def _write_entry(figure: Figure, handle: Sign, place: tuple[float, float]) -> None:
    """A legend of one entry: several in one would all be as wide as their widest sign."""
    figure.legend(
        handles=[handle],
        loc="center left",
        bbox_to_anchor=place,
        fontsize=TEXT,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=_sign_width(handle) / TEXT,
        handletextpad=GAP / TEXT,
    )


# --- text


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Points that the widest line of a text takes at `size`, whatever the resolution."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")]
    return WIDER * float(max(widths))


def wrapped(text: str, room: float, size: float, *, bold: bool = False) -> list[str]:
    """Lines of a text, each no wider than `room` points; a word that is wider alone is broken anywhere."""
    lines: list[str] = []
    for word in text.split(" "):  # not at spaces that do not break
        if lines and text_width(f"{lines[-1]} {word}", size, bold=bold) <= room:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines += _pieces(word, room, size, bold=bold)
    return lines


def _pieces(word: str, room: float, size: float, *, bold: bool) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and text_width(pieces[-1] + letter, size, bold=bold) > room:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def unbroken(text: str) -> str:
    """A text whose words stay on one line.

    >>> unbroken("125 TFLOP/s")
    '125\\xa0TFLOP/s'
    """
    return text.replace(" ", "\N{NO-BREAK SPACE}")
