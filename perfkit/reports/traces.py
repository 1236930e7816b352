"""Reports of a `Trace`: a torch module counted op by op, and beside other counters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.tables import Column, Table, show
from perfkit.tracing.comparing import Compared
from perfkit.tracing.registry import UNCOUNTED
from perfkit.tracing.totals import ModuleTotal, OpTotal
from perfkit.tracing.traced import Trace
from perfkit.units import format_quantity

SHOWN_DEPTH = 2  # names of a path that people see, unless they ask for more
_COSTS = (
    Column("flops", "FLOPs", "FLOP"),
    Column("elementwise_flops", "element-wise", "FLOP", 5),
    Column("unfused_bytes", "unfused", "B"),
    Column("fused_bytes", "fused", "B"),
)
_OP_COLUMNS = (Column("name", "op"), Column("kind", "kind", "", 4), Column("calls", "calls", "n"), *_COSTS)
_BOUNDS = (
    "unfused: every op reads its tensors from memory and writes them back",
    "fused: all work between matrix products happens on the way into the next one; an op has what it is first to move",
)


def document(trace: Trace) -> dict[str, Any]:
    """The contract's JSON of `perfkit count`, as far as it has a meaning for any module."""
    return {
        "module": trace.name,
        "total": trace.total,
        "macs": trace.macs,
        "parameters": trace.parameters,
        "by_phase": {"forward": trace.total},
        "by_op": [{"phase": "forward", **_op_record(op)} for op in trace.by_op if op.kind != UNCOUNTED],
        "by_module": [_module_record(module) for module in trace.modules],
        "convention": {
            "name": "torch",
            "unit": "flop",
            "multiply_add": 2,
            "causal": "full",
            "elementwise": trace.elementwise,
        },
        "uncounted": [{"op": op.name, "calls": op.calls, "bytes": op.costs.unfused_bytes} for op in trace.uncounted],
        "bytes": {
            "unfused": trace.costs.unfused_bytes,
            "fused": trace.costs.fused_bytes,
            "fused_parts": trace.fused._asdict(),
        },
        "compared": {other.counter: _compared_record(other) for other in trace.compared},
    }


def _op_record(op: OpTotal) -> dict[str, Any]:
    return {"name": op.name, "kind": op.kind, "repeat": op.calls, **_cost_record(op)}


def _module_record(module: ModuleTotal) -> dict[str, Any]:
    return {"module": module.path, "class": module.kind, "calls": module.calls, **_cost_record(module)}


def _cost_record(total: OpTotal | ModuleTotal) -> dict[str, Any]:
    known = total.kind != UNCOUNTED
    return {
        "flops": total.costs.matmul_flops if known else None,
        "elementwise_flops": total.costs.vector_flops if known else None,
        "unfused_bytes": total.costs.unfused_bytes,
        "fused_bytes": total.costs.fused_bytes,
    }


def _compared_record(other: Compared) -> dict[str, Any]:
    return {"flops": other.flops, "ours": other.ours, "equal": other.equal, "note": other.note or None}


def table(traces: Sequence[Trace]) -> Table:
    """A row a module and op; FLOPs of an op without a formula are empty."""
    columns = (Column("model", "model"), Column("module", "module"), *_OP_COLUMNS)
    return Table(columns, tuple((trace.name, op.module, *_op_row(op)) for trace in traces for op in trace.ops))


def _op_row(op: OpTotal) -> tuple[Any, ...]:
    return tuple(_op_record(op).values())


def overview(traces: Sequence[Trace]) -> list[Table]:
    """Totals, modules, ops, what is not counted, and other counters, of each trace."""
    return [table for trace in traces for table in _tables(trace)]


def _tables(trace: Trace) -> Iterator[Table]:
    yield _totals(trace)
    yield _modules(trace)
    counted = [op for op in trace.by_op if op.kind != UNCOUNTED]
    yield Table(_OP_COLUMNS, tuple(_op_row(op) for op in counted), title="Ops", notes=_BOUNDS)
    if trace.uncounted:
        yield _uncounted(trace)
    yield _compared(trace)


def _totals(trace: Trace) -> Table:
    costs, fused = trace.costs, trace.fused
    parts = ", ".join(f"{name} {show(size, 'B')}" for name, size in fused._asdict().items())
    rows = (
        ("FLOPs of matrix products", costs.matmul_flops, show(costs.matmul_flops, "FLOP")),
        ("element-wise FLOPs", costs.vector_flops, show(costs.vector_flops, "FLOP")),
        *((("both", trace.total, show(trace.total, "FLOP")),) if trace.elementwise else ()),
        ("parameters", trace.parameters, format_quantity(trace.parameters, "") if trace.parameters else "0"),
        ("bytes, unfused", costs.unfused_bytes, show(costs.unfused_bytes, "B")),
        ("bytes, fused", costs.fused_bytes, show(costs.fused_bytes, "B")),
    )
    columns = (Column("what", f"{trace.name}, one forward"), Column("exact", "exact", "n"), Column("amount", ""))
    notes = ("counted; multiply-add = 2 FLOPs, masks in full", f"fused: {parts}")
    return Table(columns, rows, notes=notes)


def _modules(trace: Trace) -> Table:
    columns = (
        Column("module", "module"),
        Column("class", "class", "", 3),
        Column("calls", "calls", "n", 6),
        *_COSTS,
        Column("share", "share", "share", 6),
    )
    deepest = SHOWN_DEPTH if trace.depth is None else trace.depth
    shown = [module for module in trace.modules if _depth(module.path) <= deepest]
    rows = tuple((*_module_row(module), _share(trace, module)) for module in shown)
    hidden = len(trace.modules) - len(shown)
    notes = (f"{hidden} deeper ones not shown: --depth",) if hidden else ()
    return Table(columns, rows, title="Modules, each with what it contains", notes=notes)


def _module_row(module: ModuleTotal) -> tuple[Any, ...]:
    record = _module_record(module)
    return (module.path or "(whole)", *list(record.values())[1:])


def _share(trace: Trace, module: ModuleTotal) -> float | None:
    return trace.flops_of(module.costs) / trace.total if trace.total else None


def _depth(path: str) -> int:
    return len(path.split(".")) if path else 0


def _uncounted(trace: Trace) -> Table:
    columns = (Column("op", "op"), Column("calls", "calls", "n"), Column("bytes", "bytes", "B"))
    rows = tuple((op.name, op.calls, op.costs.unfused_bytes) for op in trace.uncounted)
    notes = ("not in the FLOPs above; --strict makes it an error, docs/tracing.md shows how to give a formula",)
    return Table(columns, rows, title="Ops without a formula", notes=notes)


def _compared(trace: Trace) -> Table:
    columns = (
        Column("counter", "counter"),
        Column("flops", "its FLOPs", "n"),
        Column("ours", "perfkit's", "n"),
        Column("equal", "equal"),
        Column("note", "note", "prose"),
    )
    said = {True: "yes", False: "no", None: None}
    rows = tuple((other.counter, other.flops, other.ours, said[other.equal], other.note) for other in trace.compared)
    notes = ("FLOPs of matrix products; perfkit's are those of the ops that the other counter knows",)
    return Table(columns, rows, title="Other counters", notes=notes)
