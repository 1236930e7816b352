"""Times of a model on several GPUs: ops as one GPU's slice takes them, and what the GPUs exchange among them.

What an op costs is shown of the whole model, in all GPUs together and what is replicated once; how long it takes is
one GPU's time, since all of them work at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from perfkit.kernels.calibrations import calibration_for
from perfkit.kernels.collectives import exchange_s
from perfkit.kernels.expecting import UNKNOWN, Expectation
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES
from perfkit.ops import OpCost
from perfkit.parallel import Layout, Transfer, exchanges
from perfkit.roofline import OpTime


def together(
    whole: Iterable[OpCost], own: Iterable[OpTime], layout: Layout, expectation: Expectation
) -> Iterator[OpTime]:
    """Op times of all GPUs: costs of the `whole` model, times of one GPU's `own` slice, and exchanges.

    Each cost bears the shape of the kernel that one GPU launches.
    """
    times = iter(own)
    time = next(times, None)
    for op in exchanges(whole, layout):
        if isinstance(op, Transfer):
            yield _time_of(op, expectation)
        elif time is not None and (time.cost.phase, time.cost.name) == (op.phase, op.name):
            yield time._replace(cost=op._replace(kernel=time.cost.kernel))
            time = next(times, None)
        else:  # a head of keys and values that each query head has for itself is not copied out
            known = time is not None and time.expected_s is not None
            yield OpTime(op, 0.0, 0.0, 0.0, *((0.0, 0.0, 0.0) if known else ()))


def _time_of(transfer: Transfer, expectation: Expectation) -> OpTime:
    """A transfer as an op; ranges are not known without a calibration of it."""
    cost, exchange = transfer
    ideal = OpTime(cost, 0.0, 0.0, cost.repeat * exchange.roofline_s, launches=cost.repeat)
    if not expectation.asked:
        return ideal
    calibration = expectation.calibration or calibration_for(expectation.device)
    forms: Any = calibration.forms  # each of its own kind
    seconds = cost.repeat * exchange_s(exchange, forms[COLLECTIVES], forms[BETWEEN_NODES])
    name = COLLECTIVES if exchange.group.nodes == 1 else BETWEEN_NODES
    spread = calibration.spread_of(name) or UNKNOWN
    return ideal._replace(
        expected_s=seconds, expected_low_s=spread.low * seconds, expected_high_s=spread.high * seconds
    )
