"""Tables as HTML for people: figures rounded, with their units, as a page and the cells of a notebook show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import chain
from typing import TYPE_CHECKING

from perfkit.tables.plain import LEFT, show

if TYPE_CHECKING:
    from perfkit.tables.plain import Table

# Notebooks set cells to the right, break figures, and read what stands between two dollars as mathematics.
_NUMBER, _TEXT = (f' align="{side}" style="text-align: {side}; white-space: pre"' for side in ("right", "left"))
_PROSE = ' align="left" style="text-align: left"'
_FRAME = '<div class="tex2jax_ignore mathjax_ignore" style="overflow-x: auto">'
_TITLE, _NOTE = '<p style="white-space: pre-line"><b>', '<p style="color: #666; margin: 0">'


def grid(
    table: Table, text: str = "", number: str = ' class="number"', *, prose: str = "", start: str = "<div><table>"
) -> Iterator[str]:
    """Lines of the rows under their headers.

    `text`, `number`, `prose`: attributes of such cells; `start`: what opens the table and its frame, a caption with it.
    """
    kinds = [prose or text if c.unit == "prose" else text if c.unit in LEFT else number for c in table.columns]
    heads = zip(kinds, table.columns, strict=True)
    headers = "".join(f'<th scope="col"{kind}>{escape(column.header)}</th>' for kind, column in heads)
    yield f"{start}<thead><tr>{headers}</tr></thead><tbody>"
    for i, row in enumerate(table.rows):
        cells = zip(kinds, table.columns, row, strict=True)
        shown = "".join(f"<td{kind}>{escape(show(value, column.unit))}</td>" for kind, column, value in cells)
        section = '<tr class="section">' if i in table.rule_before else "<tr>"
        yield f"{section}{shown}</tr>"
    yield "</tbody></table></div>"


def notebook_html(tables: Iterable[Table]) -> str:
    """Tables one below the other in the output of a cell.

    >>> from perfkit.tables import Column, Table
    >>> "$1 to $2" in notebook_html([Table((Column("usd", "$"),), (("$1 to $2",),))])
    True
    """
    return "\n".join([_FRAME, *chain.from_iterable(map(_lines, tables)), "</div>"])


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield f"{_TITLE}{escape(table.title)}</b></p>"
    if table.columns:
        yield from grid(table, _TEXT, _NUMBER, prose=_PROSE)
    yield from (f"{_NOTE}{escape(note)}</p>" for note in table.notes)
