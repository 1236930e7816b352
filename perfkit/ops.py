"""Cost formulas of kernel-level operations: floating-point operations and bytes, from shapes alone.

Convention: a multiply-add is 2 FLOPs; attention products are counted over the whole square, masked or not.
`matmul_flops` are products (linear, convolution, attention); `vector_flops` are element-wise work, in which each
elementary function (exp, erf, tanh, reciprocal square root) counts 1. Bytes are the traffic of an ideal kernel: each
input read once, each output written once.

All formulas take ints or float64 arrays and use + - * / // ** and `maximum` only (`minimum` is made of it). In a
product, what is a number in every sweep stands first, so that fewer of its steps are of arrays.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.units import Amount, Precision

COMMUNICATION = "communication"  # kind of ops that exchange between GPUs
# Element-wise FLOPs an element. Softmax: maximum, subtract, exp, sum, divide. RMSNorm: square, sum, two multiplies.
# Layer norm: sum, subtract, square, sum, multiply by the reciprocal deviation, scale, shift.
SOFTMAX_FLOPS = 5
ROTARY_FLOPS = 3  # x cos + rotated(x) sin
NORM_FLOPS = {"rmsnorm": 4, "layernorm": 7}
ACTIVATION_FLOPS = {
    "relu": 1,
    "tanh": 1,
    "silu": 4,  # x / (1 + exp(-x)): negate, exp, add, divide
    "swish": 4,
    "quick_gelu": 4,  # x / (1 + exp(-1.702 x)): multiply, exp, add, divide
    "gelu": 5,  # 0.5 x (1 + erf(x / sqrt 2)): multiply, erf, add, multiply, multiply
    "gelu_python": 5,
    # 0.5 x (1 + tanh(c (x + 0.044715 x^3))): cube 2, multiply, add, multiply, tanh, add, multiply, multiply
    "gelu_new": 9,
    "gelu_fast": 9,
    "gelu_pytorch_tanh": 9,
}


class OpCost(NamedTuple):
    """Cost of one op of a phase; every figure is the total over its `repeat` launches.

    `engine` is the precision in which its products run; `kernel` is the shape of one launch, None for what no kernel
    table holds. A tuple, because a forward makes dozens of them in well under a millisecond.
    """

    phase: str
    name: str
    kind: str
    repeat: Amount
    engine: Precision
    matmul_flops: Amount = 0
    vector_flops: Amount = 0
    weight_bytes: Amount = 0
    read_bytes: Amount = 0
    write_bytes: Amount = 0
    kv_read_bytes: Amount = 0
    kv_write_bytes: Amount = 0
    kernel: KernelShape | None = None

    @property
    def multiplies(self) -> bool:
        """Whether it has products, and so needs an engine for them."""
        # Absent products are the int 0; an array may be zero at some points of a sweep only.
        return not (isinstance(self.matmul_flops, int) and self.matmul_flops == 0)

    @property
    def flops(self) -> Amount:
        """Products and element-wise work."""
        return self.matmul_flops + self.vector_flops

    @property
    def bytes(self) -> Amount:
        """All traffic; what is mostly a number in a sweep first, so that fewer sums are of arrays."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes + self.read_bytes + self.write_bytes


class Place(NamedTuple):
    """Where an op stands: its phase, how often it is launched, and the formats of what it touches.

    `group`: weights that share one fp16 scale (weight-only formats), or None.
    """

    phase: str
    repeat: Amount
    weights: Precision
    activations: Precision
    kv: Precision
    engine: Precision
    group: int | None = None

    def cost(
        self,
        name: str,
        kind: str,
        *,
        matmul: Amount = 0,
        vector: Amount = 0,
        weight_bytes: Amount = 0,
        read: Amount = 0,
        write: Amount = 0,
        kv_read: Amount = 0,
        kv_write: Amount = 0,
        kernel: KernelShape | None = None,
    ) -> OpCost:
        """Op of `repeat` launches from the figures of one; reads and writes are given in elements."""
        times, a, kv = self.repeat, self.activations.bytes_of, self.kv.bytes_of
        return OpCost(
            self.phase,
            name,
            kind,
            times,
            self.engine,
            times * matmul,
            times * vector,
            times * weight_bytes,
            a(read, times),
            a(write, times),
            kv(kv_read, times),
            kv(kv_write, times),
            kernel,
        )


def maximum(first: Any, second: Any) -> Any:
    """The larger of two numbers, element by element where one is an array."""
    if _is_array(first) or _is_array(second):
        import numpy

        return numpy.maximum(first, second)
    return first if first >= second else second


