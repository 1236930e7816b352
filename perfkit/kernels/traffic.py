"""Time of bytes that a kernel moves, from memory or from the L2, and of bytes and work that overlap."""

from __future__ import annotations

from typing import Protocol

from perfkit.kernels.limits import Limits
from perfkit.ops import maximum, minimum
from perfkit.units import Amount

L2_BYTES_PER_CLOCK = 64  # of a multiprocessor
SHARPNESS = 8  # exponent: how sharply kernels fall out of the cache
COLD = 10  # times what the cache keeps: nothing is found, and powers stay numbers


class Memory(Protocol):
    """What a calibration says of memory and cache; every kind of kernel has its own.

    `bandwidth`: reached share of that of memory. `l2_rate`: share of 64 bytes a clock and multiprocessor that the L2
    delivers. `warm`: share of the L2 that a kernel may touch and still find there, 0 where all comes from memory.
    """

    @property
    def bandwidth(self) -> float:
        """Of memory's."""

    @property
    def l2_rate(self) -> float:
        """Of 64 bytes a clock and multiprocessor."""

    @property
    def warm(self) -> float:
        """Of the L2."""


def byte_s(touched: Amount, limits: Limits, parameters: Memory, sharpness: int = SHARPNESS) -> Amount:
    """Seconds a byte of a kernel that touches so many, by what of it is found in the L2; no slower there than memory.

    The share that is found is 1 / (1 + (touched / (warm l2_bytes))^sharpness): nearly all below, nearly nothing above.
    """
    memory = parameters.bandwidth * limits.bytes_per_s
    if not parameters.warm:
        return 1 / memory
    l2 = parameters.l2_rate * limits.multiprocessors * limits.clock_hz * L2_BYTES_PER_CLOCK
    found = 1 / (1 + minimum(touched / (parameters.warm * limits.l2_bytes), COLD) ** sharpness)
    return found / max(l2, memory) + (1 - found) / memory


def together(first: Amount, second: Amount, overlap: float) -> Amount:
    """(first^overlap + second^overlap)^(1 / overlap), without powers of small numbers.

    >>> together(3.0, 4.0, 2)
    5.0
    """
    longer, shorter = maximum(first, second), minimum(first, second)
    return longer * (1 + (shorter / longer) ** overlap) ** (1 / overlap)
