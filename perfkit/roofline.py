"""Ideal time of ops on a device: no faster than any engine that an op needs, nor than memory.

    time = max(products / tensor peak, element-wise / vector peak, bytes / bandwidth)

Where products run on the vector engine too (fp32 on a V100, INT8 by DP4A) the first two add up. Never a quotient of
operations over an attained performance, so an op without FLOPs has its memory time.

Source: Williams, Waterman, Patterson: Roofline (CACM 52(4), 2009), one ceiling an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from perfkit.hardware import Device, Peak
from perfkit.ops import COMMUNICATION, OpCost, maximum
from perfkit.units import Amount, Precision


class OpTime(NamedTuple):
    """Roofline time of an op over all its launches, and the two bounds that it is the larger of.

    `expected_s`: what is to be expected instead, None where nothing is known beyond the roofline; nine of ten times lie
    from `expected_low_s` to `expected_high_s`, None where their spread is not known. `launches`: kernels that a host
    launches for it, 0 where it launches none one by one.
    """

    cost: OpCost
    compute_s: Amount
    memory_s: Amount
    roofline_s: Amount
    expected_s: Amount | None = None
    expected_low_s: Amount | None = None
    expected_high_s: Amount | None = None
    launches: Amount = 0

    @property
    def bound(self) -> str:
        """`compute` or `memory`, whichever takes longer; `communication` of what GPUs exchange."""
        if self.cost.kind == COMMUNICATION:
            return COMMUNICATION
        return "compute" if self.compute_s >= self.memory_s else "memory"


class Engines(NamedTuple):
    """Rates of a device, looked up once for many ops."""

    device: Device
    peaks: dict[Precision, Peak]
    vector: Peak | None

    def compute_s(self, op: OpCost) -> Amount:
        """Time of the op's arithmetic; element-wise work on a device without a published vector rate takes none."""
        vector = op.vector_flops / self.vector.flops_per_s if self.vector else 0.0
        if not op.multiplies:
            return vector
        peak = self.peaks[op.engine]
        products = op.matmul_flops / peak.flops_per_s
        if isinstance(op.vector_flops, int) and op.vector_flops == 0:
            return products
        return products + vector if peak.engine == "vector" else maximum(products, vector)


def engines_of(device: Device, forward: Iterable[OpCost]) -> Engines:
    """Rates of `device` for the products of `forward`.

    Raises:
        UnsupportedPrecision: the device has no engine for some of them.
    """
    precisions = dict.fromkeys(op.engine for op in forward if op.multiplies)
    return Engines(device, {p: device.product_peak(p) for p in precisions}, device.vector_peak())


def time_ops(engines: Engines, forward: Iterable[OpCost]) -> tuple[OpTime, ...]:
    """Roofline time of each op.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.ops import Place, linear
    >>> product = linear(Place("prefill", 1, *[Precision.FP16] * 4), "q_proj", 4096, 4096, 4096)
    >>> engines = engines_of(load_device("v100"), [product])
    >>> round(time_ops(engines, [product])[0].roofline_s * 1e6)  # 2 * 4096^3 / 125e12 = 1.0995 ms
    1100
    """
    return tuple(_times(engines, forward))


def _times(engines: Engines, forward: Iterable[OpCost]) -> Iterator[OpTime]:
    bytes_per_s = engines.device.bytes_per_s
    for op in forward:
        compute, memory = engines.compute_s(op), op.bytes / bytes_per_s
        yield OpTime(op, compute, memory, maximum(compute, memory))


def ridge_point(device: Device, precision: Precision) -> float:
    """Arithmetic intensity, in FLOP a byte, above which products in `precision` are bound by compute.

    >>> from perfkit.hardware import load_device
    >>> round(ridge_point(load_device("v100"), Precision.FP16), 1)  # 125e12 / 900e9
    138.9
    """
    return device.product_peak(precision).flops_per_s / device.bytes_per_s
