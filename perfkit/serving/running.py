"""One run: traffic through a replica, as events on SimPy's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias

from perfkit.errors import MachineError
from perfkit.serving.chunked import serve_chunked
from perfkit.serving.continuous import serve_continuous
from perfkit.serving.ledger import Run
from perfkit.serving.request import Policy
from perfkit.serving.room import Room
from perfkit.serving.service import Service, Steps
from perfkit.serving.static import serve_static
from perfkit.serving.steps import StepTimes
from perfkit.serving.traffic import Traffic

PARTS = 50  # that a run is shown in


class Part(NamedTuple):
    """A stretch of a run, until `until_s`, and how it is shown."""

    until_s: float
    label: str


# Goes through parts of a run, and may show where it is: a click progress bar, for one.
Progress: TypeAlias = Callable[[list[Part]], AbstractContextManager[Iterable[Part]]]


def serve(
    traffic: Traffic, times: StepTimes, room: Room, policy: Policy, streams: int = 1, progress: Progress = nullcontext
) -> Run:
    """All requests, from the first arrival to the last end.

    `streams`: batches under way at once, one a stage of a pipeline; they share the waiting line and the memory.

    Raises:
        MachineError: SimPy is missing.
    """
    try:
        from simpy import Environment
    except ImportError:
        raise MachineError("a simulation needs SimPy: pip install 'perfkit[serving]'") from None
    env = Environment()
    service = Service(env, traffic, times, room, policy, shared=streams > 1)
    env.process(service.arrivals())
    for _ in range(streams):
        env.process(_process(policy)(service))
    with progress(list(_parts(traffic))) as parts:
        for part in parts:
            if part.until_s > env.now:
                env.run(until=part.until_s)
    env.run()  # until nothing can happen any more: every request has left
    return service.ledger.closed(float(max(service.ledger.ended)))


def _process(policy: Policy) -> Callable[[Service], Steps]:
    if policy.batching == "static":
        return serve_static
    return serve_continuous if policy.chunk_tokens is None else serve_chunked


def _parts(traffic: Traffic) -> Iterator[Part]:
    count = len(traffic.arrival_s)
    for number in range(1, PARTS + 1):
        place = count * number // PARTS
        if place:
            yield Part(float(traffic.arrival_s[place - 1]), f"{place} of {count} requests")
