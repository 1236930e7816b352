"""The register of formulas: what each op costs, by its name (`aten.mm`), and no name twice.

`formula` is the way in for an op of one's own; an op without a formula is never taken to cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from perfkit.errors import InvalidValue
from perfkit.tracing.calls import Call, TensorInfo, once
from perfkit.units import parse_choice

# Exact FLOPs of one call, or None where they depend on values, which a shape does not tell.
Flops = Callable[[Call], int | None]
FlopsOfOne = TypeVar("FlopsOfOne", bound=Flops)

PRODUCTS = ("product", "attention")  # kernels whose operands and results pass through memory
KINDS = (*PRODUCTS, "elementwise", "norm", "softmax", "reduction", "move", "free")
UNCOUNTED = "uncounted"  # kind of an op without a formula

Part = tuple[TensorInfo, int]  # a tensor, and how many bytes of it are moved


class Traffic(NamedTuple):
    """What a kernel of its own reads and writes."""

    reads: tuple[Part, ...] = ()
    writes: tuple[Part, ...] = ()

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(size for _, size in (*self.reads, *self.writes))


def whole(*infos: TensorInfo) -> tuple[Part, ...]:
    """Tensors moved entirely, those of one place once."""
    return tuple((info, info.footprint) for info in once(infos))


def all_tensors(call: Call) -> Traffic:
    """Every input read, every output written, each once."""
    return Traffic(whole(*call.inputs), whole(*call.outputs, *call.written))


def no_flops(_: Call) -> int:
    """Of ops that move or describe data."""
    return 0


class Rule(NamedTuple):
    """How calls of an op are counted: products (multiply-add = 2), element-wise work, and traffic."""

    kind: str
    matmul: Flops = no_flops
    vector: Flops = no_flops
    traffic: Callable[[Call], Traffic] = all_tensors


_RULES: dict[str, Rule] = {}


def register(names: Iterable[str], rule: Rule) -> None:
    """Count ops by a rule.

    Raises:
        InvalidValue: one of them has a rule already.
    """
    for name in names:
        if name in _RULES:
            raise InvalidValue(f"{name} has a formula already: an op is counted in one way only")
        _RULES[name] = rule


def formula(*names: str, kind: str = "product") -> Callable[[FlopsOfOne], FlopsOfOne]:
    """Decorator: the function counts the FLOPs of a call of these ops; every input is read, every output written.

    `names` are such as "mylib.scan", without overload; `kind` is one of KINDS. FLOPs of a product or attention belong
    to matrix products, of other kinds to element-wise work.

    Raises:
        UnknownName: no such kind.
        InvalidValue: one of the ops has a formula already.

    >>> @formula("mylib.outer", kind="product")
    ... def outer(call):
    ...     return 2 * call.out.elements
    >>> rule_of("mylib.outer").kind
    'product'
    """
    parse_choice("kind", kind, KINDS)

    def keep(flops: FlopsOfOne) -> FlopsOfOne:
        register(names, Rule(kind, matmul=flops) if kind in PRODUCTS else Rule(kind, vector=flops))
        return flops

    return keep


def rule_of(name: str) -> Rule | None:
    """Rule of an op, or that of its sibling where it works in place (aten.add_ as aten.add); None: it has none."""
    found = _RULES.get(name)
    if found is None and name.endswith("_") and not name.endswith("__"):
        found = _RULES.get(name[:-1])
    return found
