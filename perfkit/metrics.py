"""How far predictions are from what was measured: fractions, 0.1 for 10 %.

A pair is (predicted, measured), both in one unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from perfkit.errors import InvalidValue

Pair: TypeAlias = tuple[float, float]


def percentage_error(predicted: float, measured: float) -> float:
    """Signed error: predicted / measured - 1, negative where the prediction is too low.

    Raises:
        InvalidValue: nothing above zero was measured.

    >>> percentage_error(3.0, 4.0), percentage_error(5.0, 4.0)
    (-0.25, 0.25)
    """
    if not measured > 0:
        raise InvalidValue(f"a measured value must be above zero, not {measured!r}")
    return predicted / measured - 1


def absolute_percentage_error(predicted: float, measured: float) -> float:
    """Error without its sign.

    Raises:
        InvalidValue: nothing above zero was measured.

    >>> absolute_percentage_error(3.0, 4.0)
    0.25
    """
    return abs(percentage_error(predicted, measured))


def mape(pairs: Iterable[Pair]) -> float:
    """Mean absolute percentage error.

    Raises:
        InvalidValue: no pairs, or nothing above zero was measured.

    >>> mape([(3.0, 4.0), (3.0, 2.0)])  # (0.25 + 0.5) / 2
    0.375
    """
    errors = _errors(pairs)
    return sum(errors) / len(errors)


def worst(pairs: Iterable[Pair]) -> float:
    """Largest absolute percentage error.

    Raises:
        InvalidValue: no pairs, or nothing above zero was measured.

    >>> worst([(3.0, 4.0), (3.0, 2.0)])
    0.5
    """
    return max(_errors(pairs))


def p90(pairs: Iterable[Pair]) -> float:
    """Absolute percentage error that nine of ten pairs do not exceed.

    Raises:
        InvalidValue: no pairs, or nothing above zero was measured.

    >>> p90([(5.0, 4.0), (6.0, 4.0)])  # nine tenths of the way from 0.25 to 0.5
    0.475
    """
    return percentile(_errors(pairs), 90)


def percentile(values: Sequence[float], q: float) -> float:
    """Value below which `q` percent of `values` lie, linear between neighbours as numpy's default.

    Raises:
        InvalidValue: no values, or `q` outside 0 to 100.

    >>> percentile([4.0, 1.0, 2.0], 50), percentile([0.0, 10.0], 90)
    (2.0, 9.0)
    """
    if not values:
        raise InvalidValue("a percentile needs at least one value")
    if not 0 <= q <= 100:
        raise InvalidValue(f"a percentile lies between 0 and 100, not at {q!r}")
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _errors(pairs: Iterable[Pair]) -> list[float]:
    errors = [absolute_percentage_error(predicted, measured) for predicted, measured in pairs]
    if not errors:
        raise InvalidValue("errors need at least one pair of a prediction and a measurement")
    return errors
