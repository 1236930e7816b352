"""When a timing is good enough: its interval by hand, and the ends of warm-up and repeats on a clock of its own."""

import random
import statistics
import time
from itertools import chain
from itertools import repeat as again
from math import comb, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InvalidValue
from perfkit.measuring.protocol import CONFIDENCE, LEAST_SAMPLES, Rules, Timing, interval, repeat

samples = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=80)


class Bench:
    """A call whose samples are scripted, the last for ever; each passes on the clock, and its preparation too."""

    def __init__(self, *seconds, cycle=False, preparation_s=0.0):
        self.seconds = chain.from_iterable(again(seconds)) if cycle else chain(seconds, again(seconds[-1]))
        self.preparation_s = preparation_s
        self.clock_s = 1000.0
        self.calls = 0

    def now(self):
        return self.clock_s

    def __call__(self):
        seconds = next(self.seconds)
        self.clock_s += self.preparation_s + seconds
        self.calls += 1
        return seconds

    def timing(self, **rules):
        return repeat(self, Rules(**rules), self.now)


def timing(*seconds):
    return Timing(seconds, warmup=0, stable=False)


# --- the interval


@pytest.mark.parametrize(
    ("count", "low", "high", "outside"),
    [
        (6, 1, 6, 2 * 1 / 2**6),  # C(6,0) = 1: 3.1 %; with C(6,1) = 6 it would be 2 * 7 / 64 = 21.9 %
        (9, 2, 8, 2 * (1 + 9) / 2**9),  # 3.9 %
        (20, 6, 15, 2 * (1 + 20 + 190 + 1140 + 4845 + 15504) / 2**20),  # 4.1 %; with C(20,6) = 38760 11.5 %
        (100, 40, 61, 0.0352),  # Hahn and Meeker, table A.15a: 40th and 61st, 96.48 %
    ],
)
def test_the_interval_lies_between_two_order_statistics(count, low, high, outside):
    # Odd numbers up, then even ones down: both halves have about the median of the whole, so nothing is widened.
    evenly = [float(n) for n in (*range(1, count + 1, 4), *range(4, count + 1, 4), *range(2, count + 1, 4))]
    evenly += [float(n) for n in range(3, count + 1, 4)]
    assert sorted(evenly) == list(range(1, count + 1))
    assert interval(evenly) == (low, high)
    assert 2 * sum(comb(count, k) for k in range(low)) / 2**count == pytest.approx(outside, abs=5e-5)
    assert outside <= 1 - CONFIDENCE < 2 * sum(comb(count, k) for k in range(low + 1)) / 2**count


def test_drift_widens_the_interval_to_the_medians_of_the_halves():
    rising = [float(n) for n in range(1, 101)]
    # Mixed it is 40 to 61; in order the halves' medians are those of 1..50 and 51..100.
    assert interval(rising) == (25.5, 75.5)
    assert interval(rising[::-1]) == (25.5, 75.5)
    # 20 in order: 6 to 15 mixed; the median of 1..10 is 5.5, that of 11..20 is 15.5.
    assert interval(rising[:20]) == (5.5, 15.5)


def test_a_step_in_the_middle_makes_a_timing_unstable():
    # Ranks 40 and 61 of 100 are both 1.5, and mixed it is that. In order, 36 of the first 50 are 1.0.
    assert timing(*[1.0] * 36, *[1.5] * 64).interval_s == (1.0, 1.5)
    assert timing(*([1.0] * 9 + [1.5] * 16) * 4).interval_s == (1.5, 1.5)
    # A disturbance that leaves both halves' medians alone is none: 10 of the second 30.
    assert timing(*[1.0] * 50, *[1.5] * 10).interval_s == (1.0, 1.0)


@pytest.mark.parametrize("count", range(1, LEAST_SAMPLES))
def test_too_few_samples_have_no_interval(count):
    few = timing(*[1.0] * count)
    assert few.interval_s is None
    assert few.half_width is None


def test_half_the_interval_is_told_over_the_median():
    # 1 to 6: the median is 3.5, the interval 1 to 6, and (6 - 1) / 2 / 3.5 = 5 / 7.
    assert timing(3.0, 1.0, 2.0, 6.0, 5.0, 4.0).half_width == pytest.approx(5 / 7)


def test_thousands_of_samples_have_an_interval_too():
    count = 3000  # 2^3000 is no float
    low, high = interval([float(n) for n in (*range(0, count, 2), *range(1, count, 2))])
    # Nearly normal: ranks (n -+ 1.96 sqrt(n)) / 2, 1500 -+ 53.7
    assert low == pytest.approx(1500 - 53.7, abs=2)
    assert high == pytest.approx(1500 + 53.7, abs=2)


