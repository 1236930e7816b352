"""What a terminal shows of a `Validation`: points, errors, waterfall, speed-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from perfkit.kernels.host import EAGER
from perfkit.measuring.cases import PHASES, PhaseCase
from perfkit.tables import Column, Table
from perfkit.units import Precision
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import ALL_PHASES, DEVICE_BOUND, Validation
from perfkit.validation.speedup import Speedup
from perfkit.validation.waterfall import BASES, Waterfall

BAR_CELLS = 16  # of a waterfall's bar: the measured time
BAR_MARKS = "█▓▒░"  # roofline, slower kernels, launch gaps, unexplained
SHORT_STATUS = {"ok": "", "out of memory": "OOM"}


def overview(validations: Sequence[Validation]) -> list[Table]:
    """Points, errors, waterfall and, where tokens vary, speed-ups."""
    return [table for validation in validations for table in _tables(validation)]


def _tables(v: Validation) -> list[Table]:
    points = sorted(v.points, key=lambda point: case_order(point.case))
    falls = sorted(v.waterfalls, key=lambda fall: case_order(fall.case))
    speedups = sorted(v.speedups, key=lambda speedup: (speedup.new_tokens is not None, case_order(speedup.case)))
    found = [_points(v, points)]
    if falls:
        found += [_errors(v), _waterfall(falls)]
    return [*found, *([_speedups(speedups)] if speedups else [])]


# --- cases


def case_order(case: PhaseCase) -> tuple[int | str, ...]:
    """Phases as a request runs them, eager decode before graphs; like with like, most visual tokens first."""
    alike = case.model, case.precision, case.attention or "", case.flushed, case.text_tokens, case.batch
    return PHASES.index(case.phase), case.runtime, *alike, -case.visual_tokens


def name_of(case: PhaseCase, *, request: bool = False) -> str:
    """The phase, of decode with its runtime.

    >>> name_of(PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa", "graph"))
    'decode, graph'
    """
    name = "request" if request else case.phase
    return f"{name}, {case.runtime}" if case.phase == "decode" else name


def tokens_of(case: PhaseCase) -> str:
    """Visual and text tokens, where the phase sees both."""
    return f"{case.visual_tokens} + {case.text_tokens}" if case.text_tokens else str(case.visual_tokens)


_TOKENS = Column("tokens", "tokens")
_FACETS: tuple[tuple[Column, str, Callable[[PhaseCase], Any]], ...] = (
    (Column("model", "model"), "{}", lambda case: case.model),
    (_TOKENS, "{} tokens", tokens_of),
    (Column("batch", "batch", "n"), "batch {}", lambda case: case.batch),
    (Column("precision", "precision"), "{}", lambda case: case.precision),
    (Column("attention", "attention"), "{} attention", lambda case: case.attention or "-"),
    (Column("flushed", "cache"), "{} cache", lambda case: "cold" if case.flushed else "warm"),
)


class Facets(NamedTuple):
    """Columns that tell some cases apart, how a case fills them, and in words what all cases share."""

    columns: tuple[Column, ...]
    words: tuple[str, ...]
    readers: tuple[Callable[[PhaseCase], Any], ...]
    shared: str

    def of(self, case: PhaseCase) -> tuple[Any, ...]:
        """Cells of a case."""
        return tuple(read(case) for read in self.readers)

    def label(self, case: PhaseCase) -> str:
        """A case in words, beside what all share."""
        cells = zip(self.words, self.of(case), strict=True)
        return ", ".join(words.format(cell) for words, cell in cells if cell != "-")


def facets_of(cases: Iterable[PhaseCase], *, tokens: bool = True) -> Facets:
    """Facets of all cases, with or without their tokens."""
    listed = list(cases)
    facets = [facet for facet in _FACETS if tokens or facet[0] is not _TOKENS]
    found = [({facet[2](case) for case in listed} - {"-"}, facet) for facet in facets]
    shared = [words.format(*values) for values, (_, words, _) in found if len(values) == 1]
    apart = [facet for values, facet in found if len(values) > 1]
    columns, words, readers = zip(*apart, strict=True) if apart else ((), (), ())
    return Facets(columns, words, readers, ", ".join(shared))


def _sections(names: Sequence[str]) -> tuple[list[str], frozenset[int]]:
    """First cells, each name once, and the rows that begin a section."""
    starts = {i for i, name in enumerate(names) if i == 0 or name != names[i - 1]}
    return [name if i in starts else "" for i, name in enumerate(names)], frozenset(starts - {0})


def _without_empty(columns: Sequence[Column], rows: Sequence[Sequence[Any]], keys: Iterable[str]) -> dict[str, Any]:
    """Columns and rows of a table, those of `keys` left out where no row has anything in them."""
    empty = {column.key for i, column in enumerate(columns) if not any(row[i] for row in rows)} & set(keys)
    kept = [i for i, column in enumerate(columns) if column.key not in empty]
    return {"columns": tuple(columns[i] for i in kept), "rows": tuple(tuple(row[i] for i in kept) for row in rows)}


# --- points


def _points(v: Validation, points: Sequence[ComparedPoint]) -> Table:
    facets = facets_of(point.case for point in points)
    names, starts = _sections([name_of(point.case) for point in points])
    columns = (
        Column("phase", "phase"),
        *facets.columns,
        Column("measured_s", "measured", "s"),
        Column("half_width", "±", "share", 5),
        Column("roofline_s", "roofline", "s", 8),
        Column("roofline_ratio", "/ roofline", "x"),
        Column("expected_s", "expected", "s", 7),
        Column("expected_ratio", "/ expected", "x"),
        Column("mfu", "MFU", "share", 6),
        Column("mbu", "MBU", "share", 6),
        Column("status", ""),
    )
    rows = [(name, *facets.of(point.case), *_figures(point)) for name, point in zip(names, points, strict=True)]
    return Table(
        **_without_empty(columns, rows, ("expected_s", "expected_ratio", "status")),
        title="\n".join(_heading(v, facets)),
        notes=_point_notes(v),
        rule_before=starts,
    )


def _figures(point: ComparedPoint) -> tuple[Any, ...]:
    return (
        point.measured_s,
        point.timing.half_width if point.timing else None,
        point.roofline_s,
        point.roofline_ratio,
        point.expected_s,
        point.expected_ratio,
        point.mfu,
        point.mbu,
        SHORT_STATUS.get(point.status, point.status),
    )


def _heading(v: Validation, facets: Facets) -> list[str]:
    libraries = [
        f"{name} {version}" for name, version in v.machine.libraries.items() if name in ("torch", "transformers")
    ]
    precisions = dict.fromkeys(point.case.precision for point in v.points)
    peaks = [f"{name} {v.device.product_peak(Precision(name)).rate.printed}" for name in precisions]
    return [
        f"{v.machine.name} (measured) against {v.device.id} (predicted)",
        ", ".join([facets.shared, *libraries]),
        f"{_source(v)}: {', '.join(peaks)}; memory {v.device.bandwidth.printed}",
    ]


def _source(v: Validation) -> str:
    return v.device.file or "datasheet"


def _point_notes(v: Validation) -> tuple[str, ...]:
    notes = [
        f"measured: median by {v.machine.clock}; ±: half its 95 % interval over it. tokens: visual + text; decode: one "
        "step with so many tokens in the cache.",
        f"roofline: predicted from {v.device.file or 'the datasheet'}; / roofline: measured over it, below 1 something "
        "is wrong.",
    ]
    if any(point.expected_s is not None for point in v.points):
        notes.append("expected: predicted from calibrated or measured rates; / expected: measured over it.")
        notes += _launching(v)
    notes.append("MFU, MBU: counted products and bytes in the measured time, over peak rate and bandwidth.")
    if any(point.timing is None for point in v.points):
        notes.append("OOM: out of memory.")
    return tuple(notes)


def _launching(v: Validation) -> Iterator[str]:
    """How expected times of a GPU have their kernels launched."""
    if v.machine.kind != "cuda":
        return
    each = " or ".join(f"{host.expected_s * 1e6:.3g}" for host in v.hosts or (EAGER,))
    origin = "measured on its host, the median of a file's phases" if v.hosts else "taken of any host"
    yield (
        f"expected of eager phases: Hugging Face's kernels, launched in {each} µs each ({origin});"
        " of graphs: the same kernels over a static cache, without launches."
    )


# --- errors


def _errors(v: Validation) -> Table:
    columns = (
        Column("phase", "phase"),
        Column("predictor", "predictor"),
        Column("points", "points", "n"),
        Column("mape", "mean error", "share"),
        Column("worst", "worst", "share"),
    )
    phases = [error.phase for error in v.errors]
    notes = ["|predicted - measured| over measured. A roofline is a bound: its error is what the machine leaves."]
    if any(phase.endswith(DEVICE_BOUND) for phase in phases):
        notes.append(
            "device-bound: of the points above those whose kernels, not whose launches, are expected to take longer."
        )
    return Table(
        columns,
        tuple((error.phase, error.predictor, error.points, error.mape, error.worst) for error in v.errors),
        title="Absolute percentage error of the predictions",
        notes=tuple(notes),
        rule_before=frozenset({phases.index(ALL_PHASES)} - {0}),
    )


# --- waterfall


def _waterfall(falls: Sequence[Waterfall]) -> Table:
    facets = facets_of(fall.case for fall in falls)
    names, starts = _sections([name_of(fall.case) for fall in falls])
    columns = (
        Column("phase", "phase"),
        *facets.columns,
        Column("measured_s", "measured", "s", 5),
        Column("roofline_s", "roofline", "s"),
        Column("slower_kernels_s", "+ kernels", "s"),
        Column("launch_s", "+ gaps", "s"),
        Column("unexplained_s", "+ rest", "s"),
        Column("known", "timed", "share", 6),
        Column("bar", "", "", 7),
    )
    rows = tuple((name, *facets.of(fall.case), *_parts(fall)) for name, fall in zip(names, falls, strict=True))
    return Table(columns, rows, title="Where the time goes", notes=_waterfall_notes(falls), rule_before=starts)


def _parts(fall: Waterfall) -> tuple[Any, ...]:
    known = sum(fall.shares[basis] for basis in BASES[:2])
    parts = (fall.roofline_s, fall.slower_kernels_s, fall.launch_s, fall.unexplained_s)
    return (fall.measured_s, *parts, known, _bar(fall))


def _bar(fall: Waterfall) -> str:
    """The measured time as BAR_CELLS cells, each part in its mark; parts below zero take none.

    >>> case = PhaseCase("llava-1.5-7b", "prefill", 32, 60, 1, "fp16")
    >>> _bar(Waterfall(case, 8.0, 4.0, 6.0, 1.0, {}, ()))  # 4, 6 - 4, 1 and 8 - 7 of 8
    '████████▓▓▓▓▒▒░░'
    """
    ends, reached = [0], 0.0
    for part in fall.parts_s:
        reached += max(part, 0.0)
        ends.append(min(BAR_CELLS, round(BAR_CELLS * reached / fall.measured_s)))
    return "".join(mark * (end - start) for mark, start, end in zip(BAR_MARKS, ends, ends[1:], strict=False))


def _waterfall_notes(falls: Sequence[Waterfall]) -> tuple[str, ...]:
    notes = [
        "█ roofline (predicted) ▓ kernels: each at the speed that it reaches alone (measured) ▒ gaps: the device waits "
        "for launches ░ rest: unexplained. The four add up to measured; a rest below zero: they explain too much.",
        "timed: share of the kernels' time that measured kernels tell, or their neighbours in size; of the other ops "
        "the predicted time is taken.",
    ]
    if any(fall.launch_s is None for fall in falls):
        notes.append("gaps: - where the cost of a launch was not measured; they are then in the rest.")
    unmeasured = dict.fromkeys(name for fall in falls for name in fall.unmeasured)
    if unmeasured and all(sum(fall.shares[basis] for basis in BASES[:2]) == 0 for fall in falls):
        notes.append("no kernel was measured: `perfkit measure --suite kernels` does.")
    elif unmeasured:
        notes.append(f"ops without a measured kernel: {', '.join(unmeasured)}.")
    return tuple(notes)


# --- speed-ups


def _speedups(speedups: Sequence[Speedup]) -> Table:
    facets = facets_of((speedup.case for speedup in speedups), tokens=False)
    changes = [f"{speedup.case.visual_tokens} to {speedup.to_tokens}" for speedup in speedups]
    same = len(set(changes)) == 1
    names, starts = _sections([name_of(speedup.case, request=speedup.new_tokens is not None) for speedup in speedups])
    columns = (
        Column("what", "what"),
        Column("new_tokens", "new tokens", "n"),
        Column("change", "tokens"),
        *facets.columns,
        Column("promised", "promised", "x"),
        Column("expected", "expected", "x", 7),
        Column("got", "got", "x"),
        Column("share", "share", "share"),
    )
    rows = [
        (name, s.new_tokens, "" if same else change, *facets.of(s.case), s.promised, s.expected, s.got, s.share)
        for name, change, s in zip(names, changes, speedups, strict=True)
    ]
    title = f"Speed-up from {changes[0]} visual tokens" if same else "Speed-up from many visual tokens to few"
    kept = _without_empty(columns, rows, ("new_tokens", "change", "expected"))
    requests = frozenset(i for i in starts if speedups[i].new_tokens is not None)
    return Table(**kept, title=f"{title}: {facets.shared}", notes=_SPEEDUP_NOTES, rule_before=requests)


_SPEEDUP_NOTES = (
    "promised: by the roofline; got: measured; share: of the promised gain, (got - 1) / (promised - 1); - where less "
    "than 5 % is promised.",
    "request: vision + projector + prefill + N - 1 decode steps, vision at full tokens in both; each step as long as "
    "the measured one, whose cache holds the prompt. All but decode is launched eagerly, in a request with graphs too.",
)
