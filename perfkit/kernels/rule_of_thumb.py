"""Expected time of ops on a device of which too little is known for the kernel model: a rule of thumb.

    kernel = 3 us + max( FLOPs of products / (0.7 peak),  bytes / (0.8 bandwidth) )

What large kernels reach on any GPU, and what a launch takes. On the tables of measured kernels that calibrations are
fitted to (V100, A100, H200, B200, L40S) nine of ten products take 0.8 to 1.8 times as long, attention 0.6 to 5 times,
element-wise kernels 0.6 to 2.4 times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from perfkit.kernels.launching import Launch, launches_of
from perfkit.ops import OpCost, maximum
from perfkit.roofline import Engines, OpTime
from perfkit.units import Amount
from perfkit.workload import Runtime

PEAK, BANDWIDTH, START_S = 0.7, 0.8, 3e-6


class _Band(NamedTuple):
    low: float
    high: float


PRODUCTS, ATTENTION, ROWS = _Band(0.8, 1.8), _Band(0.6, 5.0), _Band(0.6, 2.4)


def by_rule_of_thumb(engines: Engines, times: Iterable[OpTime], runtime: Runtime) -> tuple[OpTime, ...]:
    """`times` with what the rule expects of each.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.ops import Place, linear
    >>> from perfkit.roofline import engines_of, time_ops
    >>> from perfkit.units import Precision
    >>> product = linear(Place("prefill", 1, *[Precision.FP16] * 4), "q_proj", 4096, 4096, 4096)
    >>> engines = engines_of(load_device("v100"), [product])
    >>> (time,) = by_rule_of_thumb(engines, time_ops(engines, [product]), "graph")
    >>> round(time.expected_s * 1e6)  # 3 us + 2 * 4096^3 / (0.7 * 125e12) = 1571 us
    1574
    """
    return tuple(_expected(engines, time, runtime) for time in times)


def _expected(engines: Engines, time: OpTime, runtime: Runtime) -> OpTime:
    launches = launches_of(time.cost, runtime)
    seconds: Amount = sum([_launch_s(engines, time.cost, launch) for launch in launches]) * time.cost.repeat
    low, high = _band(time.cost)
    return time._replace(
        expected_s=seconds,
        expected_low_s=low * seconds,
        expected_high_s=high * seconds,
        launches=time.cost.repeat * len(launches),
    )


def _launch_s(engines: Engines, op: OpCost, launch: Launch) -> Amount:
    memory_s = launch.bytes / (BANDWIDTH * engines.device.bytes_per_s)
    if not launch.multiplies:
        return START_S + memory_s
    flops = op.matmul_flops / maximum(op.repeat, 1)
    return START_S + maximum(flops / (PEAK * engines.peaks[op.engine].flops_per_s), memory_s)


def _band(op: OpCost) -> _Band:
    if op.kind == "attention":
        return ATTENTION
    return PRODUCTS if op.multiplies else ROWS
