"""Tables: golden text of every format, escaping, and what a narrow terminal drops."""

import csv
import io
import json

import pytest

from perfkit.errors import UnknownName
from perfkit.tables import FORMATS, Column, Table, escaping, render_for_people, show

COLUMNS = (Column("op_name", "op"), Column("flops", "FLOPs", "FLOP"), Column("seconds", "time", "s"))
TABLE = Table(COLUMNS, (("fc1", 2_000_000_000, 0.0157), ("fc2", 0, None)), title="Ops", notes=("counted",))


# --- golden texts


def test_people_see_rounded_values_with_prefixes():
    # Columns of 3, 10 and 7 characters with two between: text to the left, numbers to the right.
    assert TABLE.render("table").splitlines() == [
        "Ops",
        "op        FLOPs     time",
        "─" * (3 + 2 + 10 + 2 + 7),
        "fc1  2.00 GFLOP  15.7 ms",
        "fc2      0 FLOP        -",
        "counted",
    ]


def test_json_is_a_list_of_mappings_in_si():
    assert json.loads(TABLE.render("json")) == [
        {"op_name": "fc1", "flops": 2_000_000_000, "seconds": 0.0157},
        {"op_name": "fc2", "flops": 0, "seconds": None},
    ]


def test_csv_has_keys_and_plain_numbers_and_leaves_none_empty():
    assert TABLE.render("csv") == "op_name,flops,seconds\nfc1,2000000000,0.0157\nfc2,0,"


def test_markdown():
    assert TABLE.render("markdown").splitlines() == [
        r"| op\_name   |      flops |   seconds |",
        r"|------------|------------|-----------|",
        r"| fc1        | 2000000000 |    0.0157 |",
        r"| fc2        |          0 |           |",
    ]


def test_latex_is_for_booktabs():
    assert TABLE.render("latex").splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" op\_name   &      flops &   seconds \\",
        r"\midrule",
        r" fc1       & 2000000000 &    0.0157 \\",
        r" fc2       &          0 &           \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_html_has_a_cell_for_every_value():
    text = TABLE.render("html")
    assert text.startswith("<table>")
    assert text.endswith("</table>")
    assert text.count("<th") - text.count("<thead") == 3
    assert text.count("<td") == 6
    assert "2000000000" in text


def test_no_format_ends_in_a_newline():
    assert all(not TABLE.render(form).endswith(("\n", "\r")) for form in FORMATS)


def test_another_format_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown format 'htm'; nearest: html"):
        TABLE.render("htm")


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_without_rows_renders(form):
    text = Table(COLUMNS, ()).render(form)
    assert text == "[]" if form == "json" else "flop" in text.lower()


# --- escaping

SPECIAL = r"a & b % c _ d < e > f # g $ h | i"


def one_cell(text):
    return Table((Column("note", "note"), Column("n", "n", "n")), ((text, 1),))


def test_latex_escapes_what_latex_reads():
    row = one_cell(SPECIAL).render("latex").splitlines()[4]
    assert r"a \& b \% c \_ d \ensuremath{<} e \ensuremath{>} f \# g \$ h" in row
    assert row.count(" & ") == 1


def test_html_escapes_what_html_reads():
    text = one_cell("<script>alert('x') & more</script>").render("html")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "&amp; more" in text


def test_markdown_keeps_a_bar_inside_its_cell():
    row = one_cell(SPECIAL).render("markdown").splitlines()[2]
    assert r"h \| i" in row
    assert row.replace(r"\|", "").count("|") == 3


@pytest.mark.parametrize("text", ["2*B*n*d**2", "_x_ ~~y~~", "<b>", "`a|b`", "[a](b)", "R&D", r"a\|b"])
def test_markdown_shows_text_letter_by_letter(text):
    # The rules are markdown's own of perfkit.tables.escaping, which test_escaping.py reads back.
    row = one_cell(text).render("markdown").splitlines()[2]
    assert row.split()[1:-3] == escaping.markdown(text).split()
    header = Table((Column(text, "note"),), ()).render("markdown").splitlines()[0]
    assert escaping.markdown(text) in header


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_a_line_break_does_not_break_a_row(form):
    plain, broken = one_cell("one two").render(form), one_cell("one\ntwo").render(form)
    assert broken == plain


@pytest.mark.parametrize("text", ['say "x", y', "two\nlines", "a,b", " spaces ", "", "-1", "naïve µ"])
def test_csv_gives_back_what_went_in(text):
    assert list(csv.reader(io.StringIO(one_cell(text).render("csv"), newline=""))) == [["note", "n"], [text, "1"]]


def test_people_see_brackets_and_colons_as_written():
    # rich would take [bold] for markup and :smile: for a picture.
    text = one_cell("[bold]x[/bold] :smile:").render("table")
    assert "[bold]x[/bold] :smile:" in text


# --- data frames


def test_a_data_frame_has_the_keys_and_the_plain_values():
    frame = TABLE.to_frame()
    assert list(frame.columns) == ["op_name", "flops", "seconds"]
    assert frame["flops"].tolist() == [2_000_000_000, 0]
    assert frame["seconds"].isna().tolist() == [False, True]


