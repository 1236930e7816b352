"""Formulas that people write in data files: exact arithmetic over named numbers, and nothing else.

A formula has names, decimal numbers, + - * / // ** and parentheses. Numbers stay exact: whole ones are ints, decimals
and quotients are fractions, and a result is an int wherever it is whole.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.units import LONGEST_SHOWN, Amount

LONGEST = 2000  # characters of a formula
DEEPEST = 100  # operations within each other; a sum of 100 terms nests as deeply
HIGHEST_DEGREE = 32  # factors multiplied together, powers written out; bounds the digits of a result

_OPERATIONS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


@dataclass(frozen=True, slots=True)
class Formula:
    """An arithmetic expression over names.

    Raises:
        InvalidSpec: anything that is not arithmetic, or is too long, too deep, or of too high a power.

    >>> layer = Formula("4*n*d**2 + 2*n**2*d + 3*n*d*m")  # 4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008
    >>> layer.evaluate({"n": 576, "d": 4096, "m": 11008})
    119286005760
    >>> layer.filled({"n": 576, "d": 4096, "m": 11008})
    '4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008'
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _one_line(self.text))
        _parsed(self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        """Names in it, each once, in the order of the text.

        >>> Formula("n*d + n").names
        ('n', 'd')
        """
        return tuple(dict.fromkeys(node.id for node in _names(self.text)))

    def evaluate(self, values: Mapping[str, Amount]) -> Amount:
        """Its value: an int where that is whole, else a fraction; a float or an array where a value is one.

        Raises:
            UnknownName: a name without a value.
            InvalidValue: a division by zero.

        >>> Formula("n * 0.5").evaluate({"n": 3}), Formula("n * 0.5").evaluate({"n": 4})
        (Fraction(3, 2), 2)
        """
        self._check(values)
        # numpy would make an array of objects out of a fraction.
        exact = not any(hasattr(values[name], "dtype") for name in self.names)
        try:
            result = _value(_parsed(self.text), values, self.text, exact)
        except ZeroDivisionError:
            raise InvalidValue(f"formula {_quoted(self.text)} divides by zero") from None
        return result.numerator if isinstance(result, Fraction) and result.denominator == 1 else result

    def filled(self, values: Mapping[str, Amount]) -> str:
        """Its text with the numbers put in, which has the same value.

        Raises:
            UnknownName: a name without a value.

        >>> Formula("2*n*w").filled({"n": 700, "w": Fraction(1, 2)})
        '2*700*0.5'
        """
        self._check(values)
        text = self.text
        for node in sorted(_names(text), key=lambda node: node.col_offset, reverse=True):
            text = text[: node.col_offset] + _written(values[node.id]) + text[node.end_col_offset :]
        return text

    def _check(self, values: Mapping[str, Amount]) -> None:
        for name in self.names:
            if name not in values:
                raise UnknownName(f"name in the formula {_quoted(self.text)}:", name, values)


def _one_line(text: str) -> str:
    """A formula may be written over several lines."""
    return " ".join(text.split())


def _quoted(text: str) -> str:
    """A formula or a piece of one, shortened so that a message stays one line."""
    return repr(text if len(text) <= 3 * LONGEST_SHOWN else f"{text[: 3 * LONGEST_SHOWN]}...")


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    """The checked tree of a formula.

    Raises:
        InvalidSpec: the text is no formula.
    """
    if len(text) > LONGEST:
        raise InvalidSpec(f"a formula of {len(text)} characters: at most {LONGEST}")
    if not text.isascii():
        strange = next(character for character in text if not character.isascii())
        raise InvalidSpec(f"formula {_quoted(text)}: {strange!r} is not allowed (write * for times, ** for a power)")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidSpec(f"formula {_quoted(text)}: not arithmetic: {str(error).splitlines()[0]}") from None
    _check_piece(tree, text, 1)
    if _degree(tree) > HIGHEST_DEGREE:
        raise InvalidSpec(f"formula {_quoted(text)}: more than {HIGHEST_DEGREE} factors multiplied together")
    return tree


def _check_piece(node: ast.expr, text: str, depth: int) -> None:
    """Refuse what is not arithmetic, naming the piece."""
    if depth > DEEPEST:
        raise InvalidSpec(f"formula {_quoted(text)}: more than {DEEPEST} operations within each other")
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.Constant) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", _piece(node, text)):
        return
    if isinstance(node, ast.UnaryOp | ast.BinOp) and type(node.op) in _OPERATIONS:
        if isinstance(node.op, ast.Pow):
            _check_exponent(node, text)
        for part in _parts(node):
            _check_piece(part, text, depth + 1)
        return
    raise InvalidSpec(
        f"formula {_quoted(text)}: {_quoted(_piece(node, text))} is not allowed; "
        "a formula has names, decimal numbers, + - * / // ** and parentheses"
    )


def _check_exponent(node: ast.BinOp, text: str) -> None:
    exponent = node.right
    if not (isinstance(exponent, ast.Constant) and type(exponent.value) is int and exponent.value <= HIGHEST_DEGREE):
        raise InvalidSpec(
            f"formula {_quoted(text)}: {_quoted(_piece(exponent, text))} is not allowed as an exponent; "
            f"write a whole number up to {HIGHEST_DEGREE}"
        )


def _parts(node: ast.UnaryOp | ast.BinOp) -> tuple[ast.expr, ...]:
    return (node.operand,) if isinstance(node, ast.UnaryOp) else (node.left, node.right)


def _piece(node: ast.expr, text: str) -> str:
    return text[node.col_offset : node.end_col_offset]


def _degree(node: ast.expr) -> int:
    """Factors of its longest product: n**2 * d has 3."""
    if isinstance(node, ast.UnaryOp):
        return _degree(node.operand)
    if not isinstance(node, ast.BinOp):
        return 1
    if isinstance(node.op, ast.Pow):
        exponent: Any = node.right  # a whole number, as was checked
        return _degree(node.left) * int(exponent.value)
    left, right = _degree(node.left), _degree(node.right)
    return max(left, right) if isinstance(node.op, ast.Add | ast.Sub) else left + right


def _names(text: str) -> Iterator[ast.Name]:
    return (node for node in _in_order(_parsed(text)) if isinstance(node, ast.Name))


def _in_order(node: ast.expr) -> Iterator[ast.expr]:
    yield node
    if isinstance(node, ast.UnaryOp | ast.BinOp):
        for part in _parts(node):
            yield from _in_order(part)


def _value(node: ast.expr, values: Mapping[str, Amount], text: str, exact: bool) -> Amount:
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        number = Fraction(_piece(node, text))
        return number.numerator if number.denominator == 1 else number if exact else float(number)
    operation: Any = node  # nothing else passed the check
    parts = [_value(part, values, text, exact) for part in _parts(operation)]
    if exact and isinstance(operation.op, ast.Div) and all(isinstance(part, int) for part in parts):
        return Fraction(*parts)  # int / int alone would round to a float
    return _OPERATIONS[type(operation.op)](*parts)


def _written(value: Amount) -> str:
    """A value as a formula writes it: a decimal where it has an end, else a quotient."""
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
    elif isinstance(value, Fraction):
        text = _decimal(value)
    else:
        text = str(value)
    return f"({text})" if text.startswith("-") or "/" in text else text


def _decimal(value: Fraction) -> str:
    """`0.5` of 1/2; `1/3` of what no decimal ends."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest > 1:
        return str(value)
    digits = value.denominator.bit_length()  # a denominator 2**a 5**b has at most max(a, b) decimals
    scaled = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    text = f"{scaled[:-digits]}.{scaled[-digits:]}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
