"""What a measurement holds: the machine, how it was called, and the outcome of each case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from perfkit.measuring.cases import Case, KernelCase, PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.protocol import Timing

Status = Literal["ok", "out of memory"]
STATUSES: tuple[Status, ...] = ("ok", "out of memory")


class Machine(NamedTuple):
    """Where it was measured. `kind`: cuda or cpu; `device`: id of the device file that the product name belongs to.

    `cache_bytes`: the last cache level; `cores`: SMs of a GPU, threads that torch used on a CPU; `clock`: what timed.
    """

    kind: str
    name: str
    clock: str
    memory_bytes: int
    cores: int
    platform: str
    libraries: dict[str, str]
    device: str | None = None
    cache_bytes: int | None = None
    driver: str | None = None


class Run(NamedTuple):
    """One call of `perfkit measure` on the file: when (UTC), how, and by which version."""

    date: str
    command: str
    perfkit: str


@dataclass(frozen=True, slots=True)
class Point:
    """Outcome of a case. `timing` is None where it did not run, and `note` then says why.

    `launches`: operators that one call sends to the device, views left out; `host_s`: what the host takes to launch
    them. `peak_memory_bytes`: most that torch held while it ran. Each of these is None where it cannot be had.
    """

    case: Case
    status: Status
    timing: Timing | None = None
    counters: Counters | None = None
    launches: int | None = None
    peak_memory_bytes: int | None = None
    host_s: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """All points of a file; `file` is its name, for messages."""

    machine: Machine
    runs: tuple[Run, ...] = ()
    points: tuple[Point, ...] = field(default=())
    file: str = ""

    @property
    def phases(self) -> dict[PhaseCase, Point]:
        """Points that time a phase of a model."""
        return {point.case: point for point in self.points if isinstance(point.case, PhaseCase)}

    @property
    def kernels(self) -> dict[KernelCase, Point]:
        """Points that time a kernel."""
        return {point.case: point for point in self.points if isinstance(point.case, KernelCase)}

    @property
    def warnings(self) -> list[str]:
        """Points to be careful with: unstable ones, and those that memory did not hold."""
        phases = [f"{case.label}: {problem}" for case, point in self.phases.items() if (problem := _problem(point))]
        kernels = [problem for point in self.kernels.values() if (problem := _problem(point))]
        listed = f"{len(kernels)} of {len(self.kernels)} kernels are unstable or did not run: see their rows"
        return [*phases, listed] if kernels else phases


def _problem(point: Point) -> str | None:
    timing = point.timing
    if timing is None:
        return f"{point.status}: {point.note}"
    if timing.stable:
        return None
    known = "not known well enough to state" if timing.half_width is None else f"known to ±{timing.half_width:.1%}"
    return f"unstable: after {len(timing.samples_s)} repeats the median is {known}"
