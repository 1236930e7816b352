"""Energy of a request: what its GPUs draw, phase by phase.

A card that was measured draws what its file says it drew in prefill and in decode (`power`). Of any other:

    compute-bound  TDP: large products hold a card at its power limit
    memory-bound   TDP (0.2 + 0.8 u), u = roofline / expected: how near its kernels come to the bandwidth

An H100 draws 690 W of 700 in prefill at batch 8, and 385 W in decode steps of LLaVA-1.5-7B where u = 0.49 (the rule
says 416), 478 W in those of 13B where u = 0.59 (470). On the roofline basis u is 1: an upper bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfkit.sweeping.request import Basis
from perfkit.units import Amount

if TYPE_CHECKING:
    from perfkit.latency import Prediction
    from perfkit.phases import PhaseTime

IDLE = 0.2  # of the TDP, with clocks up and little to do
MEASURED, ESTIMATED = "measured power", "estimated from TDP"


def energy_source(prediction: Prediction) -> str | None:
    """What energies of the prediction rest on; None where neither power nor TDP of the card is known."""
    if prediction.device.power.keys() >= {"prefill", "decode"}:
        return MEASURED
    tdp = prediction.device.tdp
    return None if tdp is None or tdp.value is None else ESTIMATED


def request_j(prediction: Prediction, basis: Basis) -> Any:
    """Joules of all GPUs for a batch: every phase before decode, then a mean step for each further token.

    Every stage of a pipeline draws all the while, but for other batches too: so a batch has the energy of one stage's
    GPUs over its whole time.
    """
    p = prediction
    if energy_source(p) is None or p.mean_decode is None:
        return None
    first: Amount = 0
    for phase in p.phases:
        if phase.phase != "decode":
            first = first + _joules(p, phase, basis)
    return p.execution.tp * (first + (p.workload.new_tokens - 1) * _joules(p, p.mean_decode, basis))


def _joules(p: Prediction, phase: PhaseTime, basis: Basis) -> Any:
    """Of one GPU in a phase."""
    seconds: Any = phase.roofline_s if basis == "roofline" else phase.expected_s
    if energy_source(p) == MEASURED:
        return seconds * p.device.power["decode" if phase.phase == "decode" else "prefill"].value
    assert p.device.tdp is not None  # noqa: S101  # `energy_source` would have said so
    memory_bound = IDLE * seconds + (1 - IDLE) * phase.roofline_s
    return p.device.tdp.value * (phase.compute_bound * seconds + (1 - phase.compute_bound) * memory_bound)
