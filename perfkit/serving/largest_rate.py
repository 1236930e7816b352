"""The largest rate at which nine of ten requests meet the goals, by bisection over runs of the same requests."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

from perfkit.serving.figures import quantiles_of, tpot_of
from perfkit.serving.replica import Replica
from perfkit.serving.running import Part, Progress
from perfkit.serving.traffic import draw_traffic

RUNS = 3  # with seeds of their own: how far they differ is how sure the rate is
REQUESTS = 4000  # at most, of each run
STEP = 0.01  # of the rate, at which bisection ends
IDLE = 1e-3  # of the capacity: requests that meet nobody


class LargestRate(NamedTuple):
    """Requests a second: the middle one of RUNS, the least and the most; 0 where a request alone misses a goal.

    `requests` in each run; bisection ended within STEP.
    """

    rate: float
    least: float
    most: float
    requests: int


def largest_rate(replica: Replica, capacity: float, progress: Progress = nullcontext) -> LargestRate:
    """Largest rate up to the capacity that meets the request's goals at the 90th percentile."""
    requests = min(replica.request.requests, REQUESTS)
    seeds = range(replica.request.seed, replica.request.seed + RUNS)
    with progress([Part(0.0, f"largest rate, seed {seed}") for seed in seeds]) as shown:
        found = sorted(_bisect(replica, capacity, requests, seed) for seed, _ in zip(seeds, shown, strict=True))
    return LargestRate(found[RUNS // 2], found[0], found[-1], requests)


def _bisect(replica: Replica, capacity: float, requests: int, seed: int) -> float:
    low, high = IDLE * capacity, capacity
    if not _meets(replica, low, requests, seed):
        return 0.0
    if _meets(replica, high, requests, seed):
        return high
    while high - low > STEP * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _meets(replica, middle, requests, seed) else (low, middle)
    return low


def _meets(replica: Replica, rate: float, requests: int, seed: int) -> bool:
    traffic, goals = draw_traffic(replica.request, rate, requests, seed), replica.request.goals
    run = replica.run(traffic)
    tpot = tpot_of(run, traffic)
    return (goals.ttft_s is None or quantiles_of(run.ttft_s).p90 <= goals.ttft_s) and (
        goals.tpot_s is None or not len(tpot) or quantiles_of(tpot).p90 <= goals.tpot_s
    )
