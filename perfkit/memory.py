"""Does it fit: weights, cache and activations of a workload on each GPU, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from perfkit import ops
from perfkit.models.spec import ModelSpec, StackSpec
from perfkit.ops import OpCost
from perfkit.parallel.pipelining import stages_of
from perfkit.parallel.slicing import part_of
from perfkit.units import GIB, Amount, Precision
from perfkit.workload import WEIGHT_GROUP, Execution, Workload

RUNTIME_RESERVE_BYTES = GIB  # CUDA context, libraries and allocator slack


class Footprint(NamedTuple):
    """Bytes that must lie on the card at once; of several GPUs on the fullest."""

    weights: Amount
    kv: Amount
    activations: Amount

    @property
    def total(self) -> Amount:
        """Weights, cache and activations, without the runtime's reserve."""
        return self.weights + self.kv + self.activations

    @property
    def needed(self) -> Amount:
        """What a card must have: the total and 1 GiB for the runtime."""
        return self.total + RUNTIME_RESERVE_BYTES

    def fits(self, capacity_bytes: float) -> Any:
        """Whether all that lies within `capacity_bytes`, at each point of a sweep."""
        return self.needed <= capacity_bytes


def footprint(spec: ModelSpec, workload: Workload, execution: Execution, forward: Iterable[OpCost]) -> Footprint:
    """Footprint of a workload whose ops are `forward`, on several GPUs those of one GPU's slice.

    Cache at prompt + new tokens; activations are the largest working set of any phase. Of a pipeline the most weights
    and the most cache of any stage.
    """
    return Footprint(
        weights=weight_bytes(spec, execution),
        kv=max_kv_bytes(spec, workload, execution),
        activations=working_set_bytes(forward),
    )


def weight_bytes(spec: ModelSpec, execution: Execution) -> int:
    """All weights on one GPU: the language model's linear layers as stored, all else at the activations' precision.

    Of a pipeline those of the fullest stage.

    >>> from perfkit.models import load_model
    >>> weight_bytes(load_model("llava-1.5-7b"), Execution())  # 7,063,427,072 parameters * 2 bytes
    14126854144
    """
    return max(stage_weight_bytes(spec, execution))


def stage_weight_bytes(spec: ModelSpec, execution: Execution) -> tuple[int, ...]:
    """Weights of one GPU of each stage.

    The first holds vision tower, projector and embeddings too, the last the final norm and lm_head; one that is tied to
    the token table is there a second time.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> # 8 layers of 202,383,360; before them tower 303,507,456, projector 20,979,712, table 131,334,144; behind 4,096 more
    >>> [2 * n for n in (8 * 202_383_360 + 455_821_312, 8 * 202_383_360, 8 * 202_383_360 + 131_338_240)]
    [4149776384, 3238133760, 3500810240]
    >>> stage_weight_bytes(llava, Execution(pp=4))
    (4149776384, 3238133760, 3238133760, 3500810240)
    """  # noqa: E501  # the arithmetic in one line
    part, of = part_of(spec, execution), execution.activations.bytes_of
    if part.text is None:
        stages_of(spec, execution.pp)
        return (int(of(part.parameters)),)
    text, stack = part.text, part.text.stack
    layer = _linear_bytes(stack, execution) + int(of(stack.other_parameters))
    stages = [layers * layer for layers in stages_of(spec, execution.pp)]
    stages[0] += int(of(part.parameters - text.parameters + text.embedding_parameters))
    stages[-1] += int(of(text.head_parameters))
    if len(stages) > 1 and text.tied and text.lm_head:
        stages[-1] += int(of(text.vocab * text.embedding_width))
    return tuple(stages)


def _linear_bytes(stack: StackSpec, execution: Execution) -> int:
    group = WEIGHT_GROUP if execution.weight_only else None
    return sum(
        count * ops.linear_weight_bytes(execution.weights, inputs, outputs, group)
        for inputs, outputs, count in stack.linear_shapes
    )


