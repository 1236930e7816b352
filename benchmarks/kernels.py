"""How many kernels a second are predicted on one core, against their plain rooflines in the same run.

Time of the process, so that others on the machine do not count; shapes go in as arrays of one chunk. The reference is
the larger of two quotients, operations by the peak and bytes by the bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from perfkit.calibration.parameters import (
    ATTENTION_DECODE_START,
    ATTENTION_PREFILL_START,
    ELEMENTWISE_START,
    STARTS,
)
from perfkit.hardware import load_device
from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.kernels.attention import attention_s
from perfkit.kernels.elementwise import over_rows_s
from perfkit.kernels.limits import Limits, limits_of
from perfkit.kernels.products import Product, product_s
from perfkit.units import Precision

CHUNK, CALLS = 16384, 100
TARGET = 1e6  # products a second
HEADS, HEAD_DIM, BYTES = 32, 128, 2


class Case(NamedTuple):
    """A kind of kernel: its expected time, and its operations and bytes for the reference."""

    name: str
    predict: Callable[[], object]
    roofline: Callable[[], object]


def rate(function: Callable[[], object]) -> float:
    """Predictions a second of the quickest call."""
    best = float("inf")
    for _ in range(CALLS):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return CHUNK / best


def cases(limits: Limits) -> list[Case]:
    """Products, attention over prompts and of new tokens, norms; sizes drawn alike in every run."""
    draw = np.random.default_rng(0)

    def sizes(least: int, most: int) -> np.ndarray:
        return np.exp(draw.uniform(np.log(least), np.log(most), CHUNK)).round()

    m, n, k, batch = sizes(1, 4096), sizes(1024, 32768), sizes(1024, 32768), sizes(1, 64)
    prompt = KernelShape("attention_prefill", None, None, None, batch, m, m, HEADS, HEADS, HEAD_DIM)
    token = KernelShape("attention_decode", None, None, None, batch, 1, n, HEADS, HEADS, HEAD_DIM)

    def roofline(flops: Callable[[], np.ndarray], moved: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        return lambda: np.maximum(flops() / limits.flops_per_s, moved() / limits.bytes_per_s)

    return [
        Case(
            "products",
            lambda: product_s(Product(m, n, k), limits, STARTS[0]),
            roofline(lambda: 2 * m * n * k, lambda: Product(m, n, k).bytes),
        ),
        Case(
            "attention, prompts",
            lambda: attention_s(prompt, BYTES, limits, ATTENTION_PREFILL_START),
            roofline(lambda: 4 * HEADS * HEAD_DIM * batch * m * m, lambda: 4 * BYTES * HEADS * HEAD_DIM * batch * m),
        ),
        Case(
            "attention, new tokens",
            lambda: attention_s(token, BYTES, limits, ATTENTION_DECODE_START),
            roofline(lambda: 4 * HEADS * HEAD_DIM * batch * n, lambda: 2 * BYTES * HEADS * HEAD_DIM * batch * (n + 1)),
        ),
        Case(
            "element-wise (rmsnorm)",
            lambda: over_rows_s(over_rows("rmsnorm", m, n), BYTES, limits, ELEMENTWISE_START),
            roofline(lambda: 4 * m * n, lambda: 2 * BYTES * m * n),
        ),
    ]


def main() -> None:
    """Print each rate, the reference's, and their ratio."""
    print(f"chunks of {CHUNK} shapes, one core      predictions/s     plain roofline/s   roofline is faster by")
    for name, predict, roofline in cases(limits_of(load_device("a100"), Precision.BF16)):
        ours, reference = rate(predict), rate(roofline)
        goal = f"   target {TARGET:.0e}: {'reached' if ours >= TARGET else 'MISSED'}" if name == "products" else ""
        print(f"{name:34} {ours / 1e6:14.2f} M   {reference / 1e6:16.1f} M   {reference / ours:18.1f} x{goal}")


if __name__ == "__main__":
    main()
