"""What a counting convention is: which work counts, what it is worth, and what a paper printed under it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.formulas import Formula
from perfkit.printed import read_printed
from perfkit.units import Amount
from perfkit.workload import Logits

Unit = Literal["flop", "mac"]
Causal = Literal["full", "half"]
TokensCounted = Literal["all", "visual"]
Part = Literal["vision", "reducer", "projector", "llm", "lm_head"]
Scope = Literal["vision", "projector", "layer", "head"]

DEFAULT_CONVENTION = "torch"  # what exact counts are held against
UNITS: tuple[Unit, ...] = ("flop", "mac")
CAUSALS: tuple[Causal, ...] = ("full", "half")
FFN_MATRICES = (2, 3)
TOKENS_COUNTED: tuple[TokensCounted, ...] = ("all", "visual")
PARTS: tuple[Part, ...] = ("vision", "reducer", "projector", "llm", "lm_head")
SCOPES: tuple[Scope, ...] = ("vision", "projector", "layer", "head")
PRODUCTS = ("linear", "attention")  # kinds of a table's ops
TABLE_KINDS = (*PRODUCTS, "softmax", "norm", "add", "activation")


class Term(NamedTuple):
    """A named summand of a convention's formula: of one layer, one tile in the tower, or one sequence elsewhere."""

    scope: Scope
    name: str
    formula: Formula


class TableOp(NamedTuple):
    """An op of a convention that counts by a table of its own: operations and bytes of one launch.

    `scope`: once a layer, or once after them (`head`). `kind` as of `perfkit.ops`: linear and attention are products,
    all else is element-wise work. Bytes are split as `perfkit.ops.OpCost` splits them.
    """

    scope: Scope
    name: str
    kind: str
    operations: Formula
    weight_bytes: Formula
    read_bytes: Formula
    write_bytes: Formula
    kv_read_bytes: Formula
    kv_write_bytes: Formula


class Figure(NamedTuple):
    """A figure that a paper prints, whether the convention gives it or not: `printed` with its unit, `where` it stands.

    `reduction` is a reduction spec and empty where every layer sees all `visual_tokens`; `text_tokens` is None where
    they are the convention's own; `precision` is that of weights, activations and cache; `per_layer`: the paper prints
    the mean of a layer instead of the sum.
    """

    model: str
    visual_tokens: int
    reduction: str
    text_tokens: int | None
    precision: str
    per_layer: bool
    printed: str
    where: str


@dataclass(frozen=True, slots=True)
class Convention:
    """A way to count one forward.

    `unit`: a multiply-add is 2 (flop) or 1 (mac). `causal`: a causal mask's square counts in full, or half of it.
    `logits`: positions that the lm_head runs on. `ffn_matrices`: 2 leaves a gate matrix out. `tokens_counted`: all
    tokens, or visual ones only. `include`: parts of the model (`llm` is the language model with its lm_head).
    `elementwise`: norms, softmax, activations too. `bits_scaling`: a count at b bits is worth b / 16.
    `text_tokens`: the paper's, None where it has none of its own. `terms`: the paper's formula; `table`: its own ops,
    empty where perfkit's op costs are summed. `rule`: when a value gives one of `figures`, of perfkit.printed.RULES.
    `leaves_out`: in plain words. `overrides`: switches set by hand since.
    """

    name: str
    paper: str
    source: str
    unit: Unit
    causal: Causal
    logits: Logits
    ffn_matrices: int
    tokens_counted: TokensCounted
    include: tuple[Part, ...]
    elementwise: bool
    bits_scaling: bool
    text_tokens: int | None
    leaves_out: str
    terms: tuple[Term, ...] = ()
    table: tuple[TableOp, ...] = ()
    figures: tuple[Figure, ...] = ()
    rule: str = "half unit"
    notes: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    @property
    def multiply_add(self) -> int:
        """What one multiply-add counts."""
        return 2 if self.unit == "flop" else 1

    @property
    def label(self) -> str:
        """Its name, and what was set otherwise by hand.

        >>> from perfkit.conventions import load_convention
        >>> load_convention("torch").switched(causal="half").label
        'torch, but causal half'
        """
        return f"{self.name}, but {', '.join(self.overrides)}" if self.overrides else self.name

    def gives(self, figure: Figure, value: Amount) -> bool:
        """Whether `value` comes out as the printed figure, by the convention's rule.

        >>> from perfkit.conventions import load_convention
        >>> pyramiddrop = load_convention("pyramiddrop")
        >>> pyramiddrop.gives(pyramiddrop.figures[0], 3_817_152_184_320)  # 3.82 T: 0.0028 off, 0.005 allowed
        True
        """
        return read_printed(figure.printed).given_by(value, self.rule)

    def switched(self, **switches: Any) -> Convention:
        """The same with single switches set otherwise; None leaves one as it is.

        Raises:
            InvalidValue: switches that contradict the convention or each other.
        """
        changes = {name: value for name, value in switches.items() if value not in (None, getattr(self, name))}
        if changes and self.table:
            raise InvalidValue(
                f"{self.name} counts by its own table of ops, so {_option(next(iter(changes)))} cannot be set; "
                "take another convention and switch that"
            )
        shown = tuple(_said(name, value) for name, value in changes.items())
        switched = replace(self, **changes, overrides=(*self.overrides, *shown))
        switched.check()
        return switched

    def check(self) -> None:
        """Refuse switches that contradict each other.

        Raises:
            InvalidValue: element-wise work in multiply-adds, or an lm_head without logits.
        """
        if self.elementwise and self.unit == "mac":
            raise InvalidValue("element-wise work has no multiply-adds: count it with --unit flop")
        if self.include == ("lm_head",) and self.logits == "none":
            raise InvalidValue("--include lm_head with --logits none leaves nothing to count")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _said(name: str, value: Any) -> str:
    """A switch in words: `causal half`, `include llm+lm_head`, `elementwise`."""
    if value is True:
        return name
    if value is False:
        return f"no {name}"
    text = "+".join(value) if isinstance(value, tuple) else str(value)
    return f"{name.replace('_', ' ')} {text}"
