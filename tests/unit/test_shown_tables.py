"""Tables as a notebook shows them: short, rounded, and as text that no reader of HTML takes for anything else."""

from html.parser import HTMLParser

import pytest
from IPython.core.formatters import DisplayFormatter

import perfkit
from perfkit.errors import UnknownName
from perfkit.tables import Column, Table, Tables
from perfkit.tables.condensing import MOST_LETTERS, MOST_ROWS, condensed

COLUMNS = (Column("gpu", "GPU"), Column("batch", "batch", "n"), Column("seconds", "time", "s"), Column("why", "why"))
TABLE = Table(COLUMNS, (("v100", 1, 0.0766, None), ("v100", 8, 0.61, "<full> $1 or $2")))


class Cells(HTMLParser):
    """Rows of cells, and texts outside of them."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.others, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: ARG002  # the parser's signature
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data
        elif data.strip():
            self.others.append(data)


def test_a_notebook_sees_rounded_figures_and_what_all_rows_share_once():
    shown = Cells(TABLE._repr_html_())
    assert shown.rows == [["batch", "time", "why"], ["1", "76.6 ms", "-"], ["8", "610 ms", "<full> $1 or $2"]]
    assert shown.others == ["in all rows: GPU v100"]


def test_dollars_are_no_mathematics_and_figures_stand_to_the_right():
    html = TABLE._repr_html_()
    assert html.startswith('<div class="tex2jax_ignore mathjax_ignore"')
    assert '<td align="right" style="text-align: right; white-space: pre">76.6 ms</td>' in html


def test_ipython_takes_html_and_a_text_of_the_same():
    data, _ = DisplayFormatter().format(TABLE)
    assert Cells(data["text/html"]).rows[1] == ["1", "76.6 ms", "-"]
    assert data["text/plain"].splitlines()[0].split() == ["batch", "time", "why"]
    assert data["text/plain"].splitlines()[-1] == "in all rows: GPU v100"


def test_one_row_is_shown_whole():
    assert condensed(TABLE._replace(rows=TABLE.rows[:1])).columns == COLUMNS


def test_many_rows_are_cut_and_the_reader_is_told_where_all_are():
    table = Table(COLUMNS[1:2], tuple((batch,) for batch in range(MOST_ROWS + 7)))
    short = condensed(table)
    assert len(short.rows) == MOST_ROWS
    assert short.notes == ("7 more rows: .to_frame() and .render(form) have all 37",)
    assert len(table.to_frame()) == 37


def test_long_texts_are_cut_but_prose_is_not():
    long = "x" * (MOST_LETTERS + 1)
    columns = (Column("why", "why"), Column("note", "note", "prose"))
    (first, _) = condensed(Table(columns, ((long, long), ("a", "b")))).rows
    assert first == ("x" * (MOST_LETTERS - 1) + "…", long)


def test_columns_without_anything_are_left_out_without_a_word():
    columns = (*COLUMNS[:2], Column("note", "note"), Column("none", "none"))
    short = condensed(Table(columns, (("a", 1, "", None), ("b", 2, "", None))))
    assert [column.key for column in short.columns] == ["gpu", "batch"]
    assert short.notes == ()


# --- several


@pytest.fixture(scope="module")
def tables():
    return perfkit.overview(perfkit.analyze("v100", tokens=32))


def test_an_overview_is_what_the_command_prints(tables):
    from perfkit.tables import render_for_people

    assert str(tables) == render_for_people(tables)
    data, _ = DisplayFormatter().format(tables)
    assert data["text/plain"] == str(tables)
    assert ["TTFT", "19.7 ms"] in [row[:2] for row in Cells(data["text/html"]).rows]
    assert "Ops by kind" in Cells(data["text/html"]).others


def test_a_table_is_found_by_the_start_of_its_title(tables):
    assert tables.titled("Ops by").title == "Ops by kind"
    with pytest.raises(UnknownName, match=r"unknown title of a table 'Sums'.*Totals"):
        tables.titled("Sums")
    with pytest.raises(UnknownName):
        Tables().titled("Totals")
