"""Parts of a sweep beside its output: claimed by one request, kept when a run is stopped, joined when all stand."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from perfkit import __version__
from perfkit.errors import InvalidSpec, MachineError
from perfkit.files import UNFINISHED, open_whole, write_whole
from perfkit.kernels.calibrations import calibration_for
from perfkit.sweeping.columns import fields_of
from perfkit.sweeping.formats import form_of
from perfkit.sweeping.grid import Grid
from perfkit.sweeping.part import PART_POINTS, Part

MANIFEST = "sweep.json"


def folder_of(output: Path) -> Path:
    """Where parts stand until they are joined."""
    return output.with_name(f"{output.name}.parts")


def claim(grid: Grid, output: Path, *, resume: bool) -> tuple[Part, ...]:
    """Parts of a sweep, in a folder beside `output` that says which grid they are of.

    Raises:
        MachineError: parts of an earlier run stand there and `resume` is not asked for; or it cannot be written.
        InvalidSpec: with `resume`, parts of another grid or another perfkit.
    """
    folder, manifest = folder_of(output), _manifest(grid)
    if folder.is_dir() and any(folder.iterdir()):
        _check_standing(folder, manifest, resume=resume)
        for left in folder.glob(f".*{UNFINISHED}"):  # of a run that was killed as it wrote a part
            left.unlink()
    else:
        _make(folder, output)
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    starts = range(0, grid.points, PART_POINTS)
    return tuple(
        Part(grid, number, start, min(start + PART_POINTS, grid.points), folder, output.suffix)
        for number, start in enumerate(starts)
    )


def _make(folder: Path, output: Path) -> None:
    try:
        if output.is_dir():
            raise IsADirectoryError(21, "is a folder")
        if output.exists() and not os.access(output, os.W_OK):  # better told now than when all parts stand
            raise PermissionError(13, "is read-only")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot write {output}: {error.strerror}; nothing was written") from None


def _check_standing(folder: Path, manifest: dict[str, str | int], *, resume: bool) -> None:
    if not resume:
        raise MachineError(f"parts of an earlier run stand in {folder}: --resume goes on with them; or remove it")
    try:
        standing = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        standing = None
    if standing != manifest:
        raise InvalidSpec(
            f"{folder} holds parts of another grid, or of another perfkit than {__version__}: "
            "ask for that grid, name another file, or remove it"
        )


def _manifest(grid: Grid) -> dict[str, str | int]:
    """What parts must agree in: the request, and what its names mean now."""
    points = {"points": grid.points, "part_points": PART_POINTS}
    return {"perfkit": __version__, "grid": digest_of(grid), **points}


def digest_of(grid: Grid) -> str:
    """Short text that differs between grids whose rows may differ, and between versions of perfkit."""
    specs = dict.fromkeys(cell.spec for cell in grid.cells)
    devices = dict.fromkeys(cell.choice.device for cell in grid.cells)
    expected = grid.request.basis == "expected"
    calibrations = [grid.calibration or calibration_for(device) for device in devices if expected]
    digest = sha256()
    for thing in (__version__, grid.request, *specs, *devices, *calibrations):
        digest.update(repr(thing).encode())
    return digest.hexdigest()


def join(parts: Sequence[Part], files: Sequence[Path], output: Path) -> None:
    """Write `output` from the files of all parts, whole or not at all; then they are removed.

    Raises:
        MachineError: it cannot be written; the parts stay.
    """
    keys = [field.key for field in fields_of(parts[0].grid.request.basis)]
    with open_whole(output) as target:
        form_of(output.suffix).join(files, target, keys)
    shutil.rmtree(folder_of(output))
