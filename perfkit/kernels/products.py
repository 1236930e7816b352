"""Time of one product of matrices: tiles of the result in waves over multiprocessors, against bytes.

The result (m, n) is cut into tiles; each is the work of one thread block, which runs over k, or over a part of it
where k is split. Blocks go to multiprocessors in waves. Of all tiles and splits the fastest is taken, as libraries try
to. With b blocks of tile (h, w) on M multiprocessors, of peak P each:

    block   = 2 h w (k / s + prologue_k) (1 + load / i) / (peak P tile aligned) + step_s k / s,  i = h w / (h + w)
    waves   = max(1, (1 - quantisation) b / M + quantisation ceil(b / M))
    quick   = waves block (1 + lone / (1 + (b / M)^2))
    compute = held quick (1 + throttle quick / (quick + 0.2 ms))
    memory  = (bytes + 4 m n s [s > 1]) / (bandwidth B), faster where the weight (k, n) stays in the L2
    time    = start_s + min over tiles and s of (compute^overlap + memory^overlap)^(1 / overlap) + split_s [s > 1]

A benchmark runs a product again and again. Where that takes all of a device's power the clock falls, the lower the
longer one run is: thus `throttle`. It cycles through copies of the weight, so that these stay in the L2 where all of
them fit, and never where one more is there than fits: thus `warm`, with a step at its end.

`aligned` is 1 where the rows of all factors begin at multiples of 16 bytes, as the fastest loads of an engine ask for;
`misaligned` where some begin at multiples of 8 bytes only, and its square where not even that: then libraries fall back
to kernels that load less at a time (NVIDIA, Matrix Multiplication Background User's Guide, tensor core requirements).
Products of one row are bytes, and made by other kernels.

`held` is 1, but where a device's file has the rate that its large products sustain: then it makes one of 8192^3 take
as long as that rate says, if it would be faster, and all others are slowed alike.

Only + - * / ** and the larger of two, so the same lines serve one shape and arrays of them.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from math import inf
from typing import NamedTuple

from perfkit.kernels.limits import Limits
from perfkit.kernels.traffic import byte_s, together
from perfkit.ops import ceiling, maximum, minimum
from perfkit.units import Amount

TILES = (
    (32, 64),
    (64, 64),
    (64, 128),
    (128, 64),
    (128, 128),
    (128, 256),
    (256, 128),
)
SPLITS = (1, 2, 4, 8, 16)
PARTIAL_BYTES = 4  # partial sums are float32
LARGE = 8192  # rows, columns and terms of a product that sustains a rate
LASTING_S = 0.2e-3  # of one run, repeated: half way to the lowest clock
ALIGNED_BYTES = (16, 8)  # of the fastest loads, and of the next
STEP = 32  # exponent: how sharply weights fall out of the cache


class ProductParameters(NamedTuple):
    """What a calibration says of products on one engine.

    `start_s`: a launch on an idle device, from first to last instruction. `bandwidth`: reached share of that of memory.
    `overlap`: exponent, 1 where compute and memory add up, large where the longer hides the other. `peak`: reached
    share of the engine's. `load`: intensity (FLOP an element) of a tile at which loading it takes as long as
    multiplying. `quantisation`: 1 where the last wave takes as long as a full one, 0 where it takes its share.
    `split_s`: what adding up the parts of a split k takes. `l2_rate`: share of 64 bytes a clock and multiprocessor that
    the L2 delivers. `warm`: share of the L2 that a kernel may touch and still find what the last run of it left (how
    the table was measured: 1 / copies of the weights that were cycled; 0 where all is cold). `step_s`: seconds an
    element of k that a block waits, whatever its tile. `lone`: how much slower a block is which has a multiprocessor
    for itself. `prologue_k`: elements of k that filling a block's pipeline is worth. `throttle`: how much longer
    very long products take than at the clock of short ones. `misaligned`: share of their rate that products of odd
    sizes reach. `tiles`: what kernels of each tile reach, relative to the others.
    """

    start_s: float
    bandwidth: float
    overlap: float
    peak: float
    load: float
    quantisation: float
    split_s: float
    l2_rate: float
    warm: float
    step_s: float
    lone: float
    prologue_k: float
    throttle: float = 0.0
    misaligned: float = 1.0
    tiles: tuple[float, ...] = (1.0,) * len(TILES)


class Product(NamedTuple):
    """`batch` products of (m, k) and (k, n), whose elements have so many bytes.

    `weight_bytes`: of an element of (k, n) where it is stored in another format, as quantised weights are.
    """

    m: Amount
    n: Amount
    k: Amount
    batch: Amount = 1
    element_bytes: float = 2
    weight_bytes: float | None = None

    @property
    def bytes(self) -> Amount:
        """Both factors read and the result written once.

        >>> Product(2, 3, 5).bytes, Product(2, 3, 5, weight_bytes=0.5).bytes  # 2 * (10 + 15 + 6); 2 * 16 + 0.5 * 15
        (62, 39.5)
        """
        return self.element_bytes * self.batch * (self.m * self.k + self.m * self.n) + self.weights

    @property
    def flops(self) -> Amount:
        """Two a multiply-add."""
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def weights(self) -> Amount:
        """Bytes of the factors (k, n)."""
        size = self.element_bytes if self.weight_bytes is None else self.weight_bytes
        return size * self.batch * self.n * self.k


def product_s(product: Product, limits: Limits, parameters: ProductParameters) -> Amount:
    """Seconds that a product takes on a device.

    >>> from perfkit.units import Precision
    >>> limits = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
    >>> plain = ProductParameters(2e-6, 0.8, 16, 0.8, 0, 0, 2e-6, 0.1, 0, 0, 0, 0)
    >>> # 2 * 4096^3 / 80e12 = 1.718 ms of compute, 3 * 2 * 4096^2 / 0.8e12 = 0.126 ms of bytes behind it, 2 us
    >>> round(product_s(Product(4096, 4096, 4096), limits, plain) * 1e6)
    1720
    >>> held_back = limits._replace(sustained_flops_per_s=50e12)  # 1.718 ms * 80 / 50 = 2.749 ms
    >>> round(product_s(Product(4096, 4096, 4096), held_back, plain) * 1e6)
    2751
    """
    a_byte_s = byte_s(product.weights, limits, parameters, STEP)
    fastest = _fastest(product, limits, parameters)
    held = 1.0 if limits.sustained_flops_per_s == inf else _held_back(limits, parameters)
    slowed = [held * _throttled(quick, parameters) for quick in fastest]
    times = [_with_split(product, *each, a_byte_s, parameters) for each in zip(SPLITS, slowed, strict=True)]
    return parameters.start_s + reduce(minimum, times)


@lru_cache(maxsize=64)
def _held_back(limits: Limits, parameters: ProductParameters) -> float:
    """How much longer a large product takes at the sustained rate than the model says without it; at least 1."""
    large = Product(LARGE, LARGE, LARGE)
    sustained_s = large.flops / limits.sustained_flops_per_s
    alone_s = _throttled(min(_fastest(large, limits, parameters)), parameters)
    return max(1.0, float(sustained_s / alone_s))


@lru_cache(maxsize=64)
def large_flop_s(limits: Limits, parameters: ProductParameters) -> float:
    """Seconds a FLOP of a large product: what products of no one shape are taken at.

    >>> limits = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
    >>> plain = ProductParameters(2e-6, 0.8, 16, 0.8, 0, 0, 2e-6, 0.1, 0, 0, 0, 0)
    >>> round(1 / large_flop_s(limits, plain) / 1e12)  # 0.8 of 100 TFLOP/s
    80
    """
    large = Product(LARGE, LARGE, LARGE)
    return float(product_s(large, limits, parameters) / large.flops)


def _fastest(product: Product, limits: Limits, parameters: ProductParameters) -> list[Amount]:
    """Compute time of the fastest tile for each split."""
    # Tile after tile, so that of large arrays only those of one tile are at work, and stay in the processor's cache.
    aligned = aligned_share(product, parameters)
    each = zip(TILES, parameters.tiles, strict=True)
    tiles = (_Blocks(product, tile, aligned * reached, limits, parameters) for tile, reached in each)
    return reduce(_faster, ([tile.compute_s(split) for split in SPLITS] for tile in tiles))


def _faster(one: list[Amount], other: list[Amount]) -> list[Amount]:
    """Of two tiles, for each split."""
    return [minimum(*pair) for pair in zip(one, other, strict=True)]


def aligned_share(product: Product, parameters: ProductParameters) -> Amount:
    """Share of the engine's rate that the sizes of the rows allow; a product of one row is made without that engine.

    >>> own = ProductParameters(2e-6, 0.8, 16, 0.8, 0, 0, 2e-6, 0.1, 0, 0, 0, 0, misaligned=0.3)
    >>> # 2 bytes: rows of 4096 elements begin at multiples of 16 bytes, of 588 of 8, of 577 of 2
    >>> [round(aligned_share(Product(64, n, 4096), own), 2) for n in (4096, 588, 577)]
    [1.0, 0.3, 0.09]
    """
    if parameters.misaligned == 1:
        return 1.0
    rows = [product.element_bytes * size for size in (product.n, product.k)]
    missed = sum(maximum(*(row < ceiling(row / at) * at for row in rows)) for at in ALIGNED_BYTES)
    return parameters.misaligned ** (missed * (product.m > 1))


def _throttled(quick: Amount, parameters: ProductParameters) -> Amount:
    return quick * (1 + parameters.throttle * quick / (quick + LASTING_S))


def _with_split(
    product: Product, split: int, compute: Amount, a_byte_s: Amount, parameters: ProductParameters
) -> Amount:
    if split == 1:
        return together(compute, product.bytes * a_byte_s, parameters.overlap)
    partial = PARTIAL_BYTES * product.batch * product.m * product.n * split
    return together(compute, (product.bytes + partial) * a_byte_s, parameters.overlap) + parameters.split_s


class _Blocks:
    """The blocks of one tile, whatever the split."""

    def __init__(
        self,
        product: Product,
        tile: tuple[int, int],
        reached: Amount,
        limits: Limits,
        parameters: ProductParameters,
    ) -> None:
        height, width = tile
        loading = 1 + parameters.load * (height + width) / (height * width)
        rate = parameters.peak * reached * limits.flops_per_s / limits.multiprocessors / loading
        element_s = 2 * height * width / rate
        blocks = ceiling(product.m / height) * ceiling(product.n / width) * product.batch
        self.parameters = parameters
        self.each = blocks / limits.multiprocessors  # unsplit, of a multiprocessor
        self.evenly = (1 - parameters.quantisation) * self.each
        self.squared = self.each * self.each
        self.prologue_s = element_s * parameters.prologue_k
        self.loop_s = product.k * (element_s + parameters.step_s)

    def compute_s(self, split: int) -> Amount:
        """All waves of blocks that each do one part of k: waves / split times block times split, for fewer steps."""
        quantised = self.parameters.quantisation / split * ceiling(self.each * split)
        waves = maximum(self.evenly + quantised, 1 / split)
        lone = 1 + self.parameters.lone / split**2 / (1 / split**2 + self.squared)
        return waves * (self.loop_s + self.prologue_s * split) * lone
