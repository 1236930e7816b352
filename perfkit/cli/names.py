"""Names that options and arguments take, and a word about each, for shells that complete them.

They are names of files and of indexes. No file is read as what it is: what is said is a plain line of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import click


class Names(NamedTuple):
    """Names, each with what a menu says of it (empty: nothing); `or_file`: a path may stand there too."""

    of: dict[str, str]
    or_file: bool = False


def names_of(command: str, parameter: click.Parameter) -> Callable[[], Names] | None:
    """What finds the names that a parameter of a command takes; None where it takes none."""
    key = max(parameter.opts, key=len)
    words = getattr(parameter.type, "words", ())
    return _NAMES.get(f"{command} {key}") or _NAMES.get(key) or ((lambda: _plain(words)) if words else None)


def _gpus() -> Names:
    from perfkit.hardware import aliases, device_ids, specs_folder

    ids = {name: _line(specs_folder() / f"{name}.yaml", "architecture") for name in device_ids()}
    return Names({alias: f"means {devices[0]}" for alias, devices in aliases().items()} | ids, or_file=True)


def _models() -> Names:
    from perfkit.models import preset_names

    return Names(dict.fromkeys(preset_names(), ""), or_file=True)


def _reducers() -> Names:
    from perfkit.reduction import REDUCERS

    return Names(dict.fromkeys(REDUCERS, "before the language model"))


def _reductions() -> Names:
    from perfkit.reduction import METHODS

    return Names(dict.fromkeys(METHODS, "inside the language model") | _reducers().of)


def _reductions_or_none() -> Names:
    return Names({"none": "without", **_reductions().of})


def _conventions() -> Names:
    from perfkit.conventions import convention_names
    from perfkit.conventions.reading import FOLDER

    return Names({name: _line(FOLDER / f"{name}.yaml", "paper") for name in convention_names()})


def _papers() -> Names:
    from perfkit.papers.reading import TABLES, paper_names

    return Names({name: _line(TABLES / f"{name}.yaml", "summary") for name in paper_names()})


def _calibrations() -> Names:
    from perfkit.kernels.calibrations import calibration_ids, calibrations_folder

    return Names({name: _line(calibrations_folder() / f"{name}.yaml", "title") for name in calibration_ids()}, True)


def _columns() -> Names:
    from perfkit.cost_tables.columns import COLUMNS

    return Names({key: column.what for key, column in COLUMNS.items()})


def _parts() -> Names:
    from perfkit.conventions.convention import PARTS

    return _plain(PARTS)


def _kinds_of_calibration() -> Names:
    from perfkit.calibration.calibrating import KINDS

    return _plain(KINDS)


def _measured(name: str) -> Callable[[], Names]:
    """Names that only `perfkit measure` takes."""

    def find() -> Names:
        from perfkit.measuring import cases

        return _plain(getattr(cases, name))

    return find


def _plain(names: Iterable[str]) -> Names:
    return Names(dict.fromkeys(names, ""))


def _line(path: Path, key: str) -> str:
    """What stands behind a key at the margin of a file; empty where that is no plain line."""
    try:
        found = re.search(rf'^{key}: +"?([^"#\n]+)', path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


# By option, or by command and option or argument.
_NAMES: dict[str, Callable[[], Names]] = {
    "--as": _kinds_of_calibration,
    "--calibration": _calibrations,
    "--columns": _columns,
    "--convention": _conventions,
    "--gpu": _gpus,
    "--include": _parts,
    "--method": _reducers,
    "--model": _models,
    "--phase": _measured("PHASES"),
    "--reduction": _reductions,
    "gpus name": _gpus,
    "measure --attention": _measured("ATTENTIONS"),
    "measure --precision": _measured("PRECISIONS"),
    "measure --runtime": _measured("RUNTIMES"),
    "models name": _models,
    "plot --reduction": _reductions_or_none,
    "reproduce name": _papers,
    "table --reduction": _reductions_or_none,
}
