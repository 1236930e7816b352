"""A validation as a page: what was measured where, how far predictions are off, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perfkit import reports
from perfkit.charts import accuracy, validation
from perfkit.documents import shortened
from perfkit.measuring.measurement import Measurement
from perfkit.pages.page import Block, Command, Page, Paragraph, Picture, Section, plain, points, section
from perfkit.pages.sources import conventions, sources_of
from perfkit.reports.validation_overview import case_order, facets_of
from perfkit.roofline import Engines
from perfkit.tables import Column, Table, show
from perfkit.units import Precision, format_quantity
from perfkit.validation.judging import ALL_PHASES, Errors, Validation

LONGEST_NOTE = 2000  # letters; what CUDA says when memory is short takes some 600
PREDICTORS = {
    "expected": "Expected times are off by {mape} in the mean of {points} points, {worst} at worst",
    "roofline": "The roofline, a bound, is off by {mape} in the mean of {points} points, {worst} at worst",
}


def validation_page(v: Validation, measurements: Sequence[Measurement], command: str) -> Page:
    """Page of a validation of `measurements`; `command` makes it again."""
    return Page(
        title=f"{shortened(v.machine.name)} (measured) against {v.device.id} (predicted)",
        kind="Validation: predictions against what was measured",
        subtitle=facets_of(point.case for point in v.points).shared,
        sections=tuple(found for found in _sections(v, measurements, command) if found is not None),
    )


def _sections(v: Validation, measurements: Sequence[Measurement], command: str) -> Iterator[Section | None]:
    of_points, *others = reports.overview(v)
    timed = bool(v.waterfalls)  # without a timing there are no errors and no parts of it
    yield section("In short", points(list(_in_short(v))), points(_brief(v.warnings), urgent=True))
    if timed:
        errors = plain(others.pop(0), "Mean and worst of the absolute percentage errors")
        yield Section("Measured against predicted", (_accuracy(v), errors))
    yield Section("What was measured where", tuple(_measured(v, measurements, command)))
    yield Section("Points", (plain(of_points),))
    yield section("Points to be careful with", points(_brief(_unsteady(v, measurements))))
    if timed:
        yield Section("Where the time goes", (_every_point(v), plain(others.pop(0))))
    for table in others:
        yield Section("Speed-ups", (plain(table, table.title),))
    yield Section("Sources", (sources_of(_engines(v)),))
    yield conventions()


def _brief(texts: Iterable[str]) -> list[str]:
    """Texts with what files say in them, none so long that it fills a page."""
    return [shortened(text, LONGEST_NOTE) for text in texts]


# --- in short


def _in_short(v: Validation) -> Iterator[str]:
    timed = sum(point.timing is not None for point in v.points)
    phases = dict.fromkeys(point.case.phase for point in v.points)
    yield f"{timed} of {len(v.points)} points of {', '.join(phases)} were timed on {shortened(v.machine.name)}."
    for error in v.errors:
        if error.phase == ALL_PHASES:
            yield f"{_off(error)}."
    shaky = sum(point.status == "unstable" for point in v.points)
    yield f"{shaky} {'point is' if shaky == 1 else 'points are'} unstable." if shaky else "No point is unstable."


def _off(error: Errors) -> str:
    shares = {"mape": show(error.mape, "share"), "worst": show(error.worst, "share")}
    return PREDICTORS[error.predictor].format(points=error.points, **shares)


# --- pictures


def _accuracy(v: Validation) -> Picture:
    errors = [f"{e.phase}, {e.predictor} off by {show(e.mape, 'share')}" for e in v.errors if e.phase != ALL_PHASES]
    return Picture(
        draw=lambda: accuracy.figure_of(v, "page"),
        narrow=lambda: accuracy.figure_of(v, "column"),
        alt=f"Measured against predicted time of every point, and mean errors by phase: {'; '.join(errors)}.",
        caption="A mark on the line was predicted as it was measured; above it the machine was slower.",
    )


def _every_point(v: Validation) -> Picture:
    below = ", below it speed-ups promised and got" if any(s.new_tokens is not None for s in v.speedups) else ""
    return Picture(
        draw=lambda: validation.figure_of(v),
        alt=f"Measured over predicted time of every point, beside it the parts of the measured time{below}; the tables "
        "have the figures.",
        caption="Left: 1 is a prediction that was met; a line is the 95 % interval of the median. Right: from the "
        "roofline to what was measured.",
    )


# --- what was measured


def _measured(v: Validation, measurements: Sequence[Measurement], command: str) -> Iterator[Block]:
    told = tuple((shortened(what), shortened(value)) for what, value in _machine(v, measurements))
    yield Table((Column("what", "what"), Column("value", "value", "prose")), told, title="Machine")
    runs = tuple(
        tuple(map(shortened, (m.file, run.date, run.command, run.perfkit))) for m in measurements for run in m.runs
    )
    columns = (Column("file", "file", "prose"), Column("date", "when"), Column("command", "command", "prose"))
    if runs:
        yield Table((*columns, Column("perfkit", "perfkit")), runs, title="Runs of perfkit measure")
    yield Paragraph("This page again:")
    yield Command(command)


def _machine(v: Validation, measurements: Sequence[Measurement]) -> Iterator[tuple[str, str]]:
    m = v.machine
    yield "machine", m.name
    yield "predicted as", f"{v.device.id}{f' ({v.device.file})' if v.device.file else ''}"
    yield "timed by", m.clock
    yield "SMs" if m.kind == "cuda" else "threads", str(m.cores)
    yield "memory", format_quantity(m.memory_bytes, "B")
    yield from (("SM clock while it was timed", clocks) for clocks in _clocks(measurements))
    yield "platform", m.platform
    yield from (("driver", m.driver),) if m.driver else ()
    yield from m.libraries.items()


def _clocks(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Between which the clock of the GPU lay, by the medians of the phases; nothing where nobody read it."""
    read = [point.counters for m in measurements for point in m.phases.values() if point.counters]
    medians = [counters.sm_clock_hz[1] for counters in read if counters.sm_clock_hz]
    if medians:
        low, high = (format_quantity(hz, "Hz") for hz in (min(medians), max(medians)))
        yield (
            f"{low}, by the median of every phase" if low == high else f"{low} to {high}, by the medians of the phases"
        )


def _unsteady(v: Validation, measurements: Sequence[Measurement]) -> Iterator[str]:
    """Points that did not settle or did not run, as their files tell it."""
    problems = [warning for m in measurements for warning in m.warnings]
    labels = [p.case.label for p in sorted(v.points, key=lambda p: case_order(p.case)) if p.status != "ok"]
    yield from (problem for label in labels for problem in problems if problem.startswith(f"{label}: "))


def _engines(v: Validation) -> Engines:
    precisions = dict.fromkeys(Precision(point.case.precision) for point in v.points)
    return Engines(v.device, {p: v.device.product_peak(p) for p in precisions}, v.device.vector_peak())
