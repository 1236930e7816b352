"""A page as PDF: what the HTML has, within its pages, and the same bytes each time."""

import re

import pytest

pytest.importorskip("reportlab")

from reportlab.pdfbase.pdfmetrics import stringWidth

from perfkit.latency import analyze
from perfkit.pages.analysis import analysis_page
from perfkit.pages.columns import GAP, SIZES, fit
from perfkit.pages.page import Command, Page, Paragraph, Picture, Points, Section
from perfkit.pages.pdf import TALLEST, pdf_of
from perfkit.tables import Column, Table, show


def pages_of(pdf):
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


@pytest.fixture
def readable(monkeypatch):
    """PDFs whose streams are not packed: in the first subset of a font ASCII letters have their own codes."""
    monkeypatch.setattr("reportlab.rl_config.pageCompression", 0)


class Shown:
    """ASCII text of a PDF in the order in which it is shown; blanks, which lines and fragments drop, do not count."""

    def __init__(self, pdf):
        parts = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", pdf)
        letters = re.sub(rb"\\(?:[0-7]{3}|(.))", rb"\1", b"".join(parts))
        self.text = self.squeezed(letters.decode("latin-1"))

    @staticmethod
    def squeezed(text):
        return "".join(letter for letter in text if "!" <= letter <= "~")

    def __contains__(self, text):
        return self.squeezed(text) in self.text

    def count(self, text):
        return self.text.count(self.squeezed(text))


@pytest.fixture(scope="module")
def analysis():
    return analysis_page([analyze("v100", tokens=32)], "perfkit report --gpu v100 --tokens 32 --output DIR")


def page(*blocks, title="A title"):
    return Page(title, "Analysis", "of what", (Section("Section", blocks),))


def table(rows, *columns):
    return Table(columns, tuple(rows))


# --- what it holds


@pytest.fixture(scope="module")
def words(analysis):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reportlab.rl_config.pageCompression", 0)
        return Shown(pdf_of(analysis))


def test_it_holds_what_the_page_holds(analysis, words):
    for section in analysis.sections:
        assert section.title in words
    assert "time to the first token that no run of these kernels beats" in words
    for block in (block for section in analysis.sections for block in section.blocks):
        match block:
            case Command(text) | Paragraph(text):
                assert text in words
            case Points(texts):
                assert all(text in words for text in texts)
            case Table():
                for column in block.columns:
                    assert column.header in words
                cells = [zip(row, block.columns, strict=True) for row in block.rows]
                assert all("".join(show(value, c.unit) for value, c in row) in words for row in cells)
            case Picture():
                assert block.caption[:40] in words


def test_figures_are_shown_as_people_read_them(words):
    for figure in ("14.8 ms", "115 MB", "125 TFLOP/s", "0.999"):
        assert figure in words


@pytest.mark.usefixtures("readable")
def test_names_stay_text():
    words = Shown(pdf_of(page(Paragraph("a <b>bold</b> & more"), title="<i>x</i> (y)")))
    assert "a <b>bold</b> & more" in words
    assert "<i>x</i> (y)" in words


def test_it_says_what_it_is_and_has_no_date_of_today():
    pdf = pdf_of(page(Paragraph("x")))
    assert b"/Lang (en)" in pdf or b"/Lang(en)" in pdf
    assert b"D:20000101000000" in pdf  # ReportLab's own for files that are to be the same
    assert b"(A title)" in pdf
    assert b"/Outlines" in pdf


# --- the same bytes


def test_the_same_page_gives_the_same_bytes():
    same = page(table([("µ", 1.0)], Column("a", "a"), Column("b", "b", "s")), Points(("x",), urgent=True))
    assert pdf_of(same) == pdf_of(same)


# --- within its pages


