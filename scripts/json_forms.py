"""Write docs/json.md: which keys the JSON of each command has, from what the commands print."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from typing import Any

from click.testing import CliRunner

from perfkit.cli import main as perfkit
from scripts.pages import HEAD, ROOT

TARGET = ROOT / "docs" / "json.md"
H100 = "reports/measured/h100-sxm-80gb"
INTRODUCTION = """\
Every command takes `--format json`. Figures are SI, without prefixes, and their unit ends the name: `_s`, `_bytes`,
`_flops` (a count), `_flops_per_s`, `_bytes_per_s`, `_w`, `_j`, `_usd`; counts of FLOPs are exact integers. `null`
stands for what is not known or does not apply. Several `--gpu` or `--model` make a list. Stdout holds the JSON alone;
warnings and notes go to stderr. Errors, shares and ratios are fractions: 0.04 is 4 %.

Below is every key that each command writes, with the kind of its value, from the line that stands above it. Two kinds
mean either; a key of a form that only some lines have (several GPUs, a reduction) may be absent here."""

COMMANDS = (
    "perfkit roofline --gpu v100 --reduction prumerge",
    "perfkit roofline --gpu a100 --tp 2",
    "perfkit count --convention pyramiddrop --reduction pyramiddrop",
    "perfkit count --compare",
    "perfkit count --module perfkit.tracing.samples:gated_feed_forward",
    "perfkit reproduce pyramiddrop",
    "perfkit table --gpu v100 --tokens 576,32",
    "perfkit plot roofline --gpu v100 --output roofline.svg",
    "perfkit plot tokens --gpu v100 --output tokens.svg",
    "perfkit plot breakdown --gpu v100 --output breakdown.svg",
    "perfkit sweep --gpu v100 --tokens 576,32",
    "perfkit plan --gpu v100 --gpu h100-sxm --ttft 200ms --tpot 30ms",
    "perfkit simulate --gpu h100 --rate 12 --requests 300 --ttft 200ms",
    "perfkit kernels docs/examples/kernels.csv --gpu a100",
    f"perfkit validate {H100}/llava-1.5-7b.json {H100}/kernels.json",
    "perfkit validate --published",
    "perfkit gpus v100",
    "perfkit models llava-1.5-7b",
)


def forms() -> str:
    """The text of docs/json.md; to be called in ROOT."""
    return "\n\n".join([f"# JSON\n\n{HEAD}\n\n{INTRODUCTION}", *map(_form, COMMANDS)]) + "\n"


def _form(line: str) -> str:
    arguments = shlex.split(line)[1:]
    title = " ".join(arguments[: 2 if arguments[0] == "plot" else 1])
    title += next((f" {word}" for word in arguments if word in ("--compare", "--module", "--published", "--tp")), "")
    shown = "\n".join(outline(_printed(arguments)))
    return f"## {title}\n\n    {line} --format json\n\n```text\n{shown}\n```"


def _printed(arguments: list[str]) -> Any:
    """What a command line prints; a picture that it draws is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = [f"{folder}/{word}" if word.endswith(".svg") else word for word in arguments]
        result = CliRunner().invoke(perfkit, [*drawn, "--format", "json"])
    if result.exit_code:
        raise SystemExit(result.output)
    return json.loads(result.stdout)


# --- outlines


def outline(value: Any) -> list[str]:
    """Keys of a JSON value, a line each, with the kinds of their values; those of a list stand in one.

    >>> outline({"a": 1, "rows": [{"b": None}, {"b": 0.5, "c": "x"}]})
    ['a: integer', 'rows: list', '  b: null, number', '  c: text']
    """
    return list(_lines(_joined([value])))


def _lines(form: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, (kinds, inner) in form.items():
        yield f"{indent}{key}: {', '.join(sorted(kinds))}" if kinds else f"{indent}{key}:"
        yield from _lines(inner, indent + "  ")


def _joined(values: list[Any]) -> dict[str, Any]:
    """Of several mappings, or lists of them: key -> kinds of its values, and what stands within these."""
    mappings = list(_mappings(values))
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    found = {key: [mapping[key] for mapping in mappings if key in mapping] for key in keys}
    return {key: ({kind for value in of if (kind := _kind(value))}, _joined(of)) for key, of in found.items()}


def _mappings(values: list[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from _mappings(value)


_KINDS = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    type(None): "null",
    list: "list",
    dict: "",
}


def _kind(value: Any) -> str:
    inner = {_kind(item) for item in value} - {""} if isinstance(value, list) else set()
    return f"list of {', '.join(sorted(inner))}" if inner else _KINDS[type(value)]


def main() -> None:
    """Write the page."""
    with chdir(ROOT):
        TARGET.write_text(forms(), encoding="utf-8")


if __name__ == "__main__":
    main()
