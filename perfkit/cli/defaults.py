"""Defaults of options out of configuration files, checked as strictly as if they had been typed.

Keys are the names of options: at the top for every command that has them, in a table for one command.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from perfkit.cli import COMMANDS, load_command
from perfkit.cli.config import ConfigFile, working_folder
from perfkit.documents import shown
from perfkit.errors import InvalidSpec, PerfkitError, UnknownName

# What a run does, writes and connects to is typed: a file, which may have come with a repository, gives values only.
TYPED_ONLY = frozenset(
    (
        *("compare", "detect", "from", "help", "input", "module", "published", "resume"),
        *("chart", "output", "overlay"),
        *("address", "dask"),
    )
)
# These time or judge a machine that is there; of the defaults for predictions they take the format alone.
OF_MACHINES = frozenset(("calibrate", "measure", "validate"))
# Options that ask something else than their namesakes: only the command's own table sets them.
OWN_TABLE_ONLY = frozenset(
    (
        ("plan", "gpu"),  # candidates; default: all with a price
        ("plot", "format"),  # numbers that are printed beside the picture
        ("reduce", "model"),  # default: the one in --vision-model
        ("sweep", "format"),  # which --output does not take
    )
)
EITHER = {"tokens": "reduction", "reduction": "tokens"}  # each says how many tokens: the typed one alone counts
PATHS = (".yaml", ".yml", ".json", ".csv")


class Default(NamedTuple):
    """A default: its `key`, the `value` as click takes it, and the `file` that it stands in."""

    key: str
    value: Any
    file: str


def defaults_of(name: str, typed: Sequence[str], files: Iterable[ConfigFile]) -> dict[str, Default]:
    """Defaults of a command's parameters, by their names, out of files, the weakest first.

    Raises:
        InvalidSpec: a key that nothing has, or a value that its option does not take.
    """
    known = options_of(name)
    found = {}
    for file in files:
        for key, option, value in _entries(file, name, known):
            if not _typed(EITHER.get(key), typed):
                found[str(option.name)] = Default(key, _checked(file, key, value, option), file.name)
    return found


def options_of(name: str) -> dict[str, click.Option]:
    """Options of a command, by the keys that files have for them."""
    return {_key(option): option for option in load_command(name).params if isinstance(option, click.Option)}


def _key(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


def _typed(key: str | None, typed: Sequence[str]) -> bool:
    return key is not None and any(argument.split("=")[0] == f"--{key}" for argument in typed)


def _entries(file: ConfigFile, name: str, known: Mapping[str, click.Option]) -> Iterator[tuple[str, click.Option, Any]]:
    """What a file says of a command: the entries at its top, then those of the command's table."""
    top = {key: value for key, value in file.values.items() if key not in COMMANDS}
    for key, value in _spelt(top, file.name):
        _check_key(file.name, key, value, known)
        if key in known and _reaches(name, key) and (known[key].multiple or not (value and isinstance(value, list))):
            yield key, known[key], value
    table = file.values.get(name, {})
    if not isinstance(table, dict):
        raise InvalidSpec(f"{file.name}: {name} must be a table, [{name}], not {shown(table)}")
    where = f"{file.name}: [{name}]"
    for key, value in _spelt(table, where):
        if key not in known or key in TYPED_ONLY:
            raise _unknown(where, key, known, f"; `perfkit {name} --help` lists them")
        yield key, known[key], value


def _spelt(entries: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Entries under their options' own spelling; text_tokens is text-tokens too."""
    seen = set()
    for written, value in entries.items():
        key = written.replace("_", "-")
        if key in seen:
            raise InvalidSpec(f"{where}: key {key!r} twice")
        seen.add(key)
        yield key, value


def _reaches(name: str, key: str) -> bool:
    """Whether an entry at the top is meant for a command."""
    return (name, key) not in OWN_TABLE_ONLY and (name not in OF_MACHINES or key == "format")


def _check_key(where: str, key: str, value: Any, known: Collection[str]) -> None:
    """Refuse an entry at the top that no command has."""
    if isinstance(value, dict):
        raise InvalidSpec(f"{where}: {UnknownName('table', key, COMMANDS)}")
    if key in TYPED_ONLY:
        raise _unknown(where, key, known)
    if key not in known:  # only then are other commands loaded, the one with most options first
        others = ("roofline", *(name for name in COMMANDS if name != "roofline"))
        if not any(key in options_of(name) for name in others):
            raise _unknown(where, key, {key for name in COMMANDS for key in options_of(name)})


def _unknown(where: str, key: str, known: Collection[str], hint: str = "") -> InvalidSpec:
    if key in TYPED_ONLY:
        return InvalidSpec(f"{where}: {key} is of one run, and typed: --{key} stands on the command line only")
    return InvalidSpec(f"{where}: {UnknownName('key', key, set(known) - TYPED_ONLY, hint)}")


# --- values


def _checked(file: ConfigFile, key: str, value: Any, option: click.Option) -> Any:
    """A value as click takes it from a command line.

    Raises:
        InvalidSpec: the option does not take it.
    """
    if option.is_flag or isinstance(value, bool):
        if not (option.is_flag and isinstance(value, bool)):
            allowed = "true or false" if option.is_flag else "text or a number"
            raise InvalidSpec(f"{file.name}: {key} must be {allowed}, not {_toml(value)}")
        return value
    values = value if value and isinstance(value, list) and option.multiple else [value]
    texts = [_text(file, key, one, option) for one in values]
    return texts if option.multiple else texts[0]


def _text(file: ConfigFile, key: str, value: Any, option: click.Option) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        allowed = "text, a number, or a list of them" if option.multiple else "text or a number"
        raise InvalidSpec(f"{file.name}: {key} must be {allowed}, not {_toml(value)}")
    text = _relocated(str(value), file.folder)
    try:
        option.type(text, option)
    except PerfkitError as error:
        raise InvalidSpec(f"{file.name}: {error}") from None
    except click.UsageError as error:  # of click's own types
        raise InvalidSpec(f"{file.name}: {key}: {error.message}") from None
    return text


def _relocated(text: str, folder: Path) -> str:
    """A path in a file starts from the file's folder, not from the working folder."""
    is_path = "/" in text or text.lower().endswith(PATHS)
    if not is_path or folder == working_folder() or not (folder / text).exists():
        return text
    return os.path.relpath(folder / text)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return shown(value) if isinstance(value, str | list | dict) else str(value)


# --- what is said of them


def notes(defaults: Mapping[str, Default]) -> Iterator[str]:
    """A line a file: what it set."""
    for file in dict.fromkeys(default.file for default in defaults.values()):
        told = ", ".join(f"{d.key} = {_listed(d.value)}" for d in defaults.values() if d.file == file)
        yield f"defaults from {file}: {told}"


def _listed(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def arguments(defaults: Mapping[str, Default]) -> list[str]:
    """The defaults as they would be typed, for what says how a result was made."""
    return [argument for default in defaults.values() for argument in _typed_as(default)]


def _typed_as(default: Default) -> list[str]:
    if isinstance(default.value, bool):
        return [f"--{default.key}"] * default.value
    values = default.value if isinstance(default.value, list) else [default.value]
    return [argument for value in values for argument in (f"--{default.key}", value)]
