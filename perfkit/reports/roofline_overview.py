"""What a terminal shows of a `Prediction`: phases, totals, ops by kind; or several devices side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perfkit import remarks
from perfkit.kernels import has_measured_rates
from perfkit.kernels.expecting import RULE_OF_THUMB
from perfkit.latency import Prediction
from perfkit.ops import OpCost
from perfkit.phases import PhaseTime, total_of
from perfkit.reports.expected import expected_in_words
from perfkit.roofline import OpTime, ridge_point
from perfkit.tables import Column, Table
from perfkit.units import format_quantity


def overview(predictions: Sequence[Prediction]) -> list[Table]:
    """Phases, totals, and ops by kind of one prediction; one line a device for several."""
    if len(predictions) > 1:
        return [_comparison(predictions)]
    p = predictions[0]
    return [_phases(p), _totals(p), _kinds(p)]


def intensity_of(cost: OpCost | PhaseTime) -> float | None:
    """FLOPs a byte; None for what moves no byte.

    >>> from perfkit.units import Precision
    >>> intensity_of(OpCost("prefill", "silu", "activation", 1, Precision.FP16, vector_flops=6, read_bytes=4))
    1.5
    """
    return cost.flops / cost.bytes if cost.bytes else None


def _phases(p: Prediction) -> Table:
    columns = (
        Column("phase", "phase"),
        Column("flops", "FLOPs", "FLOP", 6),
        Column("bytes", "bytes", "B", 7),
        Column("intensity", "FLOP/B", "x", 5),
        Column("bound", "bound", "", 8),
        Column("roofline_s", "roofline", "s"),
        Column("expected", "expected", "", 8),
        Column("share", "of TTFT" if p.model.has_decoder else "of all", "share"),
        Column("bar", "", "bar", 8),
    )
    ttft = p.ttft_roofline_s
    rows = []
    for phase in p.phases:
        share = None if phase.phase == "decode" else phase.roofline_s / ttft
        name = "decode (first token)" if phase.phase == "decode" else phase.phase
        figures = (phase.flops, phase.bytes, intensity_of(phase), phase.bound, phase.roofline_s)
        rows.append((name, *figures, _expected(phase), share, share or 0.0))
    decode = frozenset(i for i, phase in enumerate(p.phases) if phase.phase == "decode")
    title, notes = "\n".join(_heading(p)), tuple(_skipped(p))
    return _without_unknown(Table(columns, tuple(rows), title=title, notes=notes, rule_before=decode))


def _skipped(p: Prediction) -> Iterator[str]:
    """What of the vision phase the reducer does without, and why."""
    if p.skipped is None or p.model.vision is None:
        return
    from perfkit.reduction import Reducer, parse_reduction  # not on the way of whoever reduces nothing

    method, show = parse_reduction(p.workload.reduction), format_quantity
    saved = f"{show(p.skipped.flops, 'FLOP')}, {show(p.skipped.roofline_s, 's')}"
    unread = p.model.vision.unread_layers
    layers = "its last layer" if unread == 1 else f"its last {unread} layers"
    needs = f"{method.name} needs nothing of {layers}"
    if isinstance(method, Reducer) and method.needs_class_token:
        needs = f"of its last layer {method.name} needs the keys and one query alone"
    yield f"vision could skip {saved}: {needs}; counted, as Hugging Face runs all layers"


def _without_unknown(table: Table) -> Table:
    """Without the columns of expected times in which none is known."""

    def shown(index: int) -> bool:
        return "expected" not in table.columns[index].key or any(row[index] is not None for row in table.rows)

    kept = [i for i in range(len(table.columns)) if shown(i)]
    columns = tuple(table.columns[i] for i in kept)
    return table._replace(columns=columns, rows=tuple(tuple(row[i] for i in kept) for row in table.rows))


def _heading(p: Prediction) -> list[str]:
    alias = f" ({p.choice.name})" if p.choice.is_alias else ""
    several = f"{p.execution.gpus} x " if p.execution.gpus > 1 else ""
    return [f"{p.model.name} on {several}{p.device.id}{alias}: {p.device.name}", *work_in_words(p), _ceilings(p)]


def work_in_words(p: Prediction) -> list[str]:
    """What is computed and how, whatever the device."""
    w, e = p.workload, p.execution
    tokens = [f"{w.visual_tokens} visual"] if p.model.vision else []
    tokens += [f"{w.text_tokens} text"] if p.model.text else []
    work = f"{' + '.join(tokens)} tokens"
    work += f", {w.new_tokens} new" if p.model.has_decoder else ""
    seen = p.model.vision and w.visual_tokens  # without visual tokens no image is looked at
    work += f", {w.images} {'image' if w.images == 1 else 'images'}" if seen else ""
    how = f"{e.formats}; {e.attention} attention; logits {e.logits}"
    how += f"; tp {e.tp}, pp {e.pp}" if e.gpus > 1 else ""
    return [f"{work}, batch {w.batch}; {how}", *_reduction(p)]


def _reduction(p: Prediction) -> Iterator[str]:
    """The method that leaves visual tokens out, and how many of them the layers see."""
    w, text = p.workload, p.model.text
    if w.schedule and text:
        first, *rest = w.schedule
        seen = [f"{first.visual_tokens} visual tokens in {first.layers} layers"]
        seen += [f"{group.visual_tokens} in {group.layers}" for group in rest]
        mean = sum(group.layers * group.visual_tokens for group in w.schedule) / text.stack.layers
        yield f"{w.reduction or 'schedule'}: {', '.join(seen)}; mean over layers {mean:g}"
    elif w.reduction:
        made = w.images * p.model.visual_tokens
        yield f"{w.reduction}: {w.visual_tokens} of {made} visual tokens enter the language model"


def _ceilings(p: Prediction) -> str:
    rates = [
        f"{peak.precision} {peak.rate.printed} ({peak.engine}), "
        f"ridge {ridge_point(p.device, peak.precision):.0f} FLOP/B"
        for peak in p.engines.peaks.values()
    ]
    origin = "measured" if has_measured_rates(p.device) else "datasheet"
    return f"{origin}: {', '.join(rates)}; memory {p.device.bandwidth.printed}"


def what_times_are(predictions: Sequence[Prediction]) -> Iterator[str]:
    """How roofline and expected times of predictions came about, and what may be concluded from them."""
    measured = {has_measured_rates(p.device) for p in predictions}
    if False in measured:
        yield "Times: predicted by the roofline; at the datasheet's clocks no run of these kernels is faster."
    if True in measured:
        yield "Measured devices: the roofline is of their best rates; expected: one-row products at their own rate."
    yield from dict.fromkeys(_what_is_expected(p) for p in predictions if p.expectation.calibration)


def _what_is_expected(p: Prediction) -> str:
    """What expected times rest on, and what their range holds."""
    runtime = {
        "graph": "one kernel an op, no launch gaps",
        "eager": "Hugging Face's eager kernels and launches",
        "captured": "Hugging Face's kernels in a CUDA graph, no launch gaps",
    }
    basis = f"the kernel model, calibration {p.expectation.id}"
    if p.expectation.problem:
        basis = f"a {RULE_OF_THUMB} (0.7 of the peak, 0.8 of the bandwidth, 3 us a kernel)"
    return f"Expected: predicted by {basis}; {runtime[p.execution.runtime]}; nine of ten times should lie in brackets."


def _totals(p: Prediction) -> Table:
    columns = (Column("total", "total"), Column("value", "value"), Column("what", "", "prose", 7))
    need, show = p.footprint, format_quantity
    phases = " + ".join(phase.phase for phase in p.phases if phase.phase != "decode")
    first = "TTFT" if p.model.has_decoder else "forward"
    ttft = expected_in_words(p.ttft_expected_s, *(p.ttft_range_s or ()))
    rows = [(first, show(p.ttft_roofline_s, "s"), f"{phases}; roofline{_behind(ttft)}")]
    if p.tpot_roofline_s:
        rate = p.workload.batch / p.tpot_roofline_s
        new = p.workload.new_tokens
        what = f"mean of {new} new {'token' if new == 1 else 'tokens'}; {rate:.1f} tokens/s"
        what += _behind(_expected(p.mean_decode) if p.mean_decode else None)
        rows.append(("TPOT", show(p.tpot_roofline_s, "s"), what))
    parts = f"weights {show(need.weights, 'B')}, KV {show(need.kv, 'B')}, activations {show(need.activations, 'B')}"
    if p.execution.gpus > 1:
        parts = f"per GPU: {parts}"
    rows.append(("memory", show(need.total, "B"), parts))
    fits = "fits" if need.fits(p.device.memory_bytes) else "does not fit"
    rows.append(("card", show(p.device.memory_bytes, "B"), f"{fits}, 1 GiB kept for the runtime"))
    if p.model.text and not p.within_context:
        tokens = p.workload.prompt_tokens + p.workload.new_tokens
        rows.append(("context", f"{p.model.text.context} tokens", f"exceeded: prompt and new tokens are {tokens}"))
    return Table(columns, tuple(rows), title="Totals")


def _expected(total: PhaseTime) -> str | None:
    return expected_in_words(total.expected_s, total.expected_low_s, total.expected_high_s)


def _behind(expected: str | None) -> str:
    return f"; expected {expected}" if expected else ""


def _kinds(p: Prediction) -> Table:
    columns = (
        Column("phase", "phase"),
        Column("kind", "kind"),
        Column("launches", "launches", "n", 4),
        Column("flops", "FLOPs", "FLOP", 6),
        Column("bytes", "bytes", "B", 7),
        Column("intensity", "FLOP/B", "x", 3),
        Column("bound", "bound", "", 8),
        Column("roofline_s", "roofline", "s"),
        Column("expected", "expected", "", 8),
        Column("share", "of phase", "share"),
        Column("bar", "", "bar", 8),
    )
    rows: list[tuple[Any, ...]] = []
    first_of_phase = set()
    for phase in p.phases:
        first_of_phase.add(len(rows))
        members = [time for time in p.ops if time.cost.phase == phase.phase]
        grouped = [_kind_row(kind, members, phase.roofline_s) for kind in dict.fromkeys(t.cost.kind for t in members)]
        grouped.sort(key=lambda row: -row[-1])
        rows += [(phase.phase if i == 0 else "", *row) for i, row in enumerate(grouped)]
    notes = (
        "FLOPs, bytes: counted (multiply-add = 2, causal mask in full, each tensor moved once a kernel).",
        *what_times_are([p]),
        "--format json lists every op.",
        *(f"note: {note}" for note in remarks.notes(p, brief=True)),
    )
    starts = frozenset(first_of_phase - {0})
    return _without_unknown(Table(columns, tuple(rows), title="Ops by kind", notes=notes, rule_before=starts))


def _kind_row(kind: str, times: Iterable[OpTime], phase_s: float) -> tuple[Any, ...]:
    members = [time for time in times if time.cost.kind == kind]
    total = total_of(kind, members)
    launches = sum(time.cost.repeat for time in members)
    share = total.roofline_s / phase_s
    seconds = total.roofline_s, _expected(total)
    return kind, launches, total.flops, total.bytes, intensity_of(total), total.bound, *seconds, share, share


def fits_in_words(p: Prediction) -> str:
    """Whether memory and context hold a request, and which of them does not."""
    limits = {"memory": p.footprint.fits(p.device.memory_bytes), "context": p.within_context}
    exceeded = [name for name, holds in limits.items() if not holds]
    return f"no: {', '.join(exceeded)}" if exceeded else "yes"


def _comparison(predictions: Sequence[Prediction]) -> Table:
    phases = list(dict.fromkeys(phase.phase for p in predictions for phase in p.phases if phase.phase != "decode"))
    notes = dict.fromkeys(f"note: {note}" for p in predictions for note in remarks.notes(p, brief=True))
    table = Table(
        _device_columns(phases),
        tuple(_device_row(p, phases) for p in predictions),
        title="\n".join([f"{predictions[0].model.name} on {len(predictions)} devices", *work_in_words(predictions[0])]),
        notes=(*what_times_are(predictions), *notes),
    )
    return _without_unknown(table)


def _device_columns(phases: Sequence[str]) -> tuple[Column, ...]:
    return (
        Column("device", "device"),
        Column("peak", "peak", "FLOP/s", 5),
        Column("bandwidth", "bandwidth", "B/s", 4),
        *(Column(phase, phase, "s", 3) for phase in phases),
        Column("ttft", "TTFT", "s"),
        Column("tpot", "TPOT", "s"),
        Column("ttft_expected", "TTFT expected", "", 8),
        Column("tpot_expected", "TPOT expected", "", 8),
        Column("fits", "fits"),
    )


def _device_row(p: Prediction, phases: Sequence[str]) -> tuple[Any, ...]:
    seconds = {phase.phase: phase.roofline_s for phase in p.phases}
    return (
        p.device.id,
        max(peak.flops_per_s for peak in p.engines.peaks.values()),
        p.device.bytes_per_s,
        *(seconds.get(phase) for phase in phases),
        p.ttft_roofline_s,
        p.tpot_roofline_s,
        expected_in_words(p.ttft_expected_s, *(p.ttft_range_s or ())),
        _expected(p.mean_decode) if p.mean_decode else None,
        fits_in_words(p),
    )
