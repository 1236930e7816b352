"""Counts of an axis, as typed and as given in Python: single ones and ranges, kept as ranges however long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.units import LONGEST_SHOWN, check_count, parse_count

Counts: TypeAlias = tuple[range, ...]

_FORMS = "a range is start:stop or start:stop:step, the stop included"


def parse_counts(what: str, text: str, minimum: int = 1) -> Counts:
    """Counts as typed: `32,144`, ranges `start:stop:step`, or both; a stop that a step meets is included.

    Raises:
        InvalidValue: no whole number from `minimum` to 10^7, a range that goes down, a step of 0.

    >>> [list(each) for each in parse_counts("--tokens", "32,0:576:288", minimum=0)]
    [[32], [0, 288, 576]]
    """
    return tuple(_parse(what, part, minimum) for part in text.split(","))


def _parse(what: str, text: str, minimum: int) -> range:
    ends = text.split(":")
    shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    if len(ends) > 3:
        raise InvalidValue(f"{what} {shown!r}: {_FORMS}")
    start, stop = (parse_count(what, end, minimum) for end in (ends[0], ends[-1] if len(ends) == 1 else ends[1]))
    step = parse_count(f"the step of {what}", ends[2]) if len(ends) == 3 else 1
    if stop < start:
        raise InvalidValue(f"{what} {shown!r} goes down: {_FORMS}")
    return range(start, stop + 1, step)


def counts_of(what: str, given: str | int | range | Iterable[int], minimum: int = 1) -> Counts:
    """Counts as given in Python: one, a range (its stop left out, as Python has it), several, or text as typed.

    Raises:
        InvalidValue: none at all, or one that is no whole number from `minimum` to 10^7.

    >>> counts_of("batch", 8), counts_of("batch", range(1, 65))
    ((range(8, 9),), (range(1, 65),))
    """
    if isinstance(given, str):
        return parse_counts(what, given, minimum)
    if isinstance(given, range):
        found: Counts = (given if given.step > 0 else given[::-1],)
        for end in (given[0], given[-1]) if given else ():
            check_count(what, end, minimum)
    else:
        numbers = map(_whole, given) if isinstance(given, Iterable) else (given,)
        found = tuple(range(n, n + 1) for n in (check_count(what, number, minimum) for number in numbers))
    if not length_of(found):
        raise InvalidValue(f"{what} is empty: a grid needs at least one")
    return found


def _whole(number: Any) -> int:
    """A numpy integer is a whole number too; what is none is refused later, as it is."""
    return number.item() if hasattr(number, "dtype") else number  # type: ignore[no-any-return]


def length_of(counts: Counts) -> int:
    """How many they are; one that is given twice counts twice here."""
    return sum(map(len, counts))


def values_of(counts: Counts) -> Any:
    """Float64 array of the counts, in their order, each once.

    >>> values_of(parse_counts("--batch", "8,1:3,2")).tolist()
    [8.0, 1.0, 2.0, 3.0]
    """
    import numpy

    every = numpy.concatenate([numpy.arange(c.start, c.stop, c.step, dtype=numpy.float64) for c in counts])
    _, first = numpy.unique(every, return_index=True)
    return every[numpy.sort(first)]
