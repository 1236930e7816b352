"""Time of kernels over rows of numbers: element by element, or a row at a time.

Element by element, a kernel is bytes. Where each row is one thread block, as in norms, softmax and gated activations
of serving libraries, its threads pass over the row in steps of 1024 elements, and a multiprocessor works on two such
rows at once; narrower rows share a step. A kernel that reduces a row reads it again, from the cache. With M
multiprocessors and t tensors read and written:

    memory  = bytes / (bandwidth B), faster where what is touched stays in the L2
    count   = ceil(rows min(width / 1024, 1) / M),  pairs = ceil((count - 1) / 2)     rows of a multiprocessor
    rows    = passes [reduces] t 1024 ceil(width / 1024) / clock
              (pairs max(2 / full, 1 / lone) + (count - 2 pairs) / lone)
    rows    = t 1024 / (clock lone)     element by element: a block makes one step
    time    = start_s + memory + rows

Only + - * / and the larger of two, so the same lines serve one shape and arrays of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.limits import Limits
from perfkit.kernels.traffic import byte_s
from perfkit.ops import ceiling, maximum, minimum
from perfkit.units import Amount

REDUCING = ("rmsnorm", "layernorm", "softmax")
GATED = "_mul"  # ends the name of a gated activation
STEP = 1024  # elements: the threads of a block, of which a multiprocessor holds twice as many
MOVED = 2  # tensors of a kernel of which bytes alone are known: it reads one and writes one


class ElementwiseParameters(NamedTuple):
    """What a calibration says of element-wise and row-wise kernels.

    `start_s`: a launch on an idle device, from first to last instruction. `bandwidth`: reached share of that of memory.
    `l2_rate`: share of 64 bytes a clock and multiprocessor that the L2 delivers. `warm`: share of the L2 that a kernel
    may touch and still find there. `passes`: how much more a kernel does with a row that it reduces. `lone`: elements a
    clock of a row that has a multiprocessor for itself. `full`: elements a clock of a multiprocessor with many rows.
    """

    start_s: float
    bandwidth: float
    l2_rate: float
    warm: float
    passes: float
    lone: float
    full: float


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
    >>> plain = ElementwiseParameters(2e-6, 0.8, 0.1, 0, 1.5, 4, 4)
    >>> # (2 + 1) * 4096 * 4096 * 2 bytes / 0.8e12 = 125.8 us, a step of 3 * 1024 / (4 * 1.5e9) = 0.5 us, 2 us
    >>> round(elementwise_s(4096, 4096, 2, 1, 2, limits, plain, by_row=False) * 1e6, 1)
    128.3
    >>> # memory as above; 41 rows a multiprocessor, of 3 * 4096 / (4 * 1.5e9) = 2.05 us each, 2 us
    >>> round(elementwise_s(4096, 4096, 2, 1, 2, limits, plain, by_row=True) * 1e6, 1)
    211.8
    """
    tensors = tensors_read + tensors_written
    moved_s = _moved_s(rows * width * tensors * element_bytes, limits, parameters)
    if not by_row:
        return moved_s + _step_s(tensors, limits, parameters)
    passes = parameters.passes if reduces else 1.0
    return moved_s + tensors * passes * _rows_s(rows, width, limits, parameters)


def bytes_s(touched_bytes: Amount, limits: Limits, parameters: ElementwiseParameters, clocks: Amount = 0.0) -> Amount:
    """Seconds of a kernel of which only bytes are known, read and written together: rotary, gathers, cache writes.

    `clocks`: of a multiprocessor, to address its elements one by one, which all of them share.

    >>> limits = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
    >>> # 80 MB / 0.8e12 = 100 us, a step of 2 * 1024 / (4 * 1.5e9) = 0.3 us, 2 us
    >>> round(bytes_s(80e6, limits, ElementwiseParameters(2e-6, 0.8, 0.1, 0, 1.5, 4, 4)) * 1e6, 1)
    102.3
    >>> # 40 million elements at 0.75 clocks: 30e6 / (100 * 1.5e9) = 200 us, a step of 0.3 us, 2 us
    >>> round(bytes_s(80e6, limits, ElementwiseParameters(2e-6, 0.8, 0.1, 0, 1.5, 4, 4), 0.75 * 40e6) * 1e6, 1)
    202.3
    """
    addressed_s = clocks / (limits.multiprocessors * limits.clock_hz)
    moved_s = maximum(touched_bytes * byte_s(touched_bytes, limits, parameters), addressed_s)
    return parameters.start_s + moved_s + _step_s(MOVED, limits, parameters)


def _moved_s(touched: Amount, limits: Limits, parameters: ElementwiseParameters) -> Amount:
    """The launch, and all bytes."""
    return parameters.start_s + touched * byte_s(touched, limits, parameters)


def _step_s(tensors: int, limits: Limits, parameters: ElementwiseParameters) -> float:
    """One step of a block alone."""
    return tensors * STEP / (limits.clock_hz * parameters.lone)


def _rows_s(rows: Amount, width: Amount, limits: Limits, parameters: ElementwiseParameters) -> Amount:
    """Of one tensor: the rows of a multiprocessor, two at a time, each in steps."""
    count = ceiling(rows * minimum(width / STEP, 1) / limits.multiprocessors)
    pairs = ceiling((count - 1) / 2)
    alone = 1 / parameters.lone
    turns = pairs * max(2 / parameters.full, alone) + (count - 2 * pairs) * alone
    return STEP * ceiling(width / STEP) / limits.clock_hz * turns


def over_rows_s(shape: KernelShape, element_bytes: float, limits: Limits, parameters: ElementwiseParameters) -> Amount:
    """Seconds of an op over m rows of width n, as kernel tables name it: norm, softmax, add, activation, gated or not.

    A norm's own weights are a row more than the rows that it moves, and are left out.
    """
    s: Any = shape  # every such op has m and n
    gated, reduces = s.op.endswith(GATED), s.op in REDUCING
    read = 2 if gated or s.op == "add" else 1
    by_row = gated or reduces
    return elementwise_s(s.m, s.n, read, 1, element_bytes, limits, parameters, by_row=by_row, reduces=reduces)