@pytest.mark.usefixtures("readable")
def test_a_long_table_breaks_over_pages_under_its_header():
    rows = [(f"op{i}", i / 7) for i in range(200)]
    pdf = pdf_of(page(table(rows, Column("op", "the op"), Column("s", "its time", "s"))))
    assert pages_of(pdf) > 3
    words = Shown(pdf)
    assert words.count("its time") == pages_of(pdf)  # a header a page
    assert all(f"op{i}" in words for i in range(200))


@pytest.mark.parametrize("unit", ["", "prose"])
def test_a_word_without_end_stays_on_the_page(unit):
    wide = table([("x" * 900, 1.0), ("y", 2.0)], Column("a", "a", unit), Column("b", "b", "s"))
    assert pages_of(pdf_of(page(wide, Command("z" * 900), Paragraph("w" * 900)))) >= 1


@pytest.mark.usefixtures("readable")
def test_the_footer_holds_as_much_of_a_title_as_its_width():
    # A4 is 595.3 points wide, less two margins of 42.5 + 6 and 50 for the number: 448, of letters of 7 points.
    words = Shown(pdf_of(page(Paragraph("a"), title="w" * 5000)))
    runs = re.findall(r"(w+)\.\.\.", words.text)
    footer = min(runs, key=len)
    each = stringWidth("w", "DejaVuSans", 7)
    room = 595.3 - 2 * 48.5 - 50
    dots = stringWidth("...", "DejaVuSans", 7)
    assert len(footer) * each + dots <= room < (len(footer) + 1) * each + dots


@pytest.mark.usefixtures("readable")
def test_a_title_that_the_footer_holds_is_whole_in_it():
    assert Shown(pdf_of(page(Paragraph("a"), title="A title of some words"))).count("A title of some words") == 2


def test_a_text_longer_than_a_page_breaks():
    long = "many words " * 3000
    assert pages_of(pdf_of(page(table([(long,)], Column("a", "a", "prose")), Points((long,), urgent=True)))) > 2


def test_a_table_without_rows_is_its_header():
    assert pages_of(pdf_of(page(table([], Column("a", "a"))))) == 1


def test_letters_that_the_font_lacks_do_not_stop_it():
    assert pdf_of(page(Paragraph("卡 \U0001f600 \udcff \x00"), table([("\udcff卡\n",)], Column("a", "a")))).startswith(
        b"%PDF"
    )


def test_a_picture_taller_than_a_page_is_made_smaller():
    from matplotlib.figure import Figure

    pdf = pdf_of(page(Picture(lambda: Figure(figsize=(4, 40)), "tall", "a tall one")))
    assert pages_of(pdf) == 2  # its own, after the title's
    assert TALLEST < 40 * 72


# --- columns


def half(text, _):
    """Letters half as wide as they are tall."""
    return 0.5 * len(text)


def test_a_narrow_table_has_the_largest_letters_and_its_own_width():
    found = fit(table([("norm", 0.5)], Column("a", "op"), Column("b", "s", "s")), 500, half)
    assert found.size == SIZES[0]
    # "norm" 4 / 2 letters and "500 ms" 6 / 2, each with a gap, at 7.5 points
    assert found.widths == pytest.approx((7.5 * (2 + GAP), 7.5 * (3 + GAP)))
    assert found.wrapped == frozenset()


def test_letters_shrink_before_texts_wrap():
    columns = [Column(f"c{i}", "x" * 10) for i in range(11)]  # 11 * 5.9 letters: 487 points at 7.5, 422 at 6.5
    found = fit(Table(tuple(columns), ()), 430, half)
    assert (found.size, found.wrapped) == (6.5, frozenset())
    assert sum(found.widths) <= 430


def test_too_many_columns_wrap_and_fill_the_width():
    columns = tuple(Column(f"c{i}", "x" * 10) for i in range(30))
    found = fit(Table(columns, (("word " * 5,) * 30,)), 400, half)
    assert found.size == SIZES[-1]
    assert found.wrapped == frozenset(range(30))
    assert sum(found.widths) == pytest.approx(400)
