"""Calibrations from measured kernels: fitted, and held against rows that the fit did not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from perfkit.calibration.fits import fit_kernels, judge_kernels
from perfkit.calibration.fitting import FEWEST
from perfkit.calibration.forms import Source
from perfkit.calibration.ranges import RangeErrors, range_label
from perfkit.calibration.sources import read_sources, sift
from perfkit.errors import InvalidValue, MachineError
from perfkit.hardware import Device
from perfkit.kernels.calibrations import (
    CAUTIOUS,
    Calibration,
    FittedOn,
    calibration_for,
    calibration_ids,
    read_bundled,
)
from perfkit.kernels.forms import form_of
from perfkit.kernels.plausibility import LEAST_SHAPES
from perfkit.units import parse_choice

KINDS = ("device", "family", CAUTIOUS)


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
    sources, warnings = read_sources(files, gpus)
    subject = _subject([source.device for source in sources], kind)
    before = calibration_for(sources[0].device)
    enough, too_few = sift(sources)
    if not enough:
        named = ", ".join(map(str, files))
        raise InvalidValue(f"{named}: no kind of kernel has {FEWEST} rows of {LEAST_SHAPES} shapes, which a fit needs")
    known = _known({source.device.id for source in sources})
    fitted, judged = fit_kernels(enough, known), judge_kernels(enough, known, before)
    calibration = Calibration(
        **subject._asdict(),
        fitted_on=tuple(_described(source) for source in enough),
        command=command,
        products=fitted.products,
        forms=fitted.forms,
        errors=judged.errors,
        spread=judged.spread,
    )
    return CalibrationRun(calibration, before, judged.ranges, (*warnings, *too_few, *_narrow(judged.ranges)))


def _narrow(ranges: Iterable[RangeErrors]) -> Iterator[str]:
    """Kernels of which all rows lie in one range: what others take, they do not tell."""
    found: dict[tuple[str | None, str], list[RangeErrors]] = {}
    for each in ranges:
        found.setdefault((each.engine, form_of(each.op)), []).append(each)
    for (engine, _), rows in found.items():
        if len({each.first for each in rows}) == 1:
            named = ", ".join(dict.fromkeys(each.op for each in rows)) + (f" on the {engine} engine" if engine else "")
            yield f"all rows of {named} have {range_label(rows[0])}: of others the calibration says what it began at"


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


def _known(measured: set[str]) -> list[Calibration]:
    """Calibrations of other devices; what was fitted on these would only agree with itself."""
    found = [read_bundled(name) for name in calibration_ids()]
    return [c for c in found if c.family is None and not measured & {each.device for each in c.fitted_on}]


def _described(source: Source) -> FittedOn:
    digest = sha256(Path(source.table.file).read_bytes()).hexdigest()[:16]
    rows = sum(len(group.places) for group in source.table.groups)
    return FittedOn(Path(source.table.file).name, rows, digest, source.device.id)
