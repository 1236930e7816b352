"""Costs of single kernels: those of points and of columns, which must be the same figures."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.errors import UnknownName
from perfkit.kernel_shapes import LAUNCH, KernelShape, bmm, gemm, over_rows, sizes_of
from perfkit.kernels.costs import check_op, cost_of_shape, kernel_ops
from perfkit.units import Precision

FP16, FP32, TF32, INT8 = (Precision(p) for p in ("fp16", "fp32", "tf32", "int8"))
SIZES = {
    "m": (3, 636),
    "n": (5, 4096),
    "k": (7, 11008),
    "batch": (2, 32),
    "q_tokens": (6, 1),
    "kv_tokens": (6, 92),
    "heads": (4, 32),
    "kv_heads": (2, 8),
    "head_dim": (8, 128),
}


@pytest.mark.parametrize("precision", [FP16, FP32, INT8])
@pytest.mark.parametrize("op", kernel_ops())
def test_a_column_costs_what_its_points_cost(op: str, precision: Precision) -> None:
    sizes = {name: SIZES[name] for name in sizes_of(op)}
    column = cost_of_shape(KernelShape(op, **{k: np.array(v, dtype=float) for k, v in sizes.items()}), precision)
    points = [cost_of_shape(KernelShape(op, **{k: v[i] for k, v in sizes.items()}), precision) for i in (0, 1)]
    for figure in ("matmul_flops", "vector_flops", "bytes"):
        assert np.broadcast_to(getattr(column, figure), 2).tolist() == [getattr(point, figure) for point in points]


def test_products_by_hand() -> None:
    column = cost_of_shape(gemm(np.array([1.0, 2.0]), np.array([3.0, 3.0]), np.array([5.0, 7.0])), FP16)
    assert column.matmul_flops.tolist() == [30, 84]  # 2 * 1 * 3 * 5; 2 * 2 * 3 * 7
    assert column.bytes.tolist() == [46, 82]  # 2 (5 + 15 + 3); 2 (14 + 21 + 6)
    assert cost_of_shape(gemm(1, 3, 5), TF32).bytes == 92  # tf32 is stored in four bytes
    assert cost_of_shape(bmm(2, 3, 5, 7), FP16).flops == 420  # 2 * 2 * 3 * 5 * 7


def test_attention_by_hand() -> None:
    shape = KernelShape("attention_decode", None, None, None, 2, 1, 9, 4, 2, 8, 0)
    cost = cost_of_shape(shape, FP16)
    assert cost.phase == "decode"
    assert cost.matmul_flops == 2304  # 4 * 2 * 1 * 9 * 4 * 8
    assert cost.bytes == 1408  # 2 (2 * 64 for queries and output + 2 * 2 * 9 * 2 * 8 for keys and values)


def test_sizes_of_an_op_are_all_that_it_needs() -> None:
    for op in kernel_ops():
        assert cost_of_shape(KernelShape(op, **dict.fromkeys(sizes_of(op), 2)), FP16).bytes > 0


def test_an_unknown_op_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown op 'silumul'; nearest: silu_mul"):
        cost_of_shape(over_rows("silumul", 1, 1), FP16)


def test_a_launch_has_no_cost_of_its_own() -> None:
    assert LAUNCH not in kernel_ops()
    with pytest.raises(UnknownName):
        check_op(LAUNCH)
