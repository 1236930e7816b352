"""A whole request on a device: phases, time to first token, time per output token, memory.

TTFT = vision + reduction + projector + prefill, TPOT = one decode step at the mean cache length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.counting import count_ops, decode_ops, execution_of, reduced_vision_ops, workload_of
from perfkit.hardware import Choice, Device, choose_device
from perfkit.kernels import Expectation, expect_ops, expectation_of
from perfkit.kernels.calibrations import Calibration, read_calibration
from perfkit.kernels.exchanging import together
from perfkit.kernels.host import EAGER, HostTime
from perfkit.memory import Footprint, footprint
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, maximum
from perfkit.parallel import Layout, layout_of, part_of
from perfkit.phases import PhaseTime, launched, range_of, sum_of_known, total_of
from perfkit.roofline import Engines, OpTime, engines_of, time_ops
from perfkit.units import COMPUTE_PRECISIONS, Amount, parse_choice, parse_precision
from perfkit.workload import ATTENTIONS, LOGITS, NEW_TOKENS, RUNTIMES, TEXT_TOKENS, Execution, Workload


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a workload costs on a device, by roofline: what no run of these kernels beats at datasheet clocks.

    On several GPUs costs and times are of the whole, `footprint` is of the fullest GPU; `layout` says how they share
    the model (None on one).

    Beside it stands what is to be expected, and `expectation` says on what that rests. `decode` among the phases is the
    first new token; `mean_decode` is the mean over the new tokens (None for models that make none). `skipped`: what of
    the vision phase a reducer before the language model does without; the phase and the time to first token have it in
    them all the same. None where it needs all of the tower, or none stands there.
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
    expectation: Expectation
    skipped: PhaseTime | None = None
    layout: Layout | None = None

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
        return sum_of_known(phase.expected_s for phase in self.phases if phase.phase != "decode")

    @property
    def ttft_range_s(self) -> tuple[Amount, Amount] | None:
        """Between which nine of ten times to first token are to be expected, or None where that is not known."""
        return range_of([phase for phase in self.phases if phase.phase != "decode"])

    @property
    def tpot_roofline_s(self) -> Amount | None:
        """Time per output token, or None for models that make none."""
        return None if self.mean_decode is None else self.mean_decode.roofline_s

    @property
    def tpot_expected_s(self) -> Amount | None:
        """Expected time per output token, or None where it is not known or the model makes none."""
        return None if self.mean_decode is None else self.mean_decode.expected_s

    @property
    def request_roofline_s(self) -> Amount:
        """Time of a whole request: to the first token, and a mean step for each that follows it.

        >>> f"{analyze('v100', tokens=32).request_roofline_s:.3f} s"  # 0.01969 + 127 * 0.014789
        '1.898 s'
        """
        return self.ttft_roofline_s + self._later_steps * (self.tpot_roofline_s or 0)

    @property
    def request_expected_s(self) -> Amount | None:
        """Expected time of a whole request, or None where it is not known or the model makes no tokens."""
        first, step = self.ttft_expected_s, self.tpot_expected_s
        return None if first is None or step is None else first + self._later_steps * step

    @property
    def _later_steps(self) -> Amount:
        """Decode steps behind the first token, which prefill gives."""
        return maximum(0, self.workload.new_tokens - 1)


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
    runtime: str = "graph",
    calibration: str | Path | None = None,
    tp: int = 1,
    pp: int = 1,
) -> Prediction:
    """Roofline of a model on a GPU, and what is to be expected: the arguments are the options of `perfkit roofline`.

    `tp`, `pp`: tensor and pipeline parallel degree, on tp times pp such GPUs.

    Raises:
        UnknownName: no such GPU, model, reduction, precision, attention, logits or runtime.
        InvalidValue: counts out of range, more visual tokens than the model makes, a reduction that does not fit, a
            calibration of another device, a tp or pp that the model cannot be split by.
        InvalidSpec: a YAML or config.json that is none; several GPUs of which no link is known.
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
    execution = parse_execution(precision, weights, activations, kv, attention, logits, runtime, tp, pp)
    found = read_calibration(Path(calibration)) if calibration is not None else None
    return predict(spec, choice, workload, execution, found)


def parse_execution(
    precision: str,
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    attention: str = "fused",
    logits: str = "last",
    runtime: str = "graph",
    tp: int = 1,
    pp: int = 1,
) -> Execution:
    """Execution from option texts; `precision` stands for whichever of the three is not given.

    Raises:
        UnknownName: a text that is none of the allowed.
        InvalidValue: a degree that is no whole number from 1.
    """
    base = parse_precision(precision, COMPUTE_PRECISIONS)
    return Execution(
        weights=parse_precision(weights) if weights else base,
        activations=parse_precision(activations, COMPUTE_PRECISIONS) if activations else base,
        kv=parse_precision(kv) if kv else base,
        attention=parse_choice("attention", attention, ATTENTIONS),
        logits=parse_choice("logits", logits, LOGITS),
        runtime=parse_choice("runtime", runtime, RUNTIMES),
        tp=tp,
        pp=pp,
    )


