"""A paper's table in LaTeX: booktabs' rules, multirow's spans, figures in siunitx's columns."""

from __future__ import annotations

from collections.abc import Iterator

from perfkit.tables.escaping import latex, one_line
from perfkit.tables.paper import Heading, Note, PaperRow, PaperTable

PACKAGES = ("adjustbox", "booktabs", "multirow", "siunitx")
NARROW = 54  # characters, gaps included, that a column of a two-column page holds
_GAP = 3  # characters that the space between two columns takes
_NONE = "{--}"


def written(table: PaperTable) -> str:
    """A float with its notes; comments say how it came about and which packages it needs.

    A table that no column of a two-column page could hold is a `table*`, which on other pages is a `table`. What is too
    wide for the page as well is made smaller.
    """
    environment = "table*" if _width(table) > NARROW else "table"
    return "\n".join(
        [
            *(f"% {one_line(line)}" for line in table.origin),
            f"% \\usepackage{{{','.join(PACKAGES)}}}",
            rf"\begin{{{environment}}}[tb]",
            r"  \centering\sisetup{mode=text}",
            rf"  \caption{{{latex(table.caption)}}}",
            rf"  \label{{{table.label}}}\smallskip",
            r"  \begin{adjustbox}{max width=\linewidth}",
            rf"  \begin{{tabular}}{{@{{}}{_columns(table)}@{{}}}}",
            *(f"    {line}" for line in _body(table)),
            r"  \end{tabular}",
            r"  \end{adjustbox}",
            *_notes(table.notes),
            rf"\end{{{environment}}}",
        ]
    )


def _width(table: PaperTable) -> int:
    """Characters side by side, gaps included."""
    widths = []
    for i, heading in enumerate(table.headings):
        cells = [(*row.keys, *row.figures)[i] for row in table.rows]
        widths.append(max(len(heading.name), len(heading.unit) + 2, *map(len, cells)))
    return sum(widths) + _GAP * len(widths)


def _columns(table: PaperTable) -> str:
    keys = ["l" if heading.text else "r" for heading in table.keys]
    figures = []
    for i, heading in enumerate(table.figures):
        numbers = [row.figures[i] for row in table.rows if row.figures[i]]
        figures.append("c" if heading.text else f"S[table-format={_shape(numbers)}]")
    return "".join([*keys, *figures])


def _shape(numbers: list[str]) -> str:
    """Digits before and after the point that siunitx keeps room for.

    >>> _shape(["72.8", "9.28"])
    '2.2'
    """
    parts = [number.partition(".") for number in numbers]
    whole = max((len(part[0]) for part in parts), default=1)
    decimals = max((len(part[2]) for part in parts), default=0)
    return f"{whole}.{decimals}" if decimals else str(whole)


def _body(table: PaperTable) -> Iterator[str]:
    yield r"\toprule"
    yield _line([_heading(heading.name, heading) for heading in table.headings])
    if any(heading.unit for heading in table.headings):
        yield _line([_heading(f"({h.unit})" if h.unit else "", h) for h in table.headings])
    yield r"\midrule"
    for index, row in enumerate(table.rows):
        if index and row.rule:
            yield _rule(row, len(table.headings))
        keys = [_key(table, index, column) for column in range(len(row.keys))]
        yield _line([*keys, *map(_figure, row.figures, table.figures)])
    yield r"\bottomrule"


def _line(cells: list[str]) -> str:
    return " & ".join(cells).rstrip() + r" \\"


def _heading(text: str, heading: Heading) -> str:
    return latex(text) if heading.text or not text else f"{{{latex(text)}}}"


def _rule(row: PaperRow, columns: int) -> str:
    return rf"\cmidrule(l){{{row.starts + 1}-{columns}}}" if row.starts else r"\midrule"


def _key(table: PaperTable, index: int, column: int) -> str:
    row, span = table.rows[index], table.span(index, column)
    if not span:
        return ""
    text = latex(row.keys[column])
    if row.marks and column == len(row.keys) - 1:
        marks = rf"\textsuperscript{{{latex(row.marks)}}}"
        text += marks if table.keys[column].text else rf"\rlap{{{marks}}}"  # numbers stay below each other
    return rf"\multirow{{{span}}}{{*}}{{{text}}}" if span > 1 else text


def _figure(figure: str, heading: Heading) -> str:
    if not figure:
        return _NONE
    return latex(figure) if heading.text else figure


def _notes(notes: tuple[Note, ...]) -> Iterator[str]:
    """Notes of all rows as one paragraph, then those that marks point to, a line each."""
    if not notes:
        return
    shared = [latex(note.text) for note in notes if not note.mark]
    marked = [rf"\textsuperscript{{{latex(note.mark)}}}{latex(note.text)}" for note in notes if note.mark]
    yield r"  \par\smallskip"
    yield r"  \begin{minipage}{\linewidth}\footnotesize"
    yield from (f"    {line}" for line in shared)
    yield from (rf"    \par {line}" for line in marked)
    yield r"  \end{minipage}"
