"""What the kernel model knows of a device: figures of its file, for products in one precision."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from perfkit.errors import InvalidSpec
from perfkit.hardware import Device, Figure
from perfkit.units import Precision


class Limits(NamedTuple):
    """Rates and sizes of a device: what no kernel exceeds.

    `flops_per_s` of the engine that multiplies in a precision, `bytes_per_s` of memory, `multiprocessors`, their
    `clock_hz`, and the capacity of the last cache level, `l2_bytes`. `sustained_flops_per_s`: what power or issue
    leaves to large products of that engine, infinite where nobody measured it.
    """

    flops_per_s: float
    bytes_per_s: float
    multiprocessors: int
    clock_hz: float
    l2_bytes: float
    sustained_flops_per_s: float = inf


def limits_of(device: Device, precision: Precision) -> Limits:
    """Limits of `device` for products in `precision`.

    Raises:
        UnsupportedPrecision: the device has no engine for the products.
        InvalidSpec: no source prints its multiprocessors, clock or cache.

    >>> from perfkit.hardware import load_device
    >>> limits_of(load_device("v100"), Precision.FP16)
    Limits(flops_per_s=125000000000000.0, bytes_per_s=900000000000.0, multiprocessors=80, clock_hz=1530000000.0,
        l2_bytes=6000000.0, sustained_flops_per_s=inf)
    """
    peak = device.product_peak(precision)
    return Limits(
        peak.flops_per_s,
        device.bytes_per_s,
        int(_known(device, "sm_count", device.sm_count)),
        _known(device, "clock", _clock(device)),
        _known(device, "l2", device.l2),
        inf if peak.sustained is None or peak.sustained.value is None else peak.sustained.value,
    )


def _clock(device: Device) -> Figure | None:
    """That of the tensor peaks, where it is another than the boost clock."""
    clocks = [device.clocks.get(kind) for kind in ("tensor", "boost")]
    return next((clock for clock in clocks if clock is not None and clock.value is not None), None)


def _known(device: Device, what: str, figure: Figure | None) -> float:
    if figure is None or figure.value is None:
        raise InvalidSpec(f"{device.id}: its {what} is not known, which the kernel model needs")
    return float(figure.value)
