"""What a counter reports: one forward, summed under a convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from perfkit.conventions import DEFAULT_CONVENTION, Convention, convention_names, load_convention
from perfkit.counting import count_ops, execution_of
from perfkit.errors import InvalidValue
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.reduction.costs import SELECTION
from perfkit.totals.asked import checked_switches, forward_of, stored_execution
from perfkit.totals.own_table import table_ops
from perfkit.units import Amount
from perfkit.workload import Execution, Workload

_PART_OF_PHASE = {"vision": "vision", "reduction": "reducer", "projector": "projector", "prefill": "llm"}


@dataclass(frozen=True, slots=True)
class Count:
    """One forward under a convention: vision, reduction, projector and prefill, no decode.

    `workload` is what was asked; `ops` are those of the parts and tokens that the convention counts.
    """

    model: ModelSpec
    workload: Workload
    execution: Execution
    convention: Convention
    ops: tuple[OpCost, ...]

    def amount_of(self, op: OpCost) -> Amount:
        """What the convention counts of an op, in its unit."""
        products = self.products_of(op) * self.convention.multiply_add // 2
        return self._scaled(op, products + op.vector_flops if self.convention.elementwise else products)

    def products_of(self, op: OpCost) -> Amount:
        """FLOPs of its matrix products that the convention counts, a multiply-add as 2.

        Half of a causal product is exactly half of the square: queries x keys / 2, the diagonal counted half.
        """
        if op.name == "gate_proj" and self.convention.ffn_matrices == 2:
            return 0
        return op.matmul_flops // 2 if self.halves(op) else op.matmul_flops

    def halves(self, op: OpCost) -> bool:
        """Whether the op is a product under a causal mask, and the convention counts half of those."""
        text = self.model.text
        masked = op.phase == "prefill" and op.kind == "attention" and text is not None and text.stack.attention.causal
        return masked and self.convention.causal == "half"

    def _scaled(self, op: OpCost, amount: Amount) -> Amount:
        if not self.convention.bits_scaling:
            return amount
        scaled = Fraction(amount * op.engine.bits, 16)
        return scaled.numerator if scaled.denominator == 1 else float(scaled)

    @property
    def elementwise(self) -> bool:
        """Whether element-wise work is in the total beside matrix products."""
        return self.convention.elementwise

    @property
    def total(self) -> Amount:
        """The count, in the convention's unit."""
        return sum(self.amount_of(op) for op in self.ops)

    @property
    def macs(self) -> Amount | None:
        """Multiply-adds of the counted products; None where a table of its own does not say which they are."""
        return None if self.convention.table else sum(self.products_of(op) for op in self.ops) // 2

    @property
    def bytes(self) -> Amount:
        """Traffic of the ops, counted or not."""
        return sum(op.bytes for op in self.ops)

    @property
    def by_phase(self) -> dict[str, Amount]:
        """The count of each phase."""
        phases = dict.fromkeys(op.phase for op in self.ops)
        return {phase: sum(self.amount_of(op) for op in self.ops if op.phase == phase) for phase in phases}

    @property
    def counted(self) -> Workload:
        """The workload that the convention counts: without text tokens where it counts visual ones only."""
        return counted_workload(self.workload, self.convention)


def counted_workload(workload: Workload, convention: Convention) -> Workload:
    """`workload` without the tokens that the convention leaves out."""
    return workload if convention.tokens_counted == "all" else replace(workload, text_tokens=0)


def part_of(op: OpCost) -> str:
    """Part of the model that an op belongs to; what a reduction inside the language model computes is the reducer's."""
    return "reducer" if op.kind == SELECTION else _PART_OF_PHASE[op.phase]


def tally(spec: ModelSpec, workload: Workload, execution: Execution, convention: Convention) -> Count:
    """The count of a forward under a convention, from values.

    The convention says which logits count, whatever `execution` makes.

    Raises:
        InvalidValue: nothing that the convention counts is there, or the model lacks the ops of its table.
    """
    execution = execution_of(spec, replace(execution, logits=convention.logits))
    counted = counted_workload(workload, convention)
    if convention.tokens_counted == "visual" and not counted.visual_tokens:
        raise InvalidValue(_without_visual_tokens(spec, convention))
    if convention.table:
        return Count(spec, workload, execution, convention, table_ops(spec, counted, execution, convention))
    forward = (op for op in count_ops(spec, counted, execution) if op.phase != "decode")
    ops = tuple(op for op in forward if _included(op, convention))
    if not ops:
        parts = " or ".join(convention.include)
        raise InvalidValue(f"{convention.label}: {spec.name} has no {parts} in this forward, so nothing is counted")
    return Count(spec, workload, execution, convention, ops)


def _without_visual_tokens(spec: ModelSpec, convention: Convention) -> str:
    why = "there are none" if spec.vision else f"{spec.name} sees no images"
    others = (load_convention(name) for name in convention_names())
    text_too = ", ".join(other.name for other in others if other.tokens_counted == "all")
    return f"{convention.label} counts visual tokens only, and {why}; conventions that count text too: {text_too}"


def _included(op: OpCost, convention: Convention) -> bool:
    head = op.name == "lm_head" and "lm_head" in convention.include
    return head or part_of(op) in convention.include


def count(
    model: str = DEFAULT_MODEL,
    *,
    tokens: int | None = None,
    text_tokens: int | None = None,
    batch: int = 1,
    images: int = 1,
    reduction: str | None = None,
    precision: str = "fp16",
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    convention: str = DEFAULT_CONVENTION,
    unit: str | None = None,
    causal: str | None = None,
    logits: str | None = None,
    ffn_matrices: int | None = None,
    include: Sequence[str] | None = None,
    tokens_counted: str | None = None,
    elementwise: bool | None = None,
) -> Count:
    """What a convention counts of one forward of `model`: the options of `perfkit count`.

    The convention sets the switches that are not given, and the text tokens where its paper has its own.

    Raises:
        UnknownName: no such model, reduction, precision, convention or value of a switch.
        InvalidValue: counts out of range, switches that contradict each other, or nothing left to count.

    >>> count("llava-1.5-7b", tokens=32).by_phase["vision"]
    381918216192
    >>> count("llava-1.5-7b", convention="pyramiddrop").total  # 32 (4*576*4096^2 + 2*576^2*4096 + 3*576*4096*11008)
    3817152184320
    """
    switches = checked_switches(
        unit=unit,
        causal=causal,
        logits=logits,
        ffn_matrices=ffn_matrices,
        include=include,
        tokens_counted=tokens_counted,
    )
    spec, chosen = load_model(model), load_convention(convention).switched(**switches, elementwise=elementwise)
    workload = forward_of(
        spec, chosen, tokens=tokens, text_tokens=text_tokens, batch=batch, images=images, reduction=reduction
    )
    return tally(spec, workload, stored_execution(precision, weights, activations, kv), chosen)
