"""How long 100 000 requests take on one core, tables and capacity included, and how much memory.

Requests of many lengths at four fifths of an H100's capacity, under each way of batching; time of the process, so that
others on the machine do not count. The reference is SimPy itself: as many bare events as requests need at the least, an
arrival, a prefill and an end each.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

from perfkit import simulate

REQUESTS = 100_000
EVENTS = 3  # of a request
SECONDS = 60.0  # target
LOAD = 0.8
LENGTHS: dict[str, Any] = {"tokens": "0:576", "text_tokens": "40:400", "new_tokens": "1:256"}
WAYS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "continuous, chunks of 512": {"chunked_prefill": 512},
    "static": {"batching": "static"},
    "continuous, two stages": {"pp": 2},
}


def seconds(act: Callable[[], object]) -> float:
    """Time of the process."""
    start = time.process_time()
    act()
    return time.process_time() - start


def bare_events() -> None:
    """As many timeouts of one process as requests have events."""
    from simpy import Environment

    env = Environment()

    def ticks() -> Any:
        for _ in range(EVENTS * REQUESTS):
            yield env.timeout(1.0)

    env.process(ticks())
    env.run()


def main() -> None:
    """Print seconds and peak memory."""
    reference = seconds(bare_events)
    print(f"{EVENTS * REQUESTS} bare events of SimPy     {reference:6.2f} s   (reference)")
    for name, way in WAYS.items():
        rate = LOAD * simulate("h100", rate=0.01, requests=1, **LENGTHS, **way).capacity
        found = seconds(lambda rate=rate, way=way: simulate("h100", rate=rate, requests=REQUESTS, **LENGTHS, **way))
        goal = "reached" if found < SECONDS else "MISSED"
        print(f"{REQUESTS} requests, {name:26} {found:6.2f} s   {found / reference:4.0f} x reference", end="   ")
        print(f"target {SECONDS:.0f} s: {goal}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
