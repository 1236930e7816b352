"""Ops of a tiny mixture of experts and a tiny encoder: every figure by hand; linear layers in fp32."""

from __future__ import annotations

from dataclasses import replace

from tiny import LLAMA, MIXED, PROMPT, Cost, activation, add, costs, linear, norm, product

from perfkit.counting import decode_ops, prefill_ops
from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, TextSpec
from perfkit.ops import OpCost
from perfkit.workload import Workload

MIXTURE = TextSpec(
    LLAMA.stack._replace(
        attention=LLAMA.stack.attention._replace(qk_norm=True),
        feed_forward=FeedForwardSpec(10, gated=True, activation="silu", experts=4, experts_per_token=2),
    ),
    vocab=11,
    context=64,
    embedding_width=8,
)
ENCODER = TextSpec(
    StackSpec(
        hidden=8,
        layers=2,
        attention=AttentionSpec(2, 2, 4, causal=False, rotary=False, qkv_bias=True, output_bias=True, fused_qkv=True),
        feed_forward=FeedForwardSpec(12, gated=False, activation="gelu", bias=True),
        norm="rmsnorm",
    ),
    vocab=11,
    context=32,
    embedding_width=6,
    position_rows=32,
    token_types=2,
    embedding_norm=True,
    lm_head=False,
    pooler=True,
)


def text_only(text: TextSpec) -> ModelSpec:
    return ModelSpec("tiny", "tiny", "by hand", text)


def experts(cost: Cost, name: str, inputs: int, outputs: int) -> OpCost:
    """Two tokens go to two of four experts each: 4 rows; 4 (1 - 1/2^2) = 3 experts are touched."""
    op = linear(cost, name, 4, inputs, outputs)
    return op._replace(weight_bytes=3 * op.weight_bytes, kernel=None)


def test_a_mixture_op_by_op() -> None:
    cost = costs("decode", 3)
    found = list(decode_ops(text_only(MIXTURE), replace(PROMPT, visual_tokens=0), MIXED))
    names = [op.name for op in found]
    # RMSNorm over each head of 3: of 4 and of 2 heads of 2 tokens
    start = names.index("q_norm")
    assert found[start : start + 2] == [norm(cost, "q_norm", 8, 3), norm(cost, "k_norm", 4, 3)]
    start = names.index("router")
    assert found[start : start + 8] == [
        linear(cost, "router", 2, 8, 4),
        cost(
            "router_softmax",
            "softmax",
            other=5 * 2 * 4,
            read=2 * 2 * 4,
            write=2 * 2 * 4,
            kernel=over_rows("softmax", 2, 4),
        ),
        experts(cost, "gate_proj", 8, 10),
        experts(cost, "up_proj", 8, 10),
        cost(
            "gated_act",
            "activation",
            other=5 * 4 * 10,
            read=2 * 2 * 4 * 10,
            write=2 * 4 * 10,
            kernel=over_rows("silu_mul", 4, 10),
        ),
        experts(cost, "down_proj", 10, 8),
        # two vectors of 8 a token, times their weights, summed
        cost("combine", "add", other=2 * 2 * 2 * 8, read=2 * 2 * 2 * 8, write=2 * 2 * 8),
        add(cost, "ffn_residual", 2, 8),
    ]


def test_two_experts_are_a_mixture() -> None:
    two = FeedForwardSpec(10, gated=True, activation="silu", experts=2)
    text = LLAMA._replace(stack=LLAMA.stack._replace(feed_forward=two))
    found = {op.name: op for op in decode_ops(text_only(text), replace(PROMPT, visual_tokens=0), MIXED)}
    assert found["router"] == linear(costs("decode", 3), "router", 2, 8, 2)
    assert found["up_proj"].weight_bytes == 3 * 1.5 * 4 * 8 * 10  # of 2 (1 - 1/2^2) = 1.5 experts


def test_an_encoder_op_by_op() -> None:
    once, layer = costs("prefill"), costs("prefill", 2)
    found = list(prefill_ops(text_only(ENCODER), Workload(0, 5, batch=3), MIXED))
    assert found == [
        once("embed_tokens", "embedding", read=2 * 15 * 6, write=2 * 15 * 6),
        product(once, "project_in", 15, 6, 8),
        # 5 positions and as many token types, read once for all sequences
        once("embed_positions", "embedding", other=2 * 15 * 8, read=2 * (15 * 8 + 2 * 5 * 8), write=2 * 15 * 8),
        norm(once, "embedding_norm", 15, 8),
        norm(layer, "input_norm", 15, 8),
        linear(layer, "qkv_proj", 15, 8, 24, bias=True),
        layer(
            "attention",
            "attention",
            products=4 * 3 * 5 * 5 * 8,
            other=5 * 3 * 2 * 5 * 5,
            read=2 * 3 * 15 * 8,  # queries, keys, values: no cache
            write=2 * 15 * 8,
            kernel=KernelShape("attention_encoder", None, None, None, 3, 5, 5, 2, 2, 4, 0),
        ),
        linear(layer, "o_proj", 15, 8, 8, bias=True),
        add(layer, "attention_residual", 15, 8),
        norm(layer, "post_attention_norm", 15, 8),
        linear(layer, "fc1", 15, 8, 12, bias=True),
        activation(layer, "act", 15, 12, "gelu", 5),
        linear(layer, "fc2", 15, 12, 8, bias=True),
        add(layer, "ffn_residual", 15, 8),
        norm(once, "final_norm", 15, 8),
        product(once, "project_out", 15, 8, 6),
        # over the first token of each sequence
        product(once, "pooler", 3, 8, 8, bias=True),
        activation(once, "pooler_act", 3, 8, "tanh", 1),
    ]
    assert not list(decode_ops(text_only(ENCODER), Workload(0, 5), MIXED))


def test_biases_and_tables_are_those_that_there_are() -> None:
    stack = ENCODER.stack._replace(attention=ENCODER.stack.attention._replace(fused_qkv=False))
    plain = ENCODER._replace(stack=stack, token_types=0, embedding_norm=False, final_norm=False, pooler=False)
    found = {op.name: op for op in prefill_ops(text_only(plain), Workload(0, 5, batch=3), MIXED)}
    layer = costs("prefill", 2)
    for name in ("q_proj", "k_proj", "v_proj"):
        assert found[name] == linear(layer, name, 15, 8, 8, bias=True)
    assert found["embed_positions"].vector_flops == 15 * 8  # one table
    of_one_row = text_only(plain._replace(position_rows=1, token_types=1))
    rows = {op.name: op for op in prefill_ops(of_one_row, Workload(0, 1, batch=3), MIXED)}["embed_positions"]
    assert rows.vector_flops == 2 * 3 * 8  # two tables, however short
    assert not {"embedding_norm", "final_norm", "pooler", "pooler_act", "lm_head"} & set(found)
    rotary = text_only(plain._replace(position_rows=0))
    assert "embed_positions" not in {op.name for op in prefill_ops(rotary, Workload(0, 5), MIXED)}
    gated = stack._replace(feed_forward=FeedForwardSpec(10, gated=True, activation="silu", bias=True))
    found = {op.name: op for op in prefill_ops(text_only(plain._replace(stack=gated)), Workload(0, 5, batch=3), MIXED)}
    for name, inputs, outputs in (("gate_proj", 8, 10), ("up_proj", 8, 10), ("down_proj", 10, 8)):
        assert found[name] == linear(layer, name, 15, inputs, outputs, bias=True)
