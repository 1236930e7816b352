"""Ops of a convention that counts by a table of its own: what each does and moves, from the table's formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from perfkit.conventions import Convention, TableOp, symbols_of
from perfkit.conventions.convention import PRODUCTS
from perfkit.errors import InvalidValue
from perfkit.formulas import Formula
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.units import Amount
from perfkit.workload import Execution, Workload


def check_table_fits(spec: ModelSpec, convention: Convention) -> None:
    """Refuse a model that has other ops than the table.

    Raises:
        InvalidValue: no language model, or not one of Llama's, with separate q, k and v, queries as wide as the hidden
            states, a gated dense feed-forward, and an lm_head.
    """
    lacks = _lacks(spec)
    if lacks:
        raise InvalidValue(f"{convention.name} counts by its own table of a Llama's ops, and {spec.name} {lacks}")


def _lacks(spec: ModelSpec) -> str:
    if spec.text is None or not spec.has_decoder:
        return "has no language model that makes tokens"
    stack = spec.text.stack
    if stack.feed_forward.experts > 1:
        return "is a mixture of experts"
    if not stack.feed_forward.gated:
        return "has no gated feed-forward of three matrices"
    if stack.attention.q_width != stack.hidden or stack.attention.fused_qkv:
        return "has other attention projections"
    return ""


def table_ops(spec: ModelSpec, workload: Workload, execution: Execution, convention: Convention) -> tuple[OpCost, ...]:
    """Op costs of the convention's table: of each group of layers, then of what stands after them.

    >>> from perfkit.conventions import load_convention
    >>> from perfkit.models import load_model
    >>> ops = table_ops(load_model("vicuna-7b"), Workload(0, 700), Execution(), load_convention("prumerge"))
    >>> ops[0].name, ops[0].matmul_flops, ops[-1].matmul_flops  # 32 * 2 * 700 * 4096**2; 4096 * 32000
    ('q_proj', 751619276800, 131072000)
    """
    check_table_fits(spec, convention)
    return tuple(_ops(spec, workload, execution, convention))


def _ops(spec: ModelSpec, workload: Workload, execution: Execution, convention: Convention) -> Iterator[OpCost]:
    for op, repeat, values in placed(spec, workload, execution, convention):
        yield _cost(op, repeat, values, execution)


def placed(
    spec: ModelSpec, workload: Workload, execution: Execution, convention: Convention
) -> Iterator[tuple[TableOp, int, dict[str, Amount]]]:
    """Each op of the table with how often it runs and the values of its symbols, group of layers by group."""
    groups = workload.layer_groups(spec.text.stack.layers if spec.text else 0)
    for group in groups:
        tokens = group.visual_tokens + workload.text_tokens
        values = symbols_of("layer", spec, workload, execution, layers=group.layers, tokens=tokens)
        yield from ((op, group.layers, values) for op in convention.table if op.scope == "layer")
    tokens = groups[-1].visual_tokens + workload.text_tokens
    values = symbols_of("head", spec, workload, execution, tokens=tokens)
    yield from ((op, 1, values) for op in convention.table if op.scope == "head")


def _cost(op: TableOp, repeat: int, values: dict[str, Amount], execution: Execution) -> OpCost:
    """Totals over the launches; bytes of half-byte formats round up to whole ones."""

    def total(formula: Formula) -> Amount:
        amount = repeat * formula.evaluate(values)
        return math.ceil(amount) if isinstance(amount, Fraction) else amount

    operations, product = total(op.operations), op.kind in PRODUCTS
    return OpCost(
        phase="prefill",
        name=op.name,
        kind=op.kind,
        repeat=repeat,
        engine=execution.product,
        matmul_flops=operations if product else 0,
        vector_flops=0 if product else operations,
        weight_bytes=total(op.weight_bytes),
        read_bytes=total(op.read_bytes),
        write_bytes=total(op.write_bytes),
        kv_read_bytes=total(op.kv_read_bytes),
        kv_write_bytes=total(op.kv_write_bytes),
    )
