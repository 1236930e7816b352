"""Columns of text for a terminal: widths, wrapping, colour.

Its own few lines because the quick path has no time for more: rich takes 45 ms to import and 50 ms to lay out one
overview, more than the whole rest of `perfkit roofline`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

GAP = 2  # blanks between columns
LEAST_PROSE = 24  # characters that wrapped text needs to read well

_STYLES = {"bold": "1", "dim": "2", "cyan": "36"}


def paint(text: str, style: str, *, color: bool) -> str:
    """`text` in a style of the terminal, if it has colours.

    >>> paint("TTFT", "bold", color=False)
    'TTFT'
    """
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color and text else text


def paragraphs(text: str, width: int) -> list[str]:
    """Lines of `text`, each wrapped to `width`."""
    return [line for part in text.splitlines() for line in wrap(part, width, break_on_hyphens=False)]


def cells_wide(text: str) -> int:
    """Terminal cells that `text` takes: two for each wide character of East Asian scripts.

    >>> cells_wide("15.7 µs"), cells_wide("卡")
    (7, 2)
    """
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def natural_widths(headers: Sequence[str], rows: Sequence[Sequence[str]], prose: Collection[int]) -> list[int]:
    """Width that each column asks for; columns of prose ask for little and take what is left."""
    return [
        max(LEAST_PROSE, cells_wide(header))
        if i in prose
        else max(map(cells_wide, (header, *(row[i] for row in rows))))
        for i, header in enumerate(headers)
    ]


def total_width(widths: Sequence[int]) -> int:
    """Width of columns side by side."""
    return sum(widths) + GAP * max(len(widths) - 1, 0)


def grid(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    right: Collection[int] = (),
    prose: Collection[int] = (),
    painted: Collection[int] = (),
    blank_before: Collection[int] = (),
    color: bool = False,
) -> Iterator[str]:
    """Lines of a table at most `width` wide, as far as its columns allow.

    `right`, `prose` and `painted` are columns (aligned right, wrapped, coloured); `blank_before` are rows that start a
    new section.

    >>> print("\\n".join(grid(["op", "ms"], [["norm", "1.5"], ["add", "12.0"]], width=20, right=[1])))
    op      ms
    ──────────
    norm   1.5
    add   12.0
    """
    widths = natural_widths(headers, rows, prose)
    room = width - total_width(widths)
    for i in prose:
        longest = max(map(cells_wide, (headers[i], *(row[i] for row in rows))))
        grown = min(longest, widths[i] + max(room, 0) // len(prose))
        room -= grown - widths[i]
        widths[i] = grown
    yield paint(_line(headers, widths, right), "bold", color=color)
    yield "─" * total_width(widths)
    for index, row in enumerate(rows):
        if index in blank_before:
            yield ""
        parts = [paragraphs(cell, widths[i]) or [""] if i in prose else [cell] for i, cell in enumerate(row)]
        for depth in range(max(map(len, parts))):
            line = [part[depth] if depth < len(part) else "" for part in parts]
            yield _line(line, widths, right, painted if color else ())


def _line(texts: Sequence[str], widths: Sequence[int], right: Collection[int], painted: Collection[int] = ()) -> str:
    padded = []
    for i, text in enumerate(texts):
        space = " " * (widths[i] - cells_wide(text))
        shown = paint(text, "cyan", color=i in painted)
        padded.append(space + shown if i in right else shown + space)
    return (" " * GAP).join(padded).rstrip()
