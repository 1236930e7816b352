"""What can be asked to be measured, checked, and the cases that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perfkit.errors import InvalidValue
from perfkit.measuring.backend import Backend, check_precision
from perfkit.measuring.cases import ATTENTIONS, PHASES, RUNTIMES, SUITES, Case, Grid, phase_cases
from perfkit.measuring.kernels import kernel_cases
from perfkit.measuring.networks import check_family
from perfkit.measuring.peaks import peak_cases
from perfkit.measuring.protocol import Rules
from perfkit.models.spec import ModelSpec
from perfkit.units import check_count, parse_choice

TARGET = 0.01  # half the interval of a median
BUDGET_S = 30.0  # of a phase of a model


class Asked(NamedTuple):
    """A suite and what to run it over; None leaves the choice to the device or the model."""

    suite: str
    tokens: Sequence[int] | None
    text_tokens: int
    batches: Sequence[int]
    precisions: Sequence[str] | None
    attentions: Sequence[str]
    runtimes: Sequence[str] | None
    phases: Sequence[str]
    flush: bool


def rules_of(suite: str, target: float = TARGET, budget_s: float | None = None) -> Rules:
    """Rules of a suite: kernels are many and short, so each has a tenth of a phase's budget."""
    budget = budget_s or (BUDGET_S if suite == "model" else BUDGET_S / 10)
    return Rules(target=target, budget_s=budget, warmup_s=budget / 3)


def cases_of(asked: Asked, spec: ModelSpec, backend: Backend) -> list[Case]:
    """Cases of a suite on a device, in the order in which they are measured.

    Raises:
        UnknownName, InvalidValue: a suite, attention, runtime, phase, precision or count that cannot be; a model whose
            phases are not known.
    """
    _check(asked, backend)
    precisions = asked.precisions or _usual_precisions(asked.suite, backend)
    for precision in precisions:
        check_precision(backend, precision)
    if asked.suite == "peaks":
        return list(peak_cases(backend, precisions))
    check_family(spec)
    tokens = asked.tokens if asked.tokens is not None else (spec.visual_tokens,)
    if asked.suite == "kernels":
        return list(
            kernel_cases(
                spec,
                tokens=tokens,
                text_tokens=asked.text_tokens,
                batches=asked.batches,
                precisions=precisions,
                flushed=asked.flush,
            )
        )
    runtimes = asked.runtimes or backend.runtimes
    grid = Grid(tokens, asked.text_tokens, asked.batches, precisions, asked.attentions, runtimes, asked.phases)
    return list(phase_cases(spec, grid, flushed=asked.flush))


def _check(asked: Asked, backend: Backend) -> None:
    parse_choice("--suite", asked.suite, SUITES)
    for what, values, allowed in (
        ("--attention", asked.attentions, ATTENTIONS),
        ("--runtime", asked.runtimes or (), RUNTIMES),
        ("--phase", asked.phases, PHASES),
    ):
        for value in values:
            parse_choice(what, value, allowed)
    for batch in asked.batches:
        check_count("--batch", batch)
    for runtime in asked.runtimes or ():
        if runtime not in backend.runtimes:
            raise InvalidValue(f"--runtime {runtime}: a {backend.device.type} has no CUDA graphs; allowed: eager")


def _usual_precisions(suite: str, backend: Backend) -> Sequence[str]:
    if suite == "peaks":
        return backend.precisions
    return ("fp16",) if backend.device.type == "cuda" else ("bf16",)
