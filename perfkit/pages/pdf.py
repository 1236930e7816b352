"""A page as PDF: the same blocks as its HTML, laid out by ReportLab on A4; the same page gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from perfkit import __version__
from perfkit.charts.rendering import figure_bytes, font_file
from perfkit.documents import shortened
from perfkit.pages.columns import GAP, Fitted, fit
from perfkit.pages.page import Block, Command, Page, Paragraph, Picture, Points, Section
from perfkit.tables import Table
from perfkit.tables.escaping import html as escape
from perfkit.tables.escaping import one_line
from perfkit.tables.plain import LEFT

DPI = 220  # of pictures: letters of 7 points stay sharp in print
MARGIN = 42.5  # points: 15 mm
LONGEST_TITLE = 1000  # letters
LEAST_TABLE = 72.0  # points: a title, a header and some rows, for which a page must have room
TALLEST = 660.0  # points of a picture, so that its heading and its caption have room on its page
FOOTER, FOLIO = 7, 50.0  # points: letters of the footer; its room for "page" and its number
REGULAR, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, FAINT, LINE, BOX, URGENT, URGENT_BOX = "#1d1f23", "#565b64", "#d5d8dd", "#f4f5f7", "#8a4b00", "#fff4e0"


def pdf_of(page: Page) -> bytes:
    """The page as PDF."""
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import SimpleDocTemplate

    _register_fonts()
    buffer = io.BytesIO()
    about: dict[str, Any] = {
        "title": one_line(shortened(page.title, LONGEST_TITLE)),
        "subject": page.kind,
        "author": "",
        "lang": "en",
    }
    about["creator"] = f"perfkit {__version__}"
    sides = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), MARGIN)
    document = SimpleDocTemplate(buffer, pagesize=A4, invariant=1, **about, **sides)
    document.afterFlowable = lambda flowable: _outline(document, flowable)
    width = document.width - 12  # a frame keeps 6 points on each side
    story = [*_header(page), *(part for section in page.sections for part in _section(section, width))]
    footer = _footer(_fitted(one_line(page.title), width - FOLIO))
    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _register_fonts() -> None:
    """The letters of the charts, which have every sign that tables use."""
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    for name in (REGULAR, BOLD):
        registerFont(TTFont(name, font_file(name)))


def _style(size: float, color: str = INK, font: str = REGULAR, **more: Any) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    return ParagraphStyle("", fontName=font, fontSize=size, leading=1.35 * size, textColor=color, **more)


def _paragraph(text: str, size: float, color: str = INK, font: str = REGULAR, **more: Any) -> Any:
    from reportlab.platypus import Paragraph as Flowed

    return Flowed(escape(text), _style(size, color, font, **more))


# --- around the sections


def _header(page: Page) -> Iterator[Any]:
    yield _paragraph(f"{page.kind}; by perfkit {__version__}", 8.5, FAINT)
    yield _paragraph(shortened(page.title, LONGEST_TITLE), 16, font=BOLD, spaceBefore=2, spaceAfter=4)
    yield from (_paragraph(line, 8.5, FAINT) for line in page.subtitle.split("\n"))


def _fitted(title: str, room: float) -> str:
    """As much of a title as `room` points of the footer hold."""
    letters = min(len(title), 500)  # no line holds more
    while letters > 3 and FOOTER * _wide(shortened(title, letters), bold=False) > room:
        letters -= 1
    return shortened(title, letters)


def _footer(title: str) -> Callable[[Any, Any], None]:
    def draw(canvas: Any, document: Any) -> None:
        canvas.saveState()
        canvas.setFont(REGULAR, FOOTER)
        canvas.setFillColor(FAINT)
        canvas.drawString(MARGIN + 6, MARGIN - 16, title)
        canvas.drawRightString(document.pagesize[0] - MARGIN - 6, MARGIN - 16, f"page {document.page}")
        canvas.restoreState()

    return draw


def _outline(document: Any, flowable: Any) -> None:
    """An entry of the reader's table of contents for each heading."""
    title = getattr(flowable, "perfkit_heading", None)
    if title is not None:
        document.canv.bookmarkPage(title)
        document.canv.addOutlineEntry(title, title, level=0)


def _section(section: Section, width: float) -> Iterator[Any]:
    from reportlab.platypus import CondPageBreak

    # A table may break after its first rows, all else stays with its heading.
    together = not isinstance(section.blocks[0], Table)
    heading = _paragraph(section.title, 11.5, font=BOLD, spaceBefore=14, spaceAfter=4, keepWithNext=together)
    heading.perfkit_heading = section.title
    yield CondPageBreak(34 + LEAST_TABLE)
    yield heading
    for block in section.blocks:
        yield from _block(block, width)


