"""Escaping: whatever text goes in, no format reads anything but letters in it."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perfkit.tables import Column, Table, escaping

SPECIALS = "\\{}$&#^_%~<>|\"[]*`'-=+@ \t\r\n\x00\x1b\u2028\ud800é卡"
texts = st.text() | st.text(alphabet=SPECIALS)
# What `latex` writes for one character.
LATEX = re.compile(
    r"\\(?P<plain>[{}$&#_%])|\{(?P<braced>[\[\]*`])\}|(?P<quote>\{\\char34\})"
    r"|\\text(?P<named>backslash|asciitilde|asciicircum|less|greater|bar)\{\}"
)
NAMED = {"backslash": "\\", "asciitilde": "~", "asciicircum": "^", "less": "<", "greater": ">", "bar": "|"}


def read_latex(text: str) -> str:
    """What LaTeX prints of a text in which only the known escapes may stand."""
    text = re.sub(r"-\{\}(?=-)", "-", text)
    bare = LATEX.sub("", text)
    assert not set(bare) & set('\\{}$&#^_%~<>|"[]*`\n\r\t'), bare

    def printed(match: re.Match[str]) -> str:
        found = match.groupdict()
        return found["plain"] or found["braced"] or (found["quote"] and '"') or NAMED[found["named"]]

    return LATEX.sub(printed, text)


@given(texts)
@example("\\\\[1ex] \\end{tabular} --- \\input{x} ^^M % comment")
@example("{}{[}\\textless{}")
def test_latex_prints_every_text_letter_by_letter(text):
    written = escaping.latex(text)
    assert read_latex(written) == escaping.one_line(text)
    assert "--" not in written
    assert len(written.splitlines()) <= 1


@given(texts)
@example("<script>&amp;</script>")
def test_html_shows_every_text_letter_by_letter(text):
    written = escaping.html(text)
    assert not set(written) & set("<>\"'")
    assert html.unescape(written) == escaping.one_line(text)
    assert len(written.splitlines()) <= 1


@given(texts)
@example("| a | **b** [c](d) <e> `f` \\| $g$ ~~h~~")
def test_markdown_shows_every_text_letter_by_letter(text):
    written = escaping.markdown(text)
    bare = re.sub(r"\\[\\`*_{}\[\]|~$#]|&(?:lt|gt|amp);", "", written)
    assert not set(bare) & set("\\`*_{}[]|~$#<>&")
    back = re.sub(r"\\(.)|(&(?:lt|gt|amp);)", lambda m: m[1] or html.unescape(m[2]), written)
    assert back == escaping.one_line(text)
    assert len(written.splitlines()) <= 1


@given(texts)
@example("=HYPERLINK(A1)")
@example("-2+3+cmd|' /C calc'!A0")
@example("\uff1d1+1")
def test_csv_has_no_text_that_a_spreadsheet_computes(text):
    table = Table((Column("note", "note"), Column("n", "n", "n")), ((text, -1),))
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return  # neither can stand in a file of text
    _, row = csv.reader(io.StringIO(table.render("csv"), newline=""))
    cell, number = row
    assert number == "-1"
    plain_number = re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", cell)
    assert plain_number or not cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert cell in (text, f"'{text}")


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", "-1-1", "- 1", "+1 2"])
def test_formulas_get_an_apostrophe(text):
    assert escaping.csv(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1", "+2.5", "-1e-05", "V100", "a=b", "", -1, -2.5, True])
def test_numbers_and_plain_text_stay(value):
    assert escaping.csv(value) == value


def test_headers_are_cells_too():
    assert Table((Column("=key", "key"),), ()).render("csv") == "'=key"


def test_bytes_that_were_no_text_are_marked_and_control_characters_blank():
    assert escaping.one_line("a\udc80b\x1b[1m\nc\u2028d") == "a\ufffdb [1m c d"
