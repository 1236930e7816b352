"""Formulas of matrix products, convolutions and attention: a multiply-add is 2 FLOPs, masks are counted in full.

They are those of torch's FlopCounterMode, and of ops that it passes over (products with a vector, grouped products,
attention on a CPU) too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from perfkit.ops import SOFTMAX_FLOPS
from perfkit.tracing.calls import Call, TensorInfo
from perfkit.tracing.registry import Flops, Rule, register


def matrices(first: int, second: int) -> Flops:
    """Product of the arguments at two indices, (..., m, k) x (..., k, n): 2 m n k, times the batches."""

    def flops(call: Call) -> int:
        a, b = call.shape(first), call.shape(second)
        return 2 * prod(a) * b[-1]

    return flops


def by_vector(first: int) -> Flops:
    """Product of the argument at an index, of any shape, with a vector: 2 an element of it."""
    return lambda call: 2 * prod(call.shape(first))


def by_packed_weight(call: Call) -> int:
    """Product (m, k) x (k, n) whose second matrix is packed in another shape: n is that of the result."""
    return 2 * prod(call.shape(0)) * call.out.shape[-1]


def outer(call: Call) -> int:
    """Each element of the result is one multiply-add of two vectors added to a matrix."""
    return 2 * call.out.elements


def grouped(call: Call) -> int:
    """Rows (t, k) of several groups, each times its own matrix (groups, k, n): 2 t k n, however rows are grouped.

    With matrices (groups, m, k) on the left and columns (k, t): 2 m k t; with (m, t) and (t, n), where the inner
    dimension is grouped: 2 m t n.
    """
    a, b = call.shape(0), call.shape(1)
    if len(a) == len(b) == 3:
        return 2 * prod(a) * b[-1]
    if len(a) == 3:
        return 2 * a[1] * prod(b)
    return 2 * prod(a) * b[-1]


def bilinear(call: Call) -> int | None:
    """Rows (t, a), weight (n, a, b), rows (t, b), as `nn.Bilinear` asks: 2 t a b and 2 t b for each of n results.

    None for other sums of three factors.
    """
    if call.args[3:7] != ((1, 3), (0,), (1, 2), (2, 3)):
        return None
    results, a, b = call.shape(1)
    return 2 * results * call.shape(0)[0] * b * (a + 1)


def convolution(call: Call) -> int:
    """Weight (outputs, inputs / groups, *window) at every position of the output: 2 a weight, position and picture."""
    pictures, _, *positions = call.out.shape
    return 2 * pictures * prod(positions) * prod(call.shape(1))


def either_convolution(call: Call) -> int:
    """The same; a transposed one has its weight at every position of the input."""
    if not call.setting(6, "transposed", default=False):
        return convolution(call)
    pictures, _, *positions = call.shape(0)
    return 2 * pictures * prod(positions) * prod(call.shape(1))


def scores(call: Call) -> int:
    """Elements of the score matrices (..., queries, keys) of attention: one a head of the queries."""
    return prod(call.out.shape[:-1]) * call.shape(1)[-2]


def attention(call: Call) -> int:
    """Query (..., heads, queries, d) with keys (..., keys, d) and values (..., keys, e): 2 scores d and 2 scores e."""
    return 2 * scores(call) * (call.shape(0)[-1] + call.shape(2)[-1])


def softmax_of_scores(call: Call) -> int:
    """Work of the softmax between the two products."""
    return SOFTMAX_FLOPS * scores(call)


def token_major(flops: Callable[[Call], int], lengths: int) -> Flops:
    """The same for tensors (batch, tokens, heads, d): as if tokens and heads changed places.

    Of packed sequences, whose lengths are the argument at `lengths`, only values would tell.
    """

    def counted(call: Call) -> int | None:
        if len(call.out.shape) != 4 or isinstance(call.setting(lengths, ""), TensorInfo):
            return None
        q, k, v, out = (_turned(info) for info in (*call.args[:3], call.out))
        return flops(call._replace(args=(q, k, v), outputs=(out,)))

    return counted


def _turned(info: TensorInfo) -> TensorInfo:
    batch, tokens, heads, width = info.shape
    return info._replace(shape=(batch, heads, tokens, width))


def _bias(index: int) -> Flops:
    """One add an element of the result for what is added at an index, where there is something."""

    def flops(call: Call) -> int:
        there = isinstance(call.setting(index, "bias"), TensorInfo)
        return call.out.elements if there and call.kwargs.get("beta", 1) != 0 else 0

    return flops


register(["aten.mm", "aten.bmm", "aten._int_mm"], Rule("product", matrices(0, 1)))
register(["aten.addmm", "aten.baddbmm", "aten.addbmm"], Rule("product", matrices(1, 2), _bias(0)))
register(["aten._scaled_mm"], Rule("product", matrices(0, 1), _bias(4)))
register(["aten._weight_int4pack_mm", "aten._weight_int8pack_mm"], Rule("product", by_packed_weight))
register(["aten.mv", "aten.dot", "aten.vdot"], Rule("product", by_vector(0)))
register(["aten.addmv"], Rule("product", by_vector(1), _bias(0)))
register(["aten._trilinear"], Rule("product", bilinear))
register(["aten.addr"], Rule("product", outer))
register(["aten._grouped_mm", "aten._scaled_grouped_mm"], Rule("product", grouped))
register(
    ["aten.convolution", "aten._convolution", "aten.convolution_overrideable"],
    Rule("product", either_convolution, _bias(2)),
)
register(["aten.cudnn_convolution", "aten.mkldnn_convolution"], Rule("product", convolution, _bias(2)))
register(["aten._slow_conv2d_forward"], Rule("product", convolution, _bias(3)))
register(
    [
        "aten.scaled_dot_product_attention",
        "aten._scaled_dot_product_attention_math",
        "aten._scaled_dot_product_attention_math_for_mps",
        "aten._scaled_dot_product_flash_attention",
        "aten._scaled_dot_product_flash_attention_for_cpu",
        "aten._scaled_dot_product_efficient_attention",
        "aten._scaled_dot_product_cudnn_attention",
        "aten._scaled_dot_product_fused_attention_overrideable",
    ],
    Rule("attention", attention, softmax_of_scores),
)
for _name, _lengths in (("aten._flash_attention_forward", 3), ("aten._efficient_attention_forward", 4)):
    register([_name], Rule("attention", token_major(attention, _lengths), token_major(softmax_of_scores, _lengths)))