# --- blocks


def _block(block: Block, width: float) -> Iterator[Any]:
    match block:
        case Paragraph(text):
            yield _paragraph(text, 8.5, spaceBefore=4)
        case Command(text):
            box: dict[str, Any] = {"backColor": BOX, "borderPadding": 4, "leftIndent": 4, "rightIndent": 4}
            yield _paragraph(text, 8, spaceBefore=7, spaceAfter=7, splitLongWords=1, **box)
        case Points():
            yield from _points(block, width)
        case Picture():
            yield from _picture(block, width)
        case Table():
            yield from _table(block, width)


def _points(block: Points, width: float) -> Iterator[Any]:
    color = URGENT if block.urgent else INK
    texts = [
        _paragraph(f"• {text}", 8.5, color, leftIndent=10, firstLineIndent=-8, spaceBefore=2.5) for text in block.texts
    ]
    if not block.urgent:
        yield from texts
        return
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import LongTable, Spacer

    everything = (0, 0), (-1, -1)
    box = [("BACKGROUND", *everything, HexColor(URGENT_BOX)), ("LINEBEFORE", *everything, 3, HexColor(URGENT))]
    yield Spacer(1, 5)
    yield LongTable([[text] for text in texts], colWidths=[width], splitInRow=1, hAlign="LEFT", style=box)


def _picture(picture: Picture, width: float) -> Iterator[Any]:
    from reportlab.platypus import Image

    image = Image(io.BytesIO(figure_bytes(picture.draw, "png", DPI)))
    scale = min(72 / DPI, width / image.imageWidth, TALLEST / image.imageHeight)
    image.drawWidth, image.drawHeight = scale * image.imageWidth, scale * image.imageHeight
    image.hAlign, image.keepWithNext = "LEFT", 1
    yield image
    yield _paragraph(picture.caption, 7.5, FAINT, spaceBefore=2, spaceAfter=6)


def _table(table: Table, width: float) -> Iterator[Any]:
    from reportlab.platypus import CondPageBreak, LongTable, Spacer

    yield CondPageBreak(LEAST_TABLE)
    yield Spacer(1, 4)
    if table.title:
        yield _paragraph(table.title, 8.5, font=BOLD, spaceAfter=3)
    fitted = fit(table, width, _wide)
    yield LongTable(
        list(_cells(fitted)),
        colWidths=fitted.widths,
        repeatRows=1,
        splitInRow=1,
        hAlign="LEFT",
        style=_table_style(table, fitted),
    )
    yield from (_paragraph(note, 7.5, FAINT, spaceBefore=3) for note in table.notes)


def _wide(text: str, bold: bool) -> float:
    """Points that a text takes at a size of one."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    return float(stringWidth(one_line(text), BOLD if bold else REGULAR, 1))


def _cells(fitted: Fitted) -> Iterator[list[Any]]:
    """Rows of cells, those that wrap as paragraphs."""
    head, *rows = fitted.rows
    yield [one_line(cell) for cell in head]
    for row in rows:
        yield [
            _paragraph(cell, fitted.size, splitLongWords=1) if i in fitted.wrapped else one_line(cell)
            for i, cell in enumerate(row)
        ]


def _table_style(table: Table, fitted: Fitted) -> list[tuple[Any, ...]]:
    from reportlab.lib.colors import HexColor

    everything, head, below = ((0, 0), (-1, -1)), ((0, 0), (-1, 0)), ((0, 1), (-1, -1))
    right = [i for i, column in enumerate(table.columns) if column.unit not in LEFT]
    return [
        ("FONT", *everything, REGULAR, fitted.size, 1.35 * fitted.size),
        ("FONT", *head, BOLD, fitted.size, 1.35 * fitted.size),
        ("TEXTCOLOR", *everything, HexColor(INK)),
        ("VALIGN", *everything, "TOP"),
        ("LEFTPADDING", *everything, 0),
        ("RIGHTPADDING", *everything, 0.9 * GAP * fitted.size),
        ("TOPPADDING", *everything, 1),
        ("BOTTOMPADDING", *everything, 1.8),
        ("LINEBELOW", *head, 0.6, HexColor(FAINT)),
        ("LINEBELOW", *below, 0.3, HexColor(LINE)),
        *(("ALIGN", (i, 0), (i, -1), "RIGHT") for i in right),
        *(("LINEABOVE", (0, i + 1), (-1, i + 1), 0.8, HexColor(FAINT)) for i in table.rule_before),
    ]
