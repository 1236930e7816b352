"""Times of kernels over rows, and of all-reduces, by hand: 100 multiprocessors of 1 GHz, 0.8 of 1 TB/s."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.kernels.collectives import CollectiveParameters, all_reduce_s
from perfkit.kernels.elementwise import ElementwiseParameters, elementwise_s, over_rows_s
from perfkit.kernels.limits import Limits

LIMITS = Limits(100e12, 1e12, 100, 1e9, 40e6)
PLAIN = ElementwiseParameters(
    start_s=2e-6, bandwidth=0.8, l2_rate=0.2, warm=0, overlap=1, passes=2, lone_bytes=10, full_bytes=8
)
# all-reduces over links of 300 GB/s in each direction
RING = CollectiveParameters(start_s=40e-6, hop_s=0.5e-6, quick=0.5, bulk_s=50e-6, bandwidth=0.8)


def seconds(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def test_element_by_element_is_bytes() -> None:
    # reads two, writes one: 3 * 2 * 5000 * 4000 bytes
    time = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, PLAIN, by_row=False)
    assert time == seconds(2e-6 + 120e6 / 0.8e12)


def test_a_row_at_a_time() -> None:
    # memory as above; rows: 24000 bytes a row, 5000 rows on 100 multiprocessors at 8 bytes a clock: 150 us
    time = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, PLAIN, by_row=True)
    assert time == seconds(2e-6 + 150e-6 + 150e-6)
    # a right angle of both, and of twice the memory where rows are read again
    angle = PLAIN._replace(overlap=2)
    assert elementwise_s(5000, 4000, 2, 1, 2, LIMITS, angle, by_row=True) == seconds(2e-6 + 150e-6 * 2**0.5)
    again = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, angle, by_row=True, reduces=True)
    assert again == seconds(2e-6 + 150e-6 * 5**0.5)


def test_a_row_alone_is_slow() -> None:
    # one row of 16000 bytes, 10 a clock: 1.6 us; its bytes 16000 / 0.8e12 = 0.02 us
    time = elementwise_s(1, 4000, 1, 1, 2, LIMITS, PLAIN, by_row=True)
    assert time == seconds(2e-6 + 0.02e-6 + 1.6e-6)
    # 80 rows too, one a multiprocessor: 80 / (100 * 8) = 1 / 10; of 160 it takes twice as long
    few, more = (elementwise_s(n, 4000, 1, 1, 2, LIMITS, PLAIN, by_row=True) for n in (80, 160))
    assert (few, more) == (seconds(2e-6 + 1.6e-6 + 1.6e-6), seconds(2e-6 + 3.2e-6 + 3.2e-6))


def test_what_fits_in_the_cache_comes_from_there() -> None:
    # 10 MB, half of the 0.5 * 40 MB that are kept: 256 / 257 found, at 0.2 * 100 * 1e9 * 64 = 1.28 TB/s
    warm = PLAIN._replace(warm=0.5)
    time = elementwise_s(1000, 2500, 1, 1, 2, LIMITS, warm, by_row=False)
    assert time == seconds(2e-6 + 10e6 * (256 / 257 / 1.28e12 + 1 / 257 / 0.8e12))


@pytest.mark.parametrize(
    ("op", "tensors", "by_row", "reduces"),
    [
        ("rmsnorm", 2, True, True),
        ("layernorm", 2, True, True),
        ("softmax", 2, True, True),
        ("silu_mul", 3, True, False),
        ("add", 3, False, False),
        ("gelu", 2, False, False),
        ("copy", 2, False, False),
    ],
)
def test_ops_of_tables(op: str, tensors: int, by_row: bool, reduces: bool) -> None:
    bytes_ = tensors * 2 * 5000 * 4000
    memory, rows = bytes_ / 0.8e12 * (2 if reduces else 1), bytes_ / (100 * 8e9) if by_row else 0
    assert over_rows_s(over_rows(op, 5000, 4000), 2, LIMITS, PLAIN) == seconds(2e-6 + memory + rows)


def test_arrays_of_shapes() -> None:
    m, n = np.array([1.0, 80, 5000]), np.array([4096.0, 100, 11008])
    for op in ("rmsnorm", "silu_mul", "add"):
        parameters = PLAIN._replace(warm=0.5, overlap=2.07)
        swept = over_rows_s(KernelShape(op, m, n), 2, LIMITS, parameters)
        singles = [
            over_rows_s(KernelShape(op, *one), 2, LIMITS, parameters) for one in ((1, 4096), (80, 100), (5000, 11008))
        ]
        assert swept == pytest.approx(singles, rel=1e-12)


def test_small_all_reduces_take_the_quick_protocol() -> None:
    # 2 * 3 / 4 * 1 MB = 1.5 MB at 150 GB/s = 10 us, in bulk 56 us; 6 hops
    assert all_reduce_s(1e6, 4, 300e9, RING) == seconds(40e-6 + 6 * 0.5e-6 + 10e-6)


def test_large_ones_take_the_other() -> None:
    # 2 * 3 / 4 * 160 MB = 240 MB at 240 GB/s = 1 ms, at once 1.6 ms
    assert all_reduce_s(160e6, 4, 300e9, RING) == seconds(40e-6 + 6 * 0.5e-6 + 50e-6 + 1e-3)
    sizes = all_reduce_s(np.array([1e6, 160e6]), 4, 300e9, RING)
    assert sizes == pytest.approx([all_reduce_s(1e6, 4, 300e9, RING), all_reduce_s(160e6, 4, 300e9, RING)], rel=1e-12)


def test_more_workers_take_longer() -> None:
    two, four, eight = (all_reduce_s(64e6, n, 300e9, RING) for n in (2, 4, 8))
    assert two < four < eight
