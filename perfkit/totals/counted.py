"""What a counter reports: one forward, summed under a convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from perfkit.counting.fitting import execution_of, workload_of
from perfkit.counting.language_model import prefill_ops
from perfkit.counting.vision import projector_ops, vision_ops
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.units import Amount, parse_choice
from perfkit.workload import LOGITS, TEXT_TOKENS, Execution, Workload


class Convention(NamedTuple):
    """A way to count: what a multiply-add is worth, how much of a causal square counts, which tokens do."""

    name: str
    unit: str
    multiply_add: int
    causal: str
    tokens_counted: str
    source: str


TORCH = Convention("torch", "flop", 2, "full", "all", "torch.utils.flop_counter.FlopCounterMode")
CONVENTIONS = {TORCH.name: TORCH}


@dataclass(frozen=True, slots=True)
class Count:
    """FLOPs of one forward under a convention: vision, projector and prefill, no decode.

    `elementwise`: whether element-wise work is in the total beside matrix products.
    """

    model: ModelSpec
    workload: Workload
    execution: Execution
    convention: Convention
    elementwise: bool
    ops: tuple[OpCost, ...]

    def flops_of(self, op: OpCost) -> Amount:
        """What the convention counts of an op."""
        return op.flops if self.elementwise else op.matmul_flops

    @property
    def total(self) -> Amount:
        """FLOPs of the forward."""
        return sum(self.flops_of(op) for op in self.ops)

    @property
    def macs(self) -> Amount:
        """Multiply-adds of its matrix products."""
        return sum(op.matmul_flops for op in self.ops) // self.convention.multiply_add

    @property
    def bytes(self) -> Amount:
        """Traffic of the forward."""
        return sum(op.bytes for op in self.ops)

    @property
    def by_phase(self) -> dict[str, Amount]:
        """FLOPs of each phase."""
        phases = dict.fromkeys(op.phase for op in self.ops)
        return {phase: sum(self.flops_of(op) for op in self.ops if op.phase == phase) for phase in phases}


def count(
    model: str = DEFAULT_MODEL,
    *,
    tokens: int | None = None,
    text_tokens: int = TEXT_TOKENS,
    batch: int = 1,
    images: int = 1,
    logits: str = "last",
    convention: str = "torch",
    elementwise: bool = False,
) -> Count:
    """FLOPs of one forward of `model`, as torch's FlopCounterMode counts them: the options of `perfkit count`.

    Raises:
        UnknownName: no such model, logits or convention.
        InvalidValue: counts out of range.

    >>> count("llava-1.5-7b", tokens=32).by_phase["vision"]
    381918216192
    """
    spec = load_model(model)
    workload = workload_of(spec, tokens=tokens, text_tokens=text_tokens, batch=batch, images=images)
    wanted = Execution(logits=parse_choice("logits", logits, LOGITS))
    execution = execution_of(spec, wanted)
    forward = (
        *vision_ops(spec, workload, execution),
        *projector_ops(spec, workload, execution),
        *prefill_ops(spec, workload, execution),
    )
    chosen = CONVENTIONS[parse_choice("convention", convention, CONVENTIONS)]
    return Count(spec, workload, execution, chosen, elementwise, forward)
