"""A model and a workload counted into op costs, kernel by kernel, phase by phase.

    ModelSpec + Workload + Execution --count_ops--> (OpCost, ...)

Phases: `vision` (the whole tower, as it runs in practice), `reduction` (a reducer before the language model),
`projector`, `prefill`, and `decode`: the first new token, whose cache holds the prompt. The equations stand in
docs/model.md. `reduced_vision_ops` is no phase: what of the tower a reducer needs.
"""

from __future__ import annotations

from perfkit.counting.fitting import execution_of, workload_of
from perfkit.counting.language_model import decode_ops, prefill_ops
from perfkit.counting.vision import projector_ops, reduced_vision_ops, reduction_ops, vision_ops
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.workload import Execution, Workload

__all__ = [
    "count_ops",
    "decode_ops",
    "execution_of",
    "prefill_ops",
    "projector_ops",
    "reduced_vision_ops",
    "reduction_ops",
    "vision_ops",
    "workload_of",
]


def count_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> tuple[OpCost, ...]:
    """All ops of one forward: vision, reduction, projector, prefill, and the first decode step.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> forward = count_ops(llava, workload_of(llava, tokens=32), Execution())
    >>> sum(op.matmul_flops for op in forward if op.phase == "prefill")
    1196285231104
    """
    return (
        *vision_ops(spec, workload, execution),
        *reduction_ops(spec, workload, execution),
        *projector_ops(spec, workload, execution),
        *prefill_ops(spec, workload, execution),
        *decode_ops(spec, workload, execution),
    )
