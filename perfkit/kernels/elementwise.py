"""Time of kernels over rows of numbers: element by element, or a row at a time.

Element by element, a kernel is bytes. Where each row is one thread block, as in norms, softmax and gated activations
of serving libraries, a row alone is slow and a multiprocessor moves only so many bytes a clock, whatever memory does;
a kernel that reduces a row reads it again. With M multiprocessors:

    memory  = passes [reduces] bytes / (bandwidth B), faster where what is touched stays in the L2
    rows    = row bytes / clock max(1 / lone_bytes, rows / (M full_bytes))
    time    = start_s + memory,  or start_s + (memory^overlap + rows^overlap)^(1 / overlap) a row at a time

Only + - * / ** and the larger of two, so the same lines serve one shape and arrays of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.limits import Limits
from perfkit.kernels.traffic import byte_s, together
from perfkit.ops import maximum
from perfkit.units import Amount

REDUCING = ("rmsnorm", "layernorm", "softmax")
GATED = "_mul"  # ends the name of a gated activation


class ElementwiseParameters(NamedTuple):
    """What a calibration says of element-wise and row-wise kernels.

    `start_s`: a launch on an idle device, from first to last instruction. `bandwidth`: reached share of that of memory.
    `l2_rate`: share of 64 bytes a clock and multiprocessor that the L2 delivers. `warm`: share of the L2 that a kernel
    may touch and still find there. `overlap`: exponent, 1 where memory and rows add up, large where the longer hides
    the other. `passes`: how often a kernel that reduces rows moves its bytes. `lone_bytes`: bytes a clock of a row that
    has a multiprocessor for itself. `full_bytes`: bytes a clock of a multiprocessor with many rows.
    """

    start_s: float
    bandwidth: float
    l2_rate: float
    warm: float
    overlap: float
    passes: float
    lone_bytes: float
    full_bytes: float


def elementwise_s(
    rows: Amount,
    width: Amount,
    tensors_read: int,
    tensors_written: int,
    element_bytes: float,
    limits: Limits,
    parameters: ElementwiseParameters,
    *,
    by_row: bool,
    reduces: bool = False,
) -> Amount:
    """Seconds that a kernel over tensors of (rows, width) takes on a device.

    `by_row`: each row is one thread block. `reduces`: and is read again after a sum or maximum over it.

    >>> limits = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
    >>> plain = ElementwiseParameters(2e-6, 0.8, 0.1, 0, 2, 2, 10, 4)
    >>> # (2 + 1) * 4096 * 4096 * 2 bytes / 0.8e12 = 125.8 us, 2 us
    >>> round(elementwise_s(4096, 4096, 2, 1, 2, limits, plain, by_row=False) * 1e6)
    128
    >>> # memory as above; rows 100.7e6 / (100 * 4 * 1.5e9) = 167.8 us; (125.8^2 + 167.8^2)^(1/2) = 209.7 us, 2 us
    >>> round(elementwise_s(4096, 4096, 2, 1, 2, limits, plain, by_row=True) * 1e6)
    212
    """
    row_bytes = (tensors_read + tensors_written) * element_bytes * width
    touched = rows * row_bytes
    memory_s = touched * byte_s(touched, limits, parameters)
    if not by_row:
        return parameters.start_s + memory_s
    moved_s = memory_s * parameters.passes if reduces else memory_s
    return parameters.start_s + together(moved_s, _rows_s(rows, row_bytes, limits, parameters), parameters.overlap)


def _rows_s(rows: Amount, row_bytes: Amount, limits: Limits, parameters: ElementwiseParameters) -> Amount:
    each = rows / (limits.multiprocessors * parameters.full_bytes)
    return row_bytes / limits.clock_hz * maximum(each, 1 / parameters.lone_bytes)


def over_rows_s(shape: KernelShape, element_bytes: float, limits: Limits, parameters: ElementwiseParameters) -> Amount:
    """Seconds of an op over m rows of width n, as kernel tables name it: norm, softmax, add, activation, gated or not.

    A norm's own weights are a row more than the rows that it moves, and are left out.
    """
    s: Any = shape  # every such op has m and n
    gated, reduces = s.op.endswith(GATED), s.op in REDUCING
    read = 2 if gated or s.op == "add" else 1
    by_row = gated or reduces
    return elementwise_s(s.m, s.n, read, 1, element_bytes, limits, parameters, by_row=by_row, reduces=reduces)
