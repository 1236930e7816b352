"""Tables and figures of a request as HTML of the page; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import chain
from typing import NamedTuple

from perfkit.latency import Prediction
from perfkit.reports.expected import expected_in_words
from perfkit.tables import Table
from perfkit.tables.markup import grid
from perfkit.units import format_quantity

# Colours are those of the theme: what is faint is drawn in a share of its ink, enough to be read.
STYLE = """<style>
.pk-table { overflow-x: auto; margin: 0 0 .4rem; }
.pk-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; margin: 0; }
.pk-table th, .pk-table td { padding: .15rem .9rem .15rem 0; text-align: left; white-space: nowrap; border: 0; }
.pk-table th { font-weight: 600; }
.pk-table thead th, .pk-table tr:first-child > th:not([scope="row"]) { border-bottom: 1px solid currentColor; }
.pk-table th.number, .pk-table td.number, .pk-table [style*="right"] { text-align: right; }
.pk-table tr.section td { padding-top: .7rem; }
.pk-table caption { caption-side: top; text-align: left; white-space: normal; }
.pk-table tfoot td { white-space: normal; padding-top: .5rem; }
.pk-title { font-weight: 600; white-space: pre-line; margin: 1.1rem 0 .3rem; }
.pk-note { font-size: .8125rem; opacity: .82; margin: .1rem 0; max-width: 110ch; overflow-wrap: anywhere; }
.pk-box { border-left: .3rem solid; border-radius: .3rem; padding: .7rem 1rem; }
.pk-box { margin: 0 0 .5rem; overflow-wrap: anywhere; }
.pk-error { border-color: #D32F2F; background: rgb(211 47 47 / 13%); }
.pk-warning { border-color: #C98A00; background: rgb(201 138 0 / 13%); }
.pk-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .2rem 1.4rem; }
.stApp dl.pk-cards, .stApp dl.pk-cards div, .stApp dl.pk-cards dd { margin: 0; padding-left: 0; padding-right: 0; }
.pk-cards div { padding: .35rem 0; border-top: 2px solid currentColor; }
.pk-cards dt { font-size: .8125rem; font-weight: 600; }
.pk-cards dd { margin: 0; font-size: .8125rem; overflow-wrap: anywhere; }
.pk-cards dd.value { font-size: 1.55rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.pk-of { font-weight: 600; margin: .7rem 0 .1rem; overflow-wrap: anywhere; }
.pk-legend { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; }
.stApp ul.pk-legend { margin: 0; padding: 0; }
.pk-legend li { margin: 0 !important; padding: 0; font-size: .8125rem; }
.pk-legend span { display: inline-block; margin-right: .4rem; vertical-align: middle; }
.pk-swatch { width: 1.1rem; height: .8rem; border: 1px solid #808080; }
.pk-glyph { -webkit-text-stroke: .4px #808080; }
.pk-line { width: 1.6rem; height: 0; }
.stApp h1 { font-size: clamp(1.4rem, 5vw, 2rem); padding: .2rem 0; }
.stMainBlockContainer { padding-top: 4rem; padding-bottom: 3rem; }
.stMultiSelect [data-tag] { background: transparent; border: 1px solid currentColor; }
.stMultiSelect [data-tag], .stMultiSelect [data-tag] * { color: inherit; }
.js-plotly-plot :is(.xtick, .ytick, .g-gtitle, .g-xtitle, .g-ytitle, .annotation) text {
  fill: currentColor !important;
}
@media (min-width: 768px) { .pk-narrow { display: none; } }
</style>"""


def tables_html(tables: Iterable[Table]) -> str:
    """Tables one below the other, each in a frame that scrolls by itself where the page is narrow.

    >>> from perfkit.tables import Column
    >>> "&lt;b&gt;" in tables_html([Table((Column("name", "name"),), (("<b>",),), title="One")])
    True
    """
    return "\n".join(chain.from_iterable(map(_lines, tables)))


def _lines(table: Table) -> Iterator[str]:
    if table.title:
        yield f'<p class="pk-title">{escape(table.title)}</p>'
    if table.rows:
        yield from framed(table.title.partition("\n")[0] or "Table", grid(_without_bars(table)))
    yield from (f'<p class="pk-note">{escape(note)}</p>' for note in table.notes)


def _without_bars(table: Table) -> Table:
    """The table without bars of letters: charts show these shares here."""
    kept = [i for i, column in enumerate(table.columns) if column.unit != "bar"]
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return table._replace(columns=tuple(table.columns[i] for i in kept), rows=rows)


def framed(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines in a frame that scrolls, by the keyboard too, and says what it holds."""
    yield f'<div class="pk-table" tabindex="0" role="region" aria-label="{escape(name)}">'
    yield from lines
    yield "</div>"


# --- a request at a glance


class Card(NamedTuple):
    """A figure: what it is, its value, what it rests on."""

    name: str
    value: str
    basis: str


def cards_of(p: Prediction) -> tuple[Card, ...]:
    """Times and memory of a prediction, each with what it rests on.

    >>> from perfkit.latency import analyze
    >>> [card.value for card in cards_of(analyze("v100", tokens=32))][1]
    '14.8 ms'
    """
    first = "TTFT" if p.model.has_decoder else "forward"
    return tuple(_cards(p, first))


def _cards(p: Prediction, first: str) -> Iterator[Card]:
    show = format_quantity
    expected = expected_in_words(p.ttft_expected_s, *(p.ttft_range_s or ()))
    yield Card(first, show(p.ttft_roofline_s, "s"), _times(expected))
    step = p.mean_decode
    if step is not None:
        expected = expected_in_words(step.expected_s, step.expected_low_s, step.expected_high_s)
        yield Card("TPOT", show(step.roofline_s, "s"), _times(expected))
    fits = "fits" if p.footprint.fits(p.device.memory_bytes) else "does not fit"
    of = f"{fits} the card's {show(p.device.memory_bytes, 'B')} (datasheet)"
    yield Card("memory", show(p.footprint.total, "B"), f"counted; {of}")
    flops = sum(phase.flops for phase in p.phases if phase.phase != "decode")
    yield Card("FLOPs to the first token" if step is not None else "FLOPs", show(flops, "FLOP"), "counted")


def _times(expected: str | None) -> str:
    return f"predicted by the roofline; expected {expected}" if expected else "predicted by the roofline"


def cards_html(predictions: Sequence[Prediction]) -> str:
    """Figures at a glance, a row a GPU."""
    return "\n".join(chain.from_iterable(_cards_lines(p) for p in predictions))


def _cards_lines(p: Prediction) -> Iterator[str]:
    yield f'<p class="pk-of">{escape(p.device.id)}</p>'
    yield f'<dl class="pk-cards" aria-label="{escape(p.device.id)}">'
    for card in cards_of(p):
        value = f'<dd class="value">{escape(card.value)}</dd>'
        yield f"<div><dt>{escape(card.name)}</dt>{value}<dd>{escape(card.basis)}</dd></div>"
    yield "</dl>"
