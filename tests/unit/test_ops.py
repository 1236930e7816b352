"""Cost formulas by hand, with small numbers; bytes are fp16 (2 an element) unless a test says otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit import ops
from perfkit.kernel_shapes import KernelShape, gemm, over_rows
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


# --- op costs and places


def test_flops_and_bytes_are_sums() -> None:
    op = OpCost("prefill", "x", "linear", 1, HALF, 1, 2, 4, 8, 16, 32, 64)
    assert op.flops == 3  # 1 + 2
    assert op.bytes == 124  # 4 + 8 + 16 + 32 + 64


@pytest.mark.parametrize(("products", "multiplies"), [(0, False), (1, True), (0.0, True), (np.zeros(2), True)])
def test_an_op_multiplies_unless_its_products_are_the_number_0(products: object, multiplies: bool) -> None:
    # a figure of a sweep may be zero at some of its points only
    assert OpCost("prefill", "x", "linear", 1, HALF, products).multiplies is multiplies


def test_an_op_costs_nothing_that_is_not_said() -> None:
    assert OpCost("prefill", "x", "copy", 1, HALF)[5:] == (0, 0, 0, 0, 0, 0, 0, None)
    assert PLACE._replace(repeat=2).cost("x", "copy") == OpCost("prefill", "x", "copy", 2, HALF)
    assert PLACE.group is None


def test_every_figure_of_a_place_goes_to_its_own() -> None:
    # twice; 4 bytes an element read or written, 1 in the cache, weights as they are given
    kernel = gemm(1, 2, 3)
    figures = {"matmul": 1, "vector": 2, "weight_bytes": 4, "read": 8, "write": 16, "kv_read": 32, "kv_write": 64}
    op = MIXED._replace(repeat=2).cost("x", "linear", **figures, kernel=kernel)  # type: ignore[arg-type]
    assert op == ("prefill", "x", "linear", 2, Precision.FP32, 2, 4, 8, 2 * 8 * 4, 2 * 16 * 4, 64, 128, kernel)


def test_figures_are_totals_over_the_repeats() -> None:
    once = ops.linear(PLACE, "q_proj", 2, 3, 5, bias=True)
    thrice = ops.linear(PLACE._replace(repeat=3), "q_proj", 2, 3, 5, bias=True)
    assert thrice.repeat == 3
    assert work(thrice) == tuple(3 * figure for figure in work(once))
    assert traffic(thrice) == tuple(3 * figure for figure in traffic(once))


def test_figures_of_whole_numbers_are_whole() -> None:
    place = MIXED._replace(repeat=3)
    made = [
        ops.linear(place, "x", 3, 6, 5, bias=True),
        ops.norm(place, "x", 3, 7, "layernorm"),
        ops.patch_positions(place, "x", 2, 4, 5, 3),
        ops.rotary(place, "x", 6, 3, 12, 4),
        ops.kv_write(place, "x", 3, 5),
    ]
    assert {type(figure) for op in made for figure in op[5:12]} == {int}


# --- what an op is: its kind, and the kernel that tables of measured kernels name


@pytest.mark.parametrize(
    ("op", "kind", "kernel"),
    [
        (ops.linear(PLACE, "x", 3, 4, 5), "linear", gemm(3, 5, 4)),
        (ops.linear(PLACE, "x", 3, 4, 5, kind="convolution"), "convolution", gemm(3, 5, 4)),
        (ops.experts(PLACE, "x", 3, 4, 5, count=8, chosen=2), "linear", None),  # several products of unknown sizes
        (ops.norm(PLACE, "x", 3, 4, "rmsnorm"), "norm", over_rows("rmsnorm", 3, 4)),
        (ops.norm(PLACE, "x", 3, 4, "layernorm"), "norm", over_rows("layernorm", 3, 4)),
        (ops.add(PLACE, "x", 3, 4), "add", over_rows("add", 3, 4)),
        (ops.activation(PLACE, "x", 3, 4, "gelu"), "activation", over_rows("gelu", 3, 4)),
        (ops.gated_activation(PLACE, "x", 3, 4, "silu"), "activation", over_rows("silu_mul", 3, 4)),
        (ops.softmax(PLACE, "x", 3, 4), "softmax", over_rows("softmax", 3, 4)),
        (ops.rotary(PLACE, "x", 3, 3, 4, 2), "rotary", None),
        (ops.embedding(PLACE, "x", 3, 4), "embedding", None),
        (ops.position_rows(PLACE, "x", 3, 3, 4), "embedding", None),
        (ops.patch_positions(PLACE, "x", 3, 4, 5, 2), "embedding", None),
        (ops.weighted_sum(PLACE, "x", 3, 2, 4), "add", None),
        (ops.copy(PLACE, "x", 3, 4), "copy", None),
        (ops.kv_write(PLACE, "x", 3, 4), "kv_write", None),
    ],
)
def test_kinds_and_kernels(op: OpCost, kind: str, kernel: KernelShape | None) -> None:
    assert (op.phase, op.name, op.kind, op.repeat, op.engine) == ("prefill", "x", kind, 1, HALF)
    assert op.kernel == kernel


# --- linear


def test_linear() -> None:
    op = ops.linear(PLACE, "q_proj", 2, 3, 5)
    assert (op.phase, op.name, op.kind, op.repeat, op.engine) == ("prefill", "q_proj", "linear", 1, HALF)
    assert work(op) == (60, 0)  # 2 * 2 * 3 * 5
    assert traffic(op) == (30, 12, 20, 0, 0)  # 3 * 5 * 2, 2 * 3 * 2, 2 * 5 * 2


def test_linear_with_bias() -> None:
    op = ops.linear(PLACE, "q_proj", 2, 3, 5, bias=True)
    assert work(op) == (60, 10)  # one add for each of 2 * 5 outputs
    assert traffic(op) == (40, 12, 20, 0, 0)  # and 5 * 2 bytes of bias


def test_linear_in_mixed_precisions() -> None:
    # weights 6 * 5 / 2 = 15, scales ceil(6 / 4) = 2 a column of 5, 2 bytes each = 20, bias 5 * 4 = 20
    # reads 2 * 6 * 4, writes 2 * 5 * 4
    assert traffic(ops.linear(MIXED, "q_proj", 2, 6, 5, bias=True)) == (55, 48, 40, 0, 0)


@pytest.mark.parametrize(
    ("weights", "group", "expected"),
    [
        ("fp32", None, 60),  # 3 * 5 * 4
        ("tf32", None, 60),  # stored as fp32
        ("fp16", None, 30),
        ("bf16", None, 30),
        ("fp8", None, 15),
        ("int8", None, 15),
        ("int4", None, 8),  # 7.5, in whole bytes
        ("int8", 2, 35),  # 15 and 2 groups * 5 columns * 2 bytes
        ("int4", 3, 18),  # 8 and 1 group * 5 * 2
    ],
)
def test_weight_bytes_of_a_matrix(weights: str, group: int | None, expected: int) -> None:
    assert ops.linear_weight_bytes(Precision(weights), 3, 5, group) == expected


# --- experts


@pytest.mark.parametrize(
    ("rows", "count", "chosen", "expected"),
    [
        (1, 8, 2, 2.0),  # 8 (1 - 3/4)
        (4, 8, 2, 5.46875),  # 8 (1 - 81/256) = 8 * 175/256
        (1, 4, 4, 4.0),  # everyone is chosen
        (2, 4, 1, 1.75),  # 4 (1 - 9/16)
    ],
)
def test_touched_experts(rows: int, count: int, chosen: int, expected: float) -> None:
    assert ops.touched_experts(rows, count, chosen) == expected


def test_touched_experts_are_what_drawing_gives() -> None:
    chance = np.random.default_rng(7)
    drawn = [len({e for _ in range(3) for e in chance.choice(8, 2, replace=False)}) for _ in range(4000)]
    # 8 (1 - 27/64) = 4.625; deviation of the mean of 4000 is below 0.02
    assert np.mean(drawn) == pytest.approx(ops.touched_experts(3, 8, 2), abs=0.06)


def test_experts() -> None:
    op = ops.experts(PLACE, "up_proj", 2, 4, 6, count=8, chosen=2)
    assert op.kind == "linear"
    assert work(op) == (192, 0)  # 2 rows * 2 experts = 4 products of 2 * 4 * 6
    # 3.5 experts of 4 * 6 * 2 bytes; 4 rows of 4 read, 4 of 6 written, 2 bytes each
    assert traffic(op) == (168.0, 32, 48, 0, 0)


# --- norms, activations, adds


def test_rms_norm() -> None:
    op = ops.norm(PLACE, "input_norm", 3, 10, "rmsnorm")
    assert work(op) == (0, 120)  # 4 an element: square, sum, times the reciprocal root, times the scale
    assert traffic(op) == (20, 60, 60, 0, 0)  # scale 10 * 2; 3 * 10 * 2 in and out


def test_layer_norm() -> None:
    op = ops.norm(PLACE, "input_norm", 3, 10, "layernorm")
    assert work(op) == (0, 210)  # 7 an element
    assert traffic(op) == (40, 60, 60, 0, 0)  # scale and shift


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_norm_without_weights(kind: str) -> None:
    plain, learned = (ops.norm(PLACE, "input_norm", 3, 10, kind, learned=learned) for learned in (False, True))
    assert plain == learned._replace(weight_bytes=0)
    assert learned == ops.norm(PLACE, "input_norm", 3, 10, kind)


def test_residual() -> None:
    op = ops.add(PLACE, "residual", 3, 10)
    assert work(op) == (0, 30)
    assert traffic(op) == (0, 120, 60, 0, 0)  # both operands


# Elementary operations of one element, exp, erf and tanh one each.
ACTIVATION_WORK = {
    "relu": 1,
    "tanh": 1,
    "silu": 4,  # negate, exp, add, divide
    "swish": 4,
    "quick_gelu": 4,  # times -1.702, exp, add, divide
    "gelu": 5,  # times 1/sqrt(2), erf, add, times x, times 0.5
    "gelu_python": 5,
    "gelu_new": 9,  # two for the cube, times 0.044715, add x, times sqrt(2/pi), tanh, add, times x, times 0.5
    "gelu_fast": 9,
    "gelu_pytorch_tanh": 9,
}


def test_every_activation_that_a_model_may_name_has_a_cost() -> None:
    assert set(ACTIVATION_WORK) == set(ops.ACTIVATION_FLOPS)


@pytest.mark.parametrize(("function", "flops"), ACTIVATION_WORK.items())
def test_activation(function: str, flops: int) -> None:
    op = ops.activation(PLACE, "act", 3, 10, function)
    assert work(op) == (0, 30 * flops)
    assert traffic(op) == (0, 60, 60, 0, 0)


@pytest.mark.parametrize(("function", "flops"), ACTIVATION_WORK.items())
def test_gated_activation(function: str, flops: int) -> None:
    op = ops.gated_activation(PLACE, "act", 3, 10, function)
    assert work(op) == (0, 30 * (flops + 1))  # and the product with the other half
    assert traffic(op) == (0, 120, 60, 0, 0)  # gate and up in


def test_softmax() -> None:
    op = ops.softmax(PLACE, "router_softmax", 3, 8)
    assert work(op) == (0, 120)  # 5 an element: maximum, subtract, exp, sum, divide
    assert traffic(op) == (0, 48, 48, 0, 0)


def test_weighted_sum() -> None:
    op = ops.weighted_sum(PLACE, "combine", 3, 2, 10)
    assert work(op) == (0, 120)  # 3 * 2 * 10 products and sums
    assert traffic(op) == (0, 120, 60, 0, 0)


def test_copy() -> None:
    op = ops.copy(PLACE, "merge_visual", 3, 10)
    assert work(op) == (0, 0)
    assert traffic(op) == (0, 60, 60, 0, 0)


# --- embeddings and positions


def test_embedding_reads_rows_and_no_table() -> None:
    op = ops.embedding(PLACE, "embed_tokens", 3, 10)
    assert work(op) == (0, 0)
    assert traffic(op) == (0, 60, 60, 0, 0)


def test_position_rows_are_read_once_for_all_sequences() -> None:
    # 2 sequences of 3 positions: 6 rows of 10; the positions' own rows are 3
    op = ops.position_rows(PLACE, "embed_positions", 6, 3, 10)
    assert work(op) == (0, 60)
    assert traffic(op) == (0, 180, 120, 0, 0)  # (60 + 30) * 2 in, 60 * 2 out


def test_two_tables_of_position_rows() -> None:
    op = ops.position_rows(PLACE, "embed_positions", 6, 3, 10, tables=2)  # positions and token types
    assert work(op) == (0, 120)
    assert traffic(op) == (0, 240, 120, 0, 0)  # (60 + 2 * 30) * 2


def test_patch_positions_with_a_class_token() -> None:
    # 2 tiles of 4 patches and a class token, width 3
    op = ops.patch_positions(PLACE, "position_embedding", 2, 4, 5, 3)
    assert work(op) == (0, 30)  # 2 * 5 * 3
    assert traffic(op) == (36, 48, 60, 0, 0)  # (5 + 1) * 3 * 2; 2 * 4 * 3 * 2; 2 * 5 * 3 * 2


def test_patch_positions_without_a_class_token() -> None:
    op = ops.patch_positions(PLACE, "position_embedding", 2, 4, 4, 3)
    assert traffic(op) == (24, 48, 48, 0, 0)  # 4 * 3 * 2; 2 * 4 * 3 * 2 in and out


def test_rotary_reads_cosines_and_sines_once_a_position() -> None:
    # 2 sequences of 3 positions; queries 8 and keys 4 wide, heads of 4
    op = ops.rotary(PLACE, "rotary", 6, 3, 12, 4)
    assert work(op) == (0, 216)  # 72 elements, two products and a sum each
    assert traffic(op) == (0, 192, 144, 0, 0)  # (72 + 2 * 3 * 4) * 2 in, 72 * 2 out


def test_kv_write() -> None:
    op = ops.kv_write(PLACE, "kv_write", 3, 4)
    assert work(op) == (0, 0)
    assert traffic(op) == (0, 48, 0, 0, 48)  # keys and values: 2 * 3 * 4 * 2
    # fp32 activations into an 8-bit cache
    assert traffic(ops.kv_write(MIXED, "kv_write", 3, 4)) == (0, 96, 0, 0, 24)


# --- maximum and minimum


@pytest.mark.parametrize(("first", "second", "larger", "smaller"), [(1, 2, 2, 1), (2, 1, 2, 1), (3, 3, 3, 3)])
def test_maximum_and_minimum_of_numbers(first: int, second: int, larger: int, smaller: int) -> None:
    assert ops.maximum(first, second) == larger
    assert ops.minimum(first, second) == smaller
    assert type(ops.maximum(first, second)) is type(ops.minimum(first, second)) is int


def test_maximum_and_minimum_of_arrays() -> None:
    rising, falling = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    assert ops.maximum(rising, falling).tolist() == [3.0, 2.0, 3.0]
    assert ops.minimum(rising, falling).tolist() == [1.0, 2.0, 1.0]
    assert ops.maximum(rising, 2).tolist() == ops.maximum(2, rising).tolist() == [2.0, 2.0, 3.0]
    assert ops.minimum(rising, 2).tolist() == ops.minimum(2, rising).tolist() == [1.0, 2.0, 2.0]
    assert ops.maximum(np.array([4.0]), 2).tolist() == [4.0]


# --- quotients


def test_equal_parts() -> None:
    assert ops.evenly(12, 4) == 3
    assert type(ops.evenly(12, 4)) is int
    assert ops.evenly(2**60 + 2, 2) == 2**59 + 1  # which no float holds
    for total, parts in ((np.array([12.0, 6.0]), 4), (6, np.array([2.0, 4.0]))):
        assert ops.evenly(total, parts).tolist() == [3.0, 1.5]


def test_the_least_whole_number_that_is_not_below() -> None:
    assert [ops.ceiling(number) for number in (2.0, 2.1, 2.9)] == [2, 3, 3]
    assert type(ops.ceiling(2.1)) is int
    assert ops.ceiling(np.array([2.0, 2.1, 2.9])).tolist() == [2.0, 3.0, 3.0]
