"""Time of one fused attention kernel: tiles of queries over keys and values, against bytes.

Over a prompt, or in a vision tower, a thread block holds a tile of 128 rows of queries and runs over keys and values
in steps of 64 tokens; under a causal mask a mean tile runs over half of them. Query heads that share a key head may
share tiles (`packed`). With g = heads / kv_heads, M multiprocessors and the peak P of all of them:

    tiles   = ceil(queries / 128),  steps = ceil(keys / 64),  mean = steps - (tiles - 1) [causal]
    blocks  = batch (packed kv_heads ceil(queries g / 128) + (1 - packed) heads tiles)
    rows    = packed min(128, 16 ceil(queries g / 16)) + (1 - packed) min(128, 16 ceil(queries / 16))
    step    = 4 rows 64 head_dim M / (peak P) + bare rows 64 / (16 clock)     products, and exponentials not hidden
    longest = block_s + steps step
    compute = max(longest, blocks / M (block_s + mean step) + tail longest)
    read    = queries, output, keys and values once, and keys and values again, by each tile, times reread
    cache   = keys and values read and written, where causal
    time    = start_s + (128 / min(head_dim, 128))^narrow (cache + (compute^4 + memory^4)^(1/4))

One new token against the cache: each key head of each sequence is a block, or s of them where the keys are split.

    waves   = max(1, batch s (packed kv_heads + (1 - packed) heads) / M)
    blocks  = waves (block_s + 2 element_bytes head_dim ceil(keys / s) / (block_bytes clock))
    time    = start_s + min over s of (blocks^2 + memory^2)^(1/2) + split_s [s > 1]

memory is bytes at what memory or the L2 deliver (`traffic`). Only + - * / ** and the larger of two, so the same lines
serve one shape and arrays of them.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.limits import Limits
from perfkit.kernels.traffic import byte_s, together
from perfkit.ops import ceiling, maximum, minimum
from perfkit.units import Amount

TILE_ROWS = 128  # rows of queries that a block holds
FEWEST_ROWS = 16  # of a product's instruction: short prompts take smaller tiles, of so many rows or a multiple
STEP_KEYS = 64
SPLITS = (1, 2, 4, 8)
PREFILL_OVERLAP, DECODE_OVERLAP = 4, 2
EXPONENTIALS = 16  # a clock of a multiprocessor
WIDE = 128  # of a head, from which on kernels reach their rates
BARE = 0.6  # of heads of 128, where other shares fit as well
NARROW = 0.3


class PrefillParameters(NamedTuple):
    """What a calibration says of attention over a prompt, and of bidirectional attention.

    `start_s`: a launch on an idle device, from first to last instruction. `peak`: reached share of the engine's.
    `block_s`: what a thread block takes beside its steps. `tail`: share of the longest block for which others wait.
    `bandwidth`: reached share of that of memory. `l2_rate`: share of 64 bytes a clock and multiprocessor that the L2
    delivers. `warm`: share of the L2 that a kernel may touch and still find there. `packed`: 1 where the query heads
    of a key head share tiles, 0 where each has its own. `reread`: share of the keys and values that the tiles of a
    head, beyond reading them once, each fetch again. `bare`: share of the exponentials that no product hides. `narrow`:
    exponent, 0 where heads below 128 reach the same rates, 1 where half as wide ones take twice as long.
    """

    start_s: float
    peak: float
    block_s: float
    tail: float
    bandwidth: float
    l2_rate: float
    warm: float
    packed: float
    reread: float = 0.0
    bare: float = BARE
    narrow: float = NARROW


class DecodeParameters(NamedTuple):
    """What a calibration says of attention of one new token to the cache.

    `start_s`, `bandwidth`, `l2_rate`, `warm`, `packed` as for a prompt. `block_s`: what a wave of blocks takes beside
    what it reads. `block_bytes`: bytes a clock that one block reads. `split_s`: what adding up the parts of split keys
    takes.
    """

    start_s: float
    bandwidth: float
    block_s: float
    block_bytes: float
    split_s: float
    l2_rate: float
    warm: float
    packed: float


def attention_s(
    shape: KernelShape,
    element_bytes: float,
    limits: Limits,
    parameters: PrefillParameters | DecodeParameters,
    *,
    warm: bool = True,
    writes_cache: bool = True,
) -> Amount:
    """Seconds that a fused attention takes on a device, of one new token where the parameters are of decode.

    `warm`: what fits in the L2 is found there; in a whole model other kernels have washed it out. `writes_cache`: over
    a prompt, writing keys and values to the cache is part of it; not where an op of its own does so.

    >>> limits = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
    >>> encoder = KernelShape("attention_encoder", None, None, None, 1, 4096, 4096, 32, 32, 128)
    >>> plain = PrefillParameters(2e-6, 0.8, 0, 0, 0.8, 0.1, 0, 1)
    >>> # 4 * 32 * 4096^2 * 128 / 80e12 = 3.436 ms, 0.6 * 32 * 4096^2 / (16 * 1.5e9 * 100) = 0.134 ms, 2 us
    >>> round(attention_s(encoder, 2, limits, plain) * 1e6)
    3572
    >>> decode = KernelShape("attention_decode", None, None, None, 64, 1, 4096, 32, 32, 128)
    >>> # 2 * 2 * 64 * 32 * 4096 * 128 bytes / 0.8e12 = 5.369 ms, 2 us
    >>> round(attention_s(decode, 2, limits, DecodeParameters(2e-6, 0.8, 0, 1e6, 2e-6, 0.1, 0, 1)) * 1e6)
    5371
    """
    found = parameters if warm else parameters._replace(warm=0.0)
    if isinstance(found, DecodeParameters):
        return _decode_s(shape, element_bytes, limits, found)
    return _prefill_s(shape, element_bytes, limits, found, writes_cache)


# --- over a prompt; a shape is Any because an attention has all columns that these ask for


def _prefill_s(s: Any, element_bytes: float, limits: Limits, p: PrefillParameters, writes_cache: bool) -> Amount:
    causal, keys = s.op == "attention_prefill", 2 * element_bytes * s.batch * s.kv_tokens * s.kv_heads * s.head_dim
    tiles, steps = ceiling(s.q_tokens / TILE_ROWS), ceiling(s.kv_tokens / STEP_KEYS)
    mean = steps - (tiles - 1) * (TILE_ROWS // STEP_KEYS) / 2 if causal else steps
    touched = keys + 2 * element_bytes * s.batch * s.q_tokens * s.heads * s.head_dim
    again = 2 * element_bytes * s.batch * s.heads * s.head_dim * tiles * mean * STEP_KEYS * p.reread
    a_byte_s = byte_s(touched, limits, p)
    compute = _blocks_s(s, steps, mean, limits, p)
    cache_s = 2 * keys * a_byte_s if causal and writes_cache else 0.0  # read once, written once
    slower = (WIDE / minimum(s.head_dim, WIDE)) ** p.narrow
    return p.start_s + slower * (cache_s + together(compute, (touched + again) * a_byte_s, PREFILL_OVERLAP))


def _blocks_s(s: Any, steps: Amount, mean: Amount, limits: Limits, p: PrefillParameters) -> Amount:
    """All blocks over all multiprocessors, none before the longest has ended."""
    shared, own, loose = s.q_tokens * (s.heads / s.kv_heads), s.q_tokens, 1 - p.packed
    blocks = s.batch * (p.packed * s.kv_heads * _tiles(shared) + loose * s.heads * _tiles(own))
    step_s = _step_s(p.packed * _rows(shared) + loose * _rows(own), s.head_dim, limits, p)
    longest = p.block_s + steps * step_s
    return maximum(longest, blocks / limits.multiprocessors * (p.block_s + mean * step_s) + p.tail * longest)


def _tiles(queries: Amount) -> Amount:
    return ceiling(queries / TILE_ROWS)


def _rows(queries: Amount) -> Amount:
    """Of a tile."""
    return minimum(FEWEST_ROWS * ceiling(queries / FEWEST_ROWS), TILE_ROWS)


def _step_s(rows: Amount, head_dim: Amount, limits: Limits, p: PrefillParameters) -> Amount:
    """One block's step: both products of its rows with 64 keys and values, and the exponentials between them."""
    products = 4 * rows * STEP_KEYS * head_dim * limits.multiprocessors / (p.peak * limits.flops_per_s)
    return products + p.bare * rows * STEP_KEYS / (EXPONENTIALS * limits.clock_hz)


# --- one new token


def _decode_s(s: Any, element_bytes: float, limits: Limits, p: DecodeParameters) -> Amount:
    touched = 2 * element_bytes * s.batch * s.kv_tokens * s.kv_heads * s.head_dim
    memory_s = touched * byte_s(touched, limits, p)
    return p.start_s + reduce(minimum, [_with_split(s, split, element_bytes, memory_s, limits, p) for split in SPLITS])


def _with_split(
    s: Any, split: int, element_bytes: float, memory_s: Amount, limits: Limits, p: DecodeParameters
) -> Amount:
    heads = p.packed * s.kv_heads + (1 - p.packed) * s.heads
    waves = maximum(s.batch * split * heads / limits.multiprocessors, 1)
    read = 2 * element_bytes * s.head_dim * ceiling(s.kv_tokens / split)
    blocks_s = waves * (p.block_s + read / (p.block_bytes * limits.clock_hz))
    time = together(blocks_s, memory_s, DECODE_OVERLAP)
    return time if split == 1 else time + p.split_s
