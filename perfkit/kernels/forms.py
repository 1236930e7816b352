"""Which form of the kernel model an op has, beside products: attention, rows of numbers, exchanges between GPUs."""

from __future__ import annotations

from typing import Any, TypeAlias

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.attention import DecodeParameters, PrefillParameters, attention_s
from perfkit.kernels.collectives import CollectiveParameters
from perfkit.kernels.elementwise import ElementwiseParameters, over_rows_s
from perfkit.kernels.limits import Limits
from perfkit.units import Amount

FormParameters: TypeAlias = PrefillParameters | DecodeParameters | ElementwiseParameters | CollectiveParameters

PRODUCTS = "products"
ELEMENTWISE = "elementwise"
COLLECTIVES = "collectives"  # within a node
BETWEEN_NODES = "collectives_between_nodes"
FORMS: dict[str, type[Any]] = {
    "attention_prefill": PrefillParameters,
    "attention_encoder": PrefillParameters,
    "attention_decode": DecodeParameters,
    ELEMENTWISE: ElementwiseParameters,
    COLLECTIVES: CollectiveParameters,
    BETWEEN_NODES: CollectiveParameters,
}


def form_of(op: str) -> str:
    """Name of the form that times an op.

    >>> form_of("bmm"), form_of("attention_decode"), form_of("rmsnorm")
    ('products', 'attention_decode', 'elementwise')
    """
    if op in ("gemm", "bmm"):
        return PRODUCTS
    return op if op in FORMS else ELEMENTWISE


def kind_of(op: str, engine: str) -> str:
    """What errors and spreads are stated of: products of each engine, other kernels by their form.

    >>> kind_of("bmm", "tensor"), kind_of("softmax", "tensor")
    ('tensor products', 'elementwise')
    """
    form = form_of(op)
    return f"{engine} {PRODUCTS}" if form == PRODUCTS else form


def form_s(
    shape: KernelShape, element_bytes: float, limits: Limits, parameters: FormParameters, *, warm: bool = True
) -> Amount:
    """Seconds of a kernel that is no product."""
    if isinstance(parameters, ElementwiseParameters):
        known = parameters if warm else parameters._replace(warm=0.0)
        return over_rows_s(shape, element_bytes, limits, known)
    attention: Any = parameters  # no one GPU's kernel has the parameters of collectives
    return attention_s(shape, element_bytes, limits, attention, warm=warm)
