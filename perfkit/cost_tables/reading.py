"""A cost table's request in a YAML file: the options' names as keys, their values checked by the same parsers.

```yaml
gpu: v100
model: [llava-1.5-7b, llava-1.5-13b]
reduction: [none, prumerge]
columns: [flops, prefill_ms]
```
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfkit.conventions import load_convention
from perfkit.cost_tables.request import NO_REDUCTION, TableRequest
from perfkit.documents import Section, read_yaml, shown
from perfkit.errors import InvalidSpec, PerfkitError, UnknownName
from perfkit.hardware import choose_device
from perfkit.models import load_model
from perfkit.reduction import parse_reduction
from perfkit.units import COMPUTE_PRECISIONS, STORAGE_PRECISIONS, parse_choice, parse_count, parse_precision
from perfkit.workload import ATTENTIONS, LOGITS, RUNTIMES

Parser = Callable[[str, str], Any]


def _anything(_: str, text: str) -> str:
    return text


def _checked(load: Callable[[str], object]) -> Parser:
    """A name that `load` takes, so that an error names the file that it stands in."""

    def parse(_: str, text: str) -> str:
        load(text)
        return text

    return parse


def _reduction(_: str, text: str) -> str:
    try:
        if text != NO_REDUCTION:
            parse_reduction(text)
    except UnknownName as error:
        # YAML splits an unquoted list at the commas that part a method's parameters.
        torn = "=" in text.partition(":")[0]
        hint = '; quote a reduction with several parameters: "fastv:k=2,r=0.5"' if torn else ""
        raise InvalidSpec(f"{error}{hint}") from None
    return text


def _compute(key: str, text: str) -> str:
    return parse_precision(text, COMPUTE_PRECISIONS, key).value


def _storage(key: str, text: str) -> str:
    return parse_precision(text, STORAGE_PRECISIONS, key).value


def _count_or_zero(key: str, text: str) -> int:
    return parse_count(key, text, minimum=0)


_LISTS: dict[str, Parser] = {
    "gpu": _checked(choose_device),
    "model": _checked(load_model),
    "precision": _compute,
    "weights": _storage,
    "activations": _compute,
    "kv": _storage,
    "reduction": _reduction,
    "tokens": _count_or_zero,
    "columns": _anything,
}
_SINGLES: dict[str, Parser] = {
    "text_tokens": parse_count,
    "new_tokens": parse_count,
    "batch": parse_count,
    "images": parse_count,
    "attention": lambda key, text: parse_choice(key, text, ATTENTIONS),
    "runtime": lambda key, text: parse_choice(key, text, RUNTIMES),
    "calibration": _anything,
    "logits": lambda key, text: parse_choice(key, text, LOGITS),
    "convention": _checked(load_convention),
    "caption": _anything,
    "label": _anything,
}


def read_request(path: Path) -> TableRequest:
    """The request in a file; `gpu` must be there, every other key has the option's default.

    Raises:
        InvalidSpec: no such file, an unknown key, or a value that the option would not take; the key is named.
    """
    top = Section(read_yaml(path), str(path))
    try:
        values: dict[str, Any] = {key: _several(top, key, parse) for key, parse in _LISTS.items() if top.has(key)}
        values |= {key: _one(key, top.raw(key), parse) for key, parse in _SINGLES.items() if top.has(key)}
        top.finish()
        top.raw("gpu")
        return TableRequest(**values)
    except PerfkitError as error:
        raise InvalidSpec(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def _several(top: Section, key: str, parse: Parser) -> tuple[Any, ...]:
    given = top.raw(key)
    values = given if isinstance(given, list) else [given]
    return tuple(dict.fromkeys(_one(key, value, parse) for value in values))


def _one(key: str, value: Any, parse: Parser) -> Any:
    # The parsers read what would be typed, so that a file and the options are refused in the same words.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidSpec(f"{key} must be text or a number, not {shown(value)}")
    return parse(key, str(value))
