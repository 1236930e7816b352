"""Ops of one transformer layer, and where they stand: in which formats, how often."""

from __future__ import annotations

from collections.abc import Iterator

from perfkit import ops
from perfkit.attention import AttentionShape, eager_attention, fused_attention
from perfkit.models.spec import FeedForwardSpec, StackSpec
from perfkit.ops import OpCost, Place
from perfkit.units import Amount
from perfkit.workload import WEIGHT_GROUP, Execution


def place_of(phase: str, execution: Execution, repeat: Amount = 1) -> Place:
    """Everything that is not a linear layer of the language model stands at the activations' precision."""
    a = execution.activations
    return Place(phase, repeat, a, a, execution.kv, a)


def linear_place(phase: str, execution: Execution, repeat: Amount = 1) -> Place:
    """Linear layers of the language model: the weights' precision, with group scales where they are narrower."""
    group = WEIGHT_GROUP if execution.weight_only else None
    return Place(phase, repeat, execution.weights, execution.activations, execution.kv, execution.product, group)


def norm_op(place: Place, name: str, rows: Amount, stack: StackSpec) -> OpCost:
    """Norm over the hidden width of `stack`."""
    return ops.norm(place, name, rows, stack.hidden, stack.norm, learned=stack.norm_weights)


def layer_ops(
    stack: StackSpec, place: Place, weights: Place, shape: AttentionShape, execution: Execution
) -> Iterator[OpCost]:
    """Ops of one layer over `shape`; `weights` is the place of its linear layers, `place` that of all else."""
    yield from _attention_block(stack, place, weights, shape, execution)
    rows, width = shape.batch * shape.queries, stack.hidden
    yield norm_op(place, "post_attention_norm", rows, stack)
    yield from _feed_forward(stack.feed_forward, place, weights, rows, width)
    yield ops.add(place, "ffn_residual", rows, width)


def attention_shape(stack: StackSpec, batch: Amount, queries: Amount, keys: Amount, *, cached: bool) -> AttentionShape:
    """Attention of a layer of `stack`, from `queries` tokens of each sequence to `keys`."""
    a = stack.attention
    return AttentionShape(batch, queries, keys, a.heads, a.kv_heads, a.head_dim, cached)


def _attention_block(
    stack: StackSpec, place: Place, weights: Place, shape: AttentionShape, execution: Execution
) -> Iterator[OpCost]:
    a, width, rows = stack.attention, stack.hidden, shape.batch * shape.queries
    yield norm_op(place, "input_norm", rows, stack)
    if a.fused_qkv:
        yield ops.linear(weights, "qkv_proj", rows, width, a.q_width + 2 * a.kv_width, bias=a.qkv_bias)
    else:
        yield ops.linear(weights, "q_proj", rows, width, a.q_width, bias=a.qkv_bias)
        yield ops.linear(weights, "k_proj", rows, width, a.kv_width, bias=a.qkv_bias)
        yield ops.linear(weights, "v_proj", rows, width, a.kv_width, bias=a.qkv_bias)
    if a.qk_norm:
        yield ops.norm(place, "q_norm", rows * a.heads, a.head_dim, stack.norm)
        yield ops.norm(place, "k_norm", rows * a.kv_heads, a.head_dim, stack.norm)
    if a.rotary:
        yield ops.rotary(place, "rotary", rows, shape.queries, a.q_width + a.kv_width, a.head_dim)
    if shape.cached:
        yield ops.kv_write(place, "kv_write", rows, a.kv_width)
    yield from attention_ops(place, "attention", shape, execution)
    yield ops.linear(weights, "o_proj", rows, a.q_width, width, bias=a.output_bias)
    yield ops.add(place, "attention_residual", rows, width)


def attention_ops(place: Place, name: str, shape: AttentionShape, execution: Execution) -> tuple[OpCost, ...]:
    """Attention by the kernels of the execution: one, or three through memory."""
    if execution.attention == "eager":
        return eager_attention(place, name, shape)
    return (fused_attention(place, name, shape),)


def _feed_forward(ffn: FeedForwardSpec, place: Place, weights: Place, rows: Amount, width: int) -> Iterator[OpCost]:
    if ffn.experts > 1:
        yield from _mixture(ffn, place, weights, rows, width)
    elif ffn.gated:
        yield ops.linear(weights, "gate_proj", rows, width, ffn.width, bias=ffn.bias)
        yield ops.linear(weights, "up_proj", rows, width, ffn.width, bias=ffn.bias)
        yield ops.gated_activation(place, "gated_act", rows, ffn.width, ffn.activation)
        yield ops.linear(weights, "down_proj", rows, ffn.width, width, bias=ffn.bias)
    else:
        yield ops.linear(weights, "fc1", rows, width, ffn.width, bias=ffn.bias)
        yield ops.activation(place, "act", rows, ffn.width, ffn.activation)
        yield ops.linear(weights, "fc2", rows, ffn.width, width, bias=ffn.bias)


def _mixture(ffn: FeedForwardSpec, place: Place, weights: Place, rows: Amount, width: int) -> Iterator[OpCost]:
    """Router, the chosen experts (gated), and the weighted sum of their outputs."""
    count, chosen = ffn.experts, ffn.experts_per_token
    yield ops.linear(weights, "router", rows, width, count)
    yield ops.softmax(place, "router_softmax", rows, count)
    for name in ("gate_proj", "up_proj"):
        yield ops.experts(weights, name, rows, width, ffn.width, count=count, chosen=chosen)
    yield ops.gated_activation(place, "gated_act", rows * chosen, ffn.width, ffn.activation)
    yield ops.experts(weights, "down_proj", rows, ffn.width, width, count=count, chosen=chosen)
    yield ops.weighted_sum(place, "combine", rows, chosen, width)
