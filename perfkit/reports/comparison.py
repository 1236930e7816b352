"""Reports of a `Comparison`: one forward under every convention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfkit.conventions import Convention
from perfkit.reports import counts
from perfkit.tables import Column, Table
from perfkit.totals.comparing import Comparison, Row
from perfkit.units import Amount, format_quantity

_COLUMNS = (
    Column("model", "model"),
    Column("convention", "convention"),
    Column("unit", "unit"),
    Column("tokens_counted", "tokens", "n"),
    Column("causal", "causal"),
    Column("logits", "logits"),
    Column("ffn_matrices", "FFN", "n"),
    Column("include", "included"),
    Column("language_model", "language model", "n"),
    Column("total", "total", "n"),
    Column("gives", "gives"),
    Column("misses", "misses"),
    Column("leaves_out", "leaves out"),
    Column("why_not", "why not"),
)


def document(comparison: Comparison) -> dict[str, Any]:
    """The workload, and a row a convention; a row that could not be counted says why."""
    w = comparison.workload
    return {
        "model": comparison.model.name,
        "workload": {
            "batch": w.batch,
            "images": w.images,
            "visual_tokens": w.visual_tokens,
            "text_tokens": w.text_tokens,
            "reduction": w.reduction or None,
        },
        "rows": [_record(comparison, row) for row in comparison.rows],
    }


def _record(comparison: Comparison, row: Row) -> dict[str, Any]:
    count, convention = row.count, row.convention
    return {
        "model": comparison.model.name,
        "convention": convention.name,
        "unit": convention.unit,
        "tokens_counted": count and count.counted.prompt_tokens,
        "causal": convention.causal,
        "logits": count.execution.logits if count else convention.logits,
        "ffn_matrices": convention.ffn_matrices,
        "include": list(convention.include),
        "language_model": row.language_model,
        "total": count and count.total,
        "gives": _cited(row, given=True),
        "misses": _cited(row, given=False),
        "leaves_out": convention.leaves_out,
        "why_not": row.why_not,
    }


def _cited(row: Row, *, given: bool) -> list[str]:
    """Printed figures that come out, or that do not."""
    return [counts.in_words(citation) for citation in row.cited if citation.given is given]


def table(comparisons: Sequence[Comparison]) -> Table:
    """A row a convention; lists are joined."""
    records = [_record(comparison, row) for comparison in comparisons for row in comparison.rows]
    rows = [tuple(_joined(record[column.key]) for column in _COLUMNS) for record in records]
    return Table(_COLUMNS, tuple(rows))


def _joined(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, list) else value


def overview(comparisons: Sequence[Comparison]) -> list[Table]:
    """Counts side by side, then what each leaves out."""
    return [table for comparison in comparisons for table in (_side_by_side(comparison), _left_out(comparison))]


def _side_by_side(comparison: Comparison) -> Table:
    columns = (
        Column("convention", "convention"),
        Column("tokens", "tokens", "n"),
        Column("causal", "causal", "", 4),
        Column("logits", "logits", "", 6),
        Column("ffn", "FFN", "n", 7),
        Column("include", "parts"),
        Column("language_model", "LLM"),
        Column("total", "total"),
        Column("gives", "as printed", "prose", 8),
    )
    w = comparison.workload
    tokens = f"{w.visual_tokens} visual tokens" + (f", {w.reduction}" if w.reduction else "")
    title = f"{comparison.model.name}: one forward under {len(comparison.rows)} conventions, {tokens}"
    notes = (
        "tokens: those that enter layer 0 and count; a paper's own text tokens unless --text-tokens is given. "
        "FFN: feed-forward matrices.",
        "as printed: figures of the convention's paper for this very workload, which calls MACs FLOPs too; 'prints' "
        "marks those that do not come out here.",
    )
    return Table(columns, tuple(map(_shown, comparison.rows)), title=title, notes=notes)


def _shown(row: Row) -> tuple[Any, ...]:
    count, convention = row.count, row.convention
    return (
        convention.name,
        count and count.counted.prompt_tokens,
        convention.causal,
        count.execution.logits if count else convention.logits,
        convention.ffn_matrices,
        _parts(convention),
        _amount(row, row.language_model),
        _amount(row, count and count.total),
        "; ".join([*_cited(row, given=True), *(f"prints {missed}" for missed in _cited(row, given=False))]) or "-",
    )


def _parts(convention: Convention) -> str:
    """`all`, or the parts that count."""
    return "all" if set(convention.include) >= set(counts.WHOLE) else "+".join(convention.include)


def _amount(row: Row, amount: Amount | None) -> str:
    _, _, unit = counts.UNIT_NAMES[row.convention.unit]
    return format_quantity(amount, unit)


def _left_out(comparison: Comparison) -> Table:
    columns = (Column("convention", "convention"), Column("leaves_out", "leaves out", "prose"))
    rows = ((row.convention.name, row.why_not or row.convention.leaves_out) for row in comparison.rows)
    notes = ("perfkit count --convention NAME --explain shows where a number comes from.",)
    return Table(columns, tuple(rows), title="What each leaves out", notes=notes)
