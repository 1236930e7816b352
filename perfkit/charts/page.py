"""A page of one file: a picture and the tables behind it, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from perfkit.tables import Table
from perfkit.tables.markup import grid

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 76rem; margin: 2rem auto;
       padding: 0 1rem; }
figure { margin: 0; } svg { width: 100%; height: auto; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; white-space: pre-line; }
div { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #888; } th, td { padding: .1rem .8rem .1rem 0; text-align: left; white-space: nowrap; }
th.number, td.number { text-align: right; } tr.section td { padding-top: .8rem; } p { color: #555; margin: .3rem 0; }
"""


def page(svg: str, tables: Sequence[Table]) -> str:
    """HTML of an SVG and the tables below it, titled as the first of them.

    >>> text = page("<?xml?><svg></svg>", [Table((), (), title="One & two"), Table((), (), title="More")])
    >>> "<title>One &amp; two</title>" in text, "<?xml?>" in text
    (True, False)
    """
    title = escape(tables[0].title.partition("\n")[0])
    lines = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>',
        f"<figure>{svg[svg.index('<svg') :]}</figure>",
        *(line for table in tables for line in _table(table)),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    yield from grid(table)
    yield from (f"<p>{escape(note)}</p>" for note in table.notes)
