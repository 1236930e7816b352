"""Reports of a `Measurement`: what was measured, point by point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.kernels import kernel_table
from perfkit.measuring.measurement import Machine, Measurement, Point
from perfkit.measuring.schema import point_document
from perfkit.tables import Column, Table

_PHASE_COLUMNS = (
    Column("model", "model", "", 0),
    Column("phase", "phase"),
    Column("visual_tokens", "visual", "n"),
    Column("text_tokens", "text", "n", 7),
    Column("batch", "batch", "n"),
    Column("precision", "precision", "", 8),
    Column("attention", "attention", "", 2),
    Column("runtime", "runtime", "", 6),
    Column("flushed", "cold", "", 0),
)
_KERNEL_COLUMNS = (Column("kernel", "kernel"), Column("precision", "precision"))
_TIMING_COLUMNS = (
    Column("status", "status", "", 0),
    Column("median_s", "median", "s"),
    Column("half_width", "±", "share"),
    Column("min_s", "least", "s", 5),
    Column("spread", "spread", "share", 4),
    Column("samples", "repeats", "n", 4),
    Column("stable", "stable"),
)
_COUNTER_COLUMNS = (
    Column("launches", "launches", "n", 3),
    Column("peak_memory_bytes", "peak memory", "B", 3),
    Column("sm_clock_hz", "SM clock", "Hz", 3),
    Column("power_w", "power", "W", 3),
    Column("temperature_c", "°C", "n", 1),
    Column("energy_j", "energy", "J", 3),
    Column("throttle_reasons", "throttled", "", 2),
    Column("note", "note", "", 0),
)


def document(measurement: Measurement) -> dict[str, Any]:
    """The measurement file's content without its schema: machine, runs, points with raw samples."""
    return {
        "machine": measurement.machine._asdict(),
        "runs": [run._asdict() for run in measurement.runs],
        "points": [point_document(point) for point in measurement.points],
    }


def table(measurements: Sequence[Measurement]) -> Table:
    """A row a point; of kernels alone the table of kernels that every tool reads."""
    if not any(measurement.phases for measurement in measurements):
        rows = tuple(row for measurement in measurements for row in kernel_table(measurement).rows)
        return Table(kernel_table(measurements[0]).columns, rows)
    columns = (*_PHASE_COLUMNS, _KERNEL_COLUMNS[0], *_TIMING_COLUMNS, *_COUNTER_COLUMNS)
    return Table(columns, tuple(_row(point, columns) for m in measurements for point in m.points))


def overview(measurements: Sequence[Measurement]) -> list[Table]:
    """Phases, then kernels, of each measurement."""
    return [table for measurement in measurements for table in _tables(measurement)]


def _tables(measurement: Measurement) -> Iterator[Table]:
    title = _title(measurement.machine)
    for kind, columns, points in (
        ("phases", _PHASE_COLUMNS, measurement.phases.values()),
        ("kernels", _KERNEL_COLUMNS, measurement.kernels.values()),
    ):
        shown = (*columns, *_TIMING_COLUMNS, *_COUNTER_COLUMNS)
        rows = [_row(point, shown) for point in points]
        # What no point has (counters on a CPU, say) is no column.
        kept = [i for i in range(len(shown)) if any(row[i] is not None for row in rows)]
        if rows:
            yield Table(
                tuple(shown[i] for i in kept),
                tuple(tuple(row[i] for i in kept) for row in rows),
                title=f"{title}: {kind}",
                notes=(f"measured by {measurement.machine.clock}; ±: half the 95 % interval of the median",),
            )


def _title(machine: Machine) -> str:
    libraries = ", ".join(
        f"{name} {machine.libraries[name]}" for name in ("torch", "cuda") if name in machine.libraries
    )
    return f"{machine.name}, {machine.cores} {'SMs' if machine.kind == 'cuda' else 'threads'}, {libraries}"


def _row(point: Point, columns: Sequence[Column]) -> tuple[Any, ...]:
    record = {**_case_record(point), **_timing_record(point), **_counter_record(point)}
    return tuple(record.get(column.key) for column in columns)


def _case_record(point: Point) -> dict[str, Any]:
    case = point.case
    if isinstance(case, PhaseCase):
        return {
            **case._asdict(),
            "text_tokens": case.text_tokens or None,
            "runtime": case.runtime if case.phase == "decode" else None,
            "flushed": "cold" if case.flushed else None,
        }
    return {"kernel": _kernel(case), "precision": case.precision}


def _kernel(case: KernelCase) -> str:
    return case.label.removesuffix(case.precision).strip()


def _timing_record(point: Point) -> dict[str, Any]:
    timing = point.timing
    if timing is None:
        return {"status": point.status, "stable": point.status, "note": point.note}
    return {
        "status": point.status,
        "median_s": timing.median_s,
        "half_width": timing.half_width,
        "min_s": timing.min_s,
        "spread": timing.spread,
        "samples": len(timing.samples_s),
        "stable": "yes" if timing.stable else "no",
    }


def _counter_record(point: Point) -> dict[str, Any]:
    record: dict[str, Any] = {"launches": point.launches, "peak_memory_bytes": point.peak_memory_bytes}
    counters = point.counters
    if counters is None:
        return record
    triples = {key: getattr(counters, key) for key in ("sm_clock_hz", "power_w", "temperature_c")}
    record |= {key: None if triple is None else triple[1] for key, triple in triples.items()}  # their medians
    record["energy_j"] = counters.energy_j
    record["throttle_reasons"] = ", ".join(counters.throttle_reasons or ()) or None
    return record
