"""A whole request on a device: phases, time to first token, time per output token, memory.

TTFT = vision + reduction + projector + prefill, TPOT = one decode step at the mean cache length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from perfkit.counting import count_ops, decode_ops, execution_of, reduced_vision_ops, workload_of
from perfkit.hardware import Choice, Device, choose_device
from perfkit.kernels import expect_ops
from perfkit.memory import Footprint, footprint
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.models.spec import ModelSpec
from perfkit.roofline import Engines, OpTime, engines_of, time_ops
from perfkit.units import COMPUTE_PRECISIONS, Amount, parse_choice, parse_precision
from perfkit.workload import ATTENTIONS, LOGITS, NEW_TOKENS, TEXT_TOKENS, Execution, Workload


class PhaseTime(NamedTuple):
    """Sum of the ops of one phase; its roofline and expected times (None where unknown) are the sums of theirs.

    `bound` is that of the ops which take most of the time; `compute_bound_s` is the time of those bound by compute.
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
    expected_s: Amount | None = None

    @property
    def bytes(self) -> Amount:
        """All traffic."""
        return self.weight_bytes + self.read_bytes + self.write_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def compute_bound(self) -> Any:
        """Whether compute bounds the larger part of the time, at each point of a sweep."""
        return 2 * self.compute_bound_s >= self.roofline_s

    @property
    def bound(self) -> str:
        """`compute` or `memory`, whichever bounds the larger part of the time."""
        return "compute" if self.compute_bound else "memory"

    def less(self, part: PhaseTime) -> PhaseTime:
        """What is left of it without `part`, figure by figure."""
        return PhaseTime(self.phase, *map(_difference, self[1:], part[1:]))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a workload costs on a device, by roofline: what no run of these kernels beats at datasheet clocks.

    `decode` among the phases is the first new token; `mean_decode` is the mean over the new tokens (None for models
    that make none). `skipped`: what of the vision phase a reducer before the language model does without; the phase and
    the time to first token have it in them all the same. None where it needs all of the tower, or none stands there.
    """

    model: ModelSpec
    choice: Choice
    workload: Workload
    execution: Execution
    ops: tuple[OpTime, ...]
    phases: tuple[PhaseTime, ...]
    mean_decode: PhaseTime | None
    engines: Engines
    footprint: Footprint
    skipped: PhaseTime | None = None

    @property
    def device(self) -> Device:
        """The SKU that the name meant."""
        return self.choice.device

    @property
    def within_context(self) -> Any:
        """Whether the model was made for so many prompt and new tokens, at each point of a sweep."""
        tokens = self.workload.prompt_tokens + self.workload.new_tokens
        return tokens <= self.model.text.context if self.model.text else True

    @property
    def fits(self) -> Any:
        """Whether memory and context hold the request, at each point of a sweep."""
        return self.footprint.fits(self.device.memory_bytes) & self.within_context

    @property
    def ttft_roofline_s(self) -> Amount:
        """Time to first token: every phase before decode."""
        return sum(phase.roofline_s for phase in self.phases if phase.phase != "decode")

    @property
    def ttft_expected_s(self) -> Amount | None:
        """Expected time to first token, or None where it is not known."""
        return _sum_of_known(phase.expected_s for phase in self.phases if phase.phase != "decode")

    @property
    def tpot_roofline_s(self) -> Amount | None:
        """Time per output token, or None for models that make none."""
        return None if self.mean_decode is None else self.mean_decode.roofline_s

    @property
    def tpot_expected_s(self) -> Amount | None:
        """Expected time per output token, or None where it is not known or the model makes none."""
        return None if self.mean_decode is None else self.mean_decode.expected_s


def analyze(
    gpu: str,
    model: str = DEFAULT_MODEL,
    *,
    tokens: int | None = None,
    text_tokens: int = TEXT_TOKENS,
    new_tokens: int = NEW_TOKENS,
    batch: int = 1,
    images: int = 1,
    reduction: str | None = None,
    precision: str = "fp16",
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    attention: str = "fused",
    logits: str = "last",
) -> Prediction:
    """Roofline of a model on a GPU: the arguments are the options of `perfkit roofline`.

    Raises:
        UnknownName: no such GPU, model, reduction, precision, attention or logits.
        InvalidValue: counts out of range, more visual tokens than the model makes, a reduction that does not fit.
        InvalidSpec: a YAML or config.json that is none.
        UnsupportedPrecision: the card has no engine for the products.

    >>> prediction = analyze("v100", tokens=32)
    >>> # Weights 13.2152 GB, cache of 92 + 63.5 + 1 tokens 0.0821 GB, activations 0.012 GB; / 900 GB/s = 14.79 ms
    >>> f"{prediction.tpot_roofline_s * 1e3:.2f} ms"
    '14.79 ms'
    """
    spec, choice = load_model(model), choose_device(gpu)
    workload = workload_of(
        spec,
        tokens=tokens,
        text_tokens=text_tokens,
        new_tokens=new_tokens,
        batch=batch,
        images=images,
        reduction=reduction,
    )
    execution = parse_execution(precision, weights, activations, kv, attention, logits)
    return predict(spec, choice, workload, execution)


def parse_execution(
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
    """Prediction from values, ints or float64 arrays: the pipeline itself.

    Raises:
        UnsupportedPrecision: the card has no engine for the products.
    """
    execution = execution_of(spec, execution)
    forward = count_ops(spec, workload, execution)
    engines = engines_of(choice.device, forward)
    times = expect_ops(engines, time_ops(engines, forward))
    phases = tuple(total_of(phase, ops) for phase, ops in groupby(times, key=lambda time: time.cost.phase))
    return Prediction(
        model=spec,
        choice=choice,
        workload=workload,
        execution=execution,
        ops=times,
        phases=phases,
        mean_decode=_mean_decode(spec, workload, execution, engines),
        engines=engines,
        footprint=footprint(spec, workload, execution, forward),
        skipped=_skipped(spec, workload, execution, engines, phases),
    )


def _skipped(
    spec: ModelSpec, workload: Workload, execution: Execution, engines: Engines, phases: Iterable[PhaseTime]
) -> PhaseTime | None:
    """The vision phase less what a reducer needs of it; times too, since a part of an op reads all of its weights."""
    needed = tuple(reduced_vision_ops(spec, workload, execution))
    if not needed:
        return None
    whole = next(phase for phase in phases if phase.phase == "vision")
    return whole.less(total_of("vision", expect_ops(engines, time_ops(engines, needed))))


def _mean_decode(spec: ModelSpec, workload: Workload, execution: Execution, engines: Engines) -> PhaseTime | None:
    step = mean_step(spec, workload, execution, engines)
    return total_of("decode", step) if step else None


def mean_step(spec: ModelSpec, workload: Workload, execution: Execution, engines: Engines) -> tuple[OpTime, ...]:
    """Ops of a mean decode step, none for models that make no tokens."""
    # FLOPs and bytes grow by the same step with every new token, so their mean is that of the mean cache length.
    ops = tuple(decode_ops(spec, workload, execution, extra_tokens=workload.mean_extra_tokens))
    return expect_ops(engines, time_ops(engines, ops))


def total_of(phase: str, times: Iterable[OpTime]) -> PhaseTime:
    """Sum of ops, of a phase or of any other group."""
    members = list(times)
    costs = [time.cost for time in members]
    return PhaseTime(
        phase=phase,
        matmul_flops=sum([op.matmul_flops for op in costs]),
        flops=sum([op.flops for op in costs]),
        weight_bytes=sum([op.weight_bytes for op in costs]),
        read_bytes=sum([op.read_bytes for op in costs]),
        write_bytes=sum([op.write_bytes for op in costs]),
        kv_read_bytes=sum([op.kv_read_bytes for op in costs]),
        kv_write_bytes=sum([op.kv_write_bytes for op in costs]),
        roofline_s=sum([time.roofline_s for time in members]),
        compute_bound_s=sum([time.roofline_s * (time.compute_s >= time.memory_s) for time in members]),
        expected_s=_sum_of_known([time.expected_s for time in members]),
    )


def _difference(whole: Amount | None, part: Amount | None) -> Amount | None:
    """None where one of them is not known."""
    return None if whole is None or part is None else whole - part


def _sum_of_known(seconds: Iterable[Amount | None]) -> Amount | None:
    """Their sum, or None where one is not known."""
    total: Amount = 0
    for one in seconds:
        if one is None:
            return None
        total = total + one
    return total
