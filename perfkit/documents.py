"""Files that people write (YAML, JSON): read strictly, with errors that name the file and the key.

A YAML document here is plain data: no tags, no anchors, no duplicate keys.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from perfkit.errors import InvalidSpec, UnknownName

Name = TypeVar("Name", bound=str)

MAXIMUM_BYTES = 16 * 2**20  # the largest published config.json is below 2 MB
# Of nested YAML: a device file has 4 levels, and libyaml's composer overflows the stack at some 10^4.
MAXIMUM_DEPTH = 32
SMALLEST, LARGEST = 1e-9, 1e15  # printed figures; what lies outside is a mistake, and may overflow in SI
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")

# libyaml's loader is 8 times faster; PyYAML comes without it on some platforms.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path, most_bytes: int = MAXIMUM_BYTES) -> str:
    """The text of a file of at most `most_bytes`.

    Raises:
        InvalidSpec: no regular file, too large, unreadable, or not UTF-8.
    """
    try:
        if not path.is_file():
            raise InvalidSpec(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if path.stat().st_size > most_bytes:
            raise InvalidSpec(f"{path}: larger than {most_bytes // 2**20} MiB, so not a file of this kind")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path}: not text in UTF-8") from None


def read_json(path: Path, most_bytes: int = MAXIMUM_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidSpec: unreadable, not JSON, or not an object.
    """
    text = read_text(path, most_bytes)
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"{path}: not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise InvalidSpec(f"{path}: must hold a JSON object, not a {type(document).__name__}")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of pairs whose keys differ; JSON alone would keep the last of two."""
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"key {shown(key)} twice")
        mapping[key] = value
    return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InvalidSpec: unreadable, not YAML, not a mapping, or with tags, anchors or duplicate keys.
    """
    text = read_text(path)
    try:
        _refuse_tricks(text, path)
        document = yaml.load(text, Loader=_Strict)  # noqa: S506  # a safe loader, made stricter
    except yaml.YAMLError as error:
        raise InvalidSpec(f"{path}: not YAML: {_first_line(error)}") from None
    except InvalidSpec:
        raise
    except (ValueError, RecursionError) as error:  # a date or number that cannot be, say
        raise InvalidSpec(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise InvalidSpec(f"{path}: must hold a mapping, not {type(document).__name__}")
    return document


def _refuse_tricks(text: str, path: Path) -> None:
    event: Any
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAXIMUM_DEPTH:
            raise InvalidSpec(f"{path}: line {event.start_mark.line + 1}: nested too deeply")
        if getattr(event, "tag", None) is not None:
            raise InvalidSpec(f"{path}: line {event.start_mark.line + 1}: tags ({event.tag}) are not allowed")
        if getattr(event, "anchor", None) is not None:
            raise InvalidSpec(f"{path}: line {event.start_mark.line + 1}: anchors and aliases are not allowed")


def _first_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return where + str(getattr(error, "problem", None) or str(error).splitlines()[0])


# YAML 1.1 takes 010 for 8 and 1:30 for 90; here a number is written as people write one, and the rest is text.
_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:0|[1-9][0-9]*)",
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.(?:inf|nan))",
}


class _Strict(_Loader):  # type: ignore[misc]
    """Safe loader that refuses a key given twice, where YAML alone keeps the last, and reads decimal numbers only."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [(tag, re.compile(rf"{_NUMBERS[tag]}\Z") if tag in _NUMBERS else pattern) for tag, pattern in resolvers]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value == "<<":
                raise yaml.MarkedYAMLError(problem="merging (<<) is not allowed", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} twice", problem_mark=key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def shown(value: object) -> str:
    """`value` as a message quotes it, shortened so that the message stays one line.

    >>> shown("125e12")
    "'125e12'"
    """
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"


def shortened(text: str, most: int = 500) -> str:
    """`text` of a file in at most `most` letters, as pages and pictures have room for it.

    >>> shortened("a name without end", 9)
    'a name...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_text(value: object) -> bool:
    """Whether `value` is text that can be written: JSON can spell half a surrogate pair, which no encoding has.

    >>> is_text("µs"), is_text(chr(0xD800)), is_text(3)
    (True, False, False)
    """
    return isinstance(value, str) and not _HALF_A_PAIR.search(value)


class Section:
    """A mapping of a document, read key by key; `finish` refuses what nobody asked for."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, Mapping):
            raise InvalidSpec(f"{where}: must be a mapping, not {shown(values)}")
        self.values = values
        self.where = where
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        self._asked.add(key)
        return key in self.values

    def raw(self, key: str) -> Any:
        """The value of a required key.

        Raises:
            InvalidSpec: the key is missing.
        """
        if not self.has(key):
            raise InvalidSpec(f"{self.where}: {key} is missing")
        return self.values[key]

    def text(self, key: str) -> str:
        """A required string."""
        value = self.raw(key)
        if not isinstance(value, str) or not value.strip():
            raise InvalidSpec(f"{self.where}: {key} must be text, not {shown(value)}")
        if not is_text(value):
            raise InvalidSpec(f"{self.where}: {key} must be text, not half a surrogate pair: {shown(value)}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A string, or None where the key is absent."""
        return self.text(key) if self.has(key) else None

    def choice(self, key: str, allowed: Iterable[Name]) -> Name:
        """A required string out of a list, as it stands there."""
        value, names = self.text(key), list(allowed)
        if value not in names:
            raise InvalidSpec(f"{self.where}: {UnknownName(key, value, names)}")
        return names[names.index(value)]  # the name of the list, not its like in the file

    def number(self, key: str, *, whole: bool = False) -> float:
        """A required plain number above zero, from 10^-9 to 10^15 as printed.

        Raises:
            InvalidSpec: text, a boolean, NaN, outside that range, or a fraction where it must be whole.
        """
        value = self.raw(key)
        if isinstance(value, str):
            raise InvalidSpec(
                f"{self.where}: {key} must be a plain number, not the text {shown(value)} "
                "(YAML reads 125e12 as text: write the number as printed, with its unit beside it)"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidSpec(f"{self.where}: {key} must be a plain number, not {shown(value)}")
        if not SMALLEST <= value <= LARGEST or (whole and value != int(value)):
            allowed = f"a {'whole ' * whole}number above zero (from {SMALLEST:g} to {LARGEST:g})"
            raise InvalidSpec(f"{self.where}: {key} must be {allowed}, not {shown(value)}")
        return value

    def section(self, key: str) -> Section:
        """A required nested mapping."""
        return Section(self.raw(key), f"{self.where}: {key}")

    def sections(self, key: str) -> list[Section]:
        """A required list of mappings."""
        values = self.raw(key)
        if not isinstance(values, list):
            raise InvalidSpec(f"{self.where}: {key} must be a list, not {shown(values)}")
        return [Section(value, f"{self.where}: {key}[{i}]") for i, value in enumerate(values)]

    def optional_sections(self, key: str) -> list[Section]:
        """A list of mappings, empty where the key is absent."""
        return self.sections(key) if self.has(key) else []

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty where the key is absent."""
        values = self.values[key] if self.has(key) else []
        if not isinstance(values, list) or not all(map(is_text, values)):
            raise InvalidSpec(f"{self.where}: {key} must be a list of texts, not {shown(values)}")
        return tuple(values)

    def finish(self) -> None:
        """Refuse keys that were never asked for.

        Raises:
            InvalidSpec: an unknown key, with the nearest known one.
        """
        for key in self.values:
            if key not in self._asked:
                raise InvalidSpec(f"{self.where}: {UnknownName('key', str(key), self._asked)}")
