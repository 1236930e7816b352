"""Tables and their formats: aligned text for people; csv, json, markdown, latex and html for machines.

A `Table` knows columns and rows, nothing of what they mean. People see rounded values with unit prefixes; every
other format carries plain SI numbers under the columns' keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit import layout
from perfkit.tables import escaping
from perfkit.units import format_quantity, parse_choice

if TYPE_CHECKING:
    import pandas

FORMATS = ("table", "json", "csv", "markdown", "latex", "html")
ALWAYS = 9  # importance of a column that stays however narrow the terminal
_TEXT = ("", "prose")
LEFT = (*_TEXT, "bar")  # units of columns that stand to the left
BAR_WIDTHS = (12, 8, 5)  # of a full bar: the widest for which nothing has to go


class Column(NamedTuple):
    """A column: `key` for machines, `header` for people.

    `unit`: "" text, "prose" text that may wrap, "n" a count, "x" a plain number, "share" a fraction shown as percent,
    "bar" a fraction drawn as a bar, else an SI unit shown with a prefix.
    `importance`: columns with the lowest go first where the terminal is narrow; those at 9 always stay.
    """

    key: str
    header: str
    unit: str = ""
    importance: int = ALWAYS


class Table(NamedTuple):
    """Rows under columns, with a title and notes; `rule_before` are rows that people see a line above."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    rule_before: frozenset[int] = frozenset()

    def records(self) -> Iterator[dict[str, Any]]:
        """Rows as mappings from key to value."""
        for row in self.rows:
            yield {column.key: value for column, value in zip(self.columns, row, strict=True)}

    def render(self, form: str, *, width: int = 100, color: bool = False) -> str:
        """The table as text in one of FORMATS, without a final newline.

        Raises:
            UnknownName: no such format.

        >>> Table((Column("flops", "FLOPs", "FLOP"),), ((60,),)).render("csv")
        'flops\\n60'
        """
        parse_choice("format", form, FORMATS)
        if form == "table":
            return render_for_people([self], width=width, color=color)
        if form == "json":
            return json.dumps(list(self.records()), indent=2)
        if form == "csv":
            return self._csv()
        return self._tabulated({"markdown": "github", "latex": "latex_booktabs", "html": "html"}[form])

    def to_frame(self) -> pandas.DataFrame:
        """The table as a data frame, columns named by their keys."""
        import pandas

        return pandas.DataFrame.from_records(list(self.records()), columns=[column.key for column in self.columns])

    def _repr_html_(self) -> str:
        """What a notebook shows where the table is the value of a cell."""
        from perfkit.tables.condensing import condensed
        from perfkit.tables.markup import notebook_html

        return notebook_html([condensed(self)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # IPython's signature
        """The same where IPython shows text alone."""
        from perfkit.tables.condensing import condensed

        printer.text(render_for_people([condensed(self)]))

    def _csv(self) -> str:
        return "\n".join(map(_csv_line, [[column.key for column in self.columns], *self.rows]))

    def _tabulated(self, style: str) -> str:
        """For pages and papers: without columns that are wholly empty, numbers to six significant digits."""
        from tabulate import tabulate

        used = [i for i in range(len(self.columns)) if not self.rows or any(row[i] is not None for row in self.rows)]
        columns = [self.columns[i] for i in used]
        cells = [["" if row[i] is None else _cell(row[i], style) for i in used] for row in self.rows]
        align = ["left" if column.unit in _TEXT else "right" for column in columns]
        headers = [_cell(column.key, style) for column in columns]
        return tabulate(cells, headers, tablefmt=style, disable_numparse=True, colalign=align if cells else None)


class Tables(list[Table]):
    """Tables that people see of a value, one below the other; in a notebook they are shown so.

    >>> print(Tables([Table((), (), title="One"), Table((), (), title="Two")]))
    One
    <BLANKLINE>
    Two
    """

    def titled(self, start: str) -> Table:
        """The first table whose title starts so.

        Raises:
            UnknownName: no such table.

        >>> Tables([Table((), (), title="Totals of all")]).titled("Totals").title
        'Totals of all'
        """
        titles = [table.title.partition("\n")[0] for table in self]
        found = next((title for title in titles if title.startswith(start)), start)
        return self[titles.index(parse_choice("title of a table", found, titles))]

    def __str__(self) -> str:
        return render_for_people(self)

    def _repr_html_(self) -> str:
        from perfkit.tables.markup import notebook_html

        return notebook_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # IPython's signature
        printer.text(str(self))


def _csv_line(cells: Iterable[Any]) -> str:
    import csv
    import io

    text = io.StringIO()
    # The end of a line is csv's own, cut off again: of others it quotes fewer characters, and a lone \r parts a row.
    csv.writer(text).writerow([escaping.csv(cell) for cell in cells])
    return text.getvalue().removesuffix("\r\n")


def _cell(value: Any, style: str) -> str:
    """A value in one line; tabulate itself escapes for LaTeX and HTML, but not for Markdown."""
    text = " ".join((f"{value:.6g}" if isinstance(value, float) else str(value)).split())
    return escaping.markdown(text) if style == "github" else text


def render_for_people(tables: Iterable[Table], *, width: int = 100, color: bool = False) -> str:
    """Tables one below the other as a terminal of `width` shows them."""
    return "\n\n".join("\n".join(_lines(table, width, color)) for table in tables)


def _lines(table: Table, width: int, color: bool) -> Iterator[str]:
    # Colours are added to meaning that the characters already carry, so a pipe loses nothing.
    for line in layout.paragraphs(table.title, width):
        yield layout.paint(line, "bold", color=color)
    columns, rows = _fitted(table, width)
    units = [column.unit for column in columns]
    if columns:
        yield from layout.grid(
            [column.header for column in columns],
            rows,
            width=width,
            right=[i for i, unit in enumerate(units) if unit not in LEFT],
            prose=[i for i, unit in enumerate(units) if unit == "prose"],
            painted=[i for i, unit in enumerate(units) if unit == "bar"],
            blank_before=table.rule_before,
            color=color,
        )
    hidden = [column.header or column.key for column in table.columns if column not in columns]
    notes = [f"not shown at this width: {', '.join(hidden)}"] if hidden else []
    for note in (*notes, *table.notes):
        for line in layout.paragraphs(note, width):
            yield layout.paint(line, "dim", color=color)


def show(value: Any, unit: str, bar_width: int = BAR_WIDTHS[0]) -> str:
    """One cell as people read it.

    >>> show(0.25, "share"), show(0.5, "bar"), show(13.27e9, "FLOP"), show(None, "s")
    ('25 %', '██████', '13.3 GFLOP', '-')
    """
    if value is None:
        return "-"
    if unit in _TEXT:
        return str(value)
    if unit == "n":
        return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"
    if unit == "x":
        return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"
    if unit == "share":
        return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.{0 if value >= 0.0095 else 1}f} %"
    if unit == "bar":
        return _bar(value, bar_width)
    return format_quantity(value, unit)


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def _fitted(table: Table, width: int) -> tuple[list[Column], list[list[str]]]:
    """Columns and shown cells: bars shortened, then the least important columns left out, as `width` asks for it."""
    columns = list(table.columns)
    for bar_width in BAR_WIDTHS:
        rows = [[show(v, c.unit, bar_width) for c, v in zip(columns, row, strict=True)] for row in table.rows]
        if _asked_width(columns, rows) <= width:
            return columns, rows
    while columns and _asked_width(columns, rows) > width:
        least = min(column.importance for column in columns)
        if least >= ALWAYS:
            break
        gone = max(i for i, column in enumerate(columns) if column.importance == least)
        del columns[gone]
        for row in rows:
            del row[gone]
    return columns, rows


def _asked_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    prose = [i for i, column in enumerate(columns) if column.unit == "prose"]
    return layout.total_width(layout.natural_widths([column.header for column in columns], rows, prose))
