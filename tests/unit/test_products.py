"""Times of products by hand: 108 multiprocessors of 1 TFLOP/s, 1 TB/s, half of the one and 0.8 of the other reached."""

from __future__ import annotations

from typing import Any

import pytest

from perfkit.kernels.limits import Limits
from perfkit.kernels.products import SPLITS, TILES, Product, ProductParameters, product_s

LIMITS = Limits(108e12, 1e12, 108, 1.5e9, 40e6)
ENDLESS = LIMITS._replace(bytes_per_s=1e30)  # memory that takes no time
# No waves, no waits, no cache; an exponent so large that the longer of compute and memory hides the other.
PLAIN = ProductParameters(
    start_s=2e-6,
    bandwidth=0.8,
    overlap=64,
    peak=0.5,
    load=0,
    quantisation=0,
    split_s=1.0,
    l2_rate=0.1,
    warm=0,
    step_s=0,
    lone=0,
    prologue_k=0,
)
SQUARE = (128, 128)
BLOCK_S = 2 * 128 * 128 * 4096 / 0.5e12  # one block of that tile over k = 4096


def only(tile: tuple[int, int], parameters: ProductParameters = PLAIN) -> ProductParameters:
    """All other tiles are a billion times slower."""
    return parameters._replace(tiles=tuple(1.0 if each == tile else 1e-9 for each in TILES))


