"""Calibrations from measured kernels: fitted, and held against rows that the fit did not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from perfkit.calibration.fitting import FEWEST, Measured, fit_near, fit_products
from perfkit.calibration.forms import Source, fit_forms, kernels_by_form
from perfkit.calibration.judging import Fit, Held, cross_validate, held_by, judge, leave_one_out
from perfkit.errors import InvalidValue, MachineError
from perfkit.hardware import Device, load_device
from perfkit.kernels.calibrations import (
    CAUTIOUS,
    Calibration,
    FitError,
    FittedOn,
    Spread,
    calibration_for,
    calibration_ids,
    read_bundled,
)
from perfkit.kernels.forms import PRODUCTS, form_of
from perfkit.kernels.limits import limits_of
from perfkit.kernels.plausibility import check_enough, check_times
from perfkit.kernels.products import Product, ProductParameters
from perfkit.kernels.tables import KernelGroup, read_kernels
from perfkit.units import parse_choice

KINDS = ("device", "family", CAUTIOUS)


class RangeErrors(NamedTuple):
    """Mean absolute errors of products on an engine whose m lies in a range, before the fit and after it."""

    engine: str
    first: int
    last: int
    rows: int
    before: float | None
    after: float


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """A calibration and how good it is on rows kept out of its fit, beside what was there before it.

    `before`: the calibration that the first device had until now.
    """

    calibration: Calibration
    before: Calibration
    ranges: tuple[RangeErrors, ...]
    warnings: tuple[str, ...]


def calibrate(
    files: Sequence[str | Path],
    gpus: Sequence[str],
    *,
    kind: str = "device",
    command: str = "perfkit.calibrate",
) -> CalibrationRun:
    """Fit the kernel model to tables of measured kernels.

    `gpus`: the device of each file, or one for all. `kind`: whether the calibration is of the device, its family, or
    the cautious default. The fit begins at what is known of other devices, and stays near it where rows are few.

    Raises:
        InvalidValue: another count of GPUs than of files, GPUs that are not of one device or family.
        InvalidSpec: a table that is none, or that cannot determine a fit, or with times that cannot be.
        UnknownName: no such GPU or kind.
        MachineError: scipy is not installed.

    >>> run = calibrate(["kernels.csv"], ["a100"])  # doctest: +SKIP
    >>> run.calibration.errors[0].mape  # doctest: +SKIP
    0.06
    """
    _check_library()
    parse_choice("--as", kind, KINDS)
    sources, warnings = _sources(files, gpus)
    subject = _subject([source.device for source in sources], kind)
    before = calibration_for(sources[0].device)
    every_engine, kernels = _by_engine(sources), kernels_by_form(sources)
    engines = {engine: sets for engine, sets in every_engine.items() if _rows(sets) >= FEWEST}
    if not engines and not kernels:
        raise InvalidValue(f"{', '.join(map(str, files))}: fewer than {FEWEST} kernels of each kind, too few to fit")
    known = _known({source.device.id for source in sources})
    products = _products(engines, known)
    forms = fit_forms(kernels, known)
    calibration = Calibration(
        **subject._asdict(),
        fitted_on=tuple(_described(source) for source in sources),
        command=command,
        products=products.fitted,
        forms=forms.fitted,
        errors=(*products.errors, *forms.errors),
        spread=products.spread | forms.spread,
    )
    ranges = [
        row for engine, sets in engines.items() for row in _ranges(engine, _flat(sets), products.held[engine], before)
    ]
    return CalibrationRun(calibration, before, tuple(ranges), (*warnings, *_too_few(sources, every_engine, kernels)))


def _too_few(
    sources: Iterable[Source], engines: dict[str, list[list[Measured]]], kernels: Iterable[str]
) -> Iterator[str]:
    """What was left out of the fit."""
    ops = dict.fromkeys(group.op for source in sources for group in source.table.groups)
    left_out = [f"products on the {engine} engine" for engine, sets in engines.items() if _rows(sets) < FEWEST]
    left_out += [op for op in ops if form_of(op) not in (PRODUCTS, *kernels)]
    if left_out:
        yield f"not fitted, with fewer than {FEWEST} rows: {', '.join(left_out)}"


def _rows(devices: list[list[Measured]]) -> int:
    return sum(each.rows for each in _flat(devices))


def _check_library() -> None:
    if find_spec("scipy") is None:
        raise MachineError("a fit needs scipy: pip install 'perfkit[calibration]'")


# --- what is fitted


class _Subject(NamedTuple):
    """What a calibration is of; the first fields of one."""

    id: str
    title: str
    device: str | None
    family: str | None


def _sources(files: Sequence[str | Path], gpus: Sequence[str]) -> tuple[list[Source], tuple[str, ...]]:
    if len(gpus) not in (1, len(files)):
        raise InvalidValue(f"{len(gpus)} GPUs for {len(files)} files: name one for each file, or one for all")
    devices = [load_device(gpu) for gpu in gpus] * (len(files) if len(gpus) == 1 else 1)
    tables = [read_kernels(Path(file)) for file in files]
    check_enough(tables)
    checked = [check_times(table, device) for table, device in zip(tables, devices, strict=True)]
    sources = [Source(each.table, device) for each, device in zip(checked, devices, strict=True)]
    return sources, tuple(warning for each in checked for warning in each.warnings)


def _subject(devices: Sequence[Device], kind: str) -> _Subject:
    ids, families = ({getattr(device, what) for device in devices} for what in ("id", "family"))
    first = devices[0]
    if kind == "device":
        if len(ids) > 1:
            raise InvalidValue(f"a device's calibration takes one GPU, not {', '.join(sorted(ids))}; --as family")
        return _Subject(first.id, first.name, first.id, None)
    if kind == "family":
        if len(families) > 1 or first.family is None:
            raise InvalidValue(f"a family's calibration takes GPUs of one family, not {sorted(map(str, families))}")
        return _Subject(first.family, f"{first.family.capitalize()} family", None, first.family)
    return _Subject(CAUTIOUS, "Cautious default: families that there is no data for", None, None)


def _by_engine(sources: Iterable[Source]) -> dict[str, list[list[Measured]]]:
    """Products of each engine by device, one set for each table and precision."""
    found: dict[str, dict[str, list[Measured]]] = {}
    for source in sources:
        for group in source.table.groups:
            if form_of(group.op) == PRODUCTS:
                engine = source.device.product_peak(group.precision).engine
                found.setdefault(engine, {}).setdefault(source.device.id, []).append(_measured(source, group))
    return {engine: list(devices.values()) for engine, devices in found.items()}


def _flat(devices: Iterable[Iterable[Measured]]) -> list[Measured]:
    return [each for sets in devices for each in sets]


def _measured(source: Source, group: KernelGroup) -> Measured:
    import numpy

    shape = group.shape
    batch = numpy.ones(len(group.places)) if shape.batch is None else shape.batch
    assert source.table.measured_s is not None  # noqa: S101  # checked when it was read
    seconds = source.table.measured_s[group.places]
    product = Product(shape.m, shape.n, shape.k, batch, group.precision.bits / 8)
    return Measured(product, seconds, limits_of(source.device, group.precision))


def _known(measured: set[str]) -> list[Calibration]:
    """Calibrations of other devices; what was fitted on these would only agree with itself."""
    found = [read_bundled(name) for name in calibration_ids()]
    return [c for c in found if c.family is None and not measured & {each.device for each in c.fitted_on}]


class _Products(NamedTuple):
    fitted: dict[str, ProductParameters]
    held: dict[str, Held]
    errors: tuple[FitError, ...]
    spread: dict[str, Spread]


def _products(engines: dict[str, list[list[Measured]]], known: Sequence[Calibration]) -> _Products:
    fitted, held = {}, {}
    for engine, devices in engines.items():
        priors = [c.products[engine] for c in known if engine in c.products]
        fitted[engine] = fit_products(_flat(devices), priors)
        # What is left when some rows are kept out may be few: then the priors say the more.
        held[engine] = _held(devices, partial(fit_near, priors=priors))
    if not held:
        return _Products({}, {}, (), {})
    everything = held_by(list(held.values()))
    return _Products(fitted, held, (everything.error(PRODUCTS),), {PRODUCTS: everything.spread()})


# --- how good it is


def _held(devices: Sequence[Sequence[Measured]], fit: Fit) -> Held:
    """Of several devices each by the others; of one its rows by those of other weights."""
    return leave_one_out(devices, fit) if len(devices) > 1 else cross_validate(devices[0], fit)


def _ranges(engine: str, sets: Sequence[Measured], held: Held, before: Calibration) -> Iterator[RangeErrors]:
    import numpy

    parameters = before.products.get(engine)
    earlier = held_by([judge(each, parameters) for each in sets]).by_range() if parameters else {}
    for (first, last), after in held.by_range().items():
        rows = int(numpy.sum((held.m >= first) & (held.m <= last)))
        yield RangeErrors(engine, first, last, rows, earlier.get((first, last)), after)


def _described(source: Source) -> FittedOn:
    digest = sha256(Path(source.table.file).read_bytes()).hexdigest()[:16]
    rows = sum(len(group.places) for group in source.table.groups)
    return FittedOn(Path(source.table.file).name, rows, digest, source.device.id)
