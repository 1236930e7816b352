"""The desk that streams of a replica share: who waits, who has got memory, and what is written down."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit.serving.ledger import Ledger
from perfkit.serving.request import Policy
from perfkit.serving.room import Room
from perfkit.serving.steps import StepTimes
from perfkit.serving.traffic import Traffic

if TYPE_CHECKING:
    from simpy import Environment, Event

Steps: TypeAlias = Generator["Event", Any, None]


class Service:
    """Requests are known by their places in the traffic; `changed` happens when one arrives.

    `shared`: by several streams; then it happens too when one leaves, since that may let another stream begin.
    """

    def __init__(
        self, env: Environment, traffic: Traffic, times: StepTimes, room: Room, policy: Policy, *, shared: bool
    ) -> None:
        self.env, self.times, self.policy, self.shared = env, times, policy, shared
        arrays = (traffic.text_tokens, traffic.visual_tokens, traffic.new_tokens, traffic.context_tokens)
        self.text, self.visual, self.new, self.context = (array.tolist() for array in arrays)
        self.kv: list[float] = (room.token_bytes * traffic.total_tokens).tolist()
        self._arrivals: list[float] = traffic.arrival_s.tolist()
        self._room = room.by_batch
        self.waiting: deque[int] = deque()
        self.ledger = Ledger(len(self._arrivals))
        self.changed = env.event()

    def arrivals(self) -> Steps:
        """A process: requests come one by one."""
        for place, when in enumerate(self._arrivals):
            if when > self.env.now:
                yield self.env.timeout(when - self.env.now)
            self.ledger.arrived[place] = self.env.now
            self.ledger.in_system.change(self.env.now, 1)
            self.waiting.append(place)
            self._tell()

    def admit(self, running: int) -> list[int]:
        """Those that start now beside so many, first come first served; they get memory for all of their tokens."""
        found: list[int] = []
        ledger, now = self.ledger, self.env.now
        while self.waiting and running + len(found) < self.policy.max_batch:
            place = self.waiting[0]
            if ledger.kv_bytes.value + self.kv[place] > self._room[running + len(found) + 1]:
                break
            found.append(self.waiting.popleft())
            ledger.started[place] = now
            ledger.kv_bytes.change(now, self.kv[place])
        ledger.running.change(now, len(found))
        return found

    def work(self, seconds: float) -> Steps:
        """Compute so long."""
        self.ledger.busy.change(self.env.now, 1)
        yield self.env.timeout(seconds)
        self.ledger.busy.change(self.env.now, -1)

    def work_until_change(self, seconds: float) -> Steps:
        """Compute so long, or until something changes."""
        self.ledger.busy.change(self.env.now, 1)
        yield self.env.timeout(seconds) | self.changed
        self.ledger.busy.change(self.env.now, -1)

    def begun(self, places: Iterable[int]) -> None:
        """They have their first token."""
        for place in places:
            self.ledger.first[place] = self.env.now

    def end(self, places: Iterable[int]) -> None:
        """They have their last token, and leave."""
        ledger, now = self.ledger, self.env.now
        for place in places:
            ledger.ended[place] = now
            ledger.in_system.change(now, -1)
            ledger.running.change(now, -1)
            ledger.kv_bytes.change(now, -self.kv[place])
        if self.shared:
            self._tell()

    def image_s(self, places: list[int]) -> float:
        """Seconds until the images of a batch have become tokens."""
        seen = [self.visual[place] for place in places if self.visual[place]]
        return self.times.image.at(len(seen), sum(seen) / len(seen)) if seen else 0.0

    def prefill_s(self, places: list[int]) -> float:
        """Seconds of the whole prompts of a batch, images included."""
        count = len(places)
        text, visual = (sum(each[place] for place in places) / count for each in (self.text, self.visual))
        return self.image_s(places) + self.times.prefill.at(count, text, visual)

    def _tell(self) -> None:
        changed, self.changed = self.changed, self.env.event()
        changed.succeed()
