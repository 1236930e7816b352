"""A device file of a measurement: the rates that a machine reached, in the form of a datasheet's."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context
from typing import Any, NamedTuple

import yaml

from perfkit.errors import InvalidValue
from perfkit.hardware import load_device
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.kernel_costs import cost_of
from perfkit.measuring.measurement import Machine, Measurement
from perfkit.measuring.protocol import Timing
from perfkit.ops import OpCost
from perfkit.units import Precision

DIGITS = 4  # of a written figure; timings repeat to two or three
SOURCE = "measured"
GIGA = 1e9
NOTES = (
    "Peaks and bandwidth are best samples, rounded up, so that no run is faster.",
    "gemm_rate and gemv_bandwidth are medians: what products of many rows and of one row are expected to reach.",
    "What stays in a cache moves faster than this memory: small weights, small activations.",
)


class _Timed(NamedTuple):
    """A timed kernel and its cost."""

    case: KernelCase
    cost: OpCost
    timing: Timing

    @property
    def one_row(self) -> bool:
        return self.case.shape.op == "gemm" and self.case.shape.m == 1

    @property
    def many_rows(self) -> bool:
        return self.case.shape.op == "gemm" and not self.one_row

    @property
    def flops_per_s(self) -> float:
        return float(self.cost.matmul_flops / self.timing.min_s)

    @property
    def bytes_per_s(self) -> float:
        return float(self.cost.bytes / self.timing.min_s)

    @property
    def note(self) -> str:
        samples = f"best of {len(self.timing.samples_s)} samples"
        return f"{self.case.label}: {samples}, spread {100 * self.timing.spread:.1f} %"


def device_yaml(measurement: Measurement) -> str:
    """Device file that `perfkit roofline --gpu` takes, of the timed copies and products of a measurement.

    A peak is the best rate of any product in a precision, and the bandwidth that of any copy or one-row product:
    both bound measured times from below, so they are of the fastest sample and rounded up. `gemm_rate` and
    `gemv_bandwidth`, at which large and one-row products are expected to run, are of median times: they are no bounds.

    Raises:
        InvalidValue: no copy or no product was timed.
    """
    timed = [_Timed(case, cost_of(case), point.timing) for case, point in measurement.kernels.items() if point.timing]
    machine = measurement.machine
    document = {
        "name": machine.name,
        **_origin(machine),
        "sources": {SOURCE: _source(measurement)},
        "peaks": _peaks(machine, timed, measurement.file),
        **_reached("gemm_rate", [t for t in timed if t.many_rows], "GFLOP/s"),
        "memory": _memory(machine, timed, measurement.file),
        "notes": list(NOTES),
    }
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def _origin(machine: Machine) -> dict[str, str]:
    """Vendor and family, where the product name tells them; the family of a known GPU is that of its device file."""
    vendor = next((vendor for vendor in ("AMD", "Intel") if vendor.lower() in machine.name.lower()), None)
    if machine.kind == "cuda":
        vendor = vendor or "NVIDIA"
    family = "cpu" if machine.kind == "cpu" else load_device(machine.device).family if machine.device else None
    return {key: value for key, value in (("vendor", vendor), ("family", family)) if value}


def _source(measurement: Measurement) -> str:
    machine = measurement.machine
    last = [f"perfkit {run.perfkit}, {run.date[:10]}" for run in measurement.runs[-1:]]
    torch = machine.libraries.get("torch", "of an unknown version")
    return ", ".join(["perfkit measure --suite peaks", *last, f"torch {torch}", machine.name])


# --- figures


def _peaks(machine: Machine, timed: Iterable[_Timed], file: str) -> list[dict[str, Any]]:
    # Half of what is counted of causal attention is never done, so its rate would be no engine's.
    products = [t for t in timed if t.cost.multiplies and t.case.shape.op != "attention_prefill"]
    best = {}
    for one in sorted(products, key=lambda t: t.flops_per_s):
        best[one.case.precision] = one
    if not best:
        raise InvalidValue(_lacks(file, "product"))
    return [_peak(machine, best[p.value]) for p in Precision if p.value in best]


def _peak(machine: Machine, best: _Timed) -> dict[str, Any]:
    # A CPU's matrix units, where it has any, do not work beside its vector units as a GPU's tensor cores do, so that
    # products and element-wise work add up; and fp32 products of a GPU run on its vector engine, TF32 ones do not.
    vector = machine.kind == "cpu" or best.case.precision == "fp32"
    kind = {"engine": "vector" if vector else "tensor", "precision": best.case.precision, "accumulate": "fp32"}
    return {**kind, "dense": True, **_figure(best.flops_per_s, "GFLOP/s", ROUND_CEILING, best.note)}


def _memory(machine: Machine, timed: Iterable[_Timed], file: str) -> dict[str, Any]:
    timed = list(timed)
    streams = [t for t in timed if t.case.shape.op == "copy" or t.one_row]
    if not any(t.case.shape.op == "copy" for t in streams):
        raise InvalidValue(_lacks(file, "copy"))
    best = max(streams, key=lambda t: t.bytes_per_s)
    return {
        "capacity": _figure(machine.memory_bytes, "GB", ROUND_FLOOR, "all that the machine reports, in decimal GB"),
        "bandwidth": _figure(best.bytes_per_s, "GB/s", ROUND_CEILING, f"{best.note}; bytes read and written"),
        **_reached("gemv_bandwidth", [t for t in timed if t.one_row], "GB/s"),
    }


def _reached(key: str, products: list[_Timed], unit: str) -> dict[str, Any]:
    """Median rate of products in each precision under `key`; nothing where none was timed."""
    found = {p: [t for t in products if t.case.precision == p.value] for p in Precision}
    figures = [_median_rate(precision, timed, unit) for precision, timed in found.items() if timed]
    return {key: figures} if figures else {}


def _median_rate(precision: Precision, timed: list[_Timed], unit: str) -> dict[str, Any]:
    """All work over the sum of median times: what a run through products of these shapes would see."""
    work = sum(t.cost.matmul_flops if unit == "GFLOP/s" else t.cost.bytes for t in timed)
    rate = work / sum(t.timing.median_s for t in timed)
    shapes = ", ".join(f"{t.case.shape.m} x {t.case.shape.n} x {t.case.shape.k}" for t in timed)
    spread = max(t.timing.spread for t in timed)
    samples = min(len(t.timing.samples_s) for t in timed)
    note = f"medians of at least {samples} samples of each m x n x k ({shapes}), spread at most {100 * spread:.1f} %"
    return {"precision": precision.value, **_figure(rate, unit, ROUND_HALF_EVEN, note)}


def _figure(value: float, unit: str, rounding: str, note: str) -> dict[str, Any]:
    return {"value": _rounded(value / GIGA, rounding), "unit": unit, "source": SOURCE, "note": note}


def _rounded(value: float, rounding: str) -> float:
    """To DIGITS significant digits, in decimal, so that what has as few already stays.

    >>> _rounded(179.91, ROUND_CEILING), _rounded(0.3, ROUND_CEILING), _rounded(25.27651, ROUND_FLOOR)
    (180.0, 0.3, 25.27)
    """
    return float(Context(prec=DIGITS, rounding=rounding).create_decimal(repr(value)))


def _lacks(file: str, what: str) -> str:
    return (
        f"{file or 'the measurement'}: no timed {what}: `perfkit measure --suite peaks` times what a device file needs"
    )
