"""Tables of kernels predicted: roofline and expected time of every row, and errors where times were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.errors import InvalidSpec, UnsupportedPrecision
from perfkit.hardware import Choice, Device, choose_device
from perfkit.kernels.calibrations import Calibration, calibration_for, read_calibration
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.plausibility import check_possible
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.tables import KernelGroup, KernelTable, read_kernels
from perfkit.metrics import Pair, mape, p90
from perfkit.roofline import engines_of, time_ops


class OpErrors(NamedTuple):
    """Absolute percentage errors, as fractions, over the rows of an op; None where nothing was measured or expected."""

    op: str
    rows: int
    roofline_mape: float | None
    expected_mape: float | None
    expected_p90: float | None


@dataclass(frozen=True, slots=True, eq=False)
class KernelPredictions:
    """A table of kernels on a device: float64 arrays of seconds in the order of its rows, NaN where nothing is said.

    Nine of ten measured times are expected from `expected_low_s` to `expected_high_s`.
    """

    table: KernelTable
    choice: Choice
    calibration: Calibration
    roofline_s: Any
    expected_s: Any
    expected_low_s: Any
    expected_high_s: Any
    ops: tuple[OpErrors, ...]
    warnings: tuple[str, ...]

    @property
    def device(self) -> Device:
        """What the times are predicted for."""
        return self.choice.device


def predict_kernels(file: Path | str, gpu: str, calibration: Path | str | None = None) -> KernelPredictions:
    """Times of every kernel in a table on `gpu`, by its own calibration or by the one in a file.

    Raises:
        InvalidSpec: no table of kernels, times in it that cannot be, or no calibration.
        InvalidValue: a calibration of another device.
        UnknownName: no such GPU.
        UnsupportedPrecision: it has no engine for products of the table.
    """
    choice = choose_device(gpu)
    used = calibration_for(choice.device) if calibration is None else read_calibration(Path(calibration))
    used.check_device(choice.device)
    table = read_kernels(Path(file))
    check_possible(table, choice.device)
    times, problems = _predict(table, choice.device, used)
    warnings = (
        *_borrowed(used, choice.device, calibration),
        *_seen(used, table),
        *_launches(table),
        *_unexpected(problems),
    )
    return KernelPredictions(table, choice, used, *times, ops=tuple(_errors(table, times)), warnings=warnings)


class _Times(NamedTuple):
    """Seconds of every row, NaN where nothing is said."""

    roofline_s: Any
    expected_s: Any
    expected_low_s: Any
    expected_high_s: Any


def _predict(table: KernelTable, device: Device, used: Calibration) -> tuple[_Times, dict[str, list[KernelGroup]]]:
    """Times, and why nothing is expected of some groups."""
    import numpy

    times = _Times(*numpy.full((len(_Times._fields), len(table.rows)), numpy.nan))
    problems: dict[str, list[KernelGroup]] = {}
    for group in table.groups:
        times.roofline_s[group.places] = _roofline_s(table, group, device)
        try:
            expected = _expected_s(group, device, used)
        except (InvalidSpec, UnsupportedPrecision) as why:  # the roofline needs less
            problems.setdefault(str(why), []).append(group)
            continue
        low, high = used.spread_of(group.op, device.product_peak(group.precision).engine) or (numpy.nan, numpy.nan)
        for column, factor in zip(times[1:], (1, low, high), strict=True):
            column[group.places] = factor * expected
    return times, problems


def _roofline_s(table: KernelTable, group: KernelGroup, device: Device) -> Any:
    cost = cost_of_shape(group.shape, group.precision)
    try:
        (time,) = time_ops(engines_of(device, [cost]), [cost])
    except UnsupportedPrecision as error:
        raise UnsupportedPrecision(f"{table.where(group.places[0])}: {error}") from None
    return time.roofline_s


def _expected_s(group: KernelGroup, device: Device, used: Calibration) -> Any:
    seconds = expected_s(group.shape, group.precision, device, used)
    if seconds is None:
        raise InvalidSpec(f"calibration {used.id} has no model of it")
    return seconds


# --- warnings


def _borrowed(used: Calibration, device: Device, given: Path | str | None) -> Iterator[str]:
    if given is None and used.device is None and used.family is None:
        yield f"no calibration of {device.id} or its family ({device.family}): expected times borrow {used.id}"


def _seen(used: Calibration, table: KernelTable) -> Iterator[str]:
    """Errors over the rows of a fit say little of others."""
    digest = sha256(Path(table.file).read_bytes()).hexdigest()
    if table.measured_s is not None and any(digest.startswith(each.sha256) for each in used.fitted_on):
        yield f"calibration {used.id} was fitted on {table.file}: errors here are of rows that the fit saw"


def _launches(table: KernelTable) -> Iterator[str]:
    if table.launches:
        yield f"{table.file}: rows of op launch have no shape, and no predicted time"


def _unexpected(problems: dict[str, list[KernelGroup]]) -> Iterator[str]:
    for why, groups in problems.items():
        named = dict.fromkeys(f"{group.op} in {group.precision}" for group in groups)
        yield f"nothing is expected of {', '.join(named)}: {why}"


# --- errors


def _errors(table: KernelTable, times: _Times) -> Iterator[OpErrors]:
    for op, places in _places(table.groups).items():
        if table.measured_s is None:
            yield OpErrors(op, len(places), None, None, None)
            continue
        measured_s = table.measured_s[places]
        pairs = _pairs(times.expected_s[places], measured_s)
        found = (mape(pairs), p90(pairs)) if pairs else (None, None)
        yield OpErrors(op, len(places), mape(_pairs(times.roofline_s[places], measured_s)), *found)


def _places(groups: Sequence[KernelGroup]) -> dict[str, Any]:
    """Places of each op, whatever its precision."""
    import numpy

    found: dict[str, list[Any]] = {}
    for group in groups:
        found.setdefault(group.op, []).append(group.places)
    return {op: numpy.concatenate(places) for op, places in found.items()}


def _pairs(predicted: Any, measured: Any) -> list[Pair]:
    """Predicted and measured, where something was predicted."""
    known = predicted > 0  # NaN is not
    return list(zip(predicted[known].tolist(), measured[known].tolist(), strict=True))