def max_kv_bytes(spec: ModelSpec, workload: Workload, execution: Execution) -> Amount:
    """Cache on one GPU, in the stage that has the most of it; heads that several GPUs need lie on each of them.

    >>> from perfkit.models import load_model
    >>> qwen = load_model("qwen2-7b")  # 28 layers, 4 key and value heads of 128
    >>> max_kv_bytes(qwen, Workload(0, 96, 4), Execution(tp=2, pp=2))  # 2 * 14 layers * 2 heads * 128 * 100 tokens * 2
    1433600
    """
    part, first, most = part_of(spec, execution), 0, 0
    for layers in stages_of(spec, execution.pp):
        most = ops.maximum(most, kv_bytes(part, workload, execution.kv, range(first, first + layers)))
        first += layers
    return most


def kv_bytes(spec: ModelSpec, workload: Workload, precision: Precision, of: range | None = None) -> Amount:
    """Keys and values of every layer for the prompt and all new tokens; 0 for models that keep no cache.

    `of`: layers that are meant, all by default.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> kv_bytes(llava, Workload(576, text_tokens=96, new_tokens=28), Precision.FP16)  # 2 * 32 * 700 * 4096 * 2
    367001600
    """
    if spec.text is None or not spec.has_decoder:
        return 0
    stack, later = spec.text.stack, workload.text_tokens + workload.new_tokens
    groups, meant = workload.layer_groups(stack.layers), range(stack.layers) if of is None else of
    ends = list(accumulate(group.layers for group in groups))
    elements = sum(
        2
        * max(min(end, meant.stop) - max(end - group.layers, meant.start), 0)
        * stack.attention.kv_width
        * (group.visual_tokens + later)
        for group, end in zip(groups, ends, strict=True)
    )
    return precision.bytes_of(workload.batch * elements)


def working_set_bytes(forward: Iterable[OpCost]) -> Amount:
    """Largest sum, over the ops of any phase, of one launch's inputs and outputs and the residual stream held beside.

    What a residual add writes is that stream.
    """
    largest: dict[str, Amount] = {}
    residual: dict[str, Amount] = {}
    for op in forward:
        launches = ops.maximum(op.repeat, 1)
        alive = ops.evenly(op.read_bytes + op.write_bytes, launches)
        largest[op.phase] = ops.maximum(largest.get(op.phase, 0), alive)
        if op.kind == "add":
            residual[op.phase] = ops.maximum(residual.get(op.phase, 0), ops.evenly(op.write_bytes, launches))
    total: Amount = 0
    for phase, alive in largest.items():
        total = ops.maximum(total, alive + residual.get(phase, 0))
    return total


class Remedy(NamedTuple):
    """One change that would make a workload fit: another format for `weights` or `kv`, a `batch`, a card's `capacity`.

    `value` is a precision, sequences, or bytes.
    """

    change: str
    value: Precision | int


def remedies(
    spec: ModelSpec, workload: Workload, execution: Execution, need: Footprint, capacity_bytes: float
) -> list[Remedy]:
    """Single changes that would make the workload fit a card of `capacity_bytes`, and the card that it needs.

    Activations are taken to shrink with the batch and to stay as they are otherwise.
    """
    found = []
    for weights in (Precision.INT8, Precision.INT4):
        narrower = replace(execution, weights=weights)
        if weights.bits < execution.weights.bits and _fits(spec, workload, narrower, need, capacity_bytes):
            found.append(Remedy("weights", weights))
    if execution.kv.bits > 8 and _fits(spec, workload, replace(execution, kv=Precision.INT8), need, capacity_bytes):
        found.append(Remedy("kv", Precision.INT8))
    room = capacity_bytes - RUNTIME_RESERVE_BYTES - need.weights
    batch = int(room * workload.batch // (need.kv + need.activations))
    if 1 <= batch < workload.batch:
        found.append(Remedy("batch", batch))
    return [*found, Remedy("capacity", int(need.needed))]


def _fits(spec: ModelSpec, workload: Workload, execution: Execution, need: Footprint, capacity_bytes: float) -> bool:
    kv = max_kv_bytes(spec, workload, execution)
    changed = Footprint(weight_bytes(spec, execution), kv, need.activations)
    return bool(changed.fits(capacity_bytes))
