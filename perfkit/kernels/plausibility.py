"""Whether a table of measured kernels can be true, and can determine a fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from perfkit.errors import InvalidSpec, UnsupportedPrecision
from perfkit.hardware import Device
from perfkit.kernel_shapes import sizes_of
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.tables import MEASURED, KernelGroup, KernelTable
from perfkit.ops import maximum
from perfkit.roofline import engines_of

LEAST_ROWS = 10
LEAST_SHAPES = 3  # start, memory and compute: fewer do not tell them apart
# How much faster than the printed limits a time may be: clocks above the printed boost, the grain of a timer.
FASTEST = 1.15
MOST_DOUBTFUL = 0.05  # of all rows
# How much slower than what a kernel needs at least half of all rows may be: a unit other than seconds is slower yet.
SLOWEST = 30.0
LONGEST_START_S = 100e-6  # of a kernel, the host's time within
LOADED_BYTES_PER_CLOCK = 128  # a multiprocessor loads no more, be it from its own cache


class Checked(NamedTuple):
    """A table whose groups hold believable rows only, and what was left out."""

    table: KernelTable
    warnings: tuple[str, ...]


def check_measured(table: KernelTable, device: Device) -> Checked:
    """A table that a fit may be made of.

    Raises:
        InvalidSpec: nothing measured, fewer than LEAST_ROWS rows or LEAST_SHAPES shapes, or a time that cannot be.
        UnsupportedPrecision: the device lacks the engine of a row.
    """
    check_enough([table])
    return check_times(table, device)


def check_enough(tables: Sequence[KernelTable]) -> None:
    """Refuse tables that together cannot determine a fit.

    Raises:
        InvalidSpec: one of them without measured times, fewer than LEAST_ROWS rows or LEAST_SHAPES shapes.
    """
    files = ", ".join(table.file for table in tables)
    for table in tables:
        if table.measured_s is None:
            raise InvalidSpec(f"{table.file}: no column {MEASURED} with seconds in it: nothing to fit")
    groups = [group for table in tables for group in table.groups]
    rows = sum(len(group.places) for group in groups)
    if rows < LEAST_ROWS:
        raise InvalidSpec(f"{files}: {rows} row{'s' * (rows != 1)} of kernels; a fit needs at least {LEAST_ROWS}")
    shapes = dict.fromkeys(shape for group in groups for shape in shapes_of(group))
    if len(shapes) < LEAST_SHAPES:
        named = ", ".join(_label(shape) for shape in shapes)
        count = "one shape" if len(shapes) == 1 else f"{len(shapes)} shapes"
        raise InvalidSpec(f"{files}: all {rows} rows are of {count} ({named}); a fit needs at least {LEAST_SHAPES}")


def check_possible(table: KernelTable, device: Device) -> None:
    """Refuse times that no kernel reaches on `device`, wherever its bytes are.

    Products at their peak and bytes at the rate at which multiprocessors load them bound every time from below.

    Raises:
        InvalidSpec: a time below that, FASTEST times over.
        UnsupportedPrecision: the device lacks the engine of a row.
    """
    for group in table.groups if table.measured_s is not None else ():
        _check_bound(table, group, device, _bounds(table, group, device).least_s, limit=0)


def check_times(table: KernelTable, device: Device) -> Checked:
    """A measured table without the rows that no memory of `device` explains, if there are few of them.

    Bytes beyond what the last cache level holds come from memory; where a harness let fewer pass, rows are in doubt.

    Raises:
        InvalidSpec: as `check_possible`, or more than MOST_DOUBTFUL of the rows in doubt.
        UnsupportedPrecision: the device lacks the engine of a row.
    """
    check_possible(table, device)
    if table.measured_s is None:
        return Checked(table, ())
    kept, doubts = [], []
    for group in table.groups:
        memory_s = _bounds(table, group, device).memory_s
        doubtful = memory_s > FASTEST * table.measured_s[group.places]
        doubts.append((group, memory_s, doubtful))
        kept.append(group.take(~doubtful))
    count = int(sum(doubtful.sum() for _, _, doubtful in doubts))
    if count > MOST_DOUBTFUL * len(table.rows):
        for group, memory_s, _ in doubts:
            _check_bound(table, group, device, memory_s, limit=count)
    return Checked(
        replace(table, groups=tuple(group for group in kept if len(group.places))),
        tuple(_left_out(table, device, doubts, count)),
    )


def check_unit(table: KernelTable, device: Device) -> None:
    """Refuse a table most of whose times are so long that they are of another unit, or of another device.

    Raises:
        InvalidSpec: more than half of them SLOWEST times longer than what `device` and a slow start need.
    """
    slow: list[int] = []
    for group in table.groups if table.measured_s is not None else ():
        needed_s = _bounds(table, group, device).all_s + LONGEST_START_S
        measured_s = table.measured_s[group.places]  # type: ignore[index]
        slow += group.places[measured_s > SLOWEST * needed_s].tolist()
    if 2 * len(slow) > len(table.rows):
        raise InvalidSpec(
            f"{table.where(min(slow))}: {len(slow)} of {len(table.rows)} rows, this one first, took more than "
            f"{SLOWEST:g} times as long as {device.id} and a slow start need: {MEASURED} must be seconds on that device"
        )


# --- bounds


class _Bounds(NamedTuple):
    """Seconds that no kernel is faster than: wherever its bytes are, with what no cache holds in memory, with all."""

    least_s: Any
    memory_s: Any
    all_s: Any


def _bounds(table: KernelTable, group: KernelGroup, device: Device) -> _Bounds:
    cost = cost_of_shape(group.shape, group.precision)
    if group.op == "attention_prefill":  # of the square that is counted, a kernel may leave out what is masked
        keys: Any = group.shape.kv_tokens
        share = (keys + 1) / (2 * keys)
        cost = cost._replace(matmul_flops=share * cost.matmul_flops, vector_flops=share * cost.vector_flops)
    try:
        compute_s = engines_of(device, [cost]).compute_s(cost)
    except UnsupportedPrecision as error:
        raise UnsupportedPrecision(f"{table.where(group.places[0])}: {error}") from None
    load_s = cost.bytes / _load_rate(device)
    cached = device.l2.value if device.l2 else None
    beyond = cost.bytes - cached if cached is not None else 0 * cost.bytes
    least_s = maximum(compute_s, load_s)
    return _Bounds(least_s, beyond / device.bytes_per_s, maximum(least_s, cost.bytes / device.bytes_per_s))


def _load_rate(device: Device) -> float:
    """Bytes a second that all multiprocessors load; without bound where they are not known."""
    clock = device.clocks.get("boost")
    if device.sm_count is None or device.sm_count.value is None or clock is None or clock.value is None:
        return float("inf")
    return float(device.sm_count.value * clock.value * LOADED_BYTES_PER_CLOCK)


def _check_bound(table: KernelTable, group: KernelGroup, device: Device, least_s: Any, limit: int) -> None:
    measured_s = table.measured_s[group.places]  # type: ignore[index]
    wrong = least_s > FASTEST * measured_s
    if not wrong.any():
        return
    first = int(wrong.argmax())
    more = max(int(wrong.sum()), limit) - 1
    raise InvalidSpec(
        f"{table.where(group.places[first])}: {_label(next(shapes_of(group.take([first]))))} in {group.precision} "
        f"took {measured_s[first]:.3g} s, {least_s[first] / measured_s[first]:.3g} times faster than "
        f"{device.id} can ({least_s[first]:.3g} s): {MEASURED} must be seconds on that device"
        + (f"; {more} more such row{'s' * (more > 1)}" if more else "")
    )


def _left_out(
    table: KernelTable, device: Device, doubts: Iterable[tuple[KernelGroup, Any, Any]], count: int
) -> Iterator[str]:
    if not count:
        return
    places = [int(place) for group, _, doubtful in doubts for place in group.places[doubtful]]
    rows = ", ".join(str(table.numbers[place]) for place in places[:3]) + (" ..." if count > 3 else "")
    yield (
        f"{table.file}: {count} row{'s' * (count > 1)} left out ({rows}): more than {FASTEST} times faster than the "
        f"memory of {device.id}, with more bytes than its cache holds"
    )


# --- shapes


def shapes_of(group: KernelGroup) -> Iterator[tuple[Any, ...]]:
    """Op and sizes of each row."""
    sizes = [getattr(group.shape, name).tolist() for name in sizes_of(group.op)]
    return zip([group.op] * len(group.places), *sizes, strict=True)


def _label(shape: tuple[Any, ...]) -> str:
    op, *sizes = shape
    return " ".join([op, *(f"{name}={size:g}" for name, size in zip(sizes_of(op), sizes, strict=True))])
