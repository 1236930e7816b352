"""A whole request on a device: phases, time to first token, time per output token, memory.

TTFT = vision + projector + prefill        TPOT = one decode step at the mean cache length
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from perfkit.counting import count_ops, decode_ops, execution_of, workload_of
from perfkit.hardware import Choice, Device, choose_device
from perfkit.memory import RUNTIME_RESERVE_BYTES, Footprint, footprint, remedies
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.roofline import Engines, OpTime, engines_of, time_ops
from perfkit.units import COMPUTE_PRECISIONS, Amount, Precision, format_quantity, parse_choice, parse_precision
from perfkit.workload import ATTENTIONS, LOGITS, Execution, Workload


class PhaseTime(NamedTuple):
    """Sum of the ops of one phase; its roofline time is the sum of theirs.

    `bound` is that of the ops which take most of the time.
    """

    phase: str
    matmul_flops: Amount
    flops: Amount
    weight_bytes: Amount
    read_bytes: Amount
    write_bytes: Amount
    kv_read_bytes: Amount
    kv_write_bytes: Amount
    roofline_s: Amount
    compute_bound_s: Amount

    @property
    def bytes(self) -> Amount:
        """All traffic."""
        return self.weight_bytes + self.read_bytes + self.write_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def bound(self) -> str:
        """`compute` or `memory`, whichever bounds the larger part of the time."""
        return "compute" if 2 * self.compute_bound_s >= self.roofline_s else "memory"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a workload costs on a device, by roofline: a lower bound, from counted FLOPs and bytes and dense peaks.

    `decode` among the phases is the first new token; `mean_decode` is the mean over the new tokens (None for models
    that make none). `notes` say how figures came about, `warnings` what a reader should worry about.
    """

    model: ModelSpec
    choice: Choice
    workload: Workload
    execution: Execution
    ops: tuple[OpTime, ...]
    phases: tuple[PhaseTime, ...]
    mean_decode: PhaseTime | None
    footprint: Footprint
    fits: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def device(self) -> Device:
        """The SKU that the name meant."""
        return self.choice.device

    @property
    def ttft_roofline_s(self) -> Amount:
        """Time to first token: every phase before decode."""
        return sum(phase.roofline_s for phase in self.phases if phase.phase != "decode")

    @property
    def tpot_roofline_s(self) -> Amount | None:
        """Time per output token, or None for models that make none."""
        return None if self.mean_decode is None else self.mean_decode.roofline_s


def analyze(
    gpu: str,
    model: str = "llava-1.5-7b",
    *,
    tokens: int | None = None,
    text_tokens: int = 60,
    new_tokens: int = 128,
    batch: int = 1,
    images: int = 1,
    precision: str = "fp16",
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    attention: str = "fused",
    logits: str = "last",
) -> Prediction:
    """Roofline of a model on a GPU: the arguments are the options of `perfkit roofline`.

    Raises:
        UnknownName: no such GPU, model, precision, attention or logits.
        InvalidValue: counts out of range, more visual tokens than the model makes.
        InvalidSpec: a YAML or config.json that is none.
        UnsupportedPrecision: the card has no engine for the products.

    >>> prediction = analyze("v100", tokens=32)
    >>> f"{prediction.ttft_roofline_s * 1e3:.1f} ms"
    '19.7 ms'
    """
    spec, choice = load_model(model), choose_device(gpu)
    workload = workload_of(
        spec, tokens=tokens, text_tokens=text_tokens, new_tokens=new_tokens, batch=batch, images=images
    )
    execution = execution_for(precision, weights, activations, kv, attention, logits)
    return predict(spec, choice, workload, execution)


def execution_for(
    precision: str,
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    attention: str = "fused",
    logits: str = "last",
) -> Execution:
    """Execution from option texts; `precision` stands for whichever of the three is not given.

    Raises:
        UnknownName: a text that is none of the allowed.
    """
    base = parse_precision(precision, COMPUTE_PRECISIONS)
    return Execution(
        weights=parse_precision(weights) if weights else base,
        activations=parse_precision(activations, COMPUTE_PRECISIONS) if activations else base,
        kv=parse_precision(kv) if kv else base,
        attention=parse_choice("attention", attention, ATTENTIONS),
        logits=parse_choice("logits", logits, LOGITS),
    )


