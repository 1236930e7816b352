"""Ops of a tiny tower, its pooling head, what a reducer needs of it, its projector: every figure by hand, in fp16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from tiny import TINY, TOWER, activation, add, costs, norm, product

from perfkit.counting import projector_ops, reduced_vision_ops, reduction_ops, vision_ops, workload_of
from perfkit.kernel_shapes import KernelShape, gemm
from perfkit.models.spec import ModelSpec, VisionSpec
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution, Workload

BASE = Execution()
TWO = Workload(visual_tokens=8, images=2)  # two pictures: 10 positions, 8 patches
ONCE = costs("vision")


def of(vision: VisionSpec) -> ModelSpec:
    return replace(TINY, vision=vision)


def layers(count: int) -> list[OpCost]:
    """So many layers over 2 * 5 positions of width 4, with 2 heads of 2; the feed-forward is 7 wide."""
    cost = costs("vision", count)
    return [
        norm(cost, "input_norm", 10, 4, "layernorm"),
        *(product(cost, name, 10, 4, 4, bias=True) for name in ("q_proj", "k_proj", "v_proj")),
        cost(
            "attention",
            "attention",
            products=4 * 2 * 5 * 5 * 4,
            other=5 * 2 * 2 * 5 * 5,  # of 2 heads in 2 pictures
            read=2 * 3 * 10 * 4,  # queries, keys, values
            write=2 * 10 * 4,
            kernel=KernelShape("attention_encoder", None, None, None, 2, 5, 5, 2, 2, 2, 0),
        ),
        product(cost, "o_proj", 10, 4, 4, bias=True),
        add(cost, "attention_residual", 10, 4),
        norm(cost, "post_attention_norm", 10, 4, "layernorm"),
        product(cost, "fc1", 10, 4, 7, bias=True),
        activation(cost, "act", 10, 7, "quick_gelu", 4),
        product(cost, "fc2", 10, 7, 4, bias=True),
        add(cost, "ffn_residual", 10, 4),
    ]


FIRST = [
    # 8 patches of 12 numbers, without a bias
    ONCE(
        "patch_embedding",
        "convolution",
        products=2 * 8 * 12 * 4,
        weights=2 * 12 * 4,
        read=2 * 8 * 12,
        write=2 * 8 * 4,
        kernel=gemm(8, 4, 12),
    ),
    # a table of 5 positions, and the class token
    ONCE("position_embedding", "embedding", other=10 * 4, weights=2 * 6 * 4, read=2 * 8 * 4, write=2 * 10 * 4),
    norm(ONCE, "pre_norm", 10, 4, "layernorm"),
]


def post_norm(rows: int) -> OpCost:
    return norm(ONCE, "post_norm", rows, 4, "layernorm")


def test_a_tower_op_by_op() -> None:
    # CLIP's last norm is over the two class tokens alone
    assert list(vision_ops(TINY, TWO, BASE)) == [*FIRST, *layers(3), post_norm(2)]


def test_norms_around_the_layers_are_those_that_there_are() -> None:
    found = list(vision_ops(of(TOWER._replace(pre_norm=False, post_norm="none")), TWO, BASE))
    assert found == [*FIRST[:2], *layers(3)]
    every = list(vision_ops(of(TOWER._replace(post_norm="all")), TWO, BASE))
    assert every[-1] == post_norm(10)


def test_patches_may_have_a_bias() -> None:
    patches = next(iter(vision_ops(of(TOWER._replace(patch_bias=True)), TWO, BASE)))
    assert (patches.vector_flops, patches.weight_bytes) == (8 * 4, 2 * (12 * 4 + 4))


def test_eager_attention_of_a_tower() -> None:
    found = list(vision_ops(TINY, TWO, Execution(attention="eager")))
    assert [op.name for op in found[7:10]] == ["attention_qk", "attention_softmax", "attention_pv"]
    # 2 pictures * 2 heads * 5 * 5 scores; the tower has no cache
    assert found[7].write_bytes == 3 * 2 * 100
    assert not any(op.kv_read_bytes or op.kv_write_bytes for op in found)


def test_a_tower_runs_at_the_activations_precision() -> None:
    found = list(vision_ops(TINY, TWO, Execution(weights=Precision.INT4, activations=Precision.FP32)))
    whole = [*FIRST, *layers(3), post_norm(2)]
    assert [op.bytes for op in found] == [2 * op.bytes for op in whole]  # 4 bytes an element in place of 2
    assert {op.engine for op in found} == {Precision.FP32}


def test_pictures_of_all_sequences_and_their_tiles_pass_the_tower() -> None:
    # 3 sequences of 2 pictures of 5 tiles: 30 class tokens
    found = list(vision_ops(replace(TINY, tiles=5), replace(TWO, batch=3), BASE))
    assert found[-1] == post_norm(30)


def test_nothing_runs_where_no_token_enters_the_language_model() -> None:
    for ops in (vision_ops, projector_ops, reduced_vision_ops):
        assert not list(ops(TINY, Workload(visual_tokens=0, reduction="spatial:n=1"), BASE))
    assert not list(vision_ops(replace(TINY, vision=None), TWO, BASE))
    assert not list(projector_ops(replace(TINY, projector=None), TWO, BASE))


@pytest.mark.parametrize("ops", [vision_ops, projector_ops])
def test_at_points_of_a_sweep_without_tokens_nothing_runs(ops: Callable[..., Iterator[OpCost]]) -> None:
    swept = Workload(visual_tokens=np.array([0.0, 8.0]), images=2)
    found, whole = (list(ops(TINY, workload, BASE)) for workload in (swept, TWO))
    for op, one in zip(found, whole, strict=True):
        assert op.flops.tolist() == [0, one.flops]
        assert op.bytes.tolist() == [0, one.bytes]
        assert op.repeat.tolist() == [0, one.repeat]
    # where every point has some, what runs once is one number and no array
    assert {type(op.repeat) for op in ops(TINY, replace(swept, visual_tokens=np.array([4.0, 8.0])), BASE)} == {int}
    none = Workload(visual_tokens=np.array([0.0, 0.0]), images=2)
    assert not list(ops(TINY, none, BASE))


# --- SigLIP's pooling head


def test_a_pooling_head_op_by_op() -> None:
    siglip = TOWER._replace(class_token=False, post_norm="all", pooling_head=True)
    found = list(vision_ops(of(siglip), TWO, BASE))
    # 2 tiles of 4 positions; one query a tile
    assert found[-10:] == [
        post_norm(8),
        product(ONCE, "head_q_proj", 2, 4, 4, bias=True),
        product(ONCE, "head_kv_proj", 8, 4, 8, bias=True),  # keys and values in one
        ONCE(
            "head_attention",
            "attention",
            products=4 * 2 * 1 * 4 * 4,
            other=5 * 2 * 2 * 1 * 4,
            read=2 * (2 * 4 + 2 * 8 * 4),  # a query a tile, all keys and values
            write=2 * 2 * 4,
            kernel=KernelShape("attention_encoder", None, None, None, 2, 1, 4, 2, 2, 2, 0),
        ),
        product(ONCE, "head_o_proj", 2, 4, 4, bias=True),
        norm(ONCE, "head_norm", 2, 4, "layernorm"),
        product(ONCE, "head_fc1", 2, 4, 7, bias=True),
        activation(ONCE, "head_act", 2, 7, "quick_gelu", 4),
        product(ONCE, "head_fc2", 2, 7, 4, bias=True),
        add(ONCE, "head_residual", 2, 4),
    ]


# --- what a reducer needs, and the projector


def test_who_scores_by_the_class_token_needs_one_more_norm_one_query_and_all_keys() -> None:
    found = list(reduced_vision_ops(TINY, replace(TWO, reduction="prumerge"), BASE))
    layer = layers(1)
    assert found[:-3] == [*FIRST, *layers(2)]
    assert found[-3:-1] == [layer[0], layer[2]]  # input_norm and k_proj of 10 positions
    assert found[-1] == product(ONCE, "q_proj", 2, 4, 4, bias=True)  # of the two class tokens, with all its weights


def test_who_scores_by_the_class_token_needs_all_layers_but_the_last() -> None:
    # Features two layers before the last come through one layer; the last layer's keys take all before it.
    spec = of(TOWER._replace(unread_layers=2))
    by_scores, by_place = (
        list(reduced_vision_ops(spec, replace(TWO, reduction=text), BASE)) for text in ("prumerge", "spatial:n=2")
    )
    assert by_scores[3:-3] == layers(2)
    assert by_place == [*FIRST, *layers(1)]


def test_without_a_reducer_before_the_language_model_nothing_is_left_out_of_the_tower() -> None:
    for text in ("", "fastv"):
        assert not list(reduced_vision_ops(TINY, replace(TWO, reduction=text), BASE))
        assert not list(reduction_ops(TINY, replace(TWO, reduction=text), BASE))
    spatial = replace(TWO, reduction="spatial:n=2")
    assert not list(reduced_vision_ops(of(TOWER._replace(unread_layers=0)), spatial, BASE))
    for part in ("vision", "projector"):
        assert not list(reduction_ops(replace(TINY, **{part: None}), spatial, BASE))


def test_a_reducer_is_told_what_the_tower_makes() -> None:
    # The copy of the kept tokens: 3 sequences of 4 tokens, 4 features each.
    workload = workload_of(TINY, batch=3, images=2, reduction="spatial:n=2")
    found = list(reduction_ops(TINY, workload, BASE))
    assert {op.phase for op in found} == {"reduction"}
    assert found[-1].write_bytes == 2 * 3 * 4 * 4


def test_a_projector_op_by_op() -> None:
    cost = costs("projector")
    assert list(projector_ops(TINY, TWO, BASE)) == [
        product(cost, "linear_1", 8, 4, 8, bias=True),  # 8 tokens of 4 features, then 8 wide
        activation(cost, "act", 8, 8, "gelu", 5),
        product(cost, "linear_2", 8, 8, 8, bias=True),
    ]


def test_a_projector_without_a_bias_and_with_row_ends() -> None:
    assert TINY.projector is not None
    plain = replace(TINY, projector=TINY.projector._replace(bias=False), visual_tokens=6, newline_tokens=2)
    # 6 tokens a picture, 2 of them learned ends of rows: 3 sequences of 2 pictures project 2 * 4 each
    first, _, second = projector_ops(plain, Workload(visual_tokens=12, images=2, batch=3), BASE)
    assert (first.matmul_flops, first.vector_flops, first.weight_bytes) == (2 * 24 * 4 * 8, 0, 2 * 4 * 8)
    assert (second.matmul_flops, second.vector_flops, second.weight_bytes) == (2 * 24 * 8 * 8, 0, 2 * 8 * 8)
