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
# How much faster than the printed limits a time may be: clocks above the printed boost, the grain of a timer.
FASTEST = 1.15
MOST_DOUBTFUL = 0.05  # of all rows
LOADED_BYTES_PER_CLOCK = 128  # a multiprocessor loads no more, be it from its own cache


class Checked(NamedTuple):
    """A table whose groups hold believable rows only, and what was left out."""

    table: KernelTable
    warnings: tuple[str, ...]


def check_measured(table: KernelTable, device: Device) -> Checked:
    """A table that a fit may be made of.

    Raises:
        InvalidSpec: nothing measured, fewer than LEAST_ROWS rows, one shape only, or a time that cannot be.
        UnsupportedPrecision: the device lacks the engine of a row.
    """
    check_enough([table])
    return check_times(table, device)


def check_enough(tables: Sequence[KernelTable]) -> None:
    """Refuse tables that together cannot determine a fit.

    Raises:
        InvalidSpec: one of them without measured times, fewer than LEAST_ROWS rows, or one shape only.
    """
    files = ", ".join(table.file for table in tables)
    for table in tables:
        if table.measured_s is None:
            raise InvalidSpec(f"{table.file}: no column {MEASURED} with seconds in it: nothing to fit")
    groups = [group for table in tables for group in table.groups]
    rows = sum(len(group.places) for group in groups)
    if rows < LEAST_ROWS:
        raise InvalidSpec(f"{files}: {rows} rows of kernels; a fit needs at least {LEAST_ROWS}")
    shapes = {shape for group in groups for shape in _shapes(group)}
    if len(shapes) == 1:
        raise InvalidSpec(f"{files}: all {rows} rows are of one shape ({_label(*shapes)}); a fit needs several")


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
        kept.append(_select(group, ~doubtful))
    count = int(sum(doubtful.sum() for _, _, doubtful in doubts))
    if count > MOST_DOUBTFUL * len(table.rows):
        for group, memory_s, _ in doubts:
            _check_bound(table, group, device, memory_s, limit=count)
    return Checked(
        replace(table, groups=tuple(group for group in kept if len(group.places))),
        tuple(_left_out(table, device, doubts, count)),
    )


# --- bounds


class _Bounds(NamedTuple):
    """Seconds that no kernel is faster than, wherever its bytes are, and with what the cache cannot hold in memory."""

    least_s: Any
    memory_s: Any


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
    return _Bounds(maximum(compute_s, load_s), beyond / device.bytes_per_s)


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
        f"{table.where(group.places[first])}: {_label(next(_shapes(_select(group, [first]))))} in {group.precision} "
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


def _select(group: KernelGroup, which: Any) -> KernelGroup:
    sizes = {name: getattr(group.shape, name)[which] for name in sizes_of(group.op)}
    return group._replace(shape=group.shape._replace(**sizes), places=group.places[which])


def _shapes(group: KernelGroup) -> Iterator[tuple[Any, ...]]:
    sizes = [getattr(group.shape, name).tolist() for name in sizes_of(group.op)]
    return zip([group.op] * len(group.places), *sizes, strict=True)


def _label(shape: tuple[Any, ...]) -> str:
    op, *sizes = shape
    return " ".join([op, *(f"{name}={size:g}" for name, size in zip(sizes_of(op), sizes, strict=True))])
