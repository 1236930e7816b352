"""Ops of tiny language models and encoders: every figure by hand; linear layers in fp32, the cache in 8 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny import LLAMA, MIXED, PROMPT, TINY, Cost, add, costs, linear, norm, product

from perfkit.counting import decode_ops, prefill_ops
from perfkit.kernel_shapes import KernelShape, bmm, over_rows
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup

LLAMA_LAYERS = 3


def before_attention(cost: Cost, rows: int, positions: int) -> list[OpCost]:
    """Up to the cache of a layer of 4 query heads and 2 key heads of 3: widths 12 and 6."""
    return [
        norm(cost, "input_norm", rows, 8),
        linear(cost, "q_proj", rows, 8, 12),
        linear(cost, "k_proj", rows, 8, 6),
        linear(cost, "v_proj", rows, 8, 6),
        cost(
            "rotary",
            "rotary",
            other=3 * rows * 18,  # queries and keys
            read=2 * (rows * 18 + 2 * positions * 3),  # cosines and sines of a head
            write=2 * rows * 18,
        ),
        cost("kv_write", "kv_write", read=2 * 2 * rows * 6, kv_write=2 * rows * 6),
    ]


def after_attention(cost: Cost, rows: int) -> list[OpCost]:
    return [
        linear(cost, "o_proj", rows, 12, 8),
        add(cost, "attention_residual", rows, 8),
        norm(cost, "post_attention_norm", rows, 8),
        linear(cost, "gate_proj", rows, 8, 10),
        linear(cost, "up_proj", rows, 8, 10),
        cost(
            "gated_act",
            "activation",
            other=5 * rows * 10,  # SiLU, and the product with the other half
            read=2 * 2 * rows * 10,
            write=2 * rows * 10,
            kernel=over_rows("silu_mul", rows, 10),
        ),
        linear(cost, "down_proj", rows, 10, 8),
        add(cost, "ffn_residual", rows, 8),
    ]


def fused(cost: Cost, phase: str, queries: int, keys: int) -> OpCost:
    """Of 2 sequences: two products, 5 a score, queries and output 12 wide, keys and values 6 wide from the cache."""
    return cost(
        "attention",
        "attention",
        products=4 * 2 * queries * keys * 12,
        other=5 * 2 * 4 * queries * keys,
        read=2 * 2 * queries * 12,
        write=2 * 2 * queries * 12,
        kv_read=2 * 2 * keys * 6,
        kernel=KernelShape(
            f"attention_{phase}", None, None, None, 2, queries, keys, 4, 2, 3, causal=int(phase == "prefill")
        ),
    )


def embedded(phase: str, rows: int) -> OpCost:
    return costs(phase)("embed_tokens", "embedding", read=2 * rows * 8, write=2 * rows * 8)


# --- a language model


def test_prefill_op_by_op() -> None:
    once, layer = costs("prefill"), costs("prefill", LLAMA_LAYERS)
    assert list(prefill_ops(TINY, PROMPT, MIXED)) == [
        embedded("prefill", 20),
        once("merge_visual", "copy", read=2 * 8 * 8, write=2 * 8 * 8),  # 2 * 4 visual tokens
        *before_attention(layer, 20, 10),
        fused(layer, "prefill", 10, 10),
        *after_attention(layer, 20),
        norm(once, "final_norm", 20, 8),
        product(once, "lm_head", 2, 8, 11),  # the last token of each sequence
    ]


def test_a_decode_step_op_by_op() -> None:
    once, layer = costs("decode"), costs("decode", LLAMA_LAYERS)
    assert list(decode_ops(TINY, PROMPT, MIXED)) == [
        embedded("decode", 2),
        *before_attention(layer, 2, 1),
        fused(layer, "decode", 1, 11),  # the prompt and the token itself
        *after_attention(layer, 2),
        norm(once, "final_norm", 2, 8),
        product(once, "lm_head", 2, 8, 11),
    ]


def test_eager_attention_op_by_op() -> None:
    cost = costs("decode", LLAMA_LAYERS)
    found = [op for op in decode_ops(TINY, PROMPT, replace(MIXED, attention="eager")) if "attention_" in op.name][:4]
    scores = 2 * 4 * 1 * 11
    assert found == [
        # keys and values of 2 heads from the cache, in 1 byte, written for 4 heads in 2
        cost("attention_repeat_kv", "copy", write=2 * 2 * 22 * 12, kv_read=2 * 22 * 6),
        cost(
            "attention_qk",
            "attention",
            products=2 * scores * 3,
            read=2 * (2 * 12 + 22 * 12),
            write=2 * scores,
            kernel=bmm(8, 1, 11, 3),  # 2 sequences of 4 heads
        ),
        cost(
            "attention_softmax",
            "softmax",
            other=5 * scores,
            read=2 * scores,
            write=2 * scores,
            kernel=over_rows("softmax", 8, 11),
        ),
        cost(
            "attention_pv",
            "attention",
            products=2 * scores * 3,
            read=2 * (scores + 22 * 12),
            write=2 * 2 * 12,
            kernel=bmm(8, 1, 3, 11),
        ),
    ]


def test_weights_narrower_than_what_multiplies_them_have_a_scale_for_128() -> None:
    found = {op.name: op for op in decode_ops(TINY, PROMPT, Execution(weights=Precision.INT4))}
    # 8 * 12 / 2 bytes, and of each of 12 outputs one group of 8 inputs: 2 bytes; in three layers
    assert found["q_proj"].weight_bytes == 3 * (48 + 24)
    assert found["q_proj"].engine is Precision.FP16
    assert found["lm_head"].weight_bytes == 2 * 8 * 11  # stays in the activations' format
    wide = replace(TINY, text=LLAMA._replace(stack=LLAMA.stack._replace(hidden=136)))
    found = {op.name: op for op in decode_ops(wide, PROMPT, Execution(weights=Precision.INT4))}
    assert found["q_proj"].weight_bytes == 3 * (136 * 12 // 2 + 2 * 12 * 2)  # 136 = 128 + 8: two groups


def test_logits_of_all_tokens_or_of_none() -> None:
    every = list(prefill_ops(TINY, PROMPT, replace(MIXED, logits="all")))
    assert every[-1] == product(costs("prefill"), "lm_head", 20, 8, 11)
    assert list(prefill_ops(TINY, PROMPT, replace(MIXED, logits="none"))) == every[:-1]


def test_a_model_without_a_tower_merges_nothing() -> None:
    bare = replace(TINY, vision=None, projector=None)
    found = list(prefill_ops(bare, replace(PROMPT, visual_tokens=0), MIXED))
    assert [op.name for op in found[:2]] == ["embed_tokens", "input_norm"]
    with_tower = list(prefill_ops(TINY, replace(PROMPT, visual_tokens=0), MIXED))
    assert with_tower == found


def test_at_points_of_a_sweep_without_visual_tokens_nothing_is_merged() -> None:
    swept = replace(PROMPT, visual_tokens=np.array([0.0, 4.0]))
    merged = list(prefill_ops(TINY, swept, MIXED))[1]
    assert merged.name == "merge_visual"
    assert merged.repeat.tolist() == [0, 1]
    assert merged.write_bytes.tolist() == [0, 2 * 8 * 8]


def test_layers_see_the_tokens_of_their_group() -> None:
    scheduled = replace(PROMPT, schedule=(LayerGroup(1, 4), LayerGroup(2, 1)))
    found = [op for op in prefill_ops(TINY, scheduled, MIXED) if op.name == "attention"]
    assert found == [fused(costs("prefill", 1), "prefill", 10, 10), fused(costs("prefill", 2), "prefill", 7, 7)]
    found = [op for op in decode_ops(TINY, scheduled, MIXED) if op.name == "attention"]
    assert found == [fused(costs("decode", 1), "decode", 1, 11), fused(costs("decode", 2), "decode", 1, 8)]


def test_earlier_new_tokens_are_in_the_cache() -> None:
    (found,) = [op for op in decode_ops(TINY, PROMPT, MIXED, extra_tokens=5) if op.name == "attention"]
    assert found == fused(costs("decode", LLAMA_LAYERS), "decode", 1, 16)


# --- token reduction between its layers


def test_fastv_in_a_tiny_model() -> None:
    reduced = replace(PROMPT, reduction="fastv:k=2,r=0.5", schedule=(LayerGroup(2, 4), LayerGroup(1, 2)))
    found = [(op.name, op.repeat) for op in prefill_ops(TINY, reduced, MIXED)]
    kernels = [(name, repeat) for name, repeat in found if name in ("attention", "attention_qk", "gather_kept")]
    assert kernels == [("attention", 1), ("attention_qk", 1), ("gather_kept", 1), ("attention", 1)]
    ops = {op.name: op for op in prefill_ops(TINY, reduced, MIXED)}
    assert ops["attention_qk"].matmul_flops == 2 * 2 * 10 * 10 * 12  # 4 + 6 tokens see 4 + 6
    assert ops["attention"].matmul_flops == 4 * 2 * 8 * 8 * 12  # and in the last layer 2 + 6
    # 2 sequences of 2 + 6 tokens of 8 go on; the scores of 4 heads over 4 visual tokens were averaged
    assert ops["gather_kept"].write_bytes == 2 * 2 * 8 * 8
    assert ops["mean_last_row"].read_bytes == 2 * 2 * 4 * 4
    assert ops["final_norm"].write_bytes == 2 * 2 * 8 * 8
    # A schedule alone says nothing of how the tokens were chosen.
    assert "gather_kept" not in {op.name for op in prefill_ops(TINY, replace(reduced, reduction=""), MIXED)}


def test_sparsevlm_looks_at_text_and_pictures_before_the_first_layer() -> None:
    deeper = replace(TINY, text=LLAMA._replace(stack=LLAMA.stack._replace(layers=4)))
    groups = (LayerGroup(1, 4), LayerGroup(1, 3), LayerGroup(2, 2))
    reduced = replace(PROMPT, reduction="sparsevlm:layers=0/1,tokens=3/2", schedule=groups)
    found = list(prefill_ops(deeper, reduced, MIXED))
    assert [op.name for op in found[:4]] == ["embed_tokens", "merge_visual", "rater_scores", "rater_softmax"]
    # all 4 visual tokens against 6 of text in each of 2 sequences, 8 wide
    cost = costs("prefill")
    read, scores = 2 * 2 * (4 + 6) * 8, 2 * 4 * 6
    expected = cost("rater_scores", "selection", products=2 * scores * 8, read=read, write=2 * scores)
    assert found[2]._replace(kernel=None) == expected
    # 10 tokens in the first layer, 9 in the second, and in the last two, whose scores nothing reads, 8
    assert [op.matmul_flops for op in found if op.name == "attention_qk"] == [2 * 2 * n * n * 12 for n in (10, 9)]
    assert [op for op in found if op.name == "attention"] == [fused(costs("prefill", 2), "prefill", 8, 8)]


def test_pyramiddrop_projects_in_the_format_of_the_linear_layers() -> None:
    groups = (LayerGroup(2, 4), LayerGroup(1, 2))
    reduced = replace(PROMPT, reduction="pyramiddrop:stages=2", schedule=groups)
    found = list(prefill_ops(TINY, reduced, MIXED))
    # it makes the scores that it needs by itself, so that no layer is eager
    kernels = [fused(costs("prefill", 2), "prefill", 10, 10), fused(costs("prefill", 1), "prefill", 8, 8)]
    assert [op for op in found if op.name.startswith("attention") and op.kind == "attention"] == kernels
    # keys of 2 * 10 tokens, 8 -> 6
    (keys,) = [op for op in found if op.name == "rank_k_proj"]
    assert keys == linear(costs("prefill"), "rank_k_proj", 20, 8, 6)._replace(kind="selection")
    assert {op.phase for op in found} == {"prefill"}


def test_a_reducer_before_the_language_model_does_nothing_in_it() -> None:
    scheduled = replace(PROMPT, schedule=(LayerGroup(1, 4), LayerGroup(2, 2)))
    reduced = replace(scheduled, reduction="spatial:n=4")
    assert list(prefill_ops(TINY, reduced, MIXED)) == list(prefill_ops(TINY, scheduled, MIXED))


# --- parts that are not there


def test_norms_that_are_not_learned_have_no_weights() -> None:
    text = LLAMA._replace(stack=LLAMA.stack._replace(norm_weights=False))
    found = [op for op in prefill_ops(replace(TINY, text=text), PROMPT, MIXED) if op.kind == "norm"]
    assert [op.weight_bytes for op in found] == [0, 0, 0]


def test_a_tower_alone_has_no_language_model() -> None:
    bare = replace(TINY, text=None)
    assert not list(prefill_ops(bare, PROMPT, MIXED))
    assert not list(decode_ops(bare, PROMPT, MIXED))
