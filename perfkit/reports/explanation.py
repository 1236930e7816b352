"""Reports of an `Explanation`: a count with its formula and the arithmetic of every op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfkit.reports import counts
from perfkit.tables import Column, Table, show
from perfkit.totals.explaining import Explanation


def document(explanation: Explanation) -> dict[str, Any]:
    """The JSON of the count, with the formula and an arithmetic for each op."""
    return {
        **counts.document(explanation.count),
        "formula": [piece._asdict() for piece in explanation.pieces],
        "formula_value": explanation.formula_value,
        "differences": list(explanation.differences),
        "arithmetic": [line._asdict() for line in explanation.lines],
    }


def table(explanations: Sequence[Explanation]) -> Table:
    """Counted ops, a row each, with their arithmetic."""
    columns = (
        Column("model", "model"),
        Column("convention", "convention"),
        Column("phase", "phase"),
        Column("name", "op"),
        Column("symbols", "formula"),
        Column("arithmetic", "arithmetic"),
        Column("value", "value", "n"),
        Column("unit", "unit"),
    )
    rows = [
        (one.count.model.name, one.count.convention.label, *line, one.count.convention.unit)
        for one in explanations
        for line in one.lines
    ]
    return Table(columns, tuple(rows))


def overview(explanations: Sequence[Explanation]) -> list[Table]:
    """The count by phase, the formula, and the arithmetic of each op."""
    return [table for one in explanations for table in (counts.phases(one.count), *_formula(one), _arithmetic(one))]


def _formula(explanation: Explanation) -> list[Table]:
    """Symbols above numbers for each piece, and whether their sum is the count."""
    if explanation.formula_value is None:
        return []
    columns = (Column("what", "of"), Column("formula", "formula", "prose"))
    rows: list[tuple[str, str]] = []
    for piece in explanation.pieces:
        rows += [(piece.what, piece.symbols), ("", f"= {piece.filled}"), ("", f"= {show(piece.value, 'n')}")]
    rows.append(("all", f"= {show(explanation.formula_value, 'n')}"))
    title = f"Formula of {explanation.count.convention.name}"
    notes = (_agreement(explanation), *explanation.differences, _legend(explanation))
    return [Table(columns, tuple(rows), title=title, notes=notes, rule_before=frozenset(range(0, len(rows), 3)) - {0})]


def _agreement(explanation: Explanation) -> str:
    difference = explanation.count.total - (explanation.formula_value or 0)
    if not difference:
        return "This is the count, to the integer."
    more = "more" if difference > 0 else "less"
    return f"The count is {show(explanation.count.total, 'n')}, {show(abs(difference), 'n')} {more} than the formula:"


def _legend(explanation: Explanation) -> str:
    return "; ".join(f"{symbol} {meaning}" for symbol, meaning in explanation.symbols.items())


def _arithmetic(explanation: Explanation) -> Table:
    """What each op counts; of a convention with its own table, beside the formula."""
    own = bool(explanation.count.convention.table)
    columns = (
        Column("phase", "phase", "", 4),
        Column("name", "op"),
        *([Column("symbols", "formula")] if own else []),
        Column("arithmetic", "arithmetic", "prose"),
        Column("value", "value", "n"),
    )
    lines = [tuple(line if own else (line.phase, line.name, line.arithmetic, line.value)) for line in explanation.lines]
    total = ("total", *([""] * (len(columns) - 2)), explanation.count.total)
    return Table(
        columns,
        (*lines, total),
        title="Arithmetic",
        notes=(_legend(explanation) if own else _factors(explanation),),
        rule_before=frozenset({len(lines)}),
    )


def _factors(explanation: Explanation) -> str:
    convention = explanation.count.convention
    worth = "; a multiply-add is 2" if convention.unit == "flop" else ""
    added = "; what is added is element-wise work of a launch" if convention.elementwise else ""
    return f"launches x rows * inputs * outputs, in attention 2 * tokens * tokens * heads * width{worth}{added}"
