"""Configuration files: where they lie, and what they hold. The command line alone reads them, the library never does.

Of the nearest `perfkit.toml` from the working folder up, `[tool.perfkit]` of the nearest `pyproject.toml` that has it,
and the user's own file, an earlier one wins key by key. The way up ends at a repository's root, or at home.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from perfkit.documents import read_text, shown
from perfkit.errors import InvalidSpec

VARIABLE = "PERFKIT_CONFIG"  # a file that is read instead of all these; empty: none
OWN, SHARED, USERS = "perfkit.toml", "pyproject.toml", "config.toml"
_MENTIONED = re.compile(r"\btool\b[^\n]*\bperfkit\b|^[ \t]*\[\s*tool\s*\]", re.MULTILINE)
_HEADER = re.compile(r"""^[ \t]*\[{1,2}[ \t]*["']?tool["']?[ \t]*\.[ \t]*["']?perfkit(?![\w-])""", re.MULTILINE)


class ConfigFile(NamedTuple):
    """What a file holds: `name` as messages show it, the `folder` that its paths start from, and its `values`."""

    name: str
    folder: Path
    values: dict[str, Any]


def user_file() -> Path:
    """The user's own file, whether it is there or not."""
    return Path(click.get_app_dir("perfkit")) / USERS


def config_files() -> list[ConfigFile]:
    """The files that count here, the weakest first.

    Raises:
        InvalidSpec: one of them cannot be read, or is not TOML.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return [_read(Path(os.path.expanduser(named)), VARIABLE)] if named else []
    users = [_read(user_file())] if _is_file(user_file()) else []
    return [*users, *(found for name in (SHARED, OWN) if (found := _nearest(name)))]


def _nearest(name: str) -> ConfigFile | None:
    for folder in _upwards():
        path = folder / name
        if _is_file(path) if name == OWN else _speaks_of_perfkit(path):
            return _read(path)
    return None


def _is_file(path: Path) -> bool:
    """Whether a file that is ours alone is there; passing over one that cannot be read would change results unsaid."""
    # os.path, not Path: its tests answer False in folders that may not be read.
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InvalidSpec(f"{_shown(path)}: not a regular file")
    return os.path.isfile(path)


def _upwards() -> Iterator[Path]:
    """The working folder and those above it, up to a repository's root or home."""
    here = working_folder()
    for folder in (here, *here.parents):
        yield folder
        if os.path.exists(folder / ".git") or folder == _home():
            return


def working_folder() -> Path:
    """The working folder; one that was deleted has no files, and is no reason to stop."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.devnull)


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # Path.home() raises where a user has no home


def _speaks_of_perfkit(path: Path) -> bool:
    """Whether a pyproject.toml has our table; what else is in it, and whether it is TOML, is not ours to judge."""
    try:
        text = read_text(path)
    except InvalidSpec:
        return False
    if not _MENTIONED.search(text):
        return False
    try:
        return _table(_parsed(text, _shown(path)), path) is not None
    except InvalidSpec:
        if _HEADER.search(text):  # else the words may stand in any text
            raise
        return False


def _read(path: Path, why: str = "") -> ConfigFile:
    name = _shown(path)
    try:
        values = _parsed(read_text(path), name)
    except InvalidSpec as error:
        raise InvalidSpec(f"{why}: {error}" if why else str(error)) from None
    table = _table(values, path) if path.name == SHARED else values
    if not isinstance(table, dict):
        raise InvalidSpec(f"{name}: [tool.perfkit] must be a table, not {shown(table)}")
    return ConfigFile(name, _absolute(path).parent, table)


def _parsed(text: str, name: str) -> dict[str, Any]:
    import tomllib  # only where there is a file

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"{name}: not TOML: {str(error).splitlines()[0]}") from None


def _table(values: dict[str, Any], path: Path) -> Any:
    tools = values.get("tool")
    if path.name == SHARED and isinstance(tools, dict):
        return tools.get("perfkit")
    return None


def _shown(path: Path) -> str:
    """A path as messages show it: from the working folder, or from home."""
    absolute, here = _absolute(path), working_folder()
    if absolute.parent == here or absolute.parent in here.parents:
        return os.path.relpath(absolute, here)
    return str(Path("~") / absolute.relative_to(_home())) if absolute.is_relative_to(_home()) else str(path)


def _absolute(path: Path) -> Path:
    return working_folder() / path
