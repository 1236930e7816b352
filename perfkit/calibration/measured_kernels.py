"""Measured kernels from either file that `perfkit measure` writes: the table, or the samples it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from perfkit.errors import InvalidSpec
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.tables import MEASURED, Cells, KernelTable, read_kernels, table_of
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.kernels import is_row
from perfkit.measuring.measurement import Measurement
from perfkit.measuring.schema import read_measurement

_COLUMNS = ("op", "precision", *KernelShape._fields[1:], MEASURED)
_ASK = "`perfkit measure --suite kernels --output kernels.json` times what a fit takes"


class MeasuredKernels(NamedTuple):
    """A table of measured kernels, and the device that the file says it is of, None where it says nothing."""

    table: KernelTable
    device: str | None


def read_measured_kernels(path: Path) -> MeasuredKernels:
    """Kernels of a csv table, or of a measurement (.json), each with the median of its samples.

    Of a measurement those that `perfkit measure` puts into a table: no phase of a model, nothing that was timed after
    an emptied cache, which is one call by itself, and nothing that is several kernels.

    Raises:
        InvalidSpec: no such file, nothing timed that a fit takes, or what `read_kernels` and `read_measurement` refuse.
        MachineError: numpy is not installed.
    """
    if path.suffix != ".json":
        return MeasuredKernels(read_kernels(path), None)
    measurement = read_measurement(path)
    return MeasuredKernels(table_of(_cells(measurement)), measurement.machine.device)


def _cells(measurement: Measurement) -> Cells:
    timed: dict[KernelCase, tuple[int, float]] = {}
    for number, point in enumerate(measurement.points):
        if isinstance(point.case, KernelCase) and point.timing is not None:
            timed[point.case] = number, point.timing.median_s
    single = {case: found for case, found in timed.items() if is_row(case)}
    if not single:
        several = "all its kernels were timed with --flush, one call by itself, or are several in one"
        why = several if timed else "no kernel was timed"
        raise InvalidSpec(f"{measurement.file}: {why}; {_ASK}")
    numbers = tuple(number for number, _ in single.values())
    rows = tuple(_row(case, median_s) for case, (_, median_s) in single.items())
    return Cells(measurement.file, _COLUMNS, rows, numbers, naming="points[{}]")


def _row(case: KernelCase, median_s: float) -> tuple[str, ...]:
    op, *sizes = case.shape
    return (op, case.precision, *("" if size is None else f"{size}" for size in sizes), repr(median_s))
