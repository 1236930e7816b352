"""Measurements that someone hands to the page: read as data, never run, and never a way to other files.

A measurement names a device and models, and the command line takes such a name for a path where it is one. Here names
are only those that perfkit bundles, and counts of points are bounded, so that one file cannot keep the page busy.
"""

from __future__ import annotations

from functools import lru_cache
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
MOST_PHASES, MOST_POINTS = 2000, 20_000  # a campaign of this project has some 350 phases


@lru_cache(maxsize=8)
def validation_of(data: bytes, name: str, gpu: str | None = None) -> Validation:
    """What a file says of the predictions for `gpu`, or for the device that it names.

    Raises:
        InvalidSpec: what `perfkit.validate` refuses, in its words, the file by its `name`.
    """
    shown = shown_name(name)
    with TemporaryDirectory(prefix="perfkit-") as folder:
        path = Path(folder) / "measurement.json"
        path.write_bytes(data)
        try:
            return validate([_bundled_names_only(read_measurement(path))], gpu)
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