def seconds(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def test_large_products_take_their_flops() -> None:
    # bytes: 3 * 2 * 8192^2 / 0.8e12 = 0.5 ms behind 20 ms
    assert product_s(Product(8192, 8192, 8192), LIMITS, PLAIN) == seconds(2e-6 + 2 * 8192**3 / 54e12)
    assert product_s(Product(8192, 8192, 8192), LIMITS, PLAIN._replace(peak=1)) == seconds(2e-6 + 2 * 8192**3 / 108e12)


def test_products_of_one_row_take_their_bytes() -> None:
    # 2 (8192^2 + 2 * 8192) / 0.8e12 = 168 us; compute: 128 tiles of (32, 64), 128 / 108 waves of 67 us = 80 us
    expected = 2e-6 + 2 * (8192**2 + 2 * 8192) / 0.8e12
    assert product_s(Product(1, 8192, 8192), LIMITS, PLAIN) == seconds(expected)
    four_bit = Product(1, 8192, 8192, element_bytes=0.5)
    assert product_s(four_bit, ENDLESS._replace(bytes_per_s=1e9), PLAIN) == seconds(2e-6 + four_bit.bytes / 0.8e9)


def test_compute_and_memory_add_up_without_overlap() -> None:
    parameters = PLAIN._replace(overlap=1)
    expected = 2e-6 + 2 * 8192**3 / 54e12 + 3 * 2 * 8192**2 / 0.8e12
    assert product_s(Product(8192, 8192, 8192), LIMITS, parameters) == seconds(expected)


def test_a_long_k_of_few_blocks_is_split() -> None:
    few = Product(128, 128, 65536)  # 2 * 4 = 8 tiles of (32, 64)
    alone = 2 * 32 * 64 * 65536 / 0.5e12  # one wave of them
    assert product_s(few, ENDLESS, PLAIN) == seconds(2e-6 + alone)  # splitting takes a second
    # split by 16: 8 * 16 = 128 blocks on 108 multiprocessors, each a sixteenth as long; 3 us to add up
    split = PLAIN._replace(split_s=3e-6)
    assert product_s(few, ENDLESS, split) == seconds(2e-6 + 128 / 108 * alone / 16 + 3e-6)
    # with whole waves 128 blocks take two of them, as long as the one of 8 * 8 = 64 blocks
    whole = split._replace(quantisation=1)
    assert product_s(few, ENDLESS, whole) == seconds(2e-6 + alone / 8 + 3e-6)


def test_each_part_fills_its_pipeline_and_is_less_alone() -> None:
    # one block over k = 65536 split by 16: 16 blocks over 4096 each, on 108 multiprocessors
    parameters = only(SQUARE, PLAIN._replace(split_s=3e-6, prologue_k=1024, lone=0.3))
    expected = 2e-6 + 1.25 * BLOCK_S * (1 + 0.3 / (1 + (16 / 108) ** 2)) + 3e-6
    assert product_s(Product(128, 128, 65536), ENDLESS, parameters) == seconds(expected)


def test_split_products_write_and_read_their_parts() -> None:
    slow = LIMITS._replace(bytes_per_s=1e6)
    few = Product(128, 128, 65536)
    # memory bound whatever is split, so nothing is: 2 (2 * 128 * 65536 + 128^2) bytes at 0.8 MB/s
    free = PLAIN._replace(split_s=0)
    assert product_s(few, slow, free) == seconds(2e-6 + 2 * (2 * 128 * 65536 + 128**2) / 0.8e6)
    # at 1 TB/s the split by 16 stands: 4 * 128 * 128 * 16 bytes of parts, beside compute of 128 / 108 / 16 of 537 us
    compute, memory = 128 / 108 * 2 * 32 * 64 * 65536 / 0.5e12 / 16, (few.bytes + 4 * 128 * 128 * 16) / 0.8e12
    sum_of_both = 2e-6 + compute + memory
    assert product_s(few, LIMITS, free._replace(overlap=1)) == seconds(sum_of_both)
    assert max(SPLITS) == 16


@pytest.mark.parametrize(
    ("blocks", "quantisation", "waves"),
    [
        (1, 1, 1),
        (108, 1, 1),
        (109, 1, 2),
        (217, 1, 3),
        (109, 0, 109 / 108),
        (109, 0.5, 0.5 * 109 / 108 + 0.5 * 2),
        (54, 0, 1),  # half of the multiprocessors have nothing to do
    ],
)
def test_blocks_go_in_waves(blocks: int, quantisation: float, waves: float) -> None:
    parameters = only(SQUARE, PLAIN._replace(quantisation=quantisation))
    time = product_s(Product(128 * blocks, 128, 4096), ENDLESS, parameters)
    assert time == seconds(2e-6 + waves * BLOCK_S)
    assert product_s(Product(128 * blocks - 127, 1, 4096), ENDLESS, parameters) == seconds(
        time
    )  # begun tiles are whole


@pytest.mark.parametrize("count", range(1, 200, 3))
def test_full_waves_are_full_whatever_the_device(count: int) -> None:
    # 3 waves exactly: a quotient that rounding lifts above 3 would make a fourth
    device = ENDLESS._replace(multiprocessors=count, flops_per_s=count * 1e12)
    parameters = only(SQUARE, PLAIN._replace(quantisation=1))
    assert product_s(Product(128, 128, 4096, 3 * count), device, parameters) == seconds(2e-6 + 3 * BLOCK_S)
    assert product_s(Product(128 * 3 * count, 128, 4096), device, parameters) == seconds(2e-6 + 3 * BLOCK_S)


def test_a_batch_is_so_many_blocks_and_bytes() -> None:
    whole = only(SQUARE, PLAIN._replace(quantisation=1))
    assert product_s(Product(128, 128, 4096, 109), ENDLESS, whole) == seconds(2e-6 + 2 * BLOCK_S)
    assert product_s(Product(256, 128, 4096, 54), ENDLESS, whole) == seconds(2e-6 + BLOCK_S)  # 2 * 54 = 108 blocks
    slow = LIMITS._replace(bytes_per_s=1e9)
    one = 2 * (64 * 128 + 64 * 128 + 64 * 64)
    assert product_s(Product(64, 64, 128, 32), slow, PLAIN) == seconds(2e-6 + 32 * one / 0.8e9)


def test_the_best_tile_is_taken() -> None:
    # 108 blocks of (256, 128) fill every multiprocessor once; with a load of 64 FLOP an element smaller tiles are
    # slower: i = 256 * 128 / 384 = 256 / 3, so 1 + 64 * 3 / 256 = 1.75
    loaded = PLAIN._replace(load=64, quantisation=1)
    time = product_s(Product(256 * 108, 128, 4096), ENDLESS, loaded)
    assert time == seconds(2e-6 + 1.75 * 2 * 256 * 128 * 4096 / 0.5e12)
    # a single row takes the smallest: i = 32 * 64 / 96, 1 + 64 * 96 / 2048 = 4
    assert product_s(Product(1, 1, 4096), ENDLESS, loaded) == seconds(2e-6 + 4 * 2 * 32 * 64 * 4096 / 0.5e12)


def test_tiles_reach_what_they_reach() -> None:
    faster = only(SQUARE)
    faster = faster._replace(tiles=tuple(reached * 2 for reached in faster.tiles))
    assert product_s(Product(128, 128, 4096), ENDLESS, faster) == seconds(2e-6 + BLOCK_S / 2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prologue_k": 1024.0}, BLOCK_S * 1.25),  # 1024 beside 4096
        ({"step_s": 1e-9}, BLOCK_S + 4096e-9),
        ({"lone": 0.3}, BLOCK_S * (1 + 0.3 / (1 + (1 / 108) ** 2))),
        ({"start_s": 3e-6}, BLOCK_S + 1e-6),
    ],
)
def test_what_a_lone_block_waits_for(change: dict[str, float], expected: float) -> None:
    assert product_s(Product(128, 128, 4096), ENDLESS, only(SQUARE, PLAIN._replace(**change))) == seconds(
        2e-6 + expected
    )


