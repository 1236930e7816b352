"""What is asked of a cost table: the axes of its rows, what all rows share, its columns, and how it is captioned."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from perfkit.cost_tables.columns import DEFAULT_COLUMNS, column_of
from perfkit.errors import InvalidValue
from perfkit.models import DEFAULT_MODEL
from perfkit.units import LONGEST_SHOWN
from perfkit.workload import NEW_TOKENS

NO_REDUCTION = "none"
MAXIMUM_ROWS = 500  # a page holds fifty; beyond this a sweep is meant
LABEL = "tab:cost"
CONVENTION = "torch"
USUAL_LOGITS = "last"  # of times and memory, where none are asked for: those of generation

# Options, and keys of a file, that name a list's single values.
AXES = ("model", "gpu", "precision", "weights", "activations", "kv", "reduction", "tokens")


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A cost table: a row for each combination of the axes, which are option texts of `perfkit roofline`.

    `reduction`: specs, or `none`. `tokens`: visual tokens that enter layer 0, in place of what a model or a reducer
    makes; empty where those stand. `weights`, `activations`, `kv`: formats beside the precision, empty for its own.
    `text_tokens`: None for the convention's. `logits`: None for the convention's in FLOPs, and for the last position in
    times and memory. `runtime`, `calibration`: of expected times. `columns`: keys of `perfkit.cost_tables.columns`.

    Raises:
        UnknownName: no such column.
        InvalidValue: an empty axis, too many rows, or a label that LaTeX cannot take.
    """

    gpu: tuple[str, ...]
    model: tuple[str, ...] = (DEFAULT_MODEL,)
    precision: tuple[str, ...] = ("fp16",)
    weights: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    kv: tuple[str, ...] = ()
    reduction: tuple[str, ...] = (NO_REDUCTION,)
    tokens: tuple[int, ...] = ()
    text_tokens: int | None = None
    new_tokens: int = NEW_TOKENS
    batch: int = 1
    images: int = 1
    attention: str = "fused"
    runtime: str = "graph"
    calibration: str | None = None
    logits: str | None = None
    convention: str = CONVENTION
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    caption: str = ""
    label: str = LABEL

    def __post_init__(self) -> None:
        for name in ("gpu", "model", "precision", "reduction", "columns"):
            if not getattr(self, name):
                raise InvalidValue(f"{name} is empty: a table needs at least one")
        for key in self.columns:
            column_of(key)
        if self.rows > MAXIMUM_ROWS:
            raise InvalidValue(f"{self.rows} rows are no table for a paper: at most {MAXIMUM_ROWS}")
        if not re.fullmatch(r"[A-Za-z0-9:._/+-]{1,60}", self.label):
            shown = self.label[:LONGEST_SHOWN]
            raise InvalidValue(f"label must be letters, digits and : . _ / + -, at most 60, not {shown!r}")

    @property
    def rows(self) -> int:
        """Combinations of the axes."""
        return math.prod(max(1, len(getattr(self, axis))) for axis in AXES)


def command_of(request: TableRequest) -> str:
    """The command line that asks for a table: what is not the default, shell-quoted.

    >>> command_of(TableRequest(("v100",), tokens=(576, 64), caption="My table"))
    "perfkit table --gpu v100 --tokens 576,64 --caption 'My table'"
    """
    return quoted(["perfkit", "table", *_arguments(request)])


def _arguments(request: TableRequest) -> Iterator[str]:
    for field in fields(request):
        value: Any = getattr(request, field.name)
        if value != field.default:
            yield from _option(field.name, value)


def _option(name: str, value: Any) -> Iterator[str]:
    values = [str(one) for one in value] if isinstance(value, tuple) else [str(value)]
    # Some options take several values at once; names of files may hold commas.
    for one in [",".join(values)] if name in ("tokens", "columns") else values:
        yield from (f"--{name.replace('_', '-')}", one)


def quoted(arguments: list[str]) -> str:
    """Arguments as a shell takes them, on one line whatever they hold.

    >>> print(quoted(["echo", "two\\nlines", "a b"]))
    echo $'two\\nlines' 'a b'
    """
    return " ".join(_quoted(argument) for argument in arguments)


def _quoted(argument: str) -> str:
    if argument.isprintable():
        return shlex.quote(argument)
    # The quotes that bash, zsh and ksh read escapes in; a backslash and a quote need one themselves.
    return f"$'{''.join(map(_escaped, argument))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    # Bytes that were no UTF-8 come in as halves of pairs, and go out as the bytes they were. Three octal digits end by
    # themselves, where a hexadecimal escape would swallow letters that follow.
    return named.get(character) or "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
