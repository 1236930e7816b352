"""Reports of a `Count`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfkit.ops import OpCost
from perfkit.printed import ALLOWED
from perfkit.tables import Column, Table, show
from perfkit.totals.counted import Count
from perfkit.totals.figures import Citation, cited

UNIT_NAMES = {"flop": ("flops", "FLOPs", "FLOP"), "mac": ("macs", "MACs", "MAC")}  # key, header, unit of a column

# Parts that make a count one of the whole model; a reducer is there or not.
WHOLE = ("vision", "projector", "llm")


def document(count: Count) -> dict[str, Any]:
    """The contract's JSON of `perfkit count`; amounts are in the convention's unit."""
    return {
        "model": count.model.name,
        "total": count.total,
        "macs": count.macs,
        "parameters": count.model.parameters,
        "bytes": count.bytes,
        "by_phase": count.by_phase,
        "by_op": [_record(count, op) for op in counted_ops(count)],
        "convention": convention_record(count),
        "workload": workload_record(count),
        "uncounted": [],
    }


def convention_record(count: Count) -> dict[str, Any]:
    """The switches of a count's convention, whose it is, and what it leaves out."""
    convention = count.convention
    return {
        "name": convention.name,
        "overrides": list(convention.overrides),
        "paper": convention.paper,
        "source": convention.source,
        "unit": convention.unit,
        "multiply_add": convention.multiply_add,
        "causal": convention.causal,
        "logits": count.execution.logits,
        "ffn_matrices": convention.ffn_matrices,
        "tokens_counted": convention.tokens_counted,
        "elementwise": convention.elementwise,
        "bits_scaling": convention.bits_scaling,
        "include": list(convention.include),
        "leaves_out": convention.leaves_out,
        "notes": list(convention.notes),
        "gives": [in_words(citation) for citation in cited(count) if citation.given],
        "misses": [in_words(citation) for citation in cited(count) if not citation.given],
    }


def in_words(citation: Citation) -> str:
    """What is printed and where it stands; unless the count rounds to it, also what comes out here."""
    figure = citation.figure
    printed = f"{figure.printed}{' a layer' if figure.per_layer else ''} ({figure.where})"
    if citation.rounded:
        return printed
    how = ": cut off" if citation.cut_off else f", {ALLOWED[citation.convention.rule]}" if citation.given else ""
    return f"{printed}, {citation.shown} here{how}"


def workload_record(count: Count) -> dict[str, Any]:
    """What was asked, and how many of its tokens count."""
    w = count.workload
    return {
        "batch": w.batch,
        "images": w.images,
        "visual_tokens": w.visual_tokens,
        "text_tokens": w.text_tokens,
        "tokens_counted": count.counted.prompt_tokens,
        "reduction": w.reduction or None,
    }


def counted_ops(count: Count) -> list[OpCost]:
    """Ops of which something counts."""
    return [op for op in count.ops if count.amount_of(op)]


def _record(count: Count, op: OpCost) -> dict[str, Any]:
    key, _, _ = UNIT_NAMES[count.convention.unit]
    return {
        "model": count.model.name,
        "phase": op.phase,
        "name": op.name,
        "kind": op.kind,
        "repeat": op.repeat,
        key: count.amount_of(op),
        "bytes": op.bytes,
    }


def table(counts: Sequence[Count]) -> Table:
    """Counted ops, a row each; FLOPs and MACs have a column of their own where both are counted."""
    records = [_record(count, op) for count in counts for op in counted_ops(count)]
    units = dict.fromkeys(count.convention.unit for count in counts)
    columns = (
        Column("model", "model", "", 0),
        Column("phase", "phase"),
        Column("name", "op"),
        Column("kind", "kind", "", 5),
        Column("repeat", "launches", "n", 4),
        *(Column(*UNIT_NAMES[unit]) for unit in units),
        Column("bytes", "bytes", "B"),
    )
    return Table(columns, tuple(tuple(record.get(column.key) for column in columns) for record in records))


def overview(counts: Sequence[Count]) -> list[Table]:
    """The count by phase and by op, as exact integers."""
    return [table for count in counts for table in (phases(count), _by_op(count))]


def phases(count: Count) -> Table:
    """The count by phase, with the convention and what it leaves out."""
    _, header, unit = UNIT_NAMES[count.convention.unit]
    columns = (Column("phase", "phase"), Column("exact", f"{header}, exact", "n"), Column("amount", header, unit))
    rows = [(phase, amount, amount) for phase, amount in count.by_phase.items()]
    rows.append(("total", count.total, count.total))
    title = f"{count.model.name}: {header} of one forward, {_tokens(count)}, batch {count.workload.batch}"
    notes = (*_convention_notes(count), _beside(count))
    return Table(columns, tuple(rows), title=title, notes=notes, rule_before=frozenset({len(rows) - 1}))


def _tokens(count: Count) -> str:
    w = count.workload
    text = f"{w.text_tokens} text tokens"
    tokens = f"{w.visual_tokens} visual tokens ({text} not counted)"
    tokens = f"{w.visual_tokens} visual + {text}" if count.convention.tokens_counted == "all" else tokens
    return f"{tokens}, {w.reduction}" if w.reduction else tokens


def _convention_notes(count: Count) -> list[str]:
    convention = count.convention
    worth = "2 FLOPs" if convention.unit == "flop" else "1 MAC"
    work = "matrix products and element-wise work" if convention.elementwise else "matrix products only"
    matrices = ", FFN of 2 matrices" if convention.ffn_matrices == 2 else ""
    causal = {"full": "causal mask in full", "half": "half of a causal mask"}[convention.causal]
    switches = f"multiply-add = {worth}, {causal}, logits {count.execution.logits}{matrices}, {work}"
    parts = "" if set(convention.include) >= set(WHOLE) else f", of {', '.join(convention.include)} alone"
    counted = f"counted; convention {convention.label}: {switches}{parts}"
    own = ["its own table of ops, which the switches describe only roughly"] if convention.table else []
    itself = f"{convention.name} itself " if convention.overrides else ""
    figures = [
        f"{_verdict(citation)} what {convention.paper} prints: {in_words(citation)}" for citation in cited(count)
    ]
    return [counted, *own, f"{itself}leaves out {convention.leaves_out}", *figures, *convention.notes]


def _verdict(citation: Citation) -> str:
    return "gives" if citation.given else "misses"


def _beside(count: Count) -> str:
    macs = "" if count.macs is None else f"{show(count.macs, 'n')} multiply-adds; "
    formats = f"in {count.execution.formats}, with {_attention(count)}"
    formats += " (visual tokens alone)" if count.convention.tokens_counted == "visual" else ""
    moved = f"{show(count.bytes, 'B')} moved " + ("by these ops" if count.convention.table else formats)
    return f"{macs}{show(count.model.parameters, 'n')} parameters; {moved}"


def _attention(count: Count) -> str:
    """The kernel of attention; layers whose scores a reduction reads are eager among fused ones."""
    kernel = f"{count.execution.attention} attention"
    eager = sum(op.repeat for op in count.ops if op.phase == "prefill" and op.name == "attention_softmax")
    if count.execution.attention == "eager" or not eager:
        return kernel
    return f"{kernel}, {eager} {'layer' if eager == 1 else 'layers'} eager"


def _by_op(count: Count) -> Table:
    tidy = table([count])
    return Table(tidy.columns[1:], tuple(row[1:] for row in tidy.rows), title="Ops")
