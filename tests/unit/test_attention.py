"""Cost of attention by hand, with small numbers; bytes are fp16 (2 an element) unless a test says otherwise."""

from __future__ import annotations

import pytest

from perfkit.attention import AttentionShape, eager_attention, fused_attention
from perfkit.kernel_shapes import KernelShape, bmm, over_rows
from perfkit.ops import OpCost, Place
from perfkit.units import Precision

HALF = Precision.FP16
PLACE = Place("prefill", 1, HALF, HALF, HALF, HALF)
# int4 weights in groups of 4, 8-bit cache, fp32 activations: no two figures share a width
MIXED = Place("prefill", 1, Precision.INT4, Precision.FP32, Precision.INT8, Precision.FP32, group=4)


def traffic(op: OpCost) -> tuple[float, float, float, float, float]:
    """Weights, reads, writes, cache reads, cache writes."""
    return op.weight_bytes, op.read_bytes, op.write_bytes, op.kv_read_bytes, op.kv_write_bytes


def work(op: OpCost) -> tuple[float, float]:
    """FLOPs of products, and element-wise ones."""
    return op.matmul_flops, op.vector_flops


# 2 sequences, 3 queries on 5 keys, 4 heads of 6: queries 2 * 3 * 24 = 144, keys 2 * 5 * 24 = 240 elements,
# scores 2 * 4 * 3 * 5 = 120; one product 2 * 120 * 6 = 1440 FLOPs
EVERY_HEAD = AttentionShape(batch=2, queries=3, keys=5, heads=4, kv_heads=4, head_dim=6, cached=False)
GROUPED = EVERY_HEAD._replace(kv_heads=2)  # keys 2 * 5 * 12 = 120 elements


def test_fused_attention_over_activations() -> None:
    op = fused_attention(PLACE, "attention", EVERY_HEAD)
    assert op.kind == "attention"
    assert work(op) == (2880, 600)  # two products; softmax 5 a score
    assert traffic(op) == (0, 1248, 288, 0, 0)  # (144 + 2 * 240) * 2 in; 144 * 2 out; no scores


def test_fused_attention_over_the_cache() -> None:
    op = fused_attention(PLACE, "attention", EVERY_HEAD._replace(cached=True))
    assert work(op) == (2880, 600)
    assert traffic(op) == (0, 288, 288, 960, 0)  # keys and values from the cache, once each


def test_fused_attention_reads_a_shared_head_once() -> None:
    op = fused_attention(PLACE, "attention", GROUPED._replace(cached=True))
    assert work(op) == (2880, 600)  # every query head multiplies all the same
    assert traffic(op) == (0, 288, 288, 480, 0)


def test_fused_attention_with_a_narrow_cache() -> None:
    op = fused_attention(MIXED, "attention", GROUPED._replace(cached=True))
    assert traffic(op) == (0, 576, 576, 240, 0)  # fp32 queries and outputs, 8-bit keys and values
    assert op.engine is Precision.FP32


def test_eager_attention_writes_its_scores_and_reads_them_twice() -> None:
    scores, softmax, values = eager_attention(PLACE, "attention", EVERY_HEAD)
    assert [op.name for op in (scores, softmax, values)] == ["attention_qk", "attention_softmax", "attention_pv"]
    assert [op.kind for op in (scores, softmax, values)] == ["attention", "softmax", "attention"]
    assert work(scores) == (1440, 0)
    assert traffic(scores) == (0, 768, 240, 0, 0)  # (144 + 240) * 2 in; 120 scores out
    assert work(softmax) == (0, 600)
    assert traffic(softmax) == (0, 240, 240, 0, 0)  # scores in and out
    assert work(values) == (1440, 0)
    assert traffic(values) == (0, 720, 288, 0, 0)  # (120 + 240) * 2 in; 144 out


def test_eager_attention_reads_keys_and_values_from_the_cache() -> None:
    scores, _, values = eager_attention(PLACE, "attention", EVERY_HEAD._replace(cached=True))
    assert traffic(scores) == (0, 288, 240, 480, 0)
    assert traffic(values) == (0, 240, 288, 480, 0)


def test_eager_attention_copies_shared_heads_out() -> None:
    copy, scores, softmax, values = eager_attention(PLACE, "attention", GROUPED._replace(cached=True))
    assert copy.name == "attention_repeat_kv"
    assert work(copy) == (0, 0)
    # keys and values of 2 heads from the cache, 2 * 120 * 2; written for 4 heads, 2 * 240 * 2
    assert traffic(copy) == (0, 0, 960, 480, 0)
    # then as without sharing, from the copies and no longer from the cache
    assert (scores, softmax, values) == eager_attention(PLACE, "attention", EVERY_HEAD)


def test_eager_and_fused_do_the_same_work() -> None:
    for shape in (EVERY_HEAD, GROUPED, GROUPED._replace(cached=True)):
        eager, fused = eager_attention(PLACE, "a", shape), fused_attention(PLACE, "a", shape)
        assert sum(op.matmul_flops for op in eager) == fused.matmul_flops
        assert sum(op.vector_flops for op in eager) == fused.vector_flops
        assert sum(op.bytes for op in eager) > fused.bytes


def test_shared_heads_that_are_activations_are_read_as_such() -> None:
    copy, *_ = eager_attention(PLACE, "attention", GROUPED)
    assert traffic(copy) == (0, 480, 960, 0, 0)  # 2 * 120 elements in, 2 * 240 out
    assert (copy.kind, copy.kernel) == ("copy", None)
    assert {type(figure) for figure in copy[5:12]} == {int}


@pytest.mark.parametrize(
    ("phase", "cached", "op", "causal"),
    [
        ("prefill", True, "attention_prefill", 1),
        ("decode", True, "attention_decode", 0),
        ("prefill", False, "attention_encoder", 0),  # a text encoder
        ("vision", False, "attention_encoder", 0),
    ],
)
def test_the_fused_kernel(phase: str, cached: bool, op: str, causal: int) -> None:
    made = fused_attention(PLACE._replace(phase=phase), "attention", GROUPED._replace(cached=cached))
    sizes = {"batch": 2, "q_tokens": 3, "kv_tokens": 5, "heads": 4, "kv_heads": 2, "head_dim": 6}
    assert made.kernel == KernelShape(op, **sizes, causal=causal)
    assert (made.phase, made.name) == (phase, "attention")


def test_the_kernels_of_eager_attention() -> None:
    # 8 heads of both sequences: (3, 6) x (6, 5), softmax over 24 rows of 5, (3, 5) x (5, 6)
    found = eager_attention(PLACE, "attention", EVERY_HEAD)
    assert [op.kernel for op in found] == [bmm(8, 3, 5, 6), over_rows("softmax", 24, 5), bmm(8, 3, 6, 5)]


def test_figures_are_totals_over_the_repeats() -> None:
    thrice = PLACE._replace(repeat=3)
    for shape in (EVERY_HEAD, GROUPED, GROUPED._replace(cached=True)):
        made = zip(eager_attention(thrice, "a", shape), eager_attention(PLACE, "a", shape), strict=True)
        for many, one in (*made, (fused_attention(thrice, "a", shape), fused_attention(PLACE, "a", shape))):
            assert work(many) == tuple(3 * figure for figure in work(one))
            assert traffic(many) == tuple(3 * figure for figure in traffic(one))
