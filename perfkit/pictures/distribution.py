"""How a figure is distributed over pictures: moments, quantiles, and a histogram of whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from perfkit.errors import InvalidValue
from perfkit.metrics import percentile

QUANTILES = (5, 25, 50, 75, 95)  # percent
MOST_BINS = 12  # that a reader takes in at once


class Distribution(NamedTuple):
    """Of so many `pictures`. `deviation`: standard deviation of these very pictures; `quantiles` at QUANTILES."""

    pictures: int
    mean: float
    deviation: float
    least: float
    quantiles: tuple[float, ...]
    most: float


class Bin(NamedTuple):
    """`pictures` whose count lies between `low` and `high`, both included."""

    low: int
    high: int
    pictures: int


def distribution_of(values: Sequence[float]) -> Distribution:
    """Distribution of a figure of each picture; quantiles are linear between neighbours, as numpy's default.

    Raises:
        InvalidValue: no values.

    >>> # (2 + 4 + 6) / 3 = 4; sqrt((4 + 0 + 4) / 3) = 1.633; 5 % lies a tenth of the way from 2 to 4
    >>> found = distribution_of([2, 6, 4])
    >>> found.mean, round(found.deviation, 3), found.quantiles
    (4.0, 1.633, (2.2, 3.0, 4.0, 5.0, 5.8))
    """
    if not values:
        raise InvalidValue("a distribution needs at least one picture")
    mean = sum(values) / len(values)
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    quantiles = tuple(percentile(values, q) for q in QUANTILES)
    return Distribution(len(values), mean, deviation, min(values), quantiles, max(values))


def histogram(counts: Sequence[int]) -> tuple[Bin, ...]:
    """Bins of equal width from the least count to the largest, at most MOST_BINS; the last may reach beyond it.

    Raises:
        InvalidValue: no counts.

    >>> histogram([1, 2, 2, 3])
    (Bin(low=1, high=1, pictures=1), Bin(low=2, high=2, pictures=2), Bin(low=3, high=3, pictures=1))
    """
    if not counts:
        raise InvalidValue("a histogram needs at least one picture")
    least, most = min(counts), max(counts)
    width = -(-(most - least + 1) // MOST_BINS)
    return tuple(
        Bin(low, low + width - 1, sum(low <= count < low + width for count in counts))
        for low in range(least, most + 1, width)
    )
