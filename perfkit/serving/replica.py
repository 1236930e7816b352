"""A replica made ready: its tables and its room, and runs of any traffic through it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from perfkit.serving.ledger import Run
from perfkit.serving.request import ServingRequest
from perfkit.serving.room import Room, room_of
from perfkit.serving.running import Progress, serve
from perfkit.serving.steps import StepTimes, step_times
from perfkit.serving.traffic import Traffic, draw_traffic, extremes_of

REQUESTS = 2000  # that show the capacity,
BATCHES = 50  # or so many full batches
OVERLOAD = 1.5  # times a first estimate of it
GROWING = 0.25  # of the requests, until the waiting line is long


@dataclass(frozen=True, eq=False)
class Replica:
    """Who serves the requests that are asked for."""

    request: ServingRequest
    steps: StepTimes
    room: Room

    @property
    def streams(self) -> int:
        """Batches under way at once: one a stage of a pipeline."""
        return self.request.server.cell.execution.pp

    def held(self, traffic: Traffic) -> int:
        """Requests of its mean length that memory and the limit of a batch allow at once."""
        return self.room.most_requests(float(traffic.total_tokens.mean()))

    def run(self, traffic: Traffic, progress: Progress = nullcontext) -> Run:
        """Serve it all."""
        return serve(traffic, self.steps, self.room, self.request.policy, self.streams, progress)

    def capacity(self) -> float:
        """Requests a second that it serves where they always wait.

        A backlog that is there from the start says about how many; but its requests, all of one length, start and end
        together for ever, as those of a service do not. So more than that many arrive at random, and what starts counts
        once the line has grown.
        """
        request = self.request
        batch = max(1, self.held(draw_traffic(request, 1.0, REQUESTS, request.seed)))
        requests = max(REQUESTS, BATCHES * batch * self.streams)
        about = _starts_per_s(self.run(draw_traffic(request, 1.0, requests, request.seed).at_once()), 0.0)
        return _starts_per_s(self.run(draw_traffic(request, OVERLOAD * about, requests, request.seed)), GROWING)


def _starts_per_s(run: Run, skipped: float) -> float:
    """Requests that start from a share `skipped` of them on, over the time until the last ones start."""
    begin, end = run.started[int(skipped * len(run.started))], run.started[-1]
    return float(((run.started >= begin) & (run.started < end)).sum() / (end - begin))


def replica_of(request: ServingRequest) -> Replica:
    """Tables and room for all lengths that the request can draw.

    Raises:
        InvalidValue: a request beyond the model's context or the memory, more visual tokens than its images make.
        UnsupportedPrecision, InvalidSpec: as `perfkit.analyze`.
    """
    extremes, policy = extremes_of(request), request.policy
    room = room_of(request.server, extremes, policy.max_batch)
    return Replica(request, step_times(request.server, extremes, policy.max_batch, policy.chunk_tokens), room)
