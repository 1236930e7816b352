"""How a count comes about: the convention's formula with the numbers put in, and the arithmetic of every op."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from perfkit.conventions import SYMBOLS, TIMES, symbols_of
from perfkit.conventions.convention import Scope
from perfkit.formulas import Formula
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.reduction.costs import SELECTION
from perfkit.totals.counted import Count
from perfkit.totals.own_table import placed
from perfkit.units import Amount

# Switches that a formula in symbols cannot follow; others change what its symbols stand for, or which parts it has.
_BEYOND_FORMULAS = ("unit", "causal", "ffn", "elementwise", "no elementwise")


class Piece(NamedTuple):
    """A piece of the formula: of a group of equal layers, or of a part of the model; `filled` has the numbers in it."""

    scope: Scope
    what: str
    symbols: str
    filled: str
    value: Amount


class Line(NamedTuple):
    """An op's count as arithmetic: `32 x 2*636*4096*4096`, whose value it is; `symbols` where it has a formula."""

    phase: str
    name: str
    symbols: str
    arithmetic: str
    value: Amount


@dataclass(frozen=True, slots=True)
class Explanation:
    """A count with its formula and its arithmetic.

    `pieces` is empty for a convention without a formula (its own table has one an op). `differences` say why formula
    and count are not the same number, and are empty where they are.
    """

    count: Count
    pieces: tuple[Piece, ...]
    lines: tuple[Line, ...]
    differences: tuple[str, ...]

    @property
    def formula_value(self) -> Amount | None:
        """What the convention's formula gives, or None where it has none."""
        return sum(piece.value for piece in self.pieces) if self.pieces else None

    @property
    def symbols(self) -> dict[str, str]:
        """What the symbols in its formulas mean."""
        used = [(piece.scope, Formula(piece.symbols)) for piece in self.pieces]
        used += [(op.scope, op.operations) for op in self.count.convention.table]
        return {name: SYMBOLS[scope][name] for scope, formula in used for name in formula.names}


def explain(count: Count) -> Explanation:
    """The formula and the arithmetic behind a count.

    >>> from perfkit.totals.counted import count
    >>> explain(count("llava-1.5-7b", convention="pyramiddrop")).pieces[0].filled
    '32 * (4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008)'
    """
    explained = Explanation(count, tuple(_pieces(count)), tuple(_lines(count)), ())
    if explained.formula_value in (None, count.total):
        return explained
    at_odds = f"the switches of {count.convention.name} and its formula do not say the same"
    return replace(explained, differences=tuple(_differences(count)) or (at_odds,))


# --- the formula


def _pieces(count: Count) -> Iterator[Piece]:
    """The convention's terms, summed for each part of the model and each group of equal layers."""
    for scope, what, values in _places(count):
        terms = " + ".join(term.formula.text for term in count.convention.terms if term.scope == scope)
        if terms and values:
            times = [symbol for symbol in TIMES[scope] if values[symbol] != 1]
            formula = Formula(" * ".join([*times, f"({terms})"]) if times else terms)
            yield Piece(scope, what, formula.text, formula.filled(values), formula.evaluate(values))


def _places(count: Count) -> Iterator[tuple[Scope, str, dict[str, Amount]]]:
    """Where formulas apply: their scope, in words, and the values of its symbols."""
    spec, counted, execution = count.model, count.counted, count.execution
    include = count.convention.include
    if "vision" in include:
        yield "vision", "vision tower", symbols_of("vision", spec, counted, execution)
    if "projector" in include:
        yield "projector", "projector", symbols_of("projector", spec, counted, execution)
    if spec.text is None:
        return
    groups = counted.layer_groups(spec.text.stack.layers)
    for group in groups if "llm" in include else ():
        tokens = group.visual_tokens + counted.text_tokens
        values = symbols_of("layer", spec, counted, execution, layers=group.layers, tokens=tokens)
        yield "layer", f"{_several(group.layers, 'layer')}, {_several(tokens, 'token')}", values
    if {"llm", "lm_head"} & set(include):
        tokens = groups[-1].visual_tokens + counted.text_tokens
        values = symbols_of("head", spec, counted, execution, tokens=tokens)
        yield "head", f"lm_head, {_several(values['t'], 'position')}", values


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


# --- the arithmetic


def _lines(count: Count) -> Iterator[Line]:
    if count.convention.table:
        yield from _table_lines(count)
        return
    for op in count.ops:
        if value := count.amount_of(op):
            yield Line(op.phase, op.name, "", f"{_times(op.repeat)}{_launch(count, op)}{_scaling(count, op)}", value)


