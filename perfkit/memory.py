"""Does it fit: weights, cache and activations of a workload, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from perfkit import ops
from perfkit.models.spec import ModelSpec, StackSpec
from perfkit.ops import OpCost
from perfkit.units import GIB, Amount, Precision
from perfkit.workload import WEIGHT_GROUP, Execution, Workload

RUNTIME_RESERVE_BYTES = GIB  # CUDA context, libraries and allocator slack


class Footprint(NamedTuple):
    """Bytes that must lie on the card at once."""

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
    """Footprint of a workload whose ops are `forward`.

    Cache at prompt + new tokens; activations are the largest working set of any phase.
    """
    return Footprint(
        weights=weight_bytes(spec, execution),
        kv=kv_bytes(spec, workload, execution.kv),
        activations=working_set_bytes(forward),
    )


def weight_bytes(spec: ModelSpec, execution: Execution) -> int:
    """All weights: the language model's linear layers as stored, everything else at the activations' precision.

    >>> from perfkit.models import load_model
    >>> weight_bytes(load_model("llava-1.5-7b"), Execution())  # 7,063,427,072 parameters * 2 bytes
    14126854144
    """
    if spec.text is None:
        return int(execution.activations.bytes_of(spec.parameters))
    stack = spec.text.stack
    rest = spec.parameters - stack.layers * stack.linear_parameters
    return int(execution.activations.bytes_of(rest)) + stack.layers * _linear_bytes(stack, execution)


def _linear_bytes(stack: StackSpec, execution: Execution) -> int:
    group = WEIGHT_GROUP if execution.weight_only else None
    return sum(
        count * ops.linear_weight_bytes(execution.weights, inputs, outputs, group)
        for inputs, outputs, count in stack.linear_shapes
    )


def kv_bytes(spec: ModelSpec, workload: Workload, precision: Precision) -> Amount:
    """Keys and values of every layer for the prompt and all new tokens; 0 for models that keep no cache.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> kv_bytes(llava, Workload(576, text_tokens=96, new_tokens=28), Precision.FP16)  # 2 * 32 * 700 * 4096 * 2
    367001600
    """
    if spec.text is None or not spec.has_decoder:
        return 0
    stack, later = spec.text.stack, workload.text_tokens + workload.new_tokens
    elements = sum(
        2 * group.layers * stack.attention.kv_width * (group.visual_tokens + later)
        for group in workload.layer_groups(stack.layers)
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
        alive = (op.read_bytes + op.write_bytes) // launches
        largest[op.phase] = ops.maximum(largest.get(op.phase, 0), alive)
        if op.kind == "add":
            residual[op.phase] = ops.maximum(residual.get(op.phase, 0), op.write_bytes // launches)
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
    changed = Footprint(weight_bytes(spec, execution), kv_bytes(spec, workload, execution.kv), need.activations)
    return bool(changed.fits(capacity_bytes))
