"""Continuous batching: requests join and leave between steps, first come first served.

Yu et al., Orca (OSDI 2022), iteration-level scheduling: the batch is made anew for every iteration, and a request
starts once there is memory for all of its tokens. Prompts are read in steps of their own, before decoding goes on.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil

from perfkit.serving.service import Service, Steps

SLACK = 1e-9  # of a step: how far rounding may put an arrival beyond the end of one


class Decoding:
    """Requests that decode: which is done after how many more steps, and the cache that a step reads."""

    def __init__(self) -> None:
        self._steps = 0
        self._ends: list[tuple[int, int]] = []
        self._context = 0.0

    def __len__(self) -> int:
        return len(self._ends)

    def join(self, service: Service, places: list[int]) -> None:
        """They have their first token; who wants no more leaves."""
        service.begun(places)
        service.end([place for place in places if service.new[place] == 1])
        for place in places:
            if service.new[place] > 1:
                heappush(self._ends, (self._steps + int(service.new[place]) - 1, place))
                self._context += service.context[place]

    @property
    def left(self) -> int:
        """Steps until the next one leaves."""
        return self._ends[0][0] - self._steps

    @property
    def context(self) -> float:
        """Mean tokens in the caches, each request at the middle of its output."""
        return self._context / len(self._ends)

    def advance(self, service: Service, steps: int) -> None:
        """So many tokens more of each; who has all leaves."""
        self._steps += steps
        done = []
        while self._ends and self._ends[0][0] == self._steps:
            done.append(heappop(self._ends)[1])
            self._context -= service.context[done[-1]]
        if done:
            service.end(done)


def serve_continuous(service: Service) -> Steps:
    """A process: prompts of those who can start, then steps until someone else can."""
    decoding = Decoding()
    while True:
        batch = service.admit(len(decoding))
        if batch:
            yield from service.work(service.prefill_s(batch))
            decoding.join(service, batch)
        elif decoding:
            yield from decode(service, decoding)
        else:
            yield service.changed


def decode(service: Service, decoding: Decoding) -> Steps:
    """Steps until a request leaves, or at the end of one in which something changes that may let another start."""
    env, steps = service.env, decoding.left
    step = service.times.decode.at(len(decoding), decoding.context)
    full = len(decoding) == service.policy.max_batch
    if full or (service.waiting and not service.shared):
        yield from service.work(steps * step)
    else:
        start = env.now
        yield from service.work_until_change(steps * step)
        steps = min(steps, max(1, ceil((env.now - start) / step - SLACK)))
        rest = start + steps * step - env.now
        if rest > 0:
            yield from service.work(rest)
    decoding.advance(service, steps)
