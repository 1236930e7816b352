"""Measurements that someone hands to the page: read as data, never run, and never a way to other files.

A measurement names a device and models, and the command line takes such a name for a path where it is one. Here names
are only those that perfkit bundles, and counts of points are bounded, so that one file cannot keep the page busy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from perfkit.errors import InvalidSpec, PerfkitError
from perfkit.hardware import aliases, device_ids
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.measurement import Measurement
from perfkit.measuring.schema import read_measurement
from perfkit.models import preset_names
from perfkit.tables.escaping import one_line
from perfkit.units import LONGEST_SHOWN
from perfkit.validation.judging import Validation, validate

LONGEST_MESSAGE = 500  # letters, of which a file may have brought some
MOST_PHASES, MOST_POINTS = 500, 20_000  # a campaign of this project has some 350 phases; 100 take about a second


def judged(data: bytes, name: str) -> Validation | InvalidSpec:
    """What a file says of the predictions, or why it says nothing: either can be kept for the next look."""
    try:
        return validation_of(data, name)
    except InvalidSpec as error:
        return error.with_traceback(None)


def validation_of(data: bytes, name: str) -> Validation:
    """What a file says of the predictions for the device that it names.

    Raises:
        InvalidSpec: what `perfkit.validate` refuses, in its words, the file by its `name`; or numbers beyond reckoning.
    """
    shown = shown_name(name)
    measurement = _read(data, shown)
    try:
        return validate([_bundled_names_only(measurement)])
    except PerfkitError as error:
        raise InvalidSpec(str(error)[:LONGEST_MESSAGE]) from None
    except ArithmeticError:
        raise InvalidSpec(f"{shown}: holds numbers too large or too small to be compared") from None


def _read(data: bytes, shown: str) -> Measurement:
    """The measurement, with nothing in it of where it lay while it was read."""
    with TemporaryDirectory(prefix="perfkit-") as folder:
        path = Path(folder) / "measurement.json"
        path.write_bytes(data)
        try:
            return replace(read_measurement(path), file=shown)
        except PerfkitError as error:
            raise InvalidSpec(str(error).replace(str(path), shown)[:LONGEST_MESSAGE]) from None


def shown_name(name: str) -> str:
    """A file's name as messages and command lines have it: no folders, one line, not long.

    >>> shown_name("../a\\nb.json")
    'a b.json'
    """
    last = one_line(name.replace("\\", "/").rpartition("/")[2]) or "measurement.json"
    return last if len(last) <= 2 * LONGEST_SHOWN else f"{last[: 2 * LONGEST_SHOWN]}..."


def _bundled_names_only(measurement: Measurement) -> Measurement:
    """The measurement, if it names nothing but what perfkit bundles, and is not too much.

    Raises:
        InvalidSpec: it does, or is.
    """
    where, device = measurement.file, measurement.machine.device
    if device is not None and device.lower() not in (*device_ids(), *aliases()):
        raise InvalidSpec(f"{where}: device {device[:LONGEST_SHOWN]!r} is none of perfkit's")
    phases = [point.case for point in measurement.points if isinstance(point.case, PhaseCase)]
    if len(phases) > MOST_PHASES or len(measurement.points) > MOST_POINTS:
        raise InvalidSpec(f"{where}: more than {MOST_PHASES} phases or {MOST_POINTS} points: use perfkit validate")
    for name in dict.fromkeys(case.model for case in phases):
        if name.lower() not in preset_names():
            raise InvalidSpec(f"{where}: model {name[:LONGEST_SHOWN]!r} is none of perfkit's")
    return measurement
