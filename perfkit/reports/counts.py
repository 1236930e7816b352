"""Reports of a `Count`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfkit.ops import OpCost
from perfkit.tables import Column, Table, show
from perfkit.totals.counted import Count

_COLUMNS = (
    Column("model", "model", "", 0),
    Column("phase", "phase"),
    Column("name", "op"),
    Column("kind", "kind", "", 5),
    Column("repeat", "launches", "n", 4),
    Column("flops", "FLOPs", "FLOP"),
    Column("bytes", "bytes", "B"),
)


def document(count: Count) -> dict[str, Any]:
    """The contract's JSON of `perfkit count`."""
    return {
        "model": count.model.name,
        "total": count.total,
        "macs": count.macs,
        "parameters": count.model.parameters,
        "bytes": count.bytes,
        "by_phase": count.by_phase,
        "by_op": [_record(count, op) for op in _counted(count)],
        "convention": {
            **count.convention._asdict(),
            "logits": count.execution.logits,
            "elementwise": count.elementwise,
            "include": list(count.by_phase),
        },
        "workload": {
            "batch": count.workload.batch,
            "images": count.workload.images,
            "visual_tokens": count.workload.visual_tokens,
            "text_tokens": count.workload.text_tokens,
        },
        "uncounted": [],
    }


def _counted(count: Count) -> list[OpCost]:
    return [op for op in count.ops if count.flops_of(op)]


def _record(count: Count, op: OpCost) -> dict[str, Any]:
    return {
        "model": count.model.name,
        "phase": op.phase,
        "name": op.name,
        "kind": op.kind,
        "repeat": op.repeat,
        "flops": count.flops_of(op),
        "bytes": op.bytes,
    }


def table(counts: Sequence[Count]) -> Table:
    """Counted ops, a row each."""
    return Table(_COLUMNS, tuple(tuple(_record(count, op).values()) for count in counts for op in _counted(count)))


def overview(counts: Sequence[Count]) -> list[Table]:
    """FLOPs by phase and by op of each count, as exact integers."""
    return [table for count in counts for table in _tables(count)]


def _tables(count: Count) -> tuple[Table, Table]:
    w = count.workload
    phase_columns = (Column("phase", "phase"), Column("exact", "FLOPs, exact", "n"), Column("flops", "FLOPs", "FLOP"))
    rows = [(phase, flops, flops) for phase, flops in count.by_phase.items()]
    rows.append(("total", count.total, count.total))
    title = (
        f"{count.model.name}: one forward, {w.visual_tokens} visual + {w.text_tokens} text tokens, batch {w.batch}, "
        f"logits {count.execution.logits}"
    )
    work = "matrix products and element-wise work" if count.elementwise else "matrix products only"
    notes = (
        f"counted; convention {count.convention.name}: multiply-add = 2 FLOPs, causal mask in full, {work}",
        f"{show(count.macs, 'n')} multiply-adds; {show(count.model.parameters, 'n')} parameters; "
        f"{show(count.bytes, 'B')} moved in fp16 with fused attention",
    )
    by_phase = Table(phase_columns, tuple(rows), title=title, notes=notes, rule_before=frozenset({len(rows) - 1}))
    by_op = Table(_COLUMNS[1:], tuple(row[1:] for row in table([count]).rows), title="Ops")
    return by_phase, by_op
