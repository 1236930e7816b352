"""The measurement file: JSON with a schema and a version; every version that was ever written stays readable.

One line a point, so that a file can be read by eye and by line tools, and joined from texts that were made before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from perfkit.documents import LARGEST, Section, is_text, read_json, shown
from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.kernel_shapes import KernelShape
from perfkit.measuring.cases import PHASES, PRECISIONS, Case, KernelCase, PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.measurement import STATUSES, Machine, Measurement, Point, Run
from perfkit.measuring.protocol import Timing
from perfkit.units import MAXIMUM_COUNT

SCHEMA = "perfkit-measurement"
VERSION = 1
MAXIMUM_BYTES = 256 * 2**20  # some 10,000 points of 1000 samples
DIGITS = 7  # of a sample: finer than any clock here
# What lies outside was not measured, and sums and ratios of it may overflow.
SHORTEST_S, LONGEST_S = 1e-12, 1e7
MOST_BYTES = 2**63 - 1
_ALLOWED_S = f"seconds from {SHORTEST_S:g} to {LONGEST_S:g}"


# --- writing


def text_of(machine: Machine, runs: Iterable[Run], points: Iterable[str]) -> str:
    """The file, of points already rendered by `line_of`."""
    head = {"schema": SCHEMA, "version": VERSION, "machine": machine._asdict(), "runs": [run._asdict() for run in runs]}
    opening = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    listed = ",\n  ".join(points)
    return f'{opening},\n "points": [\n  {listed}\n ]\n}}\n' if listed else f'{opening},\n "points": []\n}}\n'


def line_of(point: Point) -> str:
    """One point as one line of JSON."""
    return json.dumps(point_document(point), ensure_ascii=False)


def point_document(point: Point) -> dict[str, Any]:
    """A point as JSON-ready mapping; derived figures stand beside the samples for who reads it by other means."""
    return {
        "case": _case_document(point.case),
        "status": point.status,
        "timing": None if point.timing is None else _timing_document(point.timing),
        "counters": None if point.counters is None else point.counters._asdict(),
        "launches": point.launches,
        "host_s": None if point.host_s is None else _rounded(point.host_s),
        "peak_memory_bytes": point.peak_memory_bytes,
        "note": point.note,
    }


def _case_document(case: Case) -> dict[str, Any]:
    if isinstance(case, PhaseCase):
        return {"kind": "phase", **case._asdict()}
    shape = {key: value for key, value in case.shape._asdict().items() if value is not None}
    return {"kind": "kernel", **shape, "precision": case.precision, "flushed": case.flushed}


def _timing_document(timing: Timing) -> dict[str, Any]:
    low, high = timing.interval_s or (None, None)
    return {
        "stable": timing.stable,
        "median_s": _rounded(timing.median_s),
        "low_s": None if low is None else _rounded(low),
        "high_s": None if high is None else _rounded(high),
        "min_s": _rounded(timing.min_s),
        "spread": _rounded(timing.spread),
        "warmup": timing.warmup,
        "samples_s": [_rounded(sample) for sample in timing.samples_s],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


# --- reading


def read_measurement(path: Path) -> Measurement:
    """Measurement of a file.

    Raises:
        InvalidSpec: unreadable, truncated, foreign, of a newer perfkit, or not what its schema says.
    """
    top = Section(read_json(path, most_bytes=MAXIMUM_BYTES), str(path))
    if not top.has("schema") or top.values["schema"] != SCHEMA:
        raise InvalidSpec(f"{path}: no measurement of perfkit: its schema is not {SCHEMA!r}")
    version = top.raw("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidSpec(f"{path}: version must be a whole number from 1, not {shown(version)}")
    if version > VERSION:
        raise InvalidSpec(
            f"{path}: written by a newer perfkit (version {version} of {SCHEMA}; this one reads up to {VERSION})"
        )
    return _READERS[version](top, path)


def _read_first(top: Section, path: Path) -> Measurement:
    measurement = Measurement(
        machine=_machine(top.section("machine")),
        runs=tuple(_run(section) for section in top.sections("runs")),
        points=tuple(_point(section) for section in top.sections("points")),
        file=str(path),
    )
    top.finish()
    return measurement


# Version -> its reader. A reader is never removed; a new version adds one.
_READERS: dict[int, Callable[[Section, Path], Measurement]] = {1: _read_first}


def _machine(section: Section) -> Machine:
    machine = Machine(
        kind=section.choice("kind", ("cuda", "cpu")),
        name=section.text("name"),
        clock=section.text("clock"),
        memory_bytes=_whole(section, "memory_bytes"),
        cores=_whole(section, "cores"),
        platform=section.text("platform"),
        libraries=_libraries(section.section("libraries")),
        device=_or_none(section, "device", section.text),
        cache_bytes=_or_none(section, "cache_bytes", lambda key: _whole(section, key)),
        driver=_or_none(section, "driver", section.text),
    )
    section.finish()
    return machine


def _libraries(section: Section) -> dict[str, str]:
    for key in section.values:
        if not is_text(key):
            raise InvalidSpec(f"{section.where}: a name must be text, not half a surrogate pair: {shown(key)}")
    return {key: section.text(key) for key in section.values}


def _run(section: Section) -> Run:
    run = Run(section.text("date"), section.text("command"), section.text("perfkit"))
    section.finish()
    return run


def _point(section: Section) -> Point:
    status = section.choice("status", STATUSES)
    point = Point(
        case=_case(section.section("case")),
        status=next(known for known in STATUSES if known == status),
        timing=_or_none(section, "timing", lambda key: _timing(section.section(key))),
        counters=_or_none(section, "counters", lambda key: _counters(section.section(key))),
        launches=_or_none(section, "launches", lambda key: _whole(section, key)),
        host_s=_or_none(section, "host_s", lambda key: _seconds(section, key)),
        peak_memory_bytes=_or_none(section, "peak_memory_bytes", lambda key: _whole(section, key)),
        note=_or_none(section, "note", section.text),
    )
    section.finish()
    if (point.timing is None) == (point.status == "ok"):
        raise InvalidSpec(f"{section.where}: a point has a timing if, and only if, its status is ok")
    return point


def _case(section: Section) -> Case:
    kind = section.choice("kind", ("phase", "kernel"))
    section.choice("precision", PRECISIONS)
    values = {key: value for key, value in section.values.items() if key != "kind"}
    for key, value in values.items():
        if not _may_hold(key, value):
            raise InvalidSpec(f"{section.where}: {key} cannot be {shown(value)}")
    try:
        if kind == "phase":
            section.choice("phase", PHASES)
            return PhaseCase(**values)
        precision, flushed = values.pop("precision"), values.pop("flushed", False)
        return KernelCase(KernelShape(**values), precision, flushed)
    except TypeError as error:
        raise InvalidSpec(f"{section.where}: not a {kind} of this version: {error}") from None


def _may_hold(key: str, value: object) -> bool:
    if key == "flushed":
        return isinstance(value, bool)
    if key in ("model", "phase", "precision", "attention", "runtime", "op"):
        return is_text(value) or (key == "attention" and value is None)
    return _is_whole(value, MAXIMUM_COUNT)


def _timing(section: Section) -> Timing:
    samples, stable = section.raw("samples_s"), section.raw("stable")
    if not isinstance(samples, list) or any(isinstance(s, bool) or not isinstance(s, int | float) for s in samples):
        raise InvalidSpec(f"{section.where}: samples_s must be a list of numbers")
    if not isinstance(stable, bool):
        raise InvalidSpec(f"{section.where}: stable must be true or false, not {shown(stable)}")
    for key in ("median_s", "low_s", "high_s", "min_s", "spread"):
        section.has(key)  # for other readers: here they follow from the samples
    try:
        timing = Timing(tuple(samples), _whole(section, "warmup"), stable)
    except InvalidValue as error:
        raise InvalidSpec(f"{section.where}: {error}") from None
    odd = next((sample for sample in samples if not SHORTEST_S <= sample <= LONGEST_S), None)
    if odd is not None:
        raise InvalidSpec(f"{section.where}: samples_s must be {_ALLOWED_S}, not {shown(odd)}")
    section.finish()
    return timing


def _counters(section: Section) -> Counters:
    counters = Counters(
        readings=_whole(section, "readings"),
        sm_clock_hz=_or_none(section, "sm_clock_hz", lambda key: _triple(section, key)),
        memory_clock_hz=_or_none(section, "memory_clock_hz", lambda key: _triple(section, key)),
        power_w=_or_none(section, "power_w", lambda key: _triple(section, key)),
        temperature_c=_or_none(section, "temperature_c", lambda key: _triple(section, key)),
        throttle_reasons=_or_none(section, "throttle_reasons", section.texts),
        energy_j=_or_none(section, "energy_j", lambda key: _number(section, key)),
    )
    section.finish()
    return counters


def _triple(section: Section, key: str) -> Any:
    values = section.raw(key)
    if not isinstance(values, list) or [_is_number(value) for value in values] != [True] * 3:
        raise InvalidSpec(
            f"{section.where}: {key} must be a list of three numbers up to {LARGEST:g}, not {shown(values)}"
        )
    return tuple(values)


def _number(section: Section, key: str) -> Any:
    value = section.raw(key)
    if not _is_number(value):
        raise InvalidSpec(f"{section.where}: {key} must be a number up to {LARGEST:g}, not {shown(value)}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _seconds(section: Section, key: str) -> float:
    value: float = _number(section, key)
    if not SHORTEST_S <= value <= LONGEST_S:
        raise InvalidSpec(f"{section.where}: {key} must be {_ALLOWED_S}, not {shown(value)}")
    return value


def _whole(section: Section, key: str) -> int:
    value, most = section.raw(key), MOST_BYTES if key.endswith("_bytes") else MAXIMUM_COUNT
    if not _is_whole(value, most):
        raise InvalidSpec(f"{section.where}: {key} must be a whole number from 0 to {most}, not {shown(value)}")
    return int(value)


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _or_none(section: Section, key: str, read: Callable[[str], Any]) -> Any:
    return read(key) if section.has(key) and section.values[key] is not None else None
