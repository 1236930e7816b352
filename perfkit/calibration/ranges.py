"""Errors of a fit by op and by range of the size that matters to the op, before the fit and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from perfkit.calibration.judging import Held

if TYPE_CHECKING:
    from numpy import ndarray

CACHE = "cache bytes"
# By which size the rows of a form are grouped, as `forms.FORMS` has it.
SIZES = {
    "products": "m",
    "attention_prefill": "tokens",
    "attention_encoder": "tokens",
    "attention_decode": CACHE,
    "elementwise": "m",
}


class RangeErrors(NamedTuple):
    """Mean absolute errors of an op's rows whose `size` lies in a range, before the fit and after it.

    `engine`: of products; `last`: None where the range has no end; `before`: None where nothing was expected before.
    """

    op: str
    engine: str | None
    size: str
    first: int
    last: int | None
    rows: int
    before: float | None
    after: float


class Judged(NamedTuple):
    """Rows of one op, with errors after a fit that did not see them, and before it."""

    op: str
    engine: str | None
    size: str
    ends: Sequence[float]
    after: Held
    before: Held | None


def range_errors(judged: Judged) -> Iterator[RangeErrors]:
    """Of every range that has rows."""
    first = 1
    for last in (*(int(end) for end in judged.ends), None):
        inside = (judged.after.m >= first) & (judged.after.m <= (last or float("inf")))
        if rows := int(inside.sum()):
            before = None if judged.before is None else _error(judged.before, inside)
            yield RangeErrors(
                judged.op, judged.engine, judged.size, first, last, rows, before, _error(judged.after, inside)
            )
        first = (last or 0) + 1


def range_label(errors: RangeErrors) -> str:
    """The range as people read it.

    >>> range_label(RangeErrors("gemm", "tensor", "m", 17, 128, 5, None, 0.1))
    'm 17-128'
    >>> range_label(RangeErrors("attention_decode", None, "cache bytes", 512_000_001, None, 5, None, 0.1))
    'cache from 512 MB'
    """
    size, first, last = errors.size, errors.first, errors.last
    if size == CACHE:
        size, first, last = "cache", first // 10**6, None if last is None else last // 10**6
    unit = " MB" if errors.size == CACHE else ""
    return f"{size} from {first}{unit}" if last is None else f"{size} {first}-{last}{unit}"


def _error(held: Held, inside: ndarray) -> float:
    return float(abs(held.ratios[inside] - 1).mean())


def parted(held: Held, rows: Iterable[int]) -> Iterator[Held]:
    """Rows of several sets that stand one behind the other, each set by itself."""
    first = 0
    for count in rows:
        yield Held(*(part[first : first + count] for part in held))
        first += count
