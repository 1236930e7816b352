"""An analysis as a page: key figures, roofline, where the time goes, cost against tokens, tables, and their sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfkit import remarks, reports
from perfkit.charts import breakdown, roofline, tokens
from perfkit.charts.headings import listed
from perfkit.errors import InvalidValue
from perfkit.latency import Prediction
from perfkit.pages.key_figures import in_short, key_figures
from perfkit.pages.page import Block, Command, Page, Paragraph, Picture, Section, plain, points, section
from perfkit.pages.sources import calibration_in_words, conventions, sources_of
from perfkit.reports.requests import REQUEST_COLUMNS, request_cells
from perfkit.reports.roofline_overview import intensity_of, what_times_are, work_in_words
from perfkit.tables import Column, Table, show
from perfkit.units import format_quantity
from perfkit.views.breakdown import breakdown_view
from perfkit.views.naming import check_several
from perfkit.views.roofline import roofline_view
from perfkit.views.tokens import Curve, tokens_view

MOST_DEVICES = 4  # whose curves and columns a reader can tell apart

_OP_COLUMNS = (
    "phase",
    "name",
    "kind",
    "repeat",
    "flops",
    "bytes",
    "intensity",
    "bound",
    "roofline_s",
    "expected_s",
    "expected_low_s",
    "expected_high_s",
)


def analysis_page(predictions: Sequence[Prediction], command: str) -> Page:
    """Page of what one request costs on each device; `command` makes it again.

    Raises:
        InvalidValue: no prediction, or more devices than a page compares.
    """
    check_several(f"a report compares at most {MOST_DEVICES} devices", [p.device.id for p in predictions], MOST_DEVICES)
    devices = listed(p.device.id for p in predictions)
    return Page(
        title=f"{predictions[0].model.name} on {devices}",
        kind="Analysis: predicted, not measured",
        subtitle="\n".join(work_in_words(predictions[0])),
        sections=tuple(found for found in _sections(predictions, command) if found is not None),
    )


def _sections(predictions: Sequence[Prediction], command: str) -> Iterator[Section | None]:
    warnings = [warning for p in predictions for warning in remarks.warnings(p)]
    yield section("In short", points([in_short(p) for p in predictions]), points(warnings, urgent=True))
    yield Section("Key figures", (key_figures(predictions),))
    yield Section("Where the time goes", tuple(_breakdown(predictions)))
    yield Section("Roofline", tuple(_roofline(predictions)))
    yield section("Cost against visual tokens", *_tokens(predictions))
    yield Section("Ops", tuple(_ops(p, alone=len(predictions) == 1) for p in predictions))
    yield Section("What was asked", tuple(_asked(predictions, command)))
    yield section("Notes", points([*what_times_are(predictions), *(n for p in predictions for n in remarks.notes(p))]))
    yield section("Sources", *_sources(predictions))
    yield conventions()


# --- pictures, with the tables beside them


def _roofline(predictions: Sequence[Prediction]) -> Iterator[Block]:
    try:
        view = roofline_view(predictions)
    except InvalidValue as error:
        yield Paragraph(f"No picture: {error}.")
        return
    yield Picture(
        draw=lambda: roofline.figure_of(view, "page"),
        narrow=lambda: roofline.figure_of(view, "column"),
        alt=f"Roofline chart of {listed(p.device.id for p in predictions)}. {' '.join(map(_bounds, predictions))}",
        caption="Marks lie on the roof by construction: they show what bounds an op, not how well it runs. Left of the "
        "ridge it waits for memory, right of it for the engine. Ops without FLOPs have no place here.",
    )


def _bounds(p: Prediction) -> str:
    phases = [f"{ph.phase} is bound by {ph.bound} at {show(intensity_of(ph), 'x')} FLOP/B" for ph in p.phases]
    return f"{p.device.id}: {', '.join(phases)}."


def _breakdown(predictions: Sequence[Prediction]) -> Iterator[Block]:
    view = breakdown_view(predictions)
    yield Picture(
        draw=lambda: breakdown.figure_of(view, "page"),
        narrow=lambda: breakdown.figure_of(view, "column"),
        alt=f"Bars of the roofline time by phase and sort of work. {' '.join(map(_shares, predictions))}",
        caption="Colours are phases, hatches sorts of work; a percentage is the share of its bar.",
    )
    for p in predictions:
        yield plain(reports.overview(p)[0], f"Phases on {p.device.id}")


def _shares(p: Prediction) -> str:
    total = p.ttft_roofline_s
    parts = [(ph.phase, show(ph.roofline_s / total, "share")) for ph in p.phases if ph.phase != "decode"]
    return f"{p.device.id}: {', '.join(f'{phase} {share}' for phase, share in parts)} of {format_quantity(total, 's')}."


def _tokens(predictions: Sequence[Prediction]) -> Iterator[Block]:
    try:
        view = tokens_view(predictions)
    except InvalidValue:  # no visual tokens to vary
        return
    ends = " ".join(map(_ends, view.curves))
    yield Picture(
        draw=lambda: tokens.figure_of(view, "page"),
        narrow=lambda: tokens.figure_of(view, "column"),
        alt=f"Curves against visual tokens: FLOPs and time to the first token, memory, time per output token. {ends}",
        caption="The same request with every count of visual tokens that its images make; all else as asked.",
    )
    for table in reports.overview(view):
        yield plain(table, table.title)


def _ends(curve: Curve) -> str:
    first, last = int(curve.tokens[0]), int(curve.tokens[-1])
    ttft = curve.along(curve.swept.ttft_roofline_s)
    times = (
        f"TTFT {format_quantity(ttft[0], 's')} at {first} visual tokens and {format_quantity(ttft[-1], 's')} at {last}"
    )
    return f"{curve.swept.device.id}: {times}; {tokens.bounds_of(curve)}."


# --- tables


def _ops(p: Prediction, *, alone: bool) -> Table:
    tidy = reports.report(p)
    places = [i for key in _OP_COLUMNS for i, column in enumerate(tidy.columns) if column.key == key]
    level = [column.key for column in tidy.columns].index("level")
    rows = tuple(tuple(row[i] for i in places) for row in tidy.rows if row[level] == "op")
    known = [k for k in range(len(places)) if any(row[k] is not None for row in rows)]
    return Table(
        tuple(tidy.columns[places[k]] for k in known),
        tuple(tuple(row[k] for k in known) for row in rows),
        title="" if alone else f"Ops on {p.device.id}",
        notes=("Figures of an op are totals over its launches. low, high: nine of ten times should lie between them.",),
        rule_before=frozenset(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0]),
    )


def _asked(predictions: Sequence[Prediction], command: str) -> Iterator[Block]:
    yield Table((Column("what", "what"), Column("asked", "asked", "prose")), tuple(_request(predictions)))
    yield Paragraph("This page again:")
    yield Command(command)


def _request(predictions: Sequence[Prediction]) -> Iterator[tuple[str, str]]:
    p = predictions[0]
    yield "device", listed(f"{one.device.id} ({one.device.name})" for one in predictions)
    cells = request_cells(p)
    left_out = set() if p.model.vision else {"visual_tokens", "images", "reduction"}
    left_out |= set() if p.model.text else {"text_tokens"}
    left_out |= set() if p.model.has_decoder else {"new_tokens", "kv"}
    for column in REQUEST_COLUMNS[1:]:
        if column.key not in left_out:
            yield column.header, show(cells[column.key], column.unit) or "none"
    yield "logits", p.execution.logits
    yield "expected times by", listed(one.expectation.id for one in predictions)


def _sources(predictions: Sequence[Prediction]) -> Iterator[Block | None]:
    yield from (sources_of(p.engines, p.layout) for p in predictions)
    yield points([calibration_in_words(p.expectation) for p in predictions])
