"""Figures as printed: their unit, their last digit, and when a value gives them.

A rule is a small function of the printed text and the exact value; a paper's convention and its published tables name
one of `RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from perfkit.errors import InvalidSpec
from perfkit.units import LONGEST_SHOWN, Amount

Rule = Callable[[str, Amount], bool]

DECIMAL = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
PREFIXES: Mapping[str, int] = {"G": 10**9, "B": 10**9, "T": 10**12}  # papers print B for 10^9


def half_unit(printed: str, value: Amount) -> bool:
    """No more than half a unit of the last printed digit apart: `value`, rounded, is what is printed.

    >>> half_unit("3.82", 3.8172), half_unit("3.82", 3.8251)  # 0.0028 and 0.0051 apart; half of 0.01 is 0.005
    (True, False)
    """
    return distance(printed, value) <= _place(printed) / 2


def one_significant_unit(printed: str, value: Amount) -> bool:
    """No more than one unit of the last significant digit apart, zeros that end a decimal not being significant.

    >>> one_significant_unit("4.60", 4.645)  # 4.6 is printed, 0.045 away; one unit is 0.1
    True
    >>> one_significant_unit("0.28", 0.2274)  # 0.0526 away; one unit is 0.01
    False
    """
    return distance(printed, value) <= _place(_significant(printed))


RULES: Mapping[str, Rule] = {"half unit": half_unit, "one significant unit": one_significant_unit}
# Each rule in words.
ALLOWED: Mapping[str, str] = {
    "half unit": "within half a unit of the last printed digit",
    "one significant unit": "within one unit of the last significant printed digit",
}


def distance(printed: str, value: Amount) -> Fraction:
    """How far a value is from what is printed, exactly.

    >>> distance("0.5", Fraction(1, 3))
    Fraction(1, 6)
    """
    return abs(Fraction(value) - Fraction(printed))


def _place(printed: str) -> Fraction:
    """One unit of the last digit: 1/100 of `3.82`, 1 of `45`."""
    exponent = Decimal(printed).as_tuple().exponent
    return Fraction(10) ** int(exponent)


def _significant(printed: str) -> str:
    return printed.rstrip("0").rstrip(".") if "." in printed else printed


class Printed(NamedTuple):
    """A printed number: its digits, every zero kept, and what its prefix stands for."""

    digits: str
    prefix: int

    def given_by(self, value: Amount, rule: str) -> bool:
        """Whether `value` gives this by one of RULES."""
        return RULES[rule](self.digits, Fraction(value) / self.prefix)


def read_printed(text: str) -> Printed:
    """Number and prefix as printed.

    Raises:
        InvalidSpec: no plain number with G, B or T.

    >>> read_printed("1.80 T").given_by(1_780_800_000_000, "half unit")  # 0.0192 T away; half of 0.01 is 0.005
    False
    """
    found = re.fullmatch(f"({DECIMAL}) ([{''.join(PREFIXES)}])", text)
    if found is None:
        raise InvalidSpec(f"printed must be a number with G, B or T, such as 3.82 T, not {text[:LONGEST_SHOWN]!r}")
    return Printed(found[1], PREFIXES[found[2]])
