"""Lengths of requests: one number, evenly spread between two, or drawn from what a file counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.serving.files import read_counts
from perfkit.units import check_count, parse_count


class Lengths(NamedTuple):
    """`text` as it was asked for. `values`: the one, the two ends (`spread`), or all that is drawn from."""

    text: str
    values: tuple[int, ...]
    spread: bool = False

    @property
    def least(self) -> int:
        """The smallest that can be drawn."""
        return min(self.values)

    @property
    def most(self) -> int:
        """The largest that can be drawn."""
        return max(self.values)

    @property
    def mean(self) -> float:
        """Of what is drawn in the long run."""
        return sum(self.values) / len(self.values)

    def draw(self, requests: int, seed: tuple[int, ...]) -> Any:
        """Lengths of so many requests, a float64 array of whole numbers; the same for the same seed.

        >>> parse_lengths("--new-tokens", "1:3").draw(6, (0,)).tolist()
        [3.0, 2.0, 2.0, 1.0, 1.0, 1.0]
        """
        import numpy

        generator = numpy.random.default_rng(seed)
        if self.spread:
            return generator.integers(self.least, self.most, requests, endpoint=True).astype(float)
        return numpy.array(self.values, float)[generator.integers(0, len(self.values), requests)]


def lengths_of(option: str, given: int | str | Lengths, minimum: int = 1) -> Lengths:
    """Lengths from a number, a text, or lengths themselves.

    Raises:
        InvalidValue: as `parse_lengths`.
    """
    if isinstance(given, Lengths):
        return given
    if isinstance(given, str):
        return parse_lengths(option, given, minimum)
    return Lengths(str(given), (check_count(option, given, minimum),))


def parse_lengths(option: str, text: str, minimum: int = 1) -> Lengths:
    """`N`, `A:B` with both ends included, or a .csv whose column `tokens` is drawn from.

    Raises:
        InvalidValue: no whole number from `minimum` to 10^7, or a range that goes down.
        InvalidSpec: a file without such a column.

    >>> parse_lengths("--text-tokens", "40:80").mean
    60.0
    """
    if text.endswith(".csv"):
        return Lengths(text, read_counts(Path(text), minimum))
    low, colon, high = text.partition(":")
    ends = tuple(parse_count(option, part, minimum) for part in ((low, high) if colon else (low,)))
    if ends[0] > ends[-1]:
        raise InvalidValue(f"{option} {text}: a range A:B goes up: {ends[-1]}:{ends[0]}")
    return Lengths(text, ends, spread=bool(colon))
