"""How long the tower and the reducers take on one batch, by the protocol that all measurements here follow."""

from __future__ import annotations

from collections.abc import Callable

from perfkit.measuring.backend import Backend, Step
from perfkit.measuring.protocol import Rules, Timing, repeat

BUDGET_S = 5.0  # of the tower, and of each reducer
LEAST_S = 0.1  # a reducer takes milliseconds, so that more would only be waiting


def time_call(call: Callable[[], object], backend: Backend, budget_s: float = BUDGET_S) -> Timing:
    """Timing of a call on the device; a call that outlasts a third of its budget alone is one sample.

    Raises:
        InvalidValue: the clock did not move.
    """
    rules = Rules(budget_s=budget_s, minimum_s=min(LEAST_S, budget_s), warmup_s=budget_s / 3)
    return repeat(backend.sampler(Step(call), flush=False), rules)
