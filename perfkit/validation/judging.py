"""Measurements of a machine judged: every timed phase against its prediction, and where the difference comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perfkit.errors import InvalidValue
from perfkit.hardware import Choice, Device, choose_device
from perfkit.kernels.host import EAGER, HostTime
from perfkit.measuring.cases import Case, PhaseCase
from perfkit.measuring.measurement import Machine, Measurement, Point
from perfkit.measuring.schema import read_measurement
from perfkit.metrics import mape, worst
from perfkit.validation.comparing import ComparedPoint, compare
from perfkit.validation.hosts import host_of
from perfkit.validation.kernel_times import collect_kernels
from perfkit.validation.predicting import PredictedPhase, predict_cases
from perfkit.validation.speedup import Speedup, find_speedups
from perfkit.validation.waterfall import Waterfall, explain

ALL_PHASES = "all"
DEVICE_BOUND = ", device-bound"  # ends the name of that part of a phase


class Errors(NamedTuple):
    """Absolute percentage errors, as fractions, of a predictor (roofline, expected) over the points of a phase."""

    phase: str
    predictor: str
    points: int
    mape: float
    worst: float


@dataclass(frozen=True, slots=True)
class Validation:
    """What a measurement says of the predictions for its machine, taken as the device of `choice`.

    `hosts`: what the host of each file took to launch a kernel, by the phases that it timed; equal ones once, none of a
    file that does not say.
    """

    machine: Machine
    choice: Choice
    hosts: tuple[HostTime, ...]
    points: tuple[ComparedPoint, ...]
    errors: tuple[Errors, ...]
    waterfalls: tuple[Waterfall, ...]
    speedups: tuple[Speedup, ...]
    warnings: tuple[str, ...]

    @property
    def device(self) -> Device:
        """Whose datasheet, or measured rates, the predictions are made from."""
        return self.choice.device


def validate(measurements: Sequence[Measurement | Path | str], gpu: str | None = None) -> Validation:
    """Measurements of one machine, or files that hold them, against predictions for `gpu` or for the machine's device.

    Of a case that several hold, the last counts.

    Raises:
        InvalidSpec: a file that is no measurement.
        InvalidValue: no measurement, machines of several names, no timed phase, or no device known.
        UnknownName: no such GPU, or a measured model that is not here.
        UnsupportedPrecision: the device has no engine for what was measured.

    >>> validate([])
    Traceback (most recent call last):
    perfkit.errors.InvalidValue: no measurement to validate: name files that `perfkit measure --output` wrote
    """
    read = [one if isinstance(one, Measurement) else read_measurement(Path(one)) for one in measurements]
    machine = _machine_of(read)
    choice = _device_of(read, gpu)
    held = {point.case: point for measurement in read for point in measurement.points}
    phases = {case: point for case, point in held.items() if isinstance(case, PhaseCase)}
    if not phases:
        raise InvalidValue(f"{_files(read)}: no phase of a model was measured: `perfkit measure --suite model` does")
    hosts = [host_of(measurement.points) for measurement in read]  # by place: two values may bear one name
    predicted: dict[PhaseCase, PredictedPhase] = {}
    for measurement, host in zip(read, hosts, strict=True):
        cases = [point.case for point in measurement.points if isinstance(point.case, PhaseCase)]
        predicted |= predict_cases(choice, cases, host or EAGER)
    points = tuple(compare(case, point, predicted[case]) for case, point in phases.items())
    kernels = collect_kernels(held.values())
    return Validation(
        machine=machine,
        choice=choice,
        hosts=tuple(dict.fromkeys(host for host in hosts if host is not None)),
        points=points,
        errors=tuple(_errors(points)),
        waterfalls=tuple(
            explain(machine.kind, point, case, predicted[case], kernels)
            for case, point in phases.items()
            if point.timing is not None
        ),
        speedups=find_speedups(points),
        warnings=(
            *_repeated(read),
            *_mixed(read),
            *_below_roofline(points),
            *_unstable(held.values()),
            *_held_back(phases.values()),
        ),
    )


def _machine_of(measurements: Sequence[Measurement]) -> Machine:
    if not measurements:
        raise InvalidValue("no measurement to validate: name files that `perfkit measure --output` wrote")
    first, *others = measurements
    for other in others:
        if other.machine.name != first.machine.name:
            both = f"{first.file} is of {first.machine.name}, {other.file} of {other.machine.name}"
            raise InvalidValue(f"measurements of two machines: {both}; validate one machine at a time")
    return first.machine


def _device_of(measurements: Sequence[Measurement], gpu: str | None) -> Choice:
    machine = measurements[0].machine
    name = gpu or machine.device
    if name is None:
        raise InvalidValue(
            f"{_files(measurements)}: no device here is {machine.name!r}: run `perfkit measure --suite peaks "
            "--output this.yaml` on it and pass `--gpu this.yaml`"
        )
    return choose_device(name)


def _files(measurements: Sequence[Measurement]) -> str:
    return ", ".join(measurement.file for measurement in measurements)


def _errors(points: Sequence[ComparedPoint]) -> Iterator[Errors]:
    """Of each group of points, for each predictor that spoke of any of them."""
    for phase, members in grouped(points).items():
        yield from _errors_of(phase, members)


def grouped(points: Sequence[ComparedPoint]) -> dict[str, list[ComparedPoint]]:
    """Points by phase, then all of them; of a phase that a host bounds in part, behind it those of its device."""
    ways: dict[str, list[ComparedPoint]] = {}
    for point in points:
        ways.setdefault(way_of(point.case), []).append(point)
    found: dict[str, list[ComparedPoint]] = {}
    for way, members in ways.items():
        found[way] = members
        bound = [point for point in members if point.predicted.bound != "launch"]
        if 0 < len(bound) < len(members):
            found[way + DEVICE_BOUND] = bound
    return {**found, ALL_PHASES: list(points)}


def _errors_of(phase: str, members: Sequence[ComparedPoint]) -> Iterator[Errors]:
    roofline = [(point.roofline_s, point.measured_s) for point in members if point.measured_s is not None]
    expected = [
        (point.expected_s, point.measured_s)
        for point in members
        if point.measured_s is not None and point.expected_s is not None
    ]
    for predictor, pairs in (("roofline", roofline), ("expected", expected)):
        if pairs:
            yield Errors(phase, predictor, len(pairs), mape(pairs), worst(pairs))


def way_of(case: PhaseCase) -> str:
    """Phase, and how decode was run: launched or as a graph are two predictions.

    >>> way_of(PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa", "graph"))
    'decode, graph'
    """
    return f"decode, {case.runtime}" if case.phase == "decode" else case.phase


# --- warnings


def _repeated(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Cases that two files hold, a line a pair of files."""
    seen: dict[Case, str] = {}
    twice: dict[tuple[str, str], list[str]] = {}
    for measurement in measurements:
        for point in measurement.points:
            if point.case in seen:
                twice.setdefault((seen[point.case], measurement.file), []).append(point.case.label)
            seen[point.case] = measurement.file
    for (earlier, later), labels in twice.items():
        others = "" if len(labels) == 1 else f" and {len(labels) - 1} more"
        yield f"{labels[0]}{others}: measured in {earlier} and in {later}; the last counts"


def _mixed(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Libraries of which the files have several versions: kernels of one do not explain phases of another."""
    for library in dict.fromkeys(name for measurement in measurements for name in measurement.machine.libraries):
        versions = [measurement.machine.libraries.get(library, "none") for measurement in measurements]
        if len(set(versions)) > 1:
            yield f"measured with several versions of {library}: {', '.join(dict.fromkeys(versions))}"


def _below_roofline(points: Iterable[ComparedPoint]) -> Iterator[str]:
    for point in points:
        high_s = (point.interval_s or (0.0, point.measured_s))[1]  # what the timing itself leaves open is no error
        if high_s is not None and high_s < point.roofline_s:
            yield (
                f"{point.case.label}: measured below the roofline ({point.roofline_ratio:.2f} of it): an error of "
                "the count, the spec or the timing, or a cache kept what is counted as traffic"
            )


def _unstable(points: Iterable[Point]) -> Iterator[str]:
    """How many timings did not settle: what is made of them is as rough as they are."""
    timings = [(isinstance(point.case, PhaseCase), point.timing) for point in points if point.timing]
    for what, wanted in (("phases", True), ("kernels", False)):
        members = [timing for is_phase, timing in timings if is_phase is wanted]
        shaky = [timing for timing in members if not timing.stable]
        if shaky:
            yield f"{len(shaky)} of {len(members)} {what} are unstable: figures made of them are as rough as they are"


def _held_back(points: Iterable[Point]) -> Iterator[str]:
    """What held the clocks back, and in how many points; a roofline at the datasheet's clocks is too fast for these."""
    counts: dict[str, int] = {}
    for point in points:
        for reason in (point.counters.throttle_reasons if point.counters else None) or ():
            counts[reason] = counts.get(reason, 0) + 1
    for reason, count in counts.items():
        yield f"clocks were held back while {count} {'point was' if count == 1 else 'points were'} measured: {reason}"
