"""The peaks suite: what this machine reaches at best, and the device file that it makes."""

from __future__ import annotations

from collections.abc import Sequence

from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.measuring.backend import Backend
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.device_file import device_yaml
from perfkit.units import Precision

__all__ = ["device_yaml", "peak_cases"]

WIDTH = 4096  # columns of the copied rows, and of the largest weight
# Times the last cache level that one copied tensor, and the largest weight of a one-row product, take at least.
CACHES = 16
LEAST_BYTES = 2**28  # of the same, where the cache is small or not known
FREE_SHARE = 8  # part of the free memory that one of them may take at most

# Products: square ones, and those of a vision tower and a language model, which small caches may like better. Above
# some 20 GFLOP a CPU gains nothing, and one that emulates bf16 would take seconds; a GPU is not filled below.
SHAPES = {
    "cpu": ((1024,) * 3, (2048,) * 3, (577, 1024, 1024), (577, 4096, 1024), (577, 1024, 4096), (640, 4096, 4096)),
    "cuda": (
        (4096,) * 3,
        (8192,) * 3,
        (2048, 4096, 4096),
        (4096, 11008, 4096),
        (4096, 4096, 11008),
        (8192, 4096, 4096),
    ),
}
TOWER = KernelShape("attention_encoder", None, None, None, 1, 577, 577, 16, 16, 64, 0)  # of CLIP ViT-L/14-336
WEIGHTS = ((4096, 4096), (11008, 4096), (4096, 11008))  # (n, k) of a 7B language model


def peak_cases(backend: Backend, precisions: Sequence[str]) -> list[KernelCase]:
    """A large copy; for each precision products with one row and with many, and a tower's attention.

    Attention counts because a CPU without bf16 products makes them faster in its fused attention than in a product;
    bidirectional only, since half of what is counted of causal attention is never done.
    """
    cases = [KernelCase(over_rows("copy", _rows(backend, 4), WIDTH), "fp32")]
    for precision in precisions:
        large = _rows(backend, int(Precision(precision).bytes_of(1)))
        shapes = [gemm(1, n, k) for n, k in (*WEIGHTS, (large, WIDTH))]
        shapes += [gemm(m, n, k) for m, n, k in SHAPES[backend.device.type]]
        cases += [KernelCase(shape, precision) for shape in (*shapes, TOWER)]
    return cases


def _rows(backend: Backend, element_bytes: int) -> int:
    """Rows of WIDTH that exceed the cache many times over, within the free memory."""
    row, cache = WIDTH * element_bytes, backend.machine().cache_bytes or 0
    wanted = max(LEAST_BYTES, CACHES * cache)
    return max(1, min(wanted, backend.free_bytes() // FREE_SHARE) // row)