def minimum(first: Any, second: Any) -> Any:
    """The smaller of two numbers, element by element where one is an array."""
    if _is_array(first) or _is_array(second):
        import numpy

        return numpy.minimum(first, second)
    return first if first <= second else second


def evenly(total: Any, parts: Any) -> Any:
    """One of `parts` that share `total` without a rest; exact, and for arrays 30 times as fast as //.

    >>> evenly(12, 4)
    3
    """
    return total / parts if _is_array(total) or _is_array(parts) else total // parts


def ceiling(number: Any) -> Any:
    """The least whole number that is not below, element by element of an array; a quotient of floats is slower.

    >>> ceiling(4097 / 128)
    33
    """
    if _is_array(number):
        import numpy

        return numpy.ceil(number)
    return math.ceil(number)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape")


def linear_weight_bytes(weights: Precision, inputs: Amount, outputs: Amount, group: int | None) -> Amount:
    """Bytes of an (inputs, outputs) weight, with one fp16 scale for each `group` inputs of an output.

    >>> linear_weight_bytes(Precision.INT4, 4096, 4096, 128)  # 4096 * 4096 / 2 + 4096 * 32 * 2
    8650752
    """
    scales = 0 if group is None else -(-inputs // group) * outputs * Precision.FP16.bits // 8
    return weights.bytes_of(inputs * outputs) + scales


def linear(
    place: Place, name: str, rows: Amount, inputs: Amount, outputs: Amount, *, bias: bool = False, kind: str = "linear"
) -> OpCost:
    """(rows, inputs) x (inputs, outputs): 2 rows inputs outputs FLOPs, and one add an output for the bias.

    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> linear(p, "q_proj", 2, 3, 5).matmul_flops  # 2 * 2 * 3 * 5
    60
    """
    weight = linear_weight_bytes(place.weights, inputs, outputs, place.group)
    return place.cost(
        name,
        kind,
        matmul=2 * inputs * outputs * rows,
        vector=rows * outputs if bias else 0,
        weight_bytes=weight + (place.activations.bytes_of(outputs) if bias else 0),
        read=rows * inputs,
        write=rows * outputs,
        kernel=gemm(rows, outputs, inputs),
    )


def touched_experts(rows: Amount, count: int, chosen: int) -> Amount:
    """Experts that at least one of `rows` tokens chose, expected under uniform routing, `chosen` of `count` each.

    count (1 - (1 - chosen / count)^rows): the chance that one token passes an expert by is 1 - chosen / count.

    >>> touched_experts(1, 8, 2), touched_experts(2, 8, 2)  # 8 (1 - 0.75), 8 (1 - 0.5625)
    (2.0, 3.5)
    """
    return count * (1 - (1 - chosen / count) ** rows)


def experts(place: Place, name: str, rows: Amount, inputs: int, outputs: int, *, count: int, chosen: int) -> OpCost:
    """One matrix of each expert, `chosen` of `count` experts for each of `rows` tokens; weights of the touched ones.

    >>> p = Place("decode", 1, *[Precision.FP16] * 4)
    >>> experts(p, "up_proj", 1, 4, 8, count=8, chosen=2).weight_bytes  # 2 experts * 4 * 8 * 2 bytes
    128.0
    """
    one = linear(place, name, rows * chosen, inputs, outputs)
    # Rows are spread over several products of unknown sizes, so it is no kernel of one shape.
    return one._replace(weight_bytes=one.weight_bytes * touched_experts(rows, count, chosen), kernel=None)


def norm(place: Place, name: str, rows: Amount, width: Amount, kind: str, *, learned: bool = True) -> OpCost:
    """RMSNorm or layer norm (`kind`) of (rows, width); scale, and shift for layer norm, are weights where `learned`.

    Source: Zhang and Sennrich, RMSNorm (arXiv 1910.07467); Ba et al., Layer Normalization (arXiv 1607.06450).

    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> norm(p, "input_norm", 2, 10, "rmsnorm").vector_flops  # 4 * 2 * 10
    80
    """
    weights = (width if kind == "rmsnorm" else 2 * width) if learned else 0
    return place.cost(
        name,
        "norm",
        vector=NORM_FLOPS[kind] * width * rows,
        weight_bytes=place.activations.bytes_of(weights),
        read=rows * width,
        write=rows * width,
        kernel=over_rows(kind, rows, width),
    )


def add(place: Place, name: str, rows: Amount, width: Amount) -> OpCost:
    """Residual of two (rows, width) tensors: reads both, writes the sum.

    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> add(p, "residual", 2, 10).bytes  # (2 + 1) * 20 elements * 2 bytes
    120
    """
    elements, kernel = rows * width, over_rows("add", rows, width)
    return place.cost(name, "add", vector=elements, read=2 * elements, write=elements, kernel=kernel)


def activation(place: Place, name: str, rows: Amount, width: Amount, function: str) -> OpCost:
    """Element-wise `function` of (rows, width).

    Source: Hendrycks and Gimpel, GELU (arXiv 1606.08415), for gelu, its tanh form and quick_gelu.
    """
    elements, flops = rows * width, ACTIVATION_FLOPS[function]
    kernel = over_rows(function, rows, width)
    return place.cost(name, "activation", vector=flops * elements, read=elements, write=elements, kernel=kernel)


def gated_activation(place: Place, name: str, rows: Amount, width: Amount, function: str) -> OpCost:
    """function(gate) * up of two (rows, width) tensors: reads both, writes one.

    Source: Shazeer, GLU Variants (arXiv 2002.05202).

    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> gated_activation(p, "gated_act", 2, 10, "silu").vector_flops  # (4 + 1) * 20
    100
    """
    elements, flops = rows * width, ACTIVATION_FLOPS[function] + 1
    kernel = over_rows(f"{function}_mul", rows, width)
    return place.cost(name, "activation", vector=flops * elements, read=2 * elements, write=elements, kernel=kernel)


def rotary(place: Place, name: str, rows: Amount, positions: Amount, width: int, head_dim: int) -> OpCost:
    """Rotary embedding of (rows, width) queries and keys; cosines and sines, (positions, head_dim), are read once.

    Source: Su et al., RoFormer (arXiv 2104.09864), equation 34.
    """
    elements = rows * width
    return place.cost(
        name,
        "rotary",
        vector=ROTARY_FLOPS * elements,
        read=elements + 2 * positions * head_dim,
        write=elements,
    )


def embedding(place: Place, name: str, rows: Amount, width: int) -> OpCost:
    """Rows gathered from a table: the rows are read, not the table, so they count as reads and not as weights."""
    return place.cost(name, "embedding", read=rows * width, write=rows * width)


def position_rows(place: Place, name: str, rows: Amount, positions: Amount, width: int, tables: int = 1) -> OpCost:
    """`tables` learned tables (positions, token types) added to `rows` embeddings; their rows are read once."""
    elements = rows * width
    return place.cost(
        name,
        "embedding",
        vector=tables * elements,
        read=elements + tables * positions * width,
        write=elements,
    )


def patch_positions(place: Place, name: str, tiles: Amount, patches: int, positions: int, width: int) -> OpCost:
    """Vision tower: prepends the class token, if positions exceed patches, and adds the whole position table."""
    elements = tiles * positions * width
    return place.cost(
        name,
        "embedding",
        vector=elements,
        weight_bytes=place.activations.bytes_of((positions + positions - patches) * width),
        read=tiles * patches * width,
        write=elements,
    )


def softmax(place: Place, name: str, rows: Amount, width: int) -> OpCost:
    """Softmax over the rows of (rows, width)."""
    elements = rows * width
    kernel = over_rows("softmax", rows, width)
    return place.cost(name, "softmax", vector=SOFTMAX_FLOPS * elements, read=elements, write=elements, kernel=kernel)


def weighted_sum(place: Place, name: str, rows: Amount, terms: int, width: int) -> OpCost:
    """`terms` vectors of `width` a row, each times its weight, summed: 2 FLOPs an element read."""
    elements = rows * terms * width
    return place.cost(name, "add", vector=2 * elements, read=elements, write=rows * width)


def copy(place: Place, name: str, rows: Amount, width: Amount) -> OpCost:
    """Rows moved unchanged."""
    return place.cost(name, "copy", read=rows * width, write=rows * width)


def kv_write(place: Place, name: str, rows: Amount, kv_width: int) -> OpCost:
    """Keys and values of `rows` tokens, (rows, kv_width) each, written to the cache in its precision.

    >>> p = Place("decode", 1, *[Precision.FP16] * 2, Precision.INT8, Precision.FP16)
    >>> kv_write(p, "kv_write", 1, 4096).kv_write_bytes  # 2 * 4096 * 1 byte
    8192
    """
    return place.cost(name, "kv_write", read=2 * rows * kv_width, kv_write=2 * rows * kv_width)
