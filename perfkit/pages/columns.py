"""Columns of a table on paper: letters as large as the width allows, texts wrapped where they must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from perfkit.tables import Table, show

SIZES = (7.5, 7.0, 6.5, 6.0, 5.5)  # points, the largest that fits is taken
GAP = 0.9  # between columns, in letters' sizes
LEAST_PROSE, LEAST_TEXT = 14.0, 5.0  # of columns that wrap, in letters' sizes; the latter only where nothing else helps


class Fitted(NamedTuple):
    """Texts of a table, the header first, with widths of its columns and size of its letters in points.

    `wrapped`: columns whose texts take several lines.
    """

    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]
    size: float
    wrapped: frozenset[int]


def fit(table: Table, width: float, wide: Callable[[str, bool], float]) -> Fitted:
    """A table within `width` points; `wide` says how many a text takes at a size of one point, if bold.

    >>> from perfkit.tables import Column
    >>> table = Table((Column("a", "op"), Column("b", "why", "prose")), (("norm", "x" * 200),))
    >>> found = fit(table, 200, lambda text, bold: 0.5 * len(text))
    >>> found.size, found.widths  # (4 / 2 + 0.9) * 7.5 = 21.75, and what is left
    (7.5, (21.75, 178.25))
    """
    units = [column.unit for column in table.columns]
    header = tuple(column.header for column in table.columns)
    cells = [tuple(show(value, unit) for value, unit in zip(row, units, strict=True)) for row in table.rows]
    natural = [_natural(i, header, cells, wide) for i in range(len(units))]
    prose = frozenset(i for i, unit in enumerate(units) if unit == "prose")
    texts = prose | {i for i, unit in enumerate(units) if unit == ""}
    size, wrapped = _size(natural, prose, texts, width)
    widths = _widths([size * each for each in natural], wrapped, _least(wrapped, prose, size), width)
    return Fitted((header, *cells), widths, size, wrapped)


def _natural(
    i: int, header: Sequence[str], cells: Sequence[Sequence[str]], wide: Callable[[str, bool], float]
) -> float:
    return max([wide(header[i], True), *(wide(row[i], False) for row in cells)]) + GAP


def _size(
    natural: Sequence[float], prose: frozenset[int], texts: frozenset[int], width: float
) -> tuple[float, frozenset[int]]:
    """The largest letters with which prose alone is wrapped; else the smallest, with all texts wrapped."""
    for size in SIZES:
        least = _least(prose, prose, size)
        if sum(min(size * each, least.get(i, size * each)) for i, each in enumerate(natural)) <= width:
            return size, prose
    return SIZES[-1], texts


def _least(wrapped: frozenset[int], prose: frozenset[int], size: float) -> dict[int, float]:
    return {i: size * (LEAST_PROSE if i in prose else LEAST_TEXT) for i in wrapped}


def _widths(
    natural: Sequence[float], wrapped: frozenset[int], least: dict[int, float], width: float
) -> tuple[float, ...]:
    """Columns that wrap share what the others leave, none wider than it needs; too much of all is shrunk alike."""
    widths = [min(each, least[i]) if i in wrapped else each for i, each in enumerate(natural)]
    room = width - sum(widths)
    for left, i in zip(range(len(wrapped), 0, -1), sorted(wrapped, key=lambda i: natural[i] - widths[i]), strict=True):
        grown = max(0.0, min(natural[i] - widths[i], room / left))
        widths[i], room = widths[i] + grown, room - grown
    shrunk = min(1.0, width / sum(widths)) if widths else 1.0
    return tuple(shrunk * each for each in widths)