def test_ranks_are_quick_to_find():
    begin = time.process_time()  # which other processes do not lengthen
    for count in range(LEAST_SAMPLES, 1001):  # each once, as a long unstable series asks for them
        interval([1.0] * count)
    assert time.process_time() - begin < 5  # 0.5 s; by one binomial coefficient after another it were 9 s


DISTRIBUTIONS = {
    # name: draw, median
    "uniform": (lambda r: r.uniform(1, 3), 2.0),
    "lognormal": (lambda r: r.lognormvariate(0, 1), 1.0),
    "exponential": (lambda r: r.expovariate(1), log(2)),
    "pareto without a mean": (lambda r: r.paretovariate(1), 2.0),  # 1 - 1 / x = 1 / 2
    "two clocks": (lambda r: r.uniform(1, 1.1) + (0.5 if r.random() < 0.3 else 0), 1 + 0.1 * 5 / 7),  # 0.7 x = 0.5
}


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DISTRIBUTIONS)), st.integers(LEAST_SAMPLES, 120), st.integers(0, 2**32))
def test_the_interval_holds_the_true_median_as_often_as_it_says(name, count, seed):
    (draw, true), source, series = DISTRIBUTIONS[name], random.Random(seed), 500
    held = 0
    for _ in range(series):
        low, high = interval([draw(source) for _ in range(count)])
        held += low <= true <= high
    # Of 60 examples none may be four standard deviations of the binomial below: 95 % - 4 * 0.97 % = 91.1 %
    assert held / series >= CONFIDENCE - 4 * sqrt(CONFIDENCE * (1 - CONFIDENCE) / series)


# --- a timing


@given(samples)
def test_figures_of_a_timing_are_those_of_the_libraries(seconds):
    taken = timing(*seconds)
    assert taken.median_s == statistics.median(seconds) == pytest.approx(np.median(seconds))
    assert taken.min_s == np.min(seconds)
    quartiles = np.percentile(seconds, [25, 75], method="nearest")
    assert taken.spread == pytest.approx((quartiles[1] - quartiles[0]) / np.median(seconds))


@given(st.lists(st.floats(1e-9, 1e3), min_size=LEAST_SAMPLES, max_size=80))
def test_the_median_lies_in_its_interval(seconds):
    low, high = interval(seconds)
    assert min(seconds) <= low <= statistics.median(seconds) <= high <= max(seconds)


@pytest.mark.parametrize("bad", [(), (0.0,), (1.0, -1.0), (float("nan"),), (1.0, float("inf"))])
def test_what_is_no_time_is_refused(bad):
    with pytest.raises(InvalidValue, match="finite and above zero"):
        timing(*bad)


# --- warm-up


def test_warm_up_ends_when_two_windows_are_level():
    # Medians of three and the next three: (8 4 2) 4 and 1; (4 2 1) 2 and 1; (2 1 1) 1 and 1: after 8.
    found = Bench(8.0, 4.0, 2.0, 1.0).timing(warmup_s=100)
    assert found.warmup == 8
    assert set(found.samples_s) == {1.0}


@pytest.mark.parametrize(("later", "warmup"), [(1.0625, 6), (1.125, 8)])
def test_level_means_within_the_target(later, warmup):
    # (1 1 1) and (x x x); (1 1 x), median 1, and (x x x); (1 x x), median x, and (x x x)
    found = Bench(1.0, 1.0, 1.0, later).timing(warmup_s=100, target=0.1)
    assert found.warmup == warmup


def test_warm_up_ends_with_its_budget():
    # 1 3 4 6 7 9 10: medians 1 and 2 in turn are never level, and none is begun at 10 s.
    found = Bench(1.0, 2.0, cycle=True).timing(warmup_s=10)
    assert found.warmup == 7


def test_a_first_call_longer_than_warm_up_is_kept():
    found = Bench(11.0, 1.0).timing(warmup_s=10)
    assert found.warmup == 0
    # 11 and 1s: all of 7 or 8 hold the median (2 * (1 + 8) / 256 = 7 %), of 9 the second to the eighth (3.9 %).
    assert found.samples_s == (11.0, *[1.0] * 8)
    assert found.stable


def test_a_first_call_longer_than_everything_is_all_there_is():
    found = Bench(50.0).timing(warmup_s=10, budget_s=30)
    assert (found.samples_s, found.warmup, found.stable) == ((50.0,), 0, False)


