"""Measured times of single kernels, looked up by shape, or interpolated along the one size that varies."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import exp, log
from statistics import median
from typing import Any, NamedTuple

from perfkit.kernel_shapes import LAUNCH, KernelShape
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.measurement import Point
from perfkit.ops import OpCost
from perfkit.units import Precision


class KernelTime(NamedTuple):
    """Seconds of one launch, and whether its very shape was timed."""

    seconds: float
    exact: bool


class _Line(NamedTuple):
    """Kernels that are alike but for one size."""

    shape: KernelShape
    precision: str


class KernelTimes(NamedTuple):
    """Kernels of a measurement: for each line of alike shapes, seconds of one launch at each size.

    `launch_s`: what one launch costs the host, None where it was not timed.
    """

    lines: dict[_Line, dict[float, float]]
    launch_s: float | None

    def find(self, op: OpCost) -> KernelTime | None:
        """Time of one launch of an op, None where neither its shape nor a smaller and a larger one were timed."""
        if op.kernel is None:
            return None
        shape, size = _split(op.kernel)
        known = self.lines.get(_Line(shape, _precision_of(op)), {})
        if size in known:
            return KernelTime(known[size], exact=True)
        seconds = interpolate(known, size)
        return None if seconds is None else KernelTime(seconds, exact=False)


def collect_kernels(points: Iterable[Point]) -> KernelTimes:
    """Kernels among `points`; of one timed both with and without an emptied cache, the timing without.

    That one finds cold what a model finds cold, and no launch counts; a call after an emptied cache stands alone.
    """
    lines: dict[_Line, dict[float, float]] = {}
    launches = []
    timed = [(point.case, point.timing) for point in points if isinstance(point.case, KernelCase) and point.timing]
    for case, timing in sorted(timed, key=lambda pair: not pair[0].flushed):
        if case.shape.op == LAUNCH:
            launches.append(timing.median_s)
            continue
        shape, size = _split(case.shape)
        lines.setdefault(_Line(shape, case.precision), {})[size] = timing.median_s
    return KernelTimes(lines, median(launches) if launches else None)


def _precision_of(op: OpCost) -> str:
    """As kernels are listed: TF32 is a way to multiply, and what has no products is then an fp32 kernel."""
    return "fp32" if op.engine is Precision.TF32 and not op.multiplies else op.engine.value


def interpolate(known: dict[float, float], size: float) -> float | None:
    """Seconds at `size` on the straight line between its neighbours in logarithms; None outside of what is known.

    >>> interpolate({100.0: 1.0, 400.0: 4.0}, 200.0)  # half way in logarithms: the square root of 1 * 4
    2.0
    >>> interpolate({100.0: 1.0, 400.0: 4.0}, 500.0) is None
    True
    """
    sizes = sorted(known)
    above = bisect_left(sizes, size)
    if above in (0, len(sizes)):
        return None
    low, high = sizes[above - 1], sizes[above]
    part = log(size / low) / log(high / low)
    return exp((1 - part) * log(known[low]) + part * log(known[high]))


def _split(shape: KernelShape) -> tuple[KernelShape, float]:
    """A shape without the size that varies from case to case, and that size; 0 where no single one does.

    Tokens make the rows of a product or of an element-wise kernel, and both sides of attention over a prompt.
    """
    tokens: Any = shape.kv_tokens
    if shape.op == "attention_decode":
        return shape._replace(kv_tokens=None), float(tokens)
    if shape.op.startswith("attention_") and shape.q_tokens == tokens:
        return shape._replace(q_tokens=None, kv_tokens=None), float(tokens)
    if shape.m is not None and shape.op != "bmm":
        return shape._replace(m=None), float(shape.m)
    return shape, 0.0
