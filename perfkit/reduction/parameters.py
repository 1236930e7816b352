"""A reduction as people write it, `name:key=value,key=value`, read strictly.

A list stands in one value with slashes between its numbers, because commas stand between the parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from perfkit.errors import InvalidValue, UnknownName
from perfkit.units import LONGEST_SHOWN, MAXIMUM_COUNT, check_count

# Longer fractions would leave the whole numbers that a float64 holds: 10^6 parts of 10^7 tokens are below 2^53.
_DECIMAL = re.compile(r"(?=.)[0-9]{0,12}(?:\.[0-9]{1,6})?")
_COUNT = re.compile(r"[0-9]{1,12}")


def read_parameters(method: str, text: str) -> Parameters:
    """Parameters of `method` from what stands behind its name and colon.

    Raises:
        InvalidValue: no `key=value`, or a key twice.

    >>> read_parameters("fastv", "k=3,r=0.75").given
    {'k': '3', 'r': '0.75'}
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise InvalidValue(f"{method}: parameters are key=value with commas between, not {shown(part)}")
        if key in given:
            raise InvalidValue(f"{method}: {shown(key)} stands twice")
        given[key] = value
    return Parameters(method, given)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of `method` as typed."""

    method: str
    given: dict[str, str]

    def only(self, *known: str) -> Parameters:
        """These parameters, if all of them are `known`.

        Raises:
            UnknownName: another one, with the nearest.
        """
        for key in self.given:
            if not known:
                raise InvalidValue(f"{self.method} takes no parameters; --tokens says how many tokens it leaves")
            if key not in known:
                raise UnknownName(f"parameter of {self.method}", key[:LONGEST_SHOWN], known)
        return self

    def count(self, key: str, default: str = "", minimum: int = 1) -> int:
        """Whole number from `minimum` on.

        Raises:
            InvalidValue: absent without a default, no number, or below the minimum.
        """
        return self._number(key, self._text(key, default), minimum)

    def counts(self, key: str, default: str = "", minimum: int = 1) -> tuple[int, ...]:
        """Whole numbers from `minimum` on, with slashes between.

        Raises:
            InvalidValue: absent without a default, or a part that is no such number.
        """
        return tuple(self._number(key, part, minimum) for part in self._text(key, default).split("/"))

    def fraction(self, key: str, default: str = "") -> Fraction:
        """Decimal from 0 to 1, exact.

        Raises:
            InvalidValue: absent without a default, no decimal of up to six places, or above 1.
        """
        text = self._text(key, default)
        if not _DECIMAL.fullmatch(text) or Fraction(text) > 1:
            raise self._refused(key, text, "a decimal from 0 to 1 of up to six places, such as 0.5")
        return Fraction(text)

    def _text(self, key: str, default: str) -> str:
        text = self.given.get(key, default)
        if not text:
            raise InvalidValue(f"{self.method} needs {key}, as in {self.method}:{key}=64")
        return text

    def _number(self, key: str, text: str, minimum: int) -> int:
        if not _COUNT.fullmatch(text) or not minimum <= int(text) <= MAXIMUM_COUNT:
            raise self._refused(key, text, f"a whole number from {minimum} to {MAXIMUM_COUNT}")
        return int(text)

    def _refused(self, key: str, text: str, allowed: str) -> InvalidValue:
        return InvalidValue(f"{self.method}: {key} must be {allowed}, not {shown(text)}")


def shown(text: str) -> str:
    """A typed text as messages repeat it: quoted, and cut where it is long."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}...")


def decimal(fraction: Fraction) -> str:
    """Canonical text of a fraction of up to six places.

    >>> decimal(Fraction("0.50")), decimal(Fraction(1)), decimal(Fraction("0.333333"))
    ('0.5', '1', '0.333333')
    """
    text = f"{fraction.numerator * 10**6 // fraction.denominator:07d}"
    return f"{text[:-6]}.{text[-6:]}".rstrip("0").rstrip(".")


def listed(numbers: tuple[int, ...]) -> str:
    """Canonical text of a list.

    >>> listed((2, 6, 15))
    '2/6/15'
    """
    return "/".join(map(str, numbers))


def check_whole(what: str, number: Any) -> None:
    """Refuse what is no int from 1 to 10^7; an array neither, for which `check_count` takes a sweep.

    Raises:
        InvalidValue: another type, or outside the range.
    """
    if hasattr(number, "dtype"):
        raise InvalidValue(f"{what} must be a Python int, not a value of type {type(number).__name__}")
    check_count(what, number)
