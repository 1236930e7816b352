"""Quantities: parse what people write, format what people read; and the number formats of tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from perfkit.errors import InvalidValue, UnknownName

Name = TypeVar("Name", bound=str)

# A Python int (exact), a float (a mean), or a float64 array (a sweep): formulas treat them alike.
Amount = Any

GIB = 2**30
MAXIMUM_COUNT = 10**7  # counts above this are mistakes, not workloads
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
BYTES = {"B": 1.0, "MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
LONGEST_SHOWN = 30  # characters of a bad value that a message repeats


class Precision(StrEnum):
    """Number format of a tensor or of a product; `bits` are those of one stored element.

    >>> Precision.BF16.bits, Precision.INT4.bytes_of(3)
    (16, 2)
    """

    FP64 = "fp64"
    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    FP4 = "fp4"

    bits: int

    def bytes_of(self, elements: Amount, times: Amount = 1) -> Amount:
        """Bytes of `elements` (an int, or a float64 array) stored densely, rounded up to whole bytes, `times` over."""
        if self.bits % 8 == 0:
            return times * (self.bits // 8) * elements  # nothing to round; an array's // takes as long as 30 products
        return times * -(-elements * self.bits // 8)


for _precision in Precision:
    # Set once and kept, because every op asks for it. tf32 is stored as fp32; else the name ends in the bits.
    _precision.bits = 32 if _precision is Precision.TF32 else int(_precision.value.lstrip("bfpint"))

COMPUTE_PRECISIONS = tuple(Precision(p) for p in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8"))
STORAGE_PRECISIONS = (*COMPUTE_PRECISIONS, Precision.INT4, Precision.FP4)


def parse_precision(text: str, allowed: Iterable[Precision] = STORAGE_PRECISIONS, what: str = "precision") -> Precision:
    """Precision named `text`; messages call it `what`, such as --weights.

    Raises:
        UnknownName: it is not among `allowed`.

    >>> parse_precision("bf16").bits
    16
    """
    names = [p.value for p in allowed]
    if text not in names:
        stored = "; it is a format to store weights (--weights) or the cache (--kv) in"
        raise UnknownName(what, str(text), names, stored if text in STORAGE_PRECISIONS else "")
    return Precision(text)


def parse_choice(what: str, text: str, allowed: Iterable[Name]) -> Name:
    """`text` if it is one of `allowed`.

    Raises:
        UnknownName: otherwise, with the nearest.
    """
    for name in (names := tuple(allowed)):
        if name == text:
            return name
    raise UnknownName(what, str(text), names)


def parse_count(what: str, text: str, minimum: int = 1) -> int:
    """Whole number from `minimum` to 10^7, as typed.

    Raises:
        InvalidValue: not a whole number, or outside that range.

    >>> parse_count("--tokens", "32", minimum=0)
    32
    """
    if not re.fullmatch(r"-?[0-9]{1,12}", text):  # int() alone also takes 1_0, +5 and digits of other scripts
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        raise InvalidValue(f"{what} must be a whole number from {minimum} to {MAXIMUM_COUNT}, not {shown!r}")
    number = int(text)
    check_count(what, number, minimum)
    return number


def parse_positive(what: str, text: str) -> float:
    """Number above zero, as typed.

    Raises:
        InvalidValue: text, zero, below it, or without bound.

    >>> parse_positive("--budget", "0.5")
    0.5
    """
    number = float(text) if re.fullmatch(r"[0-9]{0,12}\.?[0-9]{1,12}", text) else 0.0
    if number <= 0:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        raise InvalidValue(f"{what} must be a number above zero, not {shown!r}")
    return number


def parse_quantity(what: str, text: str, units: Mapping[str, float]) -> float:
    """Quantity above zero in SI, typed with one of `units` behind it, or without one.

    Raises:
        InvalidValue: a unit that is none of them, or what `parse_positive` refuses.

    >>> parse_quantity("--ttft", "200ms", SECONDS), parse_quantity("--ttft", "0.2", SECONDS)
    (0.2, 0.2)
    """
    number, unit = re.fullmatch(r"([0-9.]*) *(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    if unit and unit not in units:
        raise InvalidValue(f"{what}: unknown unit {unit[:LONGEST_SHOWN]!r}; allowed: {', '.join(units)}")
    return parse_positive(what, number if number else text) * (units[unit] if unit else 1)


def check_count(what: str, number: Amount, minimum: int = 1) -> Amount:
    """`number`, an int (or a float64 array of whole numbers, for sweeps), if it lies in [minimum, 10^7].

    Raises:
        InvalidValue: a bool, a fraction, outside the range, or an array of another type, which would overflow silently.
    """
    if hasattr(number, "dtype") and (number.dtype != "float64" or number.ndim == 0):
        raise InvalidValue(f"{what}: sweeps take float64 arrays and single points Python ints, not {number.dtype}")
    if hasattr(number, "dtype"):
        inside = bool(((number >= minimum) & (number <= MAXIMUM_COUNT)).all())
        whole = inside and bool((number == number // 1).all())
    else:
        whole = isinstance(number, int) and not isinstance(number, bool)
        inside = whole and minimum <= number <= MAXIMUM_COUNT
    if not (whole and inside):
        raise InvalidValue(f"{what} must be a whole number from {minimum} to {MAXIMUM_COUNT}, not {number!r}")
    return number


_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def format_quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` with a decimal prefix, for people; a dash where there is none.

    >>> format_quantity(381_918_216_192, "FLOP")
    '382 GFLOP'
    >>> format_quantity(0.0157, "s")
    '15.7 ms'
    """
    if value is None:
        return "-"
    if unit == "s":
        return _scaled(value, _SMALL, digits, "")
    return _scaled(value, _PREFIXES, digits, unit)


def _scaled(value: float, scales: tuple[tuple[float, str], ...], digits: int, unit: str) -> str:
    if value == 0:
        return f"0 {unit or 's'}"
    for scale, prefix in scales:
        # Rounding first, so that 999.96 M becomes 1.00 G, not 1000 M.
        rounded = _significant(abs(value) / scale, digits)
        if rounded >= 1 or (scale, prefix) == scales[-1]:
            break
    decimals = max(0, digits - 1 - math.floor(math.log10(rounded))) if rounded > 0 else 0
    return f"{math.copysign(rounded, value):.{decimals}f} {prefix}{unit}"


def _significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")
