"""Published figures reckoned again: by the formula of a convention, or over its table of ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from perfkit.conventions import symbols_of
from perfkit.formulas import Formula
from perfkit.ops import OpCost
from perfkit.papers.published import SHARES, UNITS, PaperDevice, PublishedColumn, PublishedRow, PublishedTable, Seen
from perfkit.totals.counted import tally
from perfkit.units import Amount
from perfkit.workload import Execution, LayerGroup, Workload


class Reckoned(NamedTuple):
    """A figure in its printed unit, exact: the formula in symbols, with the numbers put in, and these by name.

    `filled` is arithmetic that anybody can redo: `Formula(filled).evaluate({})` is `value`.
    """

    value: Amount
    formula: str
    filled: str
    inputs: dict[str, Any]


class _Arithmetic(NamedTuple):
    """A formula in words and symbols, and with the numbers put in."""

    formula: str
    filled: str


def reckon(table: PublishedTable, row: PublishedRow, column: PublishedColumn) -> Reckoned:
    """What `column` of `row` comes to.

    >>> from perfkit.papers.reading import load_paper
    >>> table = load_paper("pyramiddrop").tables[0]
    >>> reckon(table, table.rows[0], table.columns[0]).filled
    '(32*(4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008)) / 10**12'
    """
    made = _over_ops(table, row, column) if table.convention.table else _by_formula(table, row, column)
    filled = made.filled if column.whole else made.filled + UNITS[column.unit]  # a share of a figure has its unit
    return Reckoned(Formula(filled).evaluate({}), made.formula, filled, _inputs(table, row, column))


def _inputs(table: PublishedTable, row: PublishedRow, column: PublishedColumn) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "model": row.model.name,
        "precision": row.precision.value,
        "n": [{"layers": group.layers, "tokens": _plain(group.visual + row.other)} for group in row.seen],
    }
    if not table.convention.table:
        values = _values(table, row, "layer", row.seen[0])
        inputs |= {name: _plain(values[name]) for name in layer_formula(table).names if name != "n"}
    if column.figure in SHARES:
        inputs["of_tokens"] = _plain(table.of + row.other)
    if column.figure == "time" and table.device:
        inputs["ops_per_s"] = _plain(table.device.rate(row.precision))
        inputs["bytes_per_s"] = _plain(table.device.bytes_per_s)
    return inputs


def _plain(number: Amount) -> int | float:
    """As JSON can hold it."""
    return number if isinstance(number, int) else float(number)


# --- by formula


def _by_formula(table: PublishedTable, row: PublishedRow, column: PublishedColumn) -> _Arithmetic:
    total = _total(table, row, row.seen)
    layers = sum(group.layers for group in row.seen)
    if column.figure == "total":
        return _Arithmetic(total.formula, f"({total.filled})")
    if column.figure == "mean layer":
        return _Arithmetic(f"({total.formula}) / layers", f"({total.filled})/{layers}")
    whole = _total(table, row, (Seen(layers, table.of),))
    formula = f"100 * ({total.formula}) / (the same where every layer sees all visual tokens)"
    share = f"100*({total.filled})/({whole.filled})"
    if column.figure == "share":
        return _Arithmetic(formula, share)
    if column.figure == "rounded share":
        return _Arithmetic(f"{formula}, rounded, / 100 * {column.whole}", f"({share} + 0.5)//1/100 * {column.whole}")
    return _Arithmetic(f"100 - {formula}", f"100 - {share}")


def _total(table: PublishedTable, row: PublishedRow, seen: Sequence[Seen]) -> _Arithmetic:
    """Layers, each group of them with its tokens, and the lm_head where the convention runs one."""
    layer, head = layer_formula(table), _formula(table, "head")
    parts = [f"{group.layers}*({layer.filled(_values(table, row, 'layer', group))})" for group in seen]
    formula = f"sum over layers of ({layer})"
    if head and table.convention.logits != "none":
        parts.append(head.filled(_values(table, row, "head", seen[-1])))
        formula += f" + {head}"
    return _Arithmetic(formula, " + ".join(parts))


def layer_formula(table: PublishedTable) -> Formula:
    """What one layer counts in the table's convention.

    >>> from perfkit.papers.reading import load_paper
    >>> layer_formula(load_paper("fastv").tables[0]).text
    '4*n*d**2 + 2*n**2*d + 2*n*d*m'
    """
    formula = _formula(table, "layer")
    assert formula is not None  # noqa: S101  # the reader refuses a convention without one
    return formula


def _formula(table: PublishedTable, scope: str) -> Formula | None:
    """The terms of a scope as one sum."""
    terms = [term.formula.text for term in table.convention.terms if term.scope == scope]
    return Formula(" + ".join(terms)) if terms else None


def _values(table: PublishedTable, row: PublishedRow, scope: Any, group: Seen) -> dict[str, Amount]:
    execution = Execution(row.precision, row.precision, row.precision, logits=table.convention.logits)
    tokens = group.visual + row.other
    return symbols_of(scope, row.model, Workload(0), execution, layers=group.layers, tokens=tokens)


# --- over a table of ops


def _over_ops(table: PublishedTable, row: PublishedRow, column: PublishedColumn) -> _Arithmetic:
    ops = _ops(table, row)
    if column.figure == "total":
        bits = f"*{row.precision.bits}/16" if table.convention.bits_scaling else ""
        return _Arithmetic(
            "sum over ops of operations" + (" * bits / 16" if bits else ""), _sum([op.flops for op in ops]) + bits
        )
    if column.figure == "bytes":
        return _Arithmetic("sum over ops of bytes loaded and stored", _sum([op.bytes for op in ops]))
    if column.figure == "stored activations":
        return _Arithmetic("sum over ops of bytes stored as activations", _sum([op.write_bytes for op in ops]))
    assert table.device is not None  # noqa: S101  # the reader refuses a time without a device
    formula = "sum over ops of max(operations / operations per second, bytes / bytes per second)"
    return _Arithmetic(formula, _sum([_seconds(op, table.device, row) for op in ops]))


def _ops(table: PublishedTable, row: PublishedRow) -> tuple[OpCost, ...]:
    schedule = tuple(LayerGroup(*group) for group in row.seen) if len(row.seen) > 1 else ()
    workload = Workload(row.seen[0].visual, row.other, schedule=schedule)
    execution = Execution(row.precision, row.precision, row.precision)
    return tally(row.model, workload, execution, table.convention).ops


def _seconds(op: OpCost, device: PaperDevice, row: PublishedRow) -> str:
    """The longer of the two times, as a quotient."""
    rate = device.rate(row.precision)
    by_compute = op.flops * device.bytes_per_s >= op.bytes * rate
    return f"{op.flops}/{rate}" if by_compute else f"{op.bytes}/{device.bytes_per_s}"


def _sum(parts: Sequence[Amount | str]) -> str:
    return f"({' + '.join(map(str, parts))})"
