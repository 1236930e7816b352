"""What is predicted of exactly the work that was timed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from perfkit.counting import workload_of
from perfkit.hardware import Choice
from perfkit.kernels.host import EAGER, HostTime
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.measuring.cases import PhaseCase
from perfkit.models import load_model
from perfkit.phases import PhaseTime
from perfkit.roofline import OpTime


class PredictedPhase(NamedTuple):
    """A phase and its ops, with the rates that they are held against: of its products, and of memory."""

    total: PhaseTime
    ops: tuple[OpTime, ...]
    flops_per_s: float
    bytes_per_s: float


_NOTHING: dict[str, Any] = dict.fromkeys(("expected_s", "expected_low_s", "expected_high_s"))


class _Request(NamedTuple):
    """What cases have in common that one prediction covers."""

    model: str
    visual_tokens: int
    text_tokens: int
    batch: int
    precision: str
    attention: str
    runtime: str


def predict_cases(
    choice: Choice, cases: Iterable[PhaseCase], host: HostTime = EAGER
) -> dict[PhaseCase, PredictedPhase]:
    """The phase of each case on a device; cases of the same work share one prediction. `host`: which launches them.

    Raises:
        UnknownName, InvalidSpec, InvalidValue: a model that is not known here, or cannot do such work.
        UnsupportedPrecision: the device has no engine for the products of a case.
    """
    requests = {case: _request_of(case) for case in cases}
    made = {request: _predict(choice, request, host) for request in dict.fromkeys(requests.values())}
    return {case: _phase_of(case, made[request]) for case, request in requests.items()}


def _request_of(case: PhaseCase) -> _Request:
    # What a phase does not depend on is 0 or None in its case; any value serves, so that of the next likely case.
    attention = "eager" if case.attention == "eager" else "fused"
    tokens = (case.visual_tokens, max(case.text_tokens, 1))
    # Phases but decode are launched by eager code; what is timed as a graph is the same code, captured.
    runtime = "captured" if case.runtime == "graph" else "eager"
    return _Request(case.model, *tokens, case.batch, case.precision, attention, runtime)


def _predict(choice: Choice, asked: _Request, host: HostTime) -> Prediction:
    spec = load_model(asked.model)
    workload = workload_of(
        spec, tokens=asked.visual_tokens, text_tokens=asked.text_tokens, new_tokens=1, batch=asked.batch
    )
    execution = parse_execution(asked.precision, attention=asked.attention, runtime=asked.runtime)
    return predict(spec, choice, workload, execution, host=host)


def _phase_of(case: PhaseCase, prediction: Prediction) -> PredictedPhase:
    (total,) = (phase for phase in prediction.phases if phase.phase == case.phase)
    ops = tuple(time for time in prediction.ops if time.cost.phase == case.phase)
    if prediction.expectation.problem:  # a rule of thumb explains nothing, and is not what is to be judged
        total, ops = total._replace(**_NOTHING), tuple(time._replace(**_NOTHING) for time in ops)
    return PredictedPhase(
        total=total,
        ops=ops,
        flops_per_s=prediction.device.product_peak(prediction.execution.product).flops_per_s,
        bytes_per_s=prediction.device.bytes_per_s,
    )
