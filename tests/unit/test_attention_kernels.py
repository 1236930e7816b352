"""Times of fused attention by hand: 100 multiprocessors of 1 TFLOP/s, 1 TB/s, half of the one and 0.8 of the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.attention import DecodeParameters, PrefillParameters, attention_s
from perfkit.kernels.limits import Limits

LIMITS = Limits(100e12, 1e12, 100, 1e9, 40e6)
ENDLESS = LIMITS._replace(bytes_per_s=1e30)  # memory that takes no time
SLOW = LIMITS._replace(bytes_per_s=1e6)  # and where all is memory
PREFILL = PrefillParameters(
    start_s=2e-6, peak=0.5, block_s=0, tail=0, bandwidth=0.8, l2_rate=0.1, warm=0, packed=0, narrow=0
)
DECODE = DecodeParameters(
    start_s=2e-6, bandwidth=0.8, block_s=0, block_bytes=64, split_s=1.0, l2_rate=0.1, warm=0, packed=1
)
# A step of 128 rows: 4 * 128 * 64 * 64 FLOP at 0.5 TFLOP/s, and 0.6 of 128 * 64 exponentials, 16 a clock of 1 GHz.
STEP_S = 4 * 128 * 64 * 64 / 0.5e12 + 0.6 * 128 * 64 / 16e9


def shape(op: str, batch: Any, queries: Any, keys: Any, heads: Any = 32, kv_heads: Any = 32) -> KernelShape:
    """Heads of 64."""
    return KernelShape(
        f"attention_{op}",
        batch=batch,
        q_tokens=queries,
        kv_tokens=keys,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=64,
        causal=int(op == "prefill"),
    )


def seconds(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def test_an_encoder_runs_over_all_keys() -> None:
    # 577 tokens: 5 tiles of queries, 10 steps of keys, 16 heads: 80 * 25 = 2000 blocks, 20 a multiprocessor
    time = attention_s(shape("encoder", 25, 577, 577, 16, 16), 2, ENDLESS, PREFILL)
    assert time == seconds(2e-6 + 20 * 10 * STEP_S)


def test_a_prompt_runs_over_half_of_them() -> None:
    # 1024 tokens: 8 tiles, 16 steps; tiles run over 2, 4, ... 16 steps, 9 in the mean = 16 - (8 - 1)
    time = attention_s(shape("prefill", 25, 1024, 1024), 2, ENDLESS, PREFILL)
    assert time == seconds(2e-6 + 8 * 32 * 25 / 100 * 9 * STEP_S)


def test_few_blocks_take_as_long_as_the_longest() -> None:
    # 8 tiles of one head on 100 multiprocessors: the last tile's 16 steps
    one = shape("prefill", 1, 1024, 1024, 1, 1)
    assert attention_s(one, 2, ENDLESS, PREFILL) == seconds(2e-6 + 16 * STEP_S)
    assert attention_s(one, 2, ENDLESS, PREFILL._replace(block_s=3e-6)) == seconds(2e-6 + 3e-6 + 16 * STEP_S)
    many = shape("prefill", 25, 1024, 1024)
    expected = 2e-6 + 64 * (3e-6 + 9 * STEP_S) + 0.5 * (3e-6 + 16 * STEP_S)
    assert attention_s(many, 2, ENDLESS, PREFILL._replace(block_s=3e-6, tail=0.5)) == seconds(expected)


def test_short_prompts_take_smaller_tiles() -> None:
    # 20 tokens: 32 rows of a tile, a quarter of a step of 128
    short = shape("encoder", 1, 20, 20, 1, 1)
    assert attention_s(short, 2, ENDLESS, PREFILL) == seconds(2e-6 + STEP_S / 4)


def test_heads_of_one_key_head_share_tiles_where_packed() -> None:
    # 20 tokens, 4 heads to a key head: 80 rows of one tile, where each head on its own has 32 rows of 4 tiles
    grouped = shape("encoder", 100, 20, 20, 32, 8)
    apart, packed = (attention_s(grouped, 2, ENDLESS, PREFILL._replace(packed=x)) - 2e-6 for x in (0, 1))
    assert (apart, packed) == (seconds(32 * STEP_S * 32 / 128), seconds(8 * STEP_S * 80 / 128))
    # half packed: (32 + 8) / 2 blocks a sequence, of (32 + 80) / 2 rows
    half = attention_s(grouped, 2, ENDLESS, PREFILL._replace(packed=0.5)) - 2e-6
    assert half == seconds(20 * STEP_S * 56 / 128)


def test_bytes_of_an_encoder() -> None:
    # queries, output, keys and values of 1000 tokens and 16 heads: 4 * 2 * 1000 * 1024 bytes
    tokens = shape("encoder", 1, 1000, 1000, 16, 16)
    assert attention_s(tokens, 2, SLOW, PREFILL) == seconds(2e-6 + 4 * 2 * 1000 * 1024 / 0.8e6)
    assert attention_s(tokens, 4, SLOW, PREFILL) == seconds(2e-6 + 4 * 4 * 1000 * 1024 / 0.8e6)
    # 8 tiles read 16 steps of 64 keys and values again, a tenth of it from memory
    again = 2 * 2 * 1024 * 8 * 16 * 64 * 0.1
    expected = 2e-6 + (4 * 2 * 1000 * 1024 + again) / 0.8e6
    assert attention_s(tokens, 2, SLOW, PREFILL._replace(reread=0.1)) == seconds(expected)


def test_a_prompt_writes_its_cache_unless_another_op_does() -> None:
    # 4 key heads: 2 * 2 * 1000 * 256 bytes of keys and values, read and written; queries and output 2 * 2 * 1000 * 1024
    prompt, keys = shape("prefill", 1, 1000, 1000, 16, 4), 2 * 2 * 1000 * 256
    bare = 2e-6 + (2 * 2 * 1000 * 1024 + keys) / 0.8e6
    assert attention_s(prompt, 2, SLOW, PREFILL, writes_cache=False) == seconds(bare)
    assert attention_s(prompt, 2, SLOW, PREFILL) == seconds(bare + 2 * keys / 0.8e6)
    encoder = prompt._replace(op="attention_encoder")
    assert attention_s(encoder, 2, SLOW, PREFILL) == seconds(bare)


def test_narrow_heads_are_slower_in_all_but_the_launch() -> None:
    # heads of 64 with an exponent of 1/2: 2^(1/2) times as long, cache and all; those of 128 as without
    prompt, narrow = shape("prefill", 25, 1024, 1024), PREFILL._replace(narrow=0.5)
    for device in (ENDLESS, SLOW):
        plain, slower = (attention_s(prompt, 2, device, p) - 2e-6 for p in (PREFILL, narrow))
        assert slower == seconds(plain * 2**0.5)
    for head_dim in (128, 256):
        wide = prompt._replace(head_dim=head_dim)
        assert attention_s(wide, 2, LIMITS, narrow) == attention_s(wide, 2, LIMITS, PREFILL)


def test_a_long_cache_takes_its_bytes() -> None:
    # 2 * 2 * 8 * 4096 * 32 * 64 bytes at 0.8 MB/s; whatever the blocks do lies far below
    time = attention_s(shape("decode", 8, 1, 4096), 2, SLOW, DECODE)
    assert time == seconds(2e-6 + 2 * 2 * 8 * 4096 * 32 * 64 / 0.8e6)
    grouped = attention_s(shape("decode", 8, 1, 4096, 32, 8), 2, SLOW, DECODE)
    assert grouped == seconds(2e-6 + 2 * 2 * 8 * 4096 * 8 * 64 / 0.8e6)


def test_a_block_reads_so_many_bytes_a_clock() -> None:
    # 8 * 25 = 200 blocks, two a multiprocessor: 2 * 2 * 64 * 1000 bytes each, at 64 bytes a clock of 1 GHz
    blocks = shape("decode", 25, 1, 1000, 32, 8)
    assert attention_s(blocks, 2, ENDLESS, DECODE) == seconds(2e-6 + 2 * 256e3 / 64e9)
    waiting = DECODE._replace(block_s=5e-6)
    assert attention_s(blocks, 2, ENDLESS, waiting) == seconds(2e-6 + 2 * 5e-6 + 2 * 256e3 / 64e9)
    # each of the 32 heads its own block, that reads all keys of its key head: 8 waves
    apart = waiting._replace(packed=0)
    assert attention_s(blocks, 2, ENDLESS, apart) == seconds(2e-6 + 8 * (5e-6 + 256e3 / 64e9))
    # half packed: (8 + 32) / 2 blocks a sequence, 5 waves
    half = waiting._replace(packed=0.5)
    assert attention_s(blocks, 2, ENDLESS, half) == seconds(2e-6 + 5 * (5e-6 + 256e3 / 64e9))


def test_a_long_cache_of_few_heads_is_split() -> None:
    few = shape("decode", 1, 1, 8000, 8, 8)  # 8 blocks, 64 when split by 8
    read = 2 * 2 * 64 * 8000 / 64e9
    assert attention_s(few, 2, ENDLESS, DECODE) == seconds(2e-6 + read)  # splitting takes a second
    free = DECODE._replace(split_s=3e-6)
    assert attention_s(few, 2, ENDLESS, free) == seconds(2e-6 + read / 8 + 3e-6)
    odd = few._replace(kv_tokens=8001)  # 1000.125 keys a part: one of them has 1001
    assert attention_s(odd, 2, ENDLESS, free) == seconds(2e-6 + 2 * 2 * 64 * 1001 / 64e9 + 3e-6)


def test_blocks_and_memory_of_a_decode_overlap_as_a_right_angle() -> None:
    # 100 blocks, one a multiprocessor: 2 * 2 * 64 * 900 bytes at 64 a clock are 3.6 us; 4.8 us of memory; 6 us of both
    both = LIMITS._replace(bytes_per_s=2 * 2 * 100 * 900 * 64 / 4.8e-6 / 0.8)
    assert attention_s(shape("decode", 100, 1, 900, 1, 1), 2, both, DECODE) == seconds(2e-6 + 6e-6)


@pytest.mark.parametrize("op", ["prefill", "encoder", "decode"])
def test_in_a_whole_model_nothing_is_found_in_the_cache(op: str) -> None:
    parameters = (DECODE if op == "decode" else PREFILL)._replace(warm=0.9, l2_rate=0.5)
    small = shape(op, 1, 1 if op == "decode" else 512, 512)
    slow = LIMITS._replace(bytes_per_s=1e11)
    found, washed = (attention_s(small, 2, slow, parameters, warm=warm) for warm in (True, False))
    assert washed == attention_s(small, 2, slow, parameters._replace(warm=0))
    assert found < washed


def test_arrays_of_shapes() -> None:
    tokens = np.array([1.0, 100, 2000])
    for op in ("prefill", "encoder"):
        swept = attention_s(shape(op, 4, tokens, tokens, 32, 8), 2, LIMITS, PREFILL._replace(packed=0.7, warm=0.8))
        singles = [
            attention_s(shape(op, 4, n, n, 32, 8), 2, LIMITS, PREFILL._replace(packed=0.7, warm=0.8))
            for n in (1, 100, 2000)
        ]
        assert swept == pytest.approx(singles, rel=1e-12)
