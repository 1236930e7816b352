"""Tables and their formats: rich for people, csv, json, markdown, latex and html for machines.

A `Table` knows columns and rows, nothing of what they mean. People see rounded values with unit prefixes; every
other format carries plain SI numbers under the columns' keys.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfkit.units import format_quantity, parse_choice

if TYPE_CHECKING:
    import pandas
    from rich.table import Table as RichTable

FORMATS = ("table", "json", "csv", "markdown", "latex", "html")
_TEXT = ("", "prose")
_BAR_WIDTH = 12
_GAP = 2  # characters that rich puts between columns
_PROSE_WIDTH = 24  # the least that wrapped text needs to read well


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `key` for machines, `header` for people.

    `unit`: "" text, "prose" text that may wrap, "n" a count, "x" a plain number, "share" a fraction shown as percent,
    "bar" a fraction drawn as a bar, else an SI unit shown with a prefix.
    `importance`: columns with the lowest go first where the terminal is narrow; those at 9 always stay.
    """

    key: str
    header: str
    unit: str = ""
    importance: int = 9


@dataclass(frozen=True, slots=True)
class Table:
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
        'flops\\r\\n60'
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

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([column.key for column in self.columns])
        writer.writerows(["" if value is None else value for value in row] for row in self.rows)
        return text.getvalue().rstrip("\r\n")

    def _tabulated(self, style: str) -> str:
        from tabulate import tabulate

        cells = [["" if value is None else _one_line(value, style) for value in row] for row in self.rows]
        headers = [column.key for column in self.columns]
        align = ["left" if column.unit in _TEXT else "right" for column in self.columns]
        return tabulate(cells, headers, tablefmt=style, disable_numparse=True, colalign=align if cells else None)


def _one_line(value: Any, style: str) -> str:
    text = " ".join(str(value).split())
    # tabulate escapes for LaTeX and HTML, but leaves the character that parts Markdown's cells.
    return text.replace("|", "\\|") if style == "github" else text


def render_for_people(tables: Iterable[Table], *, width: int = 100, color: bool = False) -> str:
    """Tables one below the other as a terminal of `width` shows them."""
    from rich.console import Console

    text = io.StringIO()
    # Colours are added to meaning that the characters already carry, so a pipe loses nothing.
    console = Console(
        file=text,
        width=width,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for index, table in enumerate(tables):
        if index:
            console.print()
        if table.title:
            console.print(table.title, style="bold")
        if table.columns:
            console.print(_rich(_fitted(table, width)))
        for note in table.notes:
            console.print(note, style="dim")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def show(value: Any, unit: str) -> str:
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
        return f"{value:.3g}"
    if unit == "share":
        return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.{0 if value >= 0.0095 else 1}f} %"
    if unit == "bar":
        return _bar(value)
    return format_quantity(value, unit)


def _bar(share: float) -> str:
    eighths = round(share * _BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def _fitted(table: Table, width: int) -> Table:
    """`table` without its least important columns, as far as `width` asks for it."""
    while _natural_width(table) > width:
        least = min(column.importance for column in table.columns)
        if least >= 9:
            return table
        gone = max(i for i, column in enumerate(table.columns) if column.importance == least)
        table = replace(
            table,
            columns=table.columns[:gone] + table.columns[gone + 1 :],
            rows=tuple(row[:gone] + row[gone + 1 :] for row in table.rows),
        )
    return table


def _natural_width(table: Table) -> int:
    widths = [
        _PROSE_WIDTH
        if column.unit == "prose"
        else max([len(column.header), *(len(show(row[i], column.unit)) for row in table.rows)])
        for i, column in enumerate(table.columns)
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def _rich(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in table.columns:
        left = column.unit in (*_TEXT, "bar")
        grid.add_column(
            column.header,
            justify="left" if left else "right",
            style="cyan" if column.unit == "bar" else None,
            no_wrap=column.unit != "prose",
            overflow="fold",
        )
    for index, row in enumerate(table.rows):
        if index in table.rule_before:
            grid.add_section()
        grid.add_row(*(show(value, column.unit) for column, value in zip(table.columns, row, strict=True)))
    return grid