def test_long_products_are_throttled() -> None:
    # one block of 8 * BLOCK_S = 2.147 ms: 2.147 / (2.147 + 0.2) of the way to half as long again
    assert pytest.approx(2.147483648e-3) == 8 * BLOCK_S
    throttled = only(SQUARE, PLAIN._replace(throttle=0.5))
    expected = 2e-6 + 8 * BLOCK_S * (1 + 0.5 * 2.147483648 / 2.347483648)
    assert product_s(Product(128, 128, 8 * 4096), ENDLESS, throttled) == seconds(expected)
    # one of 1 us hardly: 1 / 201
    short = Product(128, 128, 4096 / (BLOCK_S * 1e6))
    assert product_s(short, ENDLESS, throttled) == seconds(2e-6 + 1e-6 * (1 + 0.5 / 201))
    # and bytes not at all
    row = Product(1, 1, 8192)
    slow = LIMITS._replace(bytes_per_s=1e6)
    assert product_s(row, slow, throttled) == product_s(row, slow, only(SQUARE))


def test_products_are_held_to_the_rate_that_the_board_sustains() -> None:
    # 54 TFLOP/s without it; at 27 all compute takes twice as long, at 100 nothing changes
    held, free = (ENDLESS._replace(sustained_flops_per_s=rate) for rate in (27e12, 100e12))
    for m in (1, 300, 8192):
        compute_s = product_s(Product(m, 4096, 4096), ENDLESS, PLAIN) - 2e-6
        assert product_s(Product(m, 4096, 4096), held, PLAIN) == seconds(2e-6 + 2 * compute_s)
        assert product_s(Product(m, 4096, 4096), free, PLAIN) == seconds(2e-6 + compute_s)


def test_weights_that_fit_in_the_cache_come_from_there() -> None:
    # 0.5 of 40 MB is kept; weights of 16 MB are 0.8 of that, so 1 / (1 + 0.8^32) is found, all but 0.0008.
    # The L2 delivers 0.1 * 108 * 1.5e9 * 64 B = 1.0368 TB/s, memory 0.4 TB/s.
    warm = PLAIN._replace(warm=0.5, bandwidth=0.4, overlap=1, peak=1e30, start_s=0)
    product = Product(1, 2000, 4000)
    moved, found = 2 * (4000 + 2000 * 4000 + 2000), 1 / (1 + 0.8**32)
    expected = moved * (found / 1.0368e12 + (1 - found) / 0.4e12)
    assert product_s(product, LIMITS, warm) == seconds(expected)
    assert product_s(product, LIMITS, warm._replace(warm=0)) == seconds(moved / 0.4e12)
    # a cache that would be slower than memory is not used
    assert product_s(product, LIMITS, warm._replace(l2_rate=0.01)) == seconds(moved / 0.4e12)


def test_what_is_kept_is_told_by_the_weights_alone() -> None:
    warm = PLAIN._replace(warm=0.5, bandwidth=0.4, overlap=1, peak=1e30, start_s=0)
    # 24 MB of them are 1.2 of what is kept: 1 / (1 + 1.2^32) = 0.003 is found
    moved, found = 2 * (4000 + 3000 * 4000 + 3000), 1 / (1 + 1.2**32)
    assert product_s(Product(1, 3000, 4000), LIMITS, warm) == seconds(
        moved * (found / 1.0368e12 + (1 - found) / 0.4e12)
    )
    # in four bits they fit, however large the factor beside them: 6 MB of weights, 40 MB in all
    tall = Product(5000, 3000, 4000, weight_bytes=0.5)
    tall_bytes = 2 * (5000 * 4000 + 5000 * 3000) + 0.5 * 3000 * 4000
    assert tall.bytes == tall_bytes
    assert product_s(tall, LIMITS, warm) == pytest.approx(tall_bytes / 1.0368e12, rel=1e-6)


def test_no_size_is_too_large_for_the_cache() -> None:
    warm = PLAIN._replace(warm=0.5)
    assert product_s(Product(1, 10**12, 10**12), LIMITS, warm) > 2e24 / 0.8e12


def test_weights_in_another_format_have_their_own_bytes() -> None:
    # 2 (8192 + 8192) of activations and 0.5 * 8192^2 of weights
    quantised = Product(1, 8192, 8192, weight_bytes=0.5)
    assert quantised.bytes == 2 * (8192 + 8192) + 0.5 * 8192**2
    assert quantised.weights == 0.5 * 8192**2
    slow = LIMITS._replace(bytes_per_s=1e9)
    assert product_s(quantised, slow, PLAIN) == seconds(2e-6 + quantised.bytes / 0.8e9)
    assert Product(3, 5, 7, 2, 2).bytes == Product(3, 5, 7, 2, 2, weight_bytes=2).bytes == 2 * 2 * (21 + 35 + 15)
