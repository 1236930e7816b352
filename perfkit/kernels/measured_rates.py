"""Expected time of ops on a device whose rates were measured.

Products of a single row take their bytes at the bandwidth that such products reach, larger ones their FLOPs at the rate
that these reach, all else its roofline time.

    expected = max(compute time, bytes / bandwidth)
"""

from __future__ import annotations

from collections.abc import Iterable

from perfkit.hardware import Device
from perfkit.ops import OpCost, maximum
from perfkit.roofline import Engines, OpTime
from perfkit.units import Amount


def rated(engines: Engines, times: Iterable[OpTime]) -> tuple[OpTime, ...]:
    """`times` with what is expected of each at the rates that the device's file holds.

    >>> from perfkit.hardware import Figure, Peak
    >>> from perfkit.ops import Place, linear
    >>> from perfkit.roofline import engines_of, time_ops
    >>> from perfkit.units import Precision
    >>> fp32 = Precision.FP32
    >>> peak = Peak("vector", fp32, "fp32", Figure(200e9, "200 GFLOP/s", "measured"))
    >>> memory, one_row = Figure(40e9, "40 GB/s", "measured"), Figure(20e9, "20 GB/s", "measured")
    >>> cpu = Device("cpu", "A CPU", (peak,), memory, memory, gemv={fp32: one_row})
    >>> product = linear(Place("decode", 1, *[fp32] * 4), "q_proj", 1, 4096, 4096)
    >>> engines = engines_of(cpu, [product])
    >>> (time,) = rated(engines, time_ops(engines, [product]))
    >>> # 4 (4096 * 4096 + 2 * 4096) = 67.14 MB at 40 and at 20 GB/s
    >>> round(time.roofline_s * 1e6), round(time.expected_s * 1e6)
    (1679, 3357)
    """
    device = engines.device
    peaks = {p: peak._replace(rate=device.gemm.get(p, peak.rate)) for p, peak in engines.peaks.items()}
    reached = engines._replace(peaks=peaks)
    return tuple(time._replace(expected_s=_expected_s(reached, time)) for time in times)


def has_measured_rates(device: Device) -> bool:
    """Whether its file holds rates that were measured, not printed by its maker."""
    return bool(device.gemm or device.gemv)


def _expected_s(reached: Engines, time: OpTime) -> Amount:
    product = time.cost.kernel is not None and time.cost.kernel.op == "gemm"
    compute_s = reached.compute_s(time.cost) if product else time.compute_s
    return maximum(compute_s, time.cost.bytes / _bytes_per_s(reached.device, time.cost))


def _bytes_per_s(device: Device, op: OpCost) -> Amount:
    """Memory bandwidth; of products of one row their own where it was measured in their precision."""
    figure = device.gemv.get(op.engine)
    if figure is None or figure.value is None or op.kernel is None or op.kernel.op != "gemm":
        return device.bytes_per_s
    one_row = op.kernel.m == 1  # at each point of a sweep; as a number it is 1 or 0
    return device.bytes_per_s + (figure.value - device.bytes_per_s) * one_row
