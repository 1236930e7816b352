"""Times of kernels over rows, and of all-reduces, by hand: 100 multiprocessors of 1 GHz, 0.8 of 1 TB/s."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.kernels.collectives import CollectiveParameters, all_reduce_s
from perfkit.kernels.elementwise import ElementwiseParameters, bytes_s, elementwise_s, over_rows_s
from perfkit.kernels.limits import Limits

LIMITS = Limits(100e12, 1e12, 100, 1e9, 40e6)
PLAIN = ElementwiseParameters(start_s=2e-6, bandwidth=0.8, l2_rate=0.2, warm=0, passes=1.5, lone=4, full=6.4)
# Where memory takes no time: of a tensor a step of 1024 elements takes a row alone 256 ns, and two together 320 ns.
ENDLESS = LIMITS._replace(bytes_per_s=1e30)
# all-reduces over links of 300 GB/s in each direction
RING = CollectiveParameters(start_s=40e-6, hop_s=0.5e-6, quick=0.5, bulk_s=50e-6, bandwidth=0.8)


def seconds(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def test_element_by_element_is_bytes_and_a_step() -> None:
    # reads two, writes one: 3 * 2 * 5000 * 4000 bytes; a step of 3 * 256 ns
    time = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, PLAIN, by_row=False)
    assert time == seconds(2e-6 + 120e6 / 0.8e12 + 0.768e-6)


def test_what_is_known_by_bytes_alone_reads_a_tensor_and_writes_one() -> None:
    assert bytes_s(120e6, LIMITS, PLAIN) == seconds(2e-6 + 120e6 / 0.8e12 + 0.512e-6)
    # as any kernel over two tensors of so many bytes
    assert bytes_s(2 * 4 * 5e6, LIMITS, PLAIN) == over_rows_s(over_rows("copy", 5000, 1000), 4, LIMITS, PLAIN)


def test_a_row_at_a_time() -> None:
    # memory as above; 5000 rows, 50 a multiprocessor: 25 pairs, none left, 4 steps of each tensor
    time = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, PLAIN, by_row=True)
    assert time == seconds(2e-6 + 150e-6 + 3 * 4 * 25 * 0.320e-6)
    again = elementwise_s(5000, 4000, 2, 1, 2, LIMITS, PLAIN, by_row=True, reduces=True)
    assert again == seconds(2e-6 + 150e-6 + 1.5 * 3 * 4 * 25 * 0.320e-6)


@pytest.mark.parametrize(("rows", "pairs", "left"), [(1, 0, 1), (100, 0, 1), (101, 1, 0), (200, 1, 0), (201, 1, 1)])
def test_a_multiprocessor_works_on_two_rows_at_once(rows: int, pairs: int, left: int) -> None:
    time = elementwise_s(rows, 2048, 1, 1, 2, ENDLESS, PLAIN, by_row=True)
    assert time == seconds(2e-6 + 2 * 2 * (pairs * 0.320e-6 + left * 0.256e-6))


def test_a_step_more_is_begun_for_an_element_more() -> None:
    steps = [elementwise_s(1, n, 1, 1, 2, ENDLESS, PLAIN, by_row=True) for n in (1, 1024, 1025, 2048)]
    assert steps == [seconds(2e-6 + n * 2 * 0.256e-6) for n in (1, 1, 2, 2)]


def test_narrow_rows_share_a_step() -> None:
    # 3200 rows of 128, eight of which fill a step: 400, 4 a multiprocessor, two pairs
    time = elementwise_s(3200, 128, 1, 1, 2, ENDLESS, PLAIN, by_row=True)
    assert time == seconds(2e-6 + 2 * 2 * 0.320e-6)


def test_two_rows_take_no_less_than_one() -> None:
    quick = PLAIN._replace(full=100)
    one, two = (elementwise_s(n, 1024, 1, 1, 2, ENDLESS, quick, by_row=True) for n in (100, 200))
    assert (one, two) == (seconds(2e-6 + 2 * 0.256e-6), seconds(2e-6 + 2 * 0.256e-6))


def test_what_fits_in_the_cache_comes_from_there() -> None:
    # 10 MB, half of the 0.5 * 40 MB that are kept: 256 / 257 found, at 0.2 * 100 * 1e9 * 64 = 1.28 TB/s
    warm = PLAIN._replace(warm=0.5)
    assert bytes_s(10e6, LIMITS, warm) == seconds(2.512e-6 + 10e6 * (256 / 257 / 1.28e12 + 1 / 257 / 0.8e12))


@pytest.mark.parametrize(
    ("op", "tensors", "by_row", "passes"),
    [
        ("rmsnorm", 2, True, 1.5),
        ("layernorm", 2, True, 1.5),
        ("softmax", 2, True, 1.5),
        ("silu_mul", 3, True, 1),
        ("add", 3, False, 1),
        ("gelu", 2, False, 1),
        ("copy", 2, False, 1),
    ],
)
def test_ops_of_tables(op: str, tensors: int, by_row: bool, passes: float) -> None:
    memory = tensors * 2 * 5000 * 4000 / 0.8e12
    rows = tensors * passes * 4 * 25 * 0.320e-6 if by_row else tensors * 0.256e-6
    assert over_rows_s(over_rows(op, 5000, 4000), 2, LIMITS, PLAIN) == seconds(2e-6 + memory + rows)


def test_arrays_of_shapes() -> None:
    m, n = np.array([1.0, 80, 5000]), np.array([4096.0, 100, 11008])
    for op in ("rmsnorm", "silu_mul", "add"):
        parameters = PLAIN._replace(warm=0.5)
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