def test_an_empty_data_frame_still_has_its_columns():
    frame = Table(COLUMNS, ()).to_frame()
    assert list(frame.columns) == ["op_name", "flops", "seconds"]
    assert len(frame) == 0


# --- cells


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", "-"),
        (None, "bar", "-"),
        ("x", "", "x"),
        (1234567, "n", "1 234 567"),
        (12.5, "n", "12.5"),
        (219.4, "x", "219"),
        (0.123456, "x", "0.123"),
        (0.25, "share", "25 %"),
        (1.0, "share", "100 %"),
        (0.0, "share", "0.0 %"),
        (0.0095, "share", "1 %"),  # the first that rounds to a whole percent
        (0.0094, "share", "0.9 %"),
        (0.0005, "share", "0.1 %"),  # 0.05 %, the first that is not "< 0.1"
        (0.0004, "share", "< 0.1 %"),
        (0.0, "bar", ""),
        (1.0, "bar", "█" * 12),
        (0.5, "bar", "█" * 6),
        (1 / 96, "bar", "▏"),  # one eighth of one of 12 characters
        (7 / 96, "bar", "▉"),
        (0.001, "bar", ""),
        (2e9, "B", "2.00 GB"),
    ],
)
def test_cells_as_people_read_them(value, unit, text):
    assert show(value, unit) == text


# --- width

WIDE = Table(
    (
        Column("name", "name"),
        Column("flops", "FLOPs", "FLOP", 5),
        Column("bytes", "bytes", "B", 3),
        Column("bound", "bound", "", 3),
        Column("time", "time", "s"),
    ),
    (("prefill", 8.45e12, 21.4e9, "compute", 72.8e-3),),
)
# Widths: prefill 7, "8.45 TFLOP" 10, "21.4 GB" 7, compute 7, "72.8 ms" 7; two characters between columns.


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (46, ["name", "FLOPs", "bytes", "bound", "time"]),  # 7 + 10 + 7 + 7 + 7 + 4 * 2
        (45, ["name", "FLOPs", "bytes", "time"]),  # of two that matter least the one to the right goes
        (37, ["name", "FLOPs", "bytes", "time"]),  # 7 + 10 + 7 + 7 + 3 * 2
        (36, ["name", "FLOPs", "time"]),
        (28, ["name", "FLOPs", "time"]),  # 7 + 10 + 7 + 2 * 2
        (27, ["name", "time"]),
        (16, ["name", "time"]),  # 7 + 7 + 2
    ],
)
def test_a_narrow_terminal_loses_the_least_important_columns_first(width, headers):
    lines = WIDE.render("table", width=width).splitlines()
    assert lines[0].split() == headers
    assert max(map(len, lines)) <= width
    assert "72.8 ms" in lines[2]


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "table"])
def test_machines_get_every_column_whatever_the_width(form):
    assert all(key in WIDE.render(form, width=10) for key in ("name", "flops", "bytes", "bound", "time"))


def test_prose_wraps_and_keeps_its_words():
    words = [f"word{i}" for i in range(20)]
    table = Table((Column("key", "key"), Column("note", "note", "prose", 5)), (("x", " ".join(words)),))
    lines = table.render("table", width=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines[2:]).split()) == "x " + " ".join(words)


def test_a_rule_stands_where_it_is_asked_for():
    table = Table((Column("a", "a"),), (("one",), ("two",)), rule_before=frozenset({1}))
    plain = Table((Column("a", "a"),), (("one",), ("two",)))
    lines, fewer = table.render("table").splitlines(), plain.render("table").splitlines()
    assert len(lines) == len(fewer) + 1
    assert lines.index("two") - lines.index("one") == 2


def test_tables_stand_one_below_the_other_with_a_line_between():
    single = TABLE.render("table").splitlines()
    assert render_for_people([TABLE, TABLE]).splitlines() == [*single, "", *single]


def test_colour_is_asked_for_and_carries_nothing_by_itself():
    plain, coloured = TABLE.render("table"), TABLE.render("table", color=True)
    assert "\x1b[" not in plain
    assert "\x1b[1m" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        coloured = coloured.replace(code, "")
    assert [line.rstrip() for line in coloured.splitlines()] == plain.splitlines()


def test_no_line_ends_in_spaces():
    assert all(line == line.rstrip() for line in WIDE.render("table").splitlines())


def test_a_row_of_another_length_is_a_mistake():
    with pytest.raises(ValueError, match="zip"):
        list(Table(COLUMNS, (("fc1", 1),)).records())


def test_what_a_narrow_terminal_hides_is_named():
    columns = (Column("op", "op"), Column("flops", "FLOPs", "FLOP", 2), Column("share", "", "bar", 5))
    table = Table(columns, (("attention", 33.4e9, 0.5),))
    assert "not shown" not in table.render("table", width=40)
    assert table.render("table", width=18).endswith("not shown at this\nwidth: FLOPs")


def test_bars_shrink_before_columns_go():
    table = Table((Column("op", "op"), Column("share", "", "bar", 5)), (("norm", 1.0),))
    bars = {width: table.render("table", width=width).count("█") for width in (18, 17, 14, 13, 11, 10)}
    assert bars == {18: 12, 17: 8, 14: 8, 13: 5, 11: 5, 10: 0}  # "norm", a gap of 2, and bars of 12, 8 or 5
