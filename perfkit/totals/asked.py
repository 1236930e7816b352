"""What is asked of a count, as options have it -> a workload, an execution, and switches of a convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfkit.conventions import Convention
from perfkit.conventions.convention import CAUSALS, FFN_MATRICES, PARTS, TOKENS_COUNTED, UNITS
from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec
from perfkit.units import STORAGE_PRECISIONS, parse_choice, parse_precision
from perfkit.workload import LOGITS, TEXT_TOKENS, Execution, Workload

_CHOICES: Mapping[str, Iterable[str]] = {
    "unit": UNITS,
    "causal": CAUSALS,
    "logits": LOGITS,
    "tokens_counted": TOKENS_COUNTED,
}


def text_tokens_of(convention: Convention, asked: int | None) -> int:
    """Text tokens that were asked for, else the convention's own, else the usual."""
    return next(number for number in (asked, convention.text_tokens, TEXT_TOKENS) if number is not None)


def forward_of(
    spec: ModelSpec,
    convention: Convention,
    *,
    tokens: int | None = None,
    text_tokens: int | None = None,
    batch: int = 1,
    images: int = 1,
    reduction: str | None = None,
) -> Workload:
    """Workload of one forward, with the convention's text tokens where none were asked for.

    Raises:
        UnknownName: no such reduction.
        InvalidValue: counts out of range, or a reduction that does not fit.
    """
    text = text_tokens_of(convention, text_tokens)
    return workload_of(spec, tokens=tokens, text_tokens=text, batch=batch, images=images, reduction=reduction)


def stored_execution(
    precision: str, weights: str | None = None, activations: str | None = None, kv: str | None = None
) -> Execution:
    """Execution in formats that may be those of storage alone: a count needs no engine.

    Raises:
        UnknownName: no such precision.
    """
    base = parse_precision(precision)
    return Execution(
        weights=parse_precision(weights, STORAGE_PRECISIONS, "weights") if weights else base,
        activations=parse_precision(activations, STORAGE_PRECISIONS, "activations") if activations else base,
        kv=parse_precision(kv, STORAGE_PRECISIONS, "kv") if kv else base,
    )


def checked_switches(**asked: Any) -> dict[str, Any]:
    """Switches of a convention that were given (the others are None), checked one by one.

    Raises:
        UnknownName: no such value of a switch.
        InvalidValue: no such number of matrices, or no part.

    >>> checked_switches(causal="half", include=["llm", "vision"])
    {'causal': 'half', 'include': ('vision', 'llm')}
    """
    given = {name: value for name, value in asked.items() if value is not None}
    for name, allowed in _CHOICES.items():
        if name in given:
            parse_choice(f"--{name.replace('_', '-')}", given[name], allowed)
    if "ffn_matrices" in given:
        _check_ffn_matrices(given["ffn_matrices"])
    if "include" in given:
        given["include"] = parse_parts(given["include"])
    return given


def _check_ffn_matrices(number: int) -> None:
    if number not in FFN_MATRICES:
        raise InvalidValue(f"--ffn-matrices must be 2 or 3, not {number}")


def parse_parts(include: Sequence[str]) -> tuple[str, ...]:
    """Parts of a model in their usual order, each once.

    Raises:
        UnknownName: no such part.
        InvalidValue: none at all.

    >>> parse_parts(["llm", "vision"])
    ('vision', 'llm')
    """
    asked = [parse_choice("--include", part, PARTS) for part in include]
    if not asked:
        raise InvalidValue(f"--include must name at least one of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in asked)
