"""What a suite is measured for, beside its samples: a table of kernels, or a device file."""

from __future__ import annotations

from pathlib import Path

from perfkit.errors import InvalidValue, MachineError
from perfkit.files import write_whole
from perfkit.measuring.kernels import kernel_table
from perfkit.measuring.measurement import Measurement
from perfkit.measuring.peaks import device_yaml

ENDINGS = {"model": (".json",), "kernels": (".json", ".csv"), "peaks": (".json", ".yaml", ".yml")}


def check_output(suite: str, path: Path, *, resume: bool) -> None:
    """Refuse a file whose ending says that something else should stand in it, and one that would be written over.

    Raises:
        InvalidValue: with the endings that the suite has.
        MachineError: it stands already, and is not to be resumed.
    """
    if path.suffix not in ENDINGS[suite]:
        allowed = " or ".join(ENDINGS[suite])
        raise InvalidValue(
            f"--output {path}: suite {suite} writes {allowed}, not {path.suffix or 'a name without end'}"
        )
    if path.exists() and not resume:
        raise MachineError(f"{path} stands already: --resume finishes it; or name another file")


def write_result(measurement: Measurement, path: Path) -> None:
    """Write what the ending of `path` asks for; a .json is the measurement itself, which stands there already.

    Raises:
        MachineError: it cannot be written.
    """
    if path.suffix == ".csv":
        write_whole(path, kernel_table(measurement).render("csv") + "\n")
    elif path.suffix != ".json":
        write_whole(path, device_yaml(measurement))
