"""What a fit is made of: measured tables with the devices that they are of; kinds of kernels with too few rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from perfkit.calibration.fitting import FEWEST
from perfkit.calibration.forms import Source
from perfkit.calibration.measured_kernels import read_measured_kernels
from perfkit.errors import InvalidValue, UnsupportedPrecision
from perfkit.hardware import Device, device_ids, load_device
from perfkit.kernels.forms import PRODUCTS, form_of
from perfkit.kernels.plausibility import LEAST_SHAPES, check_enough, check_times, check_unit, shapes_of
from perfkit.kernels.tables import KernelGroup, KernelTable


class Sources(NamedTuple):
    """Tables whose rows can be true, each with the device that was measured, and what was left out of them."""

    found: list[Source]
    warnings: tuple[str, ...]


def read_sources(files: Sequence[str | Path], gpus: Sequence[str]) -> Sources:
    """The kernels of each file, measured on the GPU of the same place, or all on one.

    Raises:
        InvalidValue: another count of GPUs than of files, or a measurement of another device than named.
        InvalidSpec: a file that holds no kernels, or that cannot determine a fit, or with times that cannot be.
        UnknownName: no such GPU.
        UnsupportedPrecision: a precision in which the device cannot multiply.
    """
    if len(gpus) not in (1, len(files)):
        raise InvalidValue(f"{len(gpus)} GPUs for {len(files)} files: name one for each file, or one for all")
    devices = [load_device(gpu) for gpu in gpus] * (len(files) if len(gpus) == 1 else 1)
    read = [read_measured_kernels(Path(file)) for file in files]
    tables = [each.table for each in read]
    check_enough(tables)
    for each, device in zip(read, devices, strict=True):
        _check_device(each.table.file, each.device, device)
        _check_precisions(each.table, device)
        check_unit(each.table, device)
    checked = [check_times(table, device) for table, device in zip(tables, devices, strict=True)]
    sources = [Source(each.table, device) for each, device in zip(checked, devices, strict=True)]
    return Sources(sources, tuple(warning for each in checked for warning in each.warnings))


def _check_device(file: str, measured: str | None, device: Device) -> None:
    """A device file of one's own may stand for any machine; of those that perfkit has, two are not one."""
    if measured not in (None, device.id) and device.id in device_ids():
        raise InvalidValue(f"{file}: measured on {measured}, not on {device.id}")


def _check_precisions(table: KernelTable, device: Device) -> None:
    """Kernels that multiply nothing too are fitted by the limits of an engine of their precision."""
    for group in table.groups:
        try:
            device.product_peak(group.precision)
        except UnsupportedPrecision as error:
            raise UnsupportedPrecision(f"{table.where(group.places[0])}: {error}") from None


def sift(sources: Sequence[Source]) -> Sources:
    """The kinds of kernels that have as many rows and shapes as a fit needs, and what the others are."""
    kinds: dict[str, list[KernelGroup]] = {}
    for source in sources:
        for group in source.table.groups:
            kinds.setdefault(kind_of(source.device, group), []).append(group)
    left_out = {kind for kind, groups in kinds.items() if not _is_enough(groups)}
    kept = [
        source._replace(table=replace(source.table, groups=groups))
        for source in sources
        if (groups := tuple(g for g in source.table.groups if kind_of(source.device, g) not in left_out))
    ]
    return Sources(kept, tuple(_left_out({kind: kinds[kind] for kind in kinds if kind in left_out})))


def kind_of(device: Device, group: KernelGroup) -> str:
    """What is fitted together: products of one engine, else the kernels of one form."""
    form = form_of(group.op)
    return f"products on the {device.product_peak(group.precision).engine} engine" if form == PRODUCTS else form


def _is_enough(groups: Sequence[KernelGroup]) -> bool:
    shapes = dict.fromkeys(shape for group in groups for shape in shapes_of(group))
    return sum(len(group.places) for group in groups) >= FEWEST and len(shapes) >= LEAST_SHAPES


def _left_out(kinds: dict[str, list[KernelGroup]]) -> Iterator[str]:
    if kinds:
        named = [kind if kind.startswith(PRODUCTS) else ", ".join(_ops(groups)) for kind, groups in kinds.items()]
        yield f"not fitted, with fewer than {FEWEST} rows or {LEAST_SHAPES} shapes: {', '.join(named)}"


def _ops(groups: Sequence[KernelGroup]) -> dict[str, None]:
    return dict.fromkeys(group.op for group in groups)
