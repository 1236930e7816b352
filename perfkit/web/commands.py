"""Command lines that give the figures of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.cost_tables.request import quoted
from perfkit.web.state import Asked, option_of

# Choices that `perfkit roofline` takes, beside model and GPU.
_SHARED = ("text_tokens", "new_tokens", "batch", "images", "precision", "weights", "kv", "attention", "runtime")
_REQUEST = ("tokens", "reduction", *_SHARED)


def roofline_command(asked: Asked, *, form: str = "") -> str:
    """`perfkit roofline` of the page's request.

    >>> roofline_command(Asked(tokens=32))
    'perfkit roofline --gpu v100-sxm2-32gb --tokens 32'
    """
    return _command(["roofline"], asked, _REQUEST, ["--format", form] if form else [])


def plot_command(kind: str, asked: Asked) -> str:
    """`perfkit plot` of the same; a chart of tokens takes none.

    >>> plot_command("tokens", Asked(tokens=32))
    'perfkit plot tokens --gpu v100-sxm2-32gb --output tokens.svg'
    """
    chosen = tuple(name for name in _REQUEST if (kind, name) != ("tokens", "tokens"))
    return _command(["plot", kind], asked, chosen, ["--output", f"{kind}.svg"])


def plan_command(asked: Asked, given: dict[str, Any]) -> str:
    """`perfkit plan`, of arguments of `perfkit.plan`.

    >>> plan_command(Asked(), {"gpu": ("a100-sxm-40gb",), "ttft_s": 0.2, "tokens": (576, 32)})
    'perfkit plan --gpu a100-sxm-40gb --tokens 576,32 --ttft 200ms --tpot 30ms'
    """
    goals = [
        word for name in ("ttft", "tpot", "budget") if (text := getattr(asked, name)) for word in (f"--{name}", text)
    ]
    axes = _words("gpu", given.get("gpu", ()))
    tokens = ["--tokens", ",".join(map(str, given["tokens"]))] if given.get("tokens") else []
    shared = [name for name in _SHARED if name != "batch"]
    rank = _changed(asked, ["rank"])
    return quoted(["perfkit", "plan", *axes, *_changed(asked, ["model", *shared]), *tokens, *goals, *rank])


def validate_command(file: str, gpu: str | None) -> str:
    """`perfkit validate` of a file.

    >>> validate_command("llava.json", None)
    'perfkit validate llava.json'
    """
    return quoted(["perfkit", "validate", file, *(["--gpu", gpu] if gpu else [])])


def _command(start: Sequence[str], asked: Asked, names: Sequence[str], end: Sequence[str]) -> str:
    return quoted(["perfkit", *start, *_words("gpu", asked.gpu), *_changed(asked, ["model", *names]), *end])


def _changed(asked: Asked, names: Sequence[str]) -> Iterator[str]:
    """Options of the choices that are not at their default, which is that of the command line too."""
    default = Asked()
    for name in names:
        value = getattr(asked, name)
        if value != getattr(default, name):
            yield from _words(name, (value,))


def _words(name: str, values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        yield from (f"--{option_of(name)}", str(value))
