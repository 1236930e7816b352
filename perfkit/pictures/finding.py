"""Which picture files are meant by what people name: files, and folders of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from perfkit.errors import InvalidValue, MachineError

# Of the formats that `reading` takes; a file that is named itself may have any other ending, or none.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_pictures(names: Iterable[str | Path]) -> tuple[Path, ...]:
    """Files that `names` mean, each once: a file stands for itself, a folder for the pictures right in it, sorted.

    Raises:
        InvalidValue: nothing named, no such file or folder, neither of both, or a folder without pictures.
        MachineError: a folder that may not be read.
    """
    found: dict[str, Path] = {}
    for name in names:
        if name == "":  # which Path would take for the folder that we are in
            raise InvalidValue("'': name a picture, or a folder of them")
        for path in _meant(Path(name)):
            found.setdefault(os.path.realpath(path), path)
    if not found:
        raise InvalidValue("name at least one picture, or a folder of them")
    return tuple(found.values())


def shown(path: Path) -> str:
    """A file's name as text that any terminal, table and picture can hold: what cannot be printed as Python writes it.

    >>> shown(Path("a\\nb.png")), shown(Path("é.png"))
    ('a\\\\nb.png', 'é.png')
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(path))


def _meant(path: Path) -> list[Path]:
    # os.path, not Path: its tests answer False to names that cannot be paths (too long, with a NUL).
    if os.path.isdir(path):
        return _inside(path)
    if not os.path.isfile(path):
        problem = "neither a file nor a folder" if os.path.exists(path) else "no such file or folder"
        raise InvalidValue(f"'{shown(path)}': {problem}")
    return [path]


def _inside(folder: Path) -> list[Path]:
    try:
        pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise MachineError(f"{shown(folder)}: cannot be read: {error.strerror}") from None
    if not pictures:
        known = ", ".join(SUFFIXES)
        raise InvalidValue(f"{shown(folder)}: holds no pictures ({known}); folders in it are not looked into")
    return pictures