def _table_lines(count: Count) -> Iterator[Line]:
    filled = placed(count.model, count.counted, count.execution, count.convention)
    for op, (entry, _, values) in zip(count.ops, filled, strict=True):
        text = f"{_times(op.repeat)}{_filled(entry.operations, values)}{_scaling(count, op)}"
        yield Line(op.phase, op.name, entry.operations.text, text, count.amount_of(op))


def _filled(formula: Formula, values: dict[str, Amount]) -> str:
    """A formula filled, without the factor of a single sequence."""
    shorter = Formula(formula.text.replace("B*", "")) if values["B"] == 1 else formula
    same = shorter.evaluate(values) == formula.evaluate(values)
    return (shorter if same else formula).filled(values)


def _times(repeat: Amount) -> str:
    return f"{repeat} x " if repeat != 1 else ""


def _scaling(count: Count, op: OpCost) -> str:
    """What b bits are worth, where the convention scales and b is not 16."""
    scaled = count.convention.bits_scaling and op.engine.bits != 16
    return f" x {op.engine.bits}/16" if scaled else ""


def _launch(count: Count, op: OpCost) -> str:
    """What one launch counts: its products from the kernel's shape, and its element-wise work."""
    parts = []
    if products := count.products_of(op):
        parts.append(_product(count, op, products))
    if count.convention.elementwise and op.vector_flops:
        parts.append(str(op.vector_flops // op.repeat))
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _product(count: Count, op: OpCost, products: Amount) -> str:
    """`2*636*4096*4096`: rows, inputs and outputs of a product, or tokens, tokens and width of attention."""
    unit, kernel = count.convention.multiply_add, op.kernel
    if kernel is None:  # experts: their rows are spread over products of unknown sizes
        return str(products * unit // 2 // op.repeat)
    if kernel.op == "gemm":
        factors = [unit, kernel.m, kernel.k, kernel.n]
    elif kernel.op == "bmm":
        factors = [unit, kernel.batch, kernel.m, kernel.n, kernel.k]
    else:
        width = [kernel.heads, kernel.head_dim]
        factors = [2 * unit, kernel.batch, kernel.q_tokens, kernel.kv_tokens, *width]
    text = "*".join(str(factor) for factor in factors if factor != 1)
    return f"{text}/2" if count.halves(op) else text


# --- where formula and count part


def _differences(count: Count) -> Iterator[str]:
    """What of the model or of the switches the formula does not know."""
    changed = [switch for switch in count.convention.overrides if switch.startswith(_BEYOND_FORMULAS)]
    if changed:
        yield f"the formula is that of {count.convention.name} as it stands, and the count is with {', '.join(changed)}"
    yield from _missing_scopes(count)
    if any(count.amount_of(op) for op in count.ops if op.kind == SELECTION):
        yield "choosing the tokens to keep takes products of its own, which no formula has"
    yield from _other_layers(count.model, count)
    yield from _other_parts(count.model)


def _missing_scopes(count: Count) -> Iterator[str]:
    """Parts that were added to what the convention counts."""
    known = {term.scope for term in count.convention.terms}
    for scope, what, values in _places(count):
        if scope not in known and values and values.get("t") != 0:
            yield f"the formula has no {what.split(',')[0]}"


def _other_layers(spec: ModelSpec, count: Count) -> Iterator[str]:
    if spec.text is None:
        return
    hidden, a, ffn = spec.text.stack.hidden, spec.text.stack.attention, spec.text.stack.feed_forward
    if a.kv_heads < a.heads:
        yield (
            f"{a.heads} query heads share {a.kv_heads} key and value heads: two of the four projections are "
            f"{hidden} x {a.kv_width}, where the formula has {hidden} x {hidden}"
        )
    if a.q_width != hidden:
        yield f"{a.heads} heads of {a.head_dim} are {a.q_width} wide, and the formula takes {hidden}"
    if ffn.experts > 1:
        yield (
            f"each token runs through {ffn.experts_per_token} of {ffn.experts} experts after a router, "
            "and the formula has one feed-forward"
        )
    if not ffn.gated and count.convention.ffn_matrices == 3:
        yield "its feed-forward has two matrices, and the formula three"


def _other_parts(spec: ModelSpec) -> Iterator[str]:
    if spec.text is not None and spec.text.bridged:
        yield f"its embedding is {spec.text.embedding_width} wide: two products bridge it, and the lm_head is narrower"
    if spec.text is not None and spec.text.pooler:
        yield "its pooler is a product that the formula does not have"
    if spec.vision is not None and spec.vision.pooling_head:
        yield "its tower ends in an attention-pooling head, which the formula does not have"
