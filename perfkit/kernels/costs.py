"""Cost of single kernels by the formulas that count whole models, from their shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perfkit import ops
from perfkit.attention import AttentionShape, fused_attention
from perfkit.errors import UnknownName
from perfkit.kernel_shapes import KernelShape
from perfkit.ops import ACTIVATION_FLOPS, OpCost, Place
from perfkit.units import Precision

GATED = "_mul"  # ends the name of a gated activation


def cost_of_shape(shape: KernelShape, precision: Precision) -> OpCost:
    """FLOPs and bytes of one launch, weights and activations stored in `precision`; sizes are ints or float64 arrays.

    Raises:
        UnknownName: an op that is none of `kernel_ops()`.

    >>> cost = cost_of_shape(KernelShape("gemm", 1, 4096, 11008), Precision.BF16)
    >>> cost.flops, cost.bytes  # 2 * 4096 * 11008; 2 * (4096 * 11008 + 11008 + 4096)
    (90177536, 90207744)
    """
    phase = "decode" if shape.op == "attention_decode" else "prefill"
    place = Place(phase, 1, weights=precision, activations=precision, kv=precision, engine=precision)
    return _formula(shape.op)(place, shape)


def kernel_ops() -> list[str]:
    """Ops that have a cost as single kernels."""
    return [*_FORMULAS, *ACTIVATION_FLOPS, *(function + GATED for function in ACTIVATION_FLOPS)]


def check_op(op: str) -> str:
    """`op`, if it is one of `kernel_ops()`.

    Raises:
        UnknownName: otherwise, with the nearest.
    """
    if op not in kernel_ops():
        raise UnknownName("op", op, kernel_ops())
    return op


# Cost from the place and a KernelShape, Any because an op has all columns that its formula asks for.
_Formula = Callable[[Place, Any], OpCost]


def _formula(op: str) -> _Formula:
    if check_op(op) in _FORMULAS:
        return _FORMULAS[op]
    if op.endswith(GATED):
        return lambda place, s: ops.gated_activation(place, s.op, s.m, s.n, op.removesuffix(GATED))
    return lambda place, s: ops.activation(place, s.op, s.m, s.n, op)


def _bmm(place: Place, s: Any) -> OpCost:
    read, write = s.batch * s.k * (s.m + s.n), s.batch * s.m * s.n
    return place.cost(s.op, "attention", matmul=2 * write * s.k, read=read, write=write, kernel=s)


def _attention(place: Place, s: Any) -> OpCost:
    cached = s.op != "attention_encoder"
    shape = AttentionShape(s.batch, s.q_tokens, s.kv_tokens, s.heads, s.kv_heads, s.head_dim, cached)
    return fused_attention(place, s.op, shape)


_FORMULAS: dict[str, _Formula] = {
    "gemm": lambda place, s: ops.linear(place, s.op, s.m, s.k, s.n),
    "bmm": _bmm,
    "attention_prefill": _attention,
    "attention_decode": _attention,
    "attention_encoder": _attention,
    "rmsnorm": lambda place, s: ops.norm(place, s.op, s.m, s.n, s.op),
    "layernorm": lambda place, s: ops.norm(place, s.op, s.m, s.n, s.op),
    "softmax": lambda place, s: ops.softmax(place, s.op, s.m, s.n),
    "add": lambda place, s: ops.add(place, s.op, s.m, s.n),
    "copy": lambda place, s: ops.copy(place, s.op, s.m, s.n),
}
