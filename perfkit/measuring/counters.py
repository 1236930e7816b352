"""What NVML says beside a timing: clocks, power, temperature, what held the clocks back, and energy of a call.

A timing does not depend on any of it: what a card, its driver or this machine does not report is None, never zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce
from operator import or_
from statistics import median_low
from typing import Any, NamedTuple, TypeVar

from perfkit.errors import MachineError
from perfkit.measuring.nvml import ask, nvml_session

INTERVAL_S = 0.05  # a reading asks the driver five times, which may take milliseconds
BATCH_S = 0.02  # well below the 0.1 s after which a card updates its energy counter

# Bits of nvmlClocksEventReason* in nvml.h. Idling is no brake, and clocks that a person set are meant: both left out.
REASONS = {
    0x004: "sw power cap",
    0x008: "hw slowdown",
    0x010: "sync boost",
    0x020: "sw thermal slowdown",
    0x040: "hw thermal slowdown",
    0x080: "hw power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability",
}
NO_BRAKES = 0x003  # idle, applications clocks setting

# The newest first: NVML drops the older names in CUDA 14, and older drivers and libraries do not know the newer ones.
TEMPERATURE = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
CLOCK_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")

Number = TypeVar("Number", int, float)


class Counters(NamedTuple):
    """One GPU over some readings; triples are least, median and largest. None where not every reading had the figure.

    The median of an even number of readings is the lower of the middle two, so that each figure was really read.
    `power_w`: of the board. On Ampere (GA100 excepted) and newer NVML averages it over the last second.
    `temperature_c`: of the GPU's core, in degrees Celsius.
    `throttle_reasons`: what held the clocks back in any of the readings; empty where nothing did.
    `energy_j`: of the board for one call, from its energy counter (Volta and newer).

    Source: NVML API Reference, Device Queries.
    """

    readings: int
    sm_clock_hz: tuple[int, int, int] | None
    memory_clock_hz: tuple[int, int, int] | None
    power_w: tuple[float, float, float] | None
    temperature_c: tuple[int, int, int] | None
    throttle_reasons: tuple[str, ...] | None
    energy_j: float | None


class _Reading(NamedTuple):
    sm_clock_hz: int | None
    memory_clock_hz: int | None
    power_w: float | None
    temperature_c: int | None
    reasons: int | None


class Watch:
    """One GPU, read now and then. Made by `watch_gpu`, and of use only within its block.

    `interval_s`: least time between two readings; `now`: the clock that it is counted on, in seconds.
    """

    def __init__(
        self, nvml: Any, handle: Any, interval_s: float = INTERVAL_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._nvml = nvml
        self._handle = handle
        self._interval_s = interval_s
        self._now = now
        self.clear()

    def clear(self) -> None:
        """Forget the readings; the next `read` takes one at once."""
        self._readings: list[_Reading] = []
        self._next_s = -float("inf")

    def read(self) -> None:
        """Take a reading, unless the last is less than the interval ago: cheap enough to stand between repeats."""
        if self._now() < self._next_s:
            return
        self._readings.append(_read(self._nvml, self._handle))
        self._next_s = self._now() + self._interval_s  # from its end, or slow readings would follow without a pause

    def total_energy_j(self) -> float | None:
        """What the board has used since its driver was loaded; updated only some ten times a second."""
        energy_j: float | None = ask(self._nvml, "nvmlDeviceGetTotalEnergyConsumption", self._handle, unit=1e-3)
        return energy_j

    def counters(self, energy_j: float | None = None) -> Counters:
        """Summary of the readings since the last `clear`, beside the energy of a call in joules."""
        figures = zip(*self._readings, strict=True) if self._readings else [()] * len(_Reading._fields)
        sm_clock_hz, memory_clock_hz, power_w, temperature_c, reasons = map(_complete, figures)
        return Counters(
            readings=len(self._readings),
            sm_clock_hz=_spread(sm_clock_hz),
            memory_clock_hz=_spread(memory_clock_hz),
            power_w=_spread(power_w),
            temperature_c=_spread(temperature_c),
            throttle_reasons=name_reasons(reduce(or_, reasons)) if reasons else None,
            energy_j=energy_j,
        )


@contextmanager
def watch_gpu(uuid: str | None = None, interval_s: float = INTERVAL_S) -> Iterator[Watch | None]:
    """A watch of one GPU, or None where NVML or the driver is missing or does not know the GPU.

    `uuid`: the card's, as `nvidia-smi -L` ("GPU-...") or `str(torch.cuda.get_device_properties(0).uuid)` (without
    "GPU-") have it; None for NVML's first GPU. It is no index because CUDA's and NVML's differ: CUDA_VISIBLE_DEVICES
    renumbers, and CUDA puts the fastest card first. A part of a card (MIG) is not known by such a name.
    """
    with ExitStack() as session:
        yield _watch(session, uuid, interval_s)


def _watch(session: ExitStack, uuid: str | None, interval_s: float) -> Watch | None:
    try:
        nvml = session.enter_context(nvml_session())
    except MachineError:  # a measurement goes on without
        return None
    if uuid is None:
        handle = ask(nvml, "nvmlDeviceGetHandleByIndex", 0)
    else:
        handle = ask(nvml, "nvmlDeviceGetHandleByUUID", f"GPU-{uuid.removeprefix('GPU-')}")
    return None if handle is None else Watch(nvml, handle, interval_s)


def _read(nvml: Any, handle: Any) -> _Reading:
    return _Reading(
        sm_clock_hz=ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM, unit=10**6),
        memory_clock_hz=ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM, unit=10**6),
        power_w=ask(nvml, "nvmlDeviceGetPowerUsage", handle, unit=1e-3),
        temperature_c=_ask_first(nvml, TEMPERATURE, handle, nvml.NVML_TEMPERATURE_GPU),
        reasons=_ask_first(nvml, CLOCK_REASONS, handle),
    )


def _ask_first(nvml: Any, functions: tuple[str, ...], *arguments: Any) -> Any:
    """Answer of the first function that has one."""
    answers = (ask(nvml, function, *arguments) for function in functions)
    return next((answer for answer in answers if answer is not None), None)


def _complete(figures: tuple[Any, ...]) -> tuple[Any, ...]:
    """All figures of one kind, or none: a summary of some of the readings would pass for one of them all."""
    return () if None in figures else figures


def _spread(figures: tuple[Number, ...]) -> tuple[Number, Number, Number] | None:
    return (min(figures), median_low(figures), max(figures)) if figures else None


def name_reasons(mask: int) -> tuple[str, ...]:
    """Names of what held the clocks back, from NVML's bits; a bit that has no name here stands as its number.

    >>> name_reasons(0x1 | 0x4 | 0x20)  # idle is no brake
    ('sw power cap', 'sw thermal slowdown')
    >>> name_reasons(0x800)
    ('reason 0x800',)
    """
    bits = (1 << place for place in range(mask.bit_length()))
    return tuple(REASONS.get(bit, f"reason {bit:#x}") for bit in bits if mask & bit & ~NO_BRAKES)


def energy_per_call(
    watch: Watch,
    call: Callable[[], object],
    synchronize: Callable[[], object],
    minimum_s: float = 1.0,
    now: Callable[[], float] = time.monotonic,
) -> float | None:
    """Joules of the board for one call, from a pass of its own that runs `call` back to back; None without a counter.

    A timing loop leaves the GPU idle between repeats, and a card that idles draws power too: hence a pass of its own.
    It lasts `minimum_s` from when the counter first moves under load, so that rest before the pass is not charged
    to the calls, and divides what the counter gained between its first and its last move by the calls between them.
    Each end is known to a batch of calls (BATCH_S, or one long call); a longer pass is a finer one.

    `call` may return before the GPU is done; `synchronize` waits for the GPU; `now` is the clock, in seconds.
    """
    moves = _moves(watch, _run_batches(watch, call, synchronize, now), minimum_s, now)
    if len(moves) < 2:
        return None
    (first_calls, first_j), (last_calls, last_j) = moves[0], moves[-1]
    return (last_j - first_j) / (last_calls - first_calls)


def _moves(watch: Watch, batches: Iterator[int], minimum_s: float, now: Callable[[], float]) -> list[tuple[int, float]]:
    """Calls made and joules counted, each time that the counter was found to have moved; none if it fails."""
    moves: list[tuple[int, float]] = []
    seen_j, end_s = watch.total_energy_j(), now() + minimum_s
    while seen_j is not None and now() < end_s:
        calls, energy_j = next(batches), watch.total_energy_j()
        if energy_j is not None and energy_j != seen_j:
            end_s = end_s if moves else now() + minimum_s
            moves.append((calls, energy_j))
        seen_j = energy_j
    return [] if seen_j is None else moves


def _run_batches(
    watch: Watch, call: Callable[[], object], synchronize: Callable[[], object], now: Callable[[], float]
) -> Iterator[int]:
    """How many calls the GPU has done, after one batch and the next, without end.

    A batch is doubled until it takes BATCH_S: calls that only queue work would otherwise run far ahead of the GPU.
    """
    batch, calls = 1, 0
    while True:
        begin_s = now()
        for _ in range(batch):
            call()
        watch.read()  # before waiting: the clocks of a GPU at rest are not those of the calls
        synchronize()
        calls += batch
        batch *= 2 if now() - begin_s < BATCH_S else 1
        yield calls
