"""A page as HTML: all of it there, letter by letter, nothing loaded, and readable by everyone."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from perfkit.latency import analyze
from perfkit.pages import html
from perfkit.pages.analysis import analysis_page
from perfkit.pages.html import html_of
from perfkit.pages.page import Command, Page, Paragraph, Picture, Points, Section
from perfkit.tables import Column, Table, show

VOID = {"meta", "img", "source", "br", "link"}


class Seen(HTMLParser):
    """Tags with their attributes, the text of each, and rows of each table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.open, self.texts = [], [], [], {}
        self.feed(text)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


class Drawn:
    """Stands for a figure of matplotlib."""

    def savefig(self, buffer, **_):
        buffer.write(b"<svg/>")


TABLE = Table(
    (Column("op", "op"), Column("s", "time", "s"), Column("why", "why", "prose")),
    (("norm", 0.0157, "a <b> & more"), ("add", None, "")),
    title="Ops",
    notes=("a note",),
    rule_before=frozenset({1}),
)
PAGE = Page(
    'A <script>alert("x")</script> & more',
    "Analysis",
    "two\nlines",
    (
        Section("One & two", (Paragraph("a paragraph"), Command("perfkit --x 'a b'"), Points(("mind",), urgent=True))),
        Section("A table", (TABLE, Picture(Drawn, 'shows "it"', "how to read", narrow=Drawn))),
    ),
)


@pytest.fixture(scope="module")
def analysis():
    return analysis_page([analyze("v100", tokens=32)], "perfkit report --gpu v100 --tokens 32 --output DIR")


@pytest.fixture(scope="module")
def seen(analysis):
    return Seen(html_of(analysis).decode())


# --- all of it, letter by letter


def test_names_stay_text():
    text = html_of(PAGE).decode()
    assert "<script" not in text
    found = Seen(text)
    assert "".join(found.texts["h1"]) == PAGE.title
    assert found.tables == [[["op", "time", "why"], ["norm", "15.7 ms", "a <b> & more"], ["add", "-", ""]]]
    assert "perfkit --x 'a b'" in found.texts["code"]


def test_what_is_no_text_does_not_break_the_file():
    page = Page("a\udcffb", "", "", (Section("x", (Table((Column("f", "file"),), (("\udcff.json",),)),)),))
    assert html_of(page).decode("utf-8").startswith("<!doctype html>")


def test_every_block_of_an_analysis_is_on_the_page(analysis, seen):
    expected = [block for section in analysis.sections for block in section.blocks]
    tables = [block for block in expected if isinstance(block, Table)]
    assert len(seen.tables) == len(tables)
    for table, rows in zip(tables, seen.tables, strict=True):
        assert rows[0] == [column.header for column in table.columns]
        assert rows[1:] == [
            [show(value, column.unit) for value, column in zip(row, table.columns, strict=True)] for row in table.rows
        ]
    assert len(seen.all("figure")) == sum(isinstance(block, Picture) for block in expected)
    assert seen.texts["li"] == [text for block in expected if isinstance(block, Points) for text in block.texts]
    assert seen.texts["h2"] == [section.title for section in analysis.sections]


def test_every_section_can_be_reached_from_the_top(analysis, seen):
    anchors = [attributes["href"].removeprefix("#") for attributes in seen.all("a")]
    assert anchors == [attributes["id"] for attributes in seen.all("h2")]
    assert seen.texts["a"] == [section.title for section in analysis.sections]


# --- nothing loaded


def test_nothing_is_loaded_from_elsewhere(seen):
    loaded = [
        value
        for _, attributes in seen.tags
        for key, value in attributes.items()
        if key in ("src", "srcset", "href", "xlink:href", "data", "action", "poster") and not value.startswith("#")
    ]
    assert loaded
    assert {value.partition(",")[0] for value in loaded} == {"data:image/svg+xml;base64"}
    assert not {"script", "link", "iframe", "object", "embed", "base", "svg"} & {tag for tag, _ in seen.tags}
    (style,) = seen.texts["style"]
    assert not re.search(r"@import|url\(", style)


def test_a_browser_is_told_to_load_nothing(seen):
    (policy,) = [a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:")


def test_pictures_are_whole_drawings_without_a_date(seen):
    images = [attributes["src"] for attributes in seen.all("img")] + [a["srcset"] for a in seen.all("source")]
    assert len(images) == 6
    for image in images:
        drawing = b64decode(image.partition(",")[2])
        assert ElementTree.fromstring(drawing).tag.endswith("svg")  # noqa: S314  # our own
        assert b"dc:date" not in drawing
        assert not re.search(rb'href="(?!#)', drawing)


def test_the_same_page_gives_the_same_bytes():
    assert html_of(PAGE) == html_of(PAGE)


# --- readable by everyone


def test_language_width_and_schemes_are_set(seen):
    assert seen.all("html") == [{"lang": "en"}]
    assert any(a.get("name") == "viewport" for a in seen.all("meta"))
    (style,) = seen.texts["style"]
    for asked in ("prefers-color-scheme: dark", "@media print", "max-width: 30rem"):
        assert asked in style


def test_headings_are_in_order_and_places_are_single(seen):
    headings = [tag for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}
    names = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_pictures_have_words_and_headers_a_scope(seen):
    assert all(len(attributes["alt"]) > 40 for attributes in seen.all("img"))
    assert {attributes["scope"] for attributes in seen.all("th")} == {"col"}
    assert "" not in seen.texts["th"]
    assert sum(len(rows[0]) for rows in seen.tables) == len(seen.texts["th"])  # no header is empty


def test_what_scrolls_can_be_scrolled_by_keyboard_and_has_a_name(seen):
    frames = [a for a in seen.all("div") if "table" in a.get("class", "")]
    assert len(frames) == len(seen.tables)
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in frames)
    names = [a["aria-label"] for _, a in seen.tags if "aria-label" in a]
    assert len(names) == len(set(names))  # or a list of places would name two alike


def luminance(color):
    """Relative luminance. Source: WCAG 2.2, definition of relative luminance."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_letters_stand_out_in_light_and_dark():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    schemes = re.findall(r":root \{([^}]*)\}", html._STYLE)
    assert len(schemes) == 3  # light, dark, print
    for scheme in schemes:
        color = dict(re.findall(r"--([\w-]+): (#\w+)", scheme))
        color = {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:]) for name, value in color.items()
        }
        for letters, back in (("ink", "back"), ("faint", "back"), ("ink", "box"), ("urgent", "urgent-box")):
            assert contrast(color[letters], color[back]) >= 4.5, (letters, back)
        assert "link" not in color or contrast(color["link"], color["back"]) >= 4.5