def test_the_first_call_kept_counts_for_the_budget():
    found = Bench(11.0).timing(warmup_s=10, budget_s=30)
    assert found.samples_s == (11.0, 11.0)  # 33 is above 30


# --- repeats


def test_repeats_end_when_the_median_is_known():
    found = Bench(1.0).timing(minimum_s=0.5)
    # 6 level warm-ups, and the first 6 repeats that have an interval: 1 to 1.
    assert (found.warmup, len(found.samples_s), found.stable) == (6, 6, True)


def test_repeats_take_the_least_time_at_least():
    found = Bench(1.0).timing(minimum_s=10)
    assert len(found.samples_s) == 10
    assert found.stable


def test_no_repeat_is_begun_that_would_end_after_the_budget():
    # 7 warm-ups to 10 s, then 2 1 2 1 ...: 29 s after 19, and another 2 would be 31.
    found = Bench(1.0, 2.0, cycle=True).timing(warmup_s=10, budget_s=30)
    assert len(found.samples_s) == 19
    assert sum(found.samples_s) == 29


def test_what_is_prepared_before_each_repeat_counts_for_the_budget():
    # 4 or 5 s each by the clock: 4 9 13 18 22 27, and the next would be 31 or 32. Timed are 1 or 2 s only.
    bench = Bench(1.0, 2.0, cycle=True, preparation_s=3.0)
    found = bench.timing(warmup_s=1, budget_s=30)
    assert found.warmup == 0  # 4 s: longer than warm-up may be, and kept
    assert found.samples_s == (1.0, 2.0) * 3
    assert bench.clock_s - 1000 == 27


def test_a_sample_may_be_a_part_of_what_was_timed():
    bench, seconds = Bench(4.0, 5.0, cycle=True), []

    def one_of_a_thousand():
        seconds.append(bench() / 1000)
        return seconds[-1]

    found = repeat(one_of_a_thousand, Rules(warmup_s=1, budget_s=30), bench.now)
    assert len(found.samples_s) == 6  # 27 s, as above: 4.5 ms are not what a repeat takes
    assert bench.clock_s - 1000 == 27


def test_repeats_end_at_the_most_samples():
    found = Bench(0.001, 0.002, cycle=True).timing(warmup_s=0.01, most_samples=50)
    assert len(found.samples_s) == 50
    assert not found.stable


@pytest.mark.parametrize("least", [1, 5])
def test_fewer_than_six_samples_are_never_stable(least):
    found = Bench(1.0).timing(most_samples=least)
    assert len(found.samples_s) == least
    assert not found.stable


@pytest.mark.parametrize(("target", "stable"), [(0.2, False), (0.3, True)])
def test_a_noisy_series_is_flagged(target, stable):
    # 2 1 2 1 2 1 2: the interval is 1 to 2 and the median 2, so ± 0.5 / 2 = 25 %; of an even number ± 0.5 / 1.5.
    found = Bench(1.0, 2.0, cycle=True).timing(target=target)
    assert found.stable is stable
    assert found.half_width == pytest.approx(0.25)
    assert len(found.samples_s) == (7 if stable else 19)  # 19 fill the budget


def test_a_drift_is_flagged():
    slower = [1.0 + 2**-6 * n for n in range(100)]  # heat, say
    found = Bench(*slower).timing(budget_s=20, warmup_s=4)
    # 4 warm-ups; 16 from 1 + 4 / 64 to 1 + 19 / 64 take 18.9 s, a 17th would end at 20.2 s. From the 4th to the 13th
    # (2 * 697 / 65536 = 2.1 %) it is 9 / 64, between the halves' medians 8 / 64; half of 9 / 64 over 1 + 11.5 / 64.
    assert len(found.samples_s) == 16
    assert found.half_width == pytest.approx(4.5 / 64 / (1 + 11.5 / 64))
    assert not found.stable


def test_rules_as_they_are_told():
    assert Rules() == Rules(target=0.01, budget_s=30, minimum_s=0.5, warmup_s=10, most_samples=1000)


def test_the_clock_is_a_real_one_by_default():
    def call():
        begin = time.perf_counter()
        time.sleep(0.001)
        return time.perf_counter() - begin

    begin = time.perf_counter()
    found = repeat(call, Rules(target=1e-9, warmup_s=0.05, budget_s=0.2))
    assert 0.1 < time.perf_counter() - begin < 30  # 0.25 s, and what else the machine does
    assert 0.001 <= found.min_s <= found.median_s  # equal where one sleep outlasts the budget
    assert not found.stable