def predict(
    spec: ModelSpec,
    choice: Choice,
    workload: Workload,
    execution: Execution,
    calibration: Calibration | None = None,
    *,
    expected: bool = True,
    host: HostTime = EAGER,
) -> Prediction:
    """Prediction from values, ints or float64 arrays: the pipeline itself.

    `calibration`: for expected times, in place of the best that there is for the device. `expected`: whether there are
    any; a roofline alone takes a tenth of the time. `host`: what launches cost where a host makes them one by one.

    Raises:
        UnsupportedPrecision: the card has no engine for the products.
        InvalidValue: a calibration of another device, a tp or pp that the model cannot be split by.
        InvalidSpec: several GPUs of which no link is known.
    """
    execution = execution_of(spec, execution)
    layout = layout_of(spec, execution, choice.device)
    forward, own = _counted(spec, execution, lambda each: count_ops(each, workload, execution))
    engines = engines_of(choice.device, forward)
    nothing = Expectation(choice.device, None, asked=False)
    clock = _Clock(engines, expectation_of(engines, calibration) if expected else nothing, execution, host, layout)
    times = clock.times(forward, own)
    phases = tuple(clock.total(phase, ops) for phase, ops in groupby(times, key=lambda time: time.cost.phase))
    return Prediction(
        model=spec,
        choice=choice,
        workload=workload,
        execution=execution,
        ops=times,
        phases=phases,
        mean_decode=_mean_decode(spec, workload, clock),
        engines=engines,
        footprint=footprint(spec, workload, execution, own),
        expectation=clock.expectation,
        skipped=_skipped(spec, workload, clock, phases),
        layout=layout,
    )


def _counted(
    spec: ModelSpec, execution: Execution, count: Callable[[ModelSpec], Iterable[OpCost]]
) -> tuple[tuple[OpCost, ...], tuple[OpCost, ...]]:
    """Ops of the whole model, and of what one GPU computes of it."""
    whole, part = tuple(count(spec)), part_of(spec, execution)
    return whole, whole if part is spec else tuple(count(part))


class _Clock(NamedTuple):
    """What turns ops into times, and times into those of phases."""

    engines: Engines
    expectation: Expectation
    execution: Execution
    host: HostTime = EAGER
    layout: Layout | None = None

    def times(self, whole: Iterable[OpCost], own: Iterable[OpCost]) -> tuple[OpTime, ...]:
        """Costs are those of the whole model, times those of one GPU, with what GPUs exchange."""
        alone = expect_ops(self.expectation, self.engines, time_ops(self.engines, own), self.execution.runtime)
        return alone if self.layout is None else tuple(together(whole, alone, self.layout, self.expectation))

    def total(self, phase: str, times: Iterable[OpTime]) -> PhaseTime:
        found = list(times)
        total = total_of(phase, found)
        if self.execution.runtime != "eager" or total.expected_s is None:
            return total
        return launched(total, sum([time.launches for time in found]), self.host)


def _skipped(spec: ModelSpec, workload: Workload, clock: _Clock, phases: Iterable[PhaseTime]) -> PhaseTime | None:
    """The vision phase less what a reducer needs of it; times too, since a part of an op reads all of its weights."""
    needed = tuple(reduced_vision_ops(spec, workload, clock.execution))
    if not needed:
        return None
    whole = next(phase for phase in phases if phase.phase == "vision")
    return whole.less(clock.total("vision", clock.times(needed, needed)))


def _mean_decode(spec: ModelSpec, workload: Workload, clock: _Clock) -> PhaseTime | None:
    step = _mean_step(spec, workload, clock)
    return clock.total("decode", step) if step else None


def mean_step(prediction: Prediction) -> tuple[OpTime, ...]:
    """Ops of a mean decode step, none for models that make no tokens."""
    p = prediction
    return _mean_step(p.model, p.workload, _Clock(p.engines, p.expectation, p.execution, layout=p.layout))


def _mean_step(spec: ModelSpec, workload: Workload, clock: _Clock) -> tuple[OpTime, ...]:
    # FLOPs and bytes grow by the same step with every new token, so their mean is that of the mean cache length.
    later = workload.mean_extra_tokens
    return clock.times(
        *_counted(spec, clock.execution, lambda each: decode_ops(each, workload, clock.execution, extra_tokens=later))
    )
