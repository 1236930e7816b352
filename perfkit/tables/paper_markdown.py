"""A paper's table in Markdown, as GitHub shows it; a key stands in the first of the rows that it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perfkit.layout import cells_wide
from perfkit.tables.escaping import markdown, one_line
from perfkit.tables.paper import Heading, PaperTable

_NONE = "–"


def written(table: PaperTable) -> str:
    """Caption, table, and the notes as a list."""
    notes = [(f"<sup>{markdown(note.mark)}</sup> " if note.mark else "") + markdown(note.text) for note in table.notes]
    listed = "\n".join(f"- {note}" for note in [*notes, *map(_code, table.origin)])
    return "\n\n".join([f"**{markdown(table.caption.strip())}**", "\n".join(_grid(table)), listed])


def _grid(table: PaperTable) -> Iterator[str]:
    lines = [[markdown(heading.line) for heading in table.headings]]
    lines += [_cells(table, index) for index in range(len(table.rows))]
    widths = [max(3, *map(cells_wide, column)) for column in zip(*lines, strict=True)]
    head, *body = [_line(line, widths, table.headings) for line in lines]
    yield head
    yield "|".join(["", *(_ruler(width, h) for width, h in zip(widths, table.headings, strict=True)), ""])
    yield from body


def _cells(table: PaperTable, index: int) -> list[str]:
    row = table.rows[index]
    keys = [markdown(key) if table.span(index, column) else "" for column, key in enumerate(row.keys)]
    if row.marks:
        keys[-1] += f"<sup>{markdown(row.marks)}</sup>"
    return [*keys, *(markdown(figure or _NONE) for figure in row.figures)]


def _line(cells: list[str], widths: list[int], headings: tuple[Heading, ...]) -> str:
    padded = []
    for cell, width, heading in zip(cells, widths, headings, strict=True):
        space = " " * (width - cells_wide(cell))
        padded.append(cell + space if heading.text else space + cell)
    return f"| {' | '.join(padded)} |"


def _ruler(width: int, heading: Heading) -> str:
    return "-" * (width + 2) if heading.text else "-" * (width + 1) + ":"


def _code(line: str) -> str:
    """A line letter by letter, between more backticks than it holds in a row.

    >>> _code("echo `date`")
    '``echo `date` ``'
    """
    text = one_line(line)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{text}{' ' if text.endswith('`') else ''}{fence}"
