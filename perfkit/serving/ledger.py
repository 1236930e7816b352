"""What a run leaves behind: four times of each request, and levels integrated over time."""

from __future__ import annotations

from typing import Any, NamedTuple


class Level:
    """A quantity that goes up and down: its value, its peak, and its integral over time.

    >>> level = Level()
    >>> level.change(0.0, 2), level.change(3.0, -1)
    (None, None)
    >>> level.integral(4.0), level.peak  # 2 * 3 + 1 * 1
    (7.0, 2.0)
    """

    def __init__(self) -> None:
        self.value = self.peak = self._area = self._since = 0.0

    def change(self, now: float, by: float) -> None:
        """Add to it."""
        self._area += self.value * (now - self._since)
        self._since = now
        self.value += by
        self.peak = max(self.peak, self.value)

    def integral(self, now: float) -> float:
        """From the start to now."""
        return self._area + self.value * (now - self._since)


class Ledger:
    """Seconds of each request by its place (arrival, start, first token, end), and levels.

    `in_system`: requests that wait or run; `running`; `busy`: streams that compute; `kv_bytes`: cache given away.
    """

    def __init__(self, requests: int) -> None:
        self.arrived, self.started, self.first, self.ended = ([0.0] * requests for _ in range(4))
        self.in_system, self.running, self.busy, self.kv_bytes = (Level() for _ in range(4))

    def closed(self, now: float) -> Run:
        """As values; `now` is the end of the last request."""
        import numpy

        return Run(
            arrived=numpy.array(self.arrived),
            started=numpy.array(self.started),
            first=numpy.array(self.first),
            ended=numpy.array(self.ended),
            span_s=now,
            in_system=self.in_system.integral(now) / now,
            running=self.running.integral(now) / now,
            busy=self.busy.integral(now) / now,
            kv_bytes=self.kv_bytes.integral(now) / now,
            kv_peak_bytes=self.kv_bytes.peak,
        )


class Run(NamedTuple):
    """Arrays over requests in seconds, and means over `span_s`, from the start to the end of the last request."""

    arrived: Any
    started: Any
    first: Any
    ended: Any
    span_s: float
    in_system: float
    running: float
    busy: float
    kv_bytes: float
    kv_peak_bytes: float

    @property
    def waiting_s(self) -> Any:
        """From arrival until the request's first step begins."""
        return self.started - self.arrived

    @property
    def ttft_s(self) -> Any:
        """From arrival to the first token."""
        return self.first - self.arrived

    @property
    def latency_s(self) -> Any:
        """From arrival to the end."""
        return self.ended - self.arrived
