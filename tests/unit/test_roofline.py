"""Roofline times by hand, on a V100: 125 TFLOP/s tensor, 15.7 TFLOP/s vector, 900 GB/s."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.errors import UnsupportedPrecision
from perfkit.hardware import load_device
from perfkit.ops import OpCost, Place, add, linear, softmax
from perfkit.roofline import OpTime, engines_of, ridge_point, time_ops
from perfkit.units import Precision

V100 = load_device("v100-sxm2-32gb")
HALF, SINGLE, INT8 = Precision.FP16, Precision.FP32, Precision.INT8


def cost(engine: Precision = HALF, products: float = 0, vector: float = 0, moved: float = 0) -> OpCost:
    return OpCost("prefill", "op", "linear", 1, engine, int(products), int(vector), read_bytes=int(moved))


def timed(op: OpCost, device: str = "v100-sxm2-32gb") -> OpTime:
    (time,) = time_ops(engines_of(load_device(device), [op]), [op])
    return time


def seconds(value: float | list[float]) -> object:
    # approx adds an absolute tolerance of 1e-12 by itself: a millionth of a microsecond, and all of a picosecond
    return pytest.approx(value, rel=1e-12, abs=0)


def test_bound_by_compute() -> None:
    time = timed(cost(products=125e6, moved=450e3))  # 125e6 / 125e12 = 1 µs; 450e3 / 900e9 = 0.5 µs
    assert time.compute_s == seconds(1e-6)
    assert time.memory_s == seconds(0.5e-6)
    assert time.roofline_s == seconds(1e-6)
    assert time.bound == "compute"


def test_bound_by_memory() -> None:
    time = timed(cost(products=125e6, moved=1800e3))  # 1800e3 / 900e9 = 2 µs
    assert time.compute_s == seconds(1e-6)
    assert time.roofline_s == seconds(2e-6)
    assert time.bound == "memory"


def test_all_bytes_take_memory_time() -> None:
    op = OpCost("decode", "op", "attention", 1, HALF, 0, 0, 100_000, 200_000, 300_000, 400_000, 800_000)
    assert timed(op).memory_s == seconds(2e-6)  # 1.8e6 / 900e9


def test_a_linear_layer_of_one_row() -> None:
    # 4096 x 4096: weights 33_554_432 and 2 * 8192 B in and out = 33_570_816 B; / 900e9 = 37.3 µs
    time = timed(linear(Place("decode", 1, HALF, HALF, HALF, HALF), "q_proj", 1, 4096, 4096))
    assert time.roofline_s == seconds(33_570_816 / 900e9)
    assert time.compute_s == seconds(33_554_432 / 125e12)


def test_figures_of_repeats_are_timed_together() -> None:
    one, many = (linear(Place("decode", n, HALF, HALF, HALF, HALF), "q_proj", 1, 64, 64) for n in (1, 32))
    assert timed(many).roofline_s == seconds(32 * timed(one).roofline_s)


def test_element_wise_work_has_a_ceiling_of_its_own() -> None:
    # Beside tensor products: the slower of 125e6 / 125e12 = 1 µs and 47.1e6 / 15.7e12 = 3 µs
    assert timed(cost(products=125e6, vector=47.1e6)).compute_s == seconds(3e-6)
    assert timed(cost(products=500e6, vector=47.1e6)).compute_s == seconds(4e-6)


def test_a_single_element_wise_flop_counts_beside_products() -> None:
    assert timed(cost(SINGLE, products=1, vector=1)).compute_s == seconds(2 / 15.7e12)
    assert timed(cost(products=1, vector=1)).compute_s == seconds(1 / 15.7e12)  # which is slower than 1 / 125e12


def test_softmax_runs_on_the_vector_engine() -> None:
    op = softmax(Place("prefill", 1, HALF, HALF, HALF, HALF), "softmax", 1000, 1000)
    assert timed(op).compute_s == seconds(5_000_000 / 15.7e12)
    assert timed(op).memory_s == seconds(4_000_000 / 900e9)


def test_products_in_fp32_share_the_vector_engine() -> None:
    # A V100 multiplies fp32 where it adds: 31.4e6 / 15.7e12 = 2 µs and 15.7e6 / 15.7e12 = 1 µs, one after the other
    assert timed(cost(SINGLE, products=31.4e6, vector=15.7e6)).compute_s == seconds(3e-6)


def test_int8_products_by_dp4a_share_it_too() -> None:
    # 62.7e6 / 62.7e12 = 1 µs and 31.4e6 / 15.7e12 = 2 µs
    assert timed(cost(INT8, products=62.7e6, vector=31.4e6)).compute_s == seconds(3e-6)


def test_int8_products_on_tensor_cores_do_not() -> None:
    # T4: 130 TOP/s on tensor cores, 8.1 TFLOP/s vector
    assert timed(cost(INT8, products=130e6, vector=16.2e6), "t4").compute_s == seconds(2e-6)


def test_without_flops_the_time_is_that_of_memory() -> None:
    time = timed(cost(moved=900e3))
    assert time.compute_s == 0
    assert time.roofline_s == time.memory_s == seconds(1e-6)
    assert time.bound == "memory"


def test_without_bytes_the_time_is_that_of_compute() -> None:
    time = timed(cost(products=125e6))
    assert time.roofline_s == seconds(1e-6)
    assert time.bound == "compute"


def test_without_a_published_vector_rate_element_wise_work_takes_memory_time() -> None:
    op = add(Place("prefill", 1, *[Precision.BF16] * 4), "residual", 1000, 1000)
    time = timed(op, "tpuv4")
    assert time.compute_s == 0
    assert time.roofline_s == seconds(6_000_000 / 1200e9)  # 2e6 elements in, 1e6 out, 2 bytes each


def test_an_op_on_an_engine_that_nothing_asked_for_is_element_wise() -> None:
    op = add(Place("prefill", 1, *[Precision.BF16] * 4), "residual", 1, 157)
    (time,) = time_ops(engines_of(V100, [op]), [op])
    assert time.compute_s == seconds(1e-11)  # 157 / 15.7e12


def test_products_that_a_card_cannot_make_are_refused() -> None:
    with pytest.raises(UnsupportedPrecision, match=r"v100-sxm2-32gb.*bf16.*fp16"):
        engines_of(V100, [cost(Precision.BF16, products=1)])


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("v100-sxm2-32gb", "fp16", 125e12 / 900e9),  # 138.9
        ("v100-sxm2-32gb", "fp32", 15.7e12 / 900e9),  # 17.4
        ("v100-sxm2-32gb", "int8", 62.7e12 / 900e9),  # 69.7
        ("t4", "fp16", 65e12 / 320e9),  # 203.1
        ("t4", "int8", 130e12 / 320e9),  # 406.3
    ],
)
def test_ridge_point(device: str, precision: str, expected: float) -> None:
    assert ridge_point(load_device(device), Precision(precision)) == seconds(expected)


def test_bound_changes_at_the_ridge() -> None:
    ridge = 125_000 / 900  # FLOP a byte
    assert timed(cost(products=ridge * 9e6 + 1000, moved=9e6)).bound == "compute"
    assert timed(cost(products=ridge * 9e6 - 1000, moved=9e6)).bound == "memory"


def test_of_a_roofline_alone_nothing_more_is_known() -> None:
    time = timed(cost(products=125e6, moved=450e3))
    assert (time.expected_s, time.expected_low_s, time.expected_high_s, time.launches) == (None, None, None, 0)


def test_what_gpus_exchange_is_bound_by_communication() -> None:
    op = cost(products=125e6)
    assert timed(op._replace(kind="communication")).bound == "communication"
    for kind in ("add", "linear"):  # and nothing else is, whatever its name
        assert timed(op._replace(kind=kind)).bound == "compute"
    assert timed(cost(products=125e6, moved=900e3)).bound == "compute"  # 1 µs each


def test_a_sweep_is_timed_point_by_point() -> None:
    # 1 and 3 µs on the tensor engine beside 2 and 2 on the vector one; 4 and 1 of memory
    products, vector, moved = np.array([125e6, 375e6]), np.array([31.4e6, 31.4e6]), np.array([3600e3, 900e3])
    op = OpCost("prefill", "op", "linear", 1, HALF, products, vector, read_bytes=moved)
    time = timed(op)
    assert time.compute_s == seconds([2e-6, 3e-6])
    assert time.memory_s == seconds([4e-6, 1e-6])
    assert time.roofline_s == seconds([4e-6, 3e-6])
    # points without products or element-wise work beside others that have them
    none = np.array([0.0, 31.4e6])
    assert timed(op._replace(matmul_flops=none, engine=SINGLE)).compute_s == seconds([2e-6, 4e-6])
    assert timed(op._replace(vector_flops=none)).compute_s == seconds([1e-6, 3e-6])
