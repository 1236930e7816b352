"""Cost of what is timed: a single kernel, or the launch of one."""

from __future__ import annotations

from perfkit.errors import InvalidValue
from perfkit.kernel_shapes import LAUNCH
from perfkit.kernels.costs import cost_of_shape, kernel_ops
from perfkit.measuring.cases import KernelCase
from perfkit.ops import OpCost
from perfkit.units import Precision


def cost_of(case: KernelCase) -> OpCost:
    """FLOPs and bytes of one launch, weights and activations stored in the case's precision.

    Raises:
        InvalidValue: an op that is none of `timed_ops()`.

    >>> from perfkit.kernel_shapes import KernelShape
    >>> cost = cost_of(KernelCase(KernelShape("gemm", 1, 4096, 11008), "bf16"))
    >>> cost.flops, cost.bytes  # 2 * 4096 * 11008; 2 * (4096 * 11008 + 11008 + 4096)
    (90177536, 90207744)
    """
    precision = Precision(case.precision)
    if check_timed(case.shape.op) == LAUNCH:
        return OpCost("prefill", LAUNCH, LAUNCH, 1, precision)
    return cost_of_shape(case.shape, precision)


def timed_ops() -> list[str]:
    """Ops that can be timed as single kernels."""
    return [LAUNCH, *kernel_ops()]


def check_timed(op: str) -> str:
    """`op`, if it is one of `timed_ops()`.

    Raises:
        InvalidValue: otherwise.
    """
    if op not in timed_ops():
        raise InvalidValue(f"no kernel {op!r} can be timed; allowed: {', '.join(timed_ops())}")
    return op
