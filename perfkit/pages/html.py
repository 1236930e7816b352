"""A page as one HTML file that loads nothing: pictures and style inside, for light and dark, a phone and paper."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

from perfkit import __version__
from perfkit.charts.rendering import figure_bytes
from perfkit.pages.page import Block, Command, Page, Paragraph, Picture, Points, Section
from perfkit.tables import Table
from perfkit.tables.escaping import html as escape
from perfkit.tables.markup import grid

# Nothing may be loaded, whatever a name in the page tries to be.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NARROW = "(max-width: 30rem)"  # screens that the picture of a paper's column fits

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1f23; --faint: #565b64; --line: #d5d8dd; --back: #ffffff; --box: #f4f5f7;
        --link: #0b57a4; --urgent: #8a4b00; --urgent-box: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7ea; --faint: #aab0ba; --line: #3c4149; --back: #16181c;
        --box: #22252b; --link: #8cc0f5; --urgent: #ffc46b; --urgent-box: #33290f; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 68rem;
       margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .2rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
a { color: var(--link); } :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.kind { color: var(--faint); margin: 0; } .subtitle { color: var(--faint); margin: 0; white-space: pre-line; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 0; padding: 0; }
ul.points { margin: .4rem 0; padding-left: 1.2rem; } ul.points li { margin: .25rem 0; }
ul.urgent { background: var(--urgent-box); color: var(--urgent); border-left: 4px solid currentColor; margin: .8rem 0;
            padding: .5rem .8rem .5rem 2rem; }
pre { background: var(--box); padding: .6rem .8rem; margin: .4rem 0; white-space: pre-wrap; overflow-wrap: anywhere;
      font: .875rem/1.5 ui-monospace, monospace; }
figure { margin: .8rem 0 1.4rem; } .wide { overflow-x: auto; }
img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 4px; }
.wide img { min-width: 56rem; }
figcaption, .note { color: var(--faint); font-size: .875rem; margin: .4rem 0; }
.table { overflow-x: auto; margin: .9rem 0 .4rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 .3rem; white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: .18rem 1.1rem .18rem 0; white-space: nowrap; }
th { border-bottom: 1px solid var(--faint); font-weight: 600; } td { border-bottom: 1px solid var(--line); }
th.number, td.number { text-align: right; } td.prose { white-space: normal; min-width: 15rem; max-width: 36rem; }
tr.section td { border-top: 2px solid var(--line); }
@media (max-width: 30rem) { th, td { white-space: normal; padding-right: .7rem; } td.number { white-space: nowrap; }
        td.prose { min-width: 7.5rem; } }
@media print {
  @page { size: A4; margin: 14mm; }
  :root { color-scheme: light; --ink: #000; --faint: #444; --line: #ccc; --back: #fff; --box: #f4f5f7;
          --urgent: #6b3a00; --urgent-box: #fff; }
  body { font-size: 9.5pt; max-width: none; padding: 0; } nav { display: none; }
  .table, .wide { overflow: visible; } .wide img { min-width: 0; } table { font-size: 7pt; }
  th, td { padding-right: .7em; } td.prose { min-width: 12em; overflow-wrap: anywhere; }
  h2, caption { break-after: avoid; } figure, tr, li { break-inside: avoid; }
}
"""


def html_of(page: Page) -> bytes:
    """The page as HTML.

    >>> html_of(Page("One & two", "Analysis", "", ())).partition(b"<title>")[2][:13]
    b'One &amp; two'
    """
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f'<meta name="generator" content="perfkit {__version__}">',
        f"<title>{escape(page.title)}</title><style>{_STYLE}</style></head><body>",
        *_header(page),
        "<main>",
        *(line for section in page.sections for line in _section(section)),
        "</main></body></html>",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _header(page: Page) -> Iterator[str]:
    yield f'<header><p class="kind">{escape(page.kind)}; by perfkit {__version__}</p><h1>{escape(page.title)}</h1>'
    subtitle = "\n".join(escape(line) for line in page.subtitle.split("\n"))
    yield f'<p class="subtitle">{subtitle}</p>'
    links = "".join(f'<li><a href="#{_anchor(s.title)}">{escape(s.title)}</a></li>' for s in page.sections)
    yield f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>'


def _anchor(title: str) -> str:
    """A title as the name of a place.

    >>> _anchor("Key figures")
    'key-figures'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def _section(section: Section) -> Iterator[str]:
    anchor = _anchor(section.title)
    yield f'<section><h2 id="{anchor}">{escape(section.title)}</h2>'
    for block in section.blocks:
        yield from _block(block, section.title)
    yield "</section>"


def _block(block: Block, title: str) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield f"<p>{escape(text)}</p>"
        case Command(text):
            yield f"<pre><code>{escape(text)}</code></pre>"
        case Points():
            yield from _points(block)
        case Picture():
            yield from _picture(block, title)
        case Table():
            yield from _table(block, title)


def _points(block: Points) -> Iterator[str]:
    urgent = ' urgent" aria-label="Warnings' if block.urgent else ""
    yield f'<ul class="points{urgent}">'
    yield from (f"<li>{escape(text)}</li>" for text in block.texts)
    yield "</ul>"


def _picture(picture: Picture, title: str) -> Iterator[str]:
    image = f'<img alt="{escape(picture.alt)}" src="{_embedded(figure_bytes(picture.draw, "svg"))}">'
    if picture.narrow is None:
        yield f'<figure><div class="wide" {_scrolled(title)}>{image}</div>'
    else:
        narrow = _embedded(figure_bytes(picture.narrow, "svg"))
        yield f'<figure><picture><source media="{_NARROW}" srcset="{narrow}">{image}</picture>'
    yield f"<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _embedded(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _scrolled(title: str) -> str:
    """Attributes of what scrolls to the side, by keyboard too."""
    return f'role="region" aria-label="{escape(title)}" tabindex="0"'


def _table(table: Table, title: str) -> Iterator[str]:
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    frame = f'<div class="table" {_scrolled(table.title or title)}><table>{caption}'
    yield from grid(table, prose=' class="prose"', start=frame)
    yield from (f'<p class="note">{escape(note)}</p>' for note in table.notes)
