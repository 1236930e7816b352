"""When a timing is good enough: warm-up until stable, repeats until the median is known, and what is said of the rest.

After pyperf and nvbench: samples are kept raw; the median stands for them, with a 95 % interval that assumes no
distribution; a run that does not come within its target before its budget ends is flagged, not hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import NamedTuple

from perfkit.errors import InvalidValue

CONFIDENCE = 0.95
LEAST_SAMPLES = 6  # the range of 6 holds the median with 1 - 2 / 2^6 = 96.9 %; that of 5 with less than 95 %
WINDOW = 3  # samples whose median is compared with that of the next as many, while warming up


class Rules(NamedTuple):
    """How long to measure. `target`: half the interval over the median below which a timing is stable.

    `warmup_s` and `budget_s` end warm-up and repeats: no warm-up is begun after its time, and no repeat that would end
    after it, but for the first. `minimum_s` is spent on repeats at least.
    """

    target: float = 0.01
    budget_s: float = 30.0
    minimum_s: float = 0.5
    warmup_s: float = 10.0
    most_samples: int = 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each repeat of one call, in the order taken, and how the series ended.

    `warmup`: repeats before it that are not kept. `stable`: whether the interval came within the target.

    Raises:
        InvalidValue: no samples, or samples that are no times.
    """

    samples_s: tuple[float, ...]
    warmup: int
    stable: bool

    def __post_init__(self) -> None:
        if not self.samples_s or not all(0 < sample < float("inf") for sample in self.samples_s):
            raise InvalidValue("a timing needs samples, all of them finite and above zero")

    @property
    def median_s(self) -> float:
        """Middle sample."""
        return median(self.samples_s)

    @property
    def min_s(self) -> float:
        """Fastest sample."""
        return min(self.samples_s)

    @property
    def spread(self) -> float:
        """Distance of the quartiles over the median.

        >>> Timing((4.0, 1.0, 2.0, 3.0, 5.0), 0, False).spread  # (4 - 2) / 3
        0.6666666666666666
        """
        ordered = sorted(self.samples_s)
        last = len(ordered) - 1
        return (ordered[round(0.75 * last)] - ordered[round(0.25 * last)]) / self.median_s

    @property
    def interval_s(self) -> tuple[float, float] | None:
        """95 % interval of the median; None where there are too few samples for one."""
        return interval(self.samples_s) if len(self.samples_s) >= LEAST_SAMPLES else None

    @property
    def half_width(self) -> float | None:
        """Half the interval over the median: what is stated as ± of the median."""
        if self.interval_s is None:
            return None
        low, high = self.interval_s
        return (high - low) / 2 / self.median_s


def interval(samples_s: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median of LEAST_SAMPLES or more, widened to the medians of both halves of the series.

    Between which order statistics the median of any distribution lies follows from the binomial distribution; that
    the second half is like the first is what the machine's drift (clocks, heat, neighbours) would break, so the
    interval never claims to know the median better than the halves agree on it.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 5.2.

    >>> interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])  # 6 samples: from the least to the largest
    (1.0, 6.0)
    """
    ordered, middle = sorted(samples_s), len(samples_s) // 2
    rank = _rank(len(ordered))
    low, high = ordered[rank], ordered[-1 - rank]
    halves = median(samples_s[:middle]), median(samples_s[middle:])
    return min(low, *halves), max(high, *halves)


@lru_cache(maxsize=4096)
def _rank(count: int) -> int:
    """Samples to leave out at each end so that the median lies between the rest with at least CONFIDENCE.

    >>> _rank(6), _rank(20)  # 2 P(X < 6 of 20) = 4.1 %
    (0, 5)
    """
    ways, tail, rank = count, 1 + count, 0  # C(count, rank + 1), and the sum of all up to it
    while 2 * tail / 2**count <= 1 - CONFIDENCE:
        rank += 1
        ways = ways * (count - rank) // (rank + 1)
        tail += ways
    return rank


def repeat(sample: Callable[[], float], rules: Rules, now: Callable[[], float] = time.monotonic) -> Timing:
    """Timing of what `sample` times once, in seconds, under `rules`; `now` is the clock of the budgets."""
    start = now()
    samples, warmup = _warm_up(sample, rules, now)
    start = start if samples else now()
    last_s = now() - start  # by this clock: beside what is timed, a repeat may prepare much
    while not _ended(samples, now() - start, last_s, rules):
        begin = now()
        samples.append(sample())
        last_s = now() - begin
    timing = Timing(tuple(samples), warmup, stable=False)
    return replace(timing, stable=_settled(timing, rules))


def _warm_up(sample: Callable[[], float], rules: Rules, now: Callable[[], float]) -> tuple[list[float], int]:
    """Repeats until two windows in a row have the same median within the target, or the budget ends.

    A first call that outlasts the budget alone is kept as a sample: what is made once is nothing beside it.
    """
    start, taken = now(), [sample()]
    if now() - start >= rules.warmup_s:
        return taken, 0
    while now() - start < rules.warmup_s and not _level(taken, rules.target):
        taken.append(sample())
    return [], len(taken)


def _level(taken: Sequence[float], target: float) -> bool:
    if len(taken) < 2 * WINDOW:
        return False
    before, after = median(taken[-2 * WINDOW : -WINDOW]), median(taken[-WINDOW:])
    return abs(after / before - 1) <= target


def _ended(samples: Sequence[float], spent_s: float, last_s: float, rules: Rules) -> bool:
    """Whether the median is known well enough, or a repeat like the last would end after the budget."""
    if not samples:
        return False
    if len(samples) >= rules.most_samples or spent_s + last_s > rules.budget_s:
        return True
    return spent_s >= rules.minimum_s and _settled(Timing(tuple(samples), 0, stable=False), rules)


def _settled(timing: Timing, rules: Rules) -> bool:
    return timing.half_width is not None and timing.half_width <= rules.target
