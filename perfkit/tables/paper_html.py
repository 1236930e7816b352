"""A paper's table in HTML: a table element with its caption, spans, and notes in its foot."""

from __future__ import annotations

from collections.abc import Iterator

from perfkit.tables.escaping import html
from perfkit.tables.paper import Heading, Note, PaperTable

_RIGHT = ' style="text-align: right"'
_NONE = "–"


def written(table: PaperTable) -> str:
    """A `table` element; a group of rows is a `tbody`, and the last note says how the table came about."""
    origin = [f'<code style="white-space: pre-wrap">{html(line)}</code>' for line in table.origin]
    return "\n".join(
        [
            f'<table id="{html(table.label)}">',
            f"<caption>{html(table.caption)}</caption>",
            f"<thead><tr>{''.join(map(_heading, table.headings))}</tr></thead>",
            "<tbody>",
            *_body(table),
            "</tbody>",
            f'<tfoot><tr><td colspan="{len(table.headings)}">',
            "<br>\n".join([*map(_note, table.notes), *origin]),
            "</td></tr></tfoot>",
            "</table>",
        ]
    )


def _heading(heading: Heading) -> str:
    return f'<th scope="col"{"" if heading.text else _RIGHT}>{html(heading.line)}</th>'


def _note(note: Note) -> str:
    return (f"<sup>{html(note.mark)}</sup>" if note.mark else "") + html(note.text)


def _body(table: PaperTable) -> Iterator[str]:
    for index, row in enumerate(table.rows):
        if index and row.rule and not row.starts:
            yield "</tbody>\n<tbody>"
        keys = [_key(table, index, column) for column in range(len(row.keys))]
        yield f"<tr>{''.join([*keys, *map(_figure, row.figures, table.figures)])}</tr>"


def _key(table: PaperTable, index: int, column: int) -> str:
    row, span = table.rows[index], table.span(index, column)
    if not span:
        return ""
    marks = f"<sup>{html(row.marks)}</sup>" if row.marks and column == len(row.keys) - 1 else ""
    spanning = f' rowspan="{span}"' if span > 1 else ""
    aligned = "" if table.keys[column].text else _RIGHT
    return f'<th scope="row"{spanning}{aligned}>{html(row.keys[column])}{marks}</th>'


def _figure(figure: str, heading: Heading) -> str:
    return f"<td{'' if heading.text else _RIGHT}>{html(figure or _NONE)}</td>"
