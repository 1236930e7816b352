"""`PaperTable`: a table as a paper prints it, with a caption, grouped rows, aligned figures and notes below.

Figures are text here, rounded already; writers decide nothing but how their language says it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from perfkit.units import parse_choice

PAPER_FORMATS = ("latex", "markdown", "html")
MOST_DIGITS = 3  # beyond the significant ones, that a small figure may ask of the larger ones of its column


class Heading(NamedTuple):
    """Head of a column; `unit` stands below the name or behind it. `text`: to the left, and not a number."""

    name: str
    unit: str = ""
    text: bool = False

    @property
    def line(self) -> str:
        """Name and unit.

        >>> Heading("Prefill", "ms").line
        'Prefill (ms)'
        """
        return f"{self.name} ({self.unit})" if self.unit else self.name


class PaperRow(NamedTuple):
    """A row: what it is of (`keys`), then its `figures`, "" where there is none.

    `starts`: first of the keys that is not the one of the row above. `rule`: whether a line stands above. `marks` point
    to notes.
    """

    keys: tuple[str, ...]
    figures: tuple[str, ...]
    starts: int = 0
    rule: bool = False
    marks: str = ""


class Note(NamedTuple):
    """Text below the table; `mark` is what points to it, if anything does."""

    text: str
    mark: str = ""


class PaperTable(NamedTuple):
    """A table for a paper; `origin` are lines that say how it came about."""

    keys: tuple[Heading, ...]
    figures: tuple[Heading, ...]
    rows: tuple[PaperRow, ...]
    caption: str
    label: str
    notes: tuple[Note, ...] = ()
    origin: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[Heading, ...]:
        """All columns."""
        return (*self.keys, *self.figures)

    def render(self, form: str) -> str:
        """The table as text in one of PAPER_FORMATS, without a final newline.

        Raises:
            UnknownName: no such format.
        """
        from importlib import import_module

        parse_choice("format", form, PAPER_FORMATS)
        text: str = import_module(f"perfkit.tables.paper_{form}").written(self)
        return text

    def span(self, row: int, key: int) -> int:
        """Rows that a key stands for, from the row that it stands in; 0 in the rows below."""
        if row and self.rows[row].starts > key:
            return 0
        return 1 + len(list(takewhile(lambda below: below.starts > key, self.rows[row + 1 :])))


def aligned(values: Sequence[float | None], digits: int) -> list[str]:
    """Figures of one column, with as many decimals as the smallest needs for `digits` significant ones; "" for None.

    Where that would make the largest too long, the smallest alone have that many.

    >>> aligned([8.856, 0.9124, None, 0], 3), aligned([1234.5, 0.00512], 3)
    (['8.856', '0.912', '', '0.000'], ['1234.50', '0.00512'])
    """
    known = [value for value in values if value]
    longest = max(0, digits + MOST_DIGITS - 1 - _exponent(max(known, default=1.0), digits + MOST_DIGITS))
    common = min(longest, max((_decimals(value, digits) for value in known), default=0))
    return ["" if value is None else f"{value:.{max(common, _decimals(value, digits))}f}" for value in values]


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - _exponent(value, digits)) if value else 0


def _exponent(value: float, digits: int) -> int:
    """Power of ten of a figure once it is rounded to its significant digits.

    >>> _exponent(9.996, 3), _exponent(9.994, 3)
    (1, 0)
    """
    return math.floor(math.log10(float(f"{abs(value):.{digits - 1}e}")))