def predict(spec: ModelSpec, choice: Choice, workload: Workload, execution: Execution) -> Prediction:
    """Prediction from values: the pipeline itself.

    Raises:
        UnsupportedPrecision: the card has no engine for the products.
    """
    device, execution = choice.device, execution_of(spec, execution)
    forward = count_ops(spec, workload, execution)
    engines = engines_of(device, dict.fromkeys(op.engine for op in forward if op.kind in PRODUCT_KINDS))
    times = time_ops(engines, forward)
    need = footprint(spec, workload, execution, forward)
    warnings = [*_doubts(device, engines), *_misfits(spec, device, workload, execution, need)]
    return Prediction(
        model=spec,
        choice=choice,
        workload=workload,
        execution=execution,
        ops=times,
        phases=_totals(times),
        mean_decode=_mean_decode(spec, workload, execution, engines),
        footprint=need,
        fits=need.fits(device.memory_bytes) and not _exceeds_context(spec, workload),
        notes=tuple(_notes(spec, choice, engines)),
        warnings=tuple(warnings),
    )


PRODUCT_KINDS = frozenset({"linear", "convolution", "attention"})
DOUBTED = ("medium", "low")


def _mean_decode(spec: ModelSpec, workload: Workload, execution: Execution, engines: Engines) -> PhaseTime | None:
    # FLOPs and bytes grow by the same step with every new token, so their mean is that of the mean cache length.
    steps = tuple(decode_ops(spec, workload, execution, extra_tokens=workload.mean_extra_tokens))
    return _total("decode", time_ops(engines, steps)) if steps else None


def _totals(times: Iterable[OpTime]) -> tuple[PhaseTime, ...]:
    by_phase = groupby(times, key=lambda time: time.cost.phase)  # ops of a phase stand together
    return tuple(_total(phase, members) for phase, members in by_phase)


def _total(phase: str, times: Iterable[OpTime]) -> PhaseTime:
    sums: list[Amount] = [0] * 9
    for t in times:
        op = t.cost
        sums[0] += op.matmul_flops
        sums[1] += op.matmul_flops + op.vector_flops
        sums[2] += op.weight_bytes
        sums[3] += op.read_bytes
        sums[4] += op.write_bytes
        sums[5] += op.kv_read_bytes
        sums[6] += op.kv_write_bytes
        sums[7] += t.roofline_s
        sums[8] += t.roofline_s * (t.compute_s >= t.memory_s)
    return PhaseTime(phase, *sums)


# --- what a reader should know


def _notes(spec: ModelSpec, choice: Choice, engines: Engines) -> list[str]:
    notes = []
    if choice.is_alias:
        siblings = f"; its siblings: {', '.join(choice.siblings)}" if choice.siblings else ""
        notes.append(f"{choice.name} means {choice.device.id}{siblings}")
    notes += [
        f"{choice.device.id}: {peak.precision} products: {peak.rate.note}"
        for peak in engines.peaks.values()
        if peak.engine == "vector" and peak.precision is Precision.INT8 and peak.rate.note
    ]
    if spec.defaults:
        notes.append(f"{spec.name}: absent keys take Hugging Face's class defaults: {', '.join(spec.defaults)}")
    return [*notes, *(f"{spec.name}: {note}" for note in spec.notes)]


def _doubts(device: Device, engines: Engines) -> list[str]:
    found = []
    if engines.vector_flops_per_s is None:
        found.append(f"{device.id}: no vector rate is published, so element-wise work is bounded by memory alone")
    if device.confidence in DOUBTED:
        found.append(f"{device.id}: the figures of this device are of {device.confidence} confidence")
    figures = [(f"{p.precision} peak", p.rate) for p in engines.peaks.values()]
    figures += [("bandwidth", device.bandwidth), ("capacity", device.capacity)]
    return found + [
        f"{device.id}: {what} {figure.printed} is of {figure.confidence} confidence: {figure.note or 'see its source'}"
        for what, figure in figures
        if figure.confidence in DOUBTED
    ]


def _misfits(spec: ModelSpec, device: Device, workload: Workload, execution: Execution, need: Footprint) -> list[str]:
    found = []
    window = spec.text.stack.attention.sliding_window if spec.text else None
    if window is not None and workload.prompt_tokens + workload.new_tokens > window:
        found.append(f"{spec.name}: attention is counted over all tokens, not over its sliding window of {window}")
    if _exceeds_context(spec, workload) and spec.text:
        tokens = workload.prompt_tokens + workload.new_tokens
        found.append(f"{tokens} tokens exceed the context of {spec.name} ({spec.text.context})")
    if not need.fits(device.memory_bytes):
        total = format_quantity(need.total + RUNTIME_RESERVE_BYTES, "B")
        ways = remedies(spec, workload, execution, need, device.memory_bytes)
        found.append(
            f"does not fit: {total} with the runtime's reserve, {device.id} has "
            f"{format_quantity(device.memory_bytes, 'B')}; what would fit: {', or '.join(ways)}"
        )
    return found


def _exceeds_context(spec: ModelSpec, workload: Workload) -> bool:
    return spec.text is not None and workload.prompt_tokens + workload.new_tokens > spec.text.context
