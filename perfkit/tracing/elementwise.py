"""Formulas of element-wise work, normalisations, softmaxes and reductions, in the conventions of `perfkit.ops`.

Each elementary function (exp, erf, tanh, reciprocal square root, a comparison) counts 1, and an activation what it is
made of. Integers and masks cost no FLOPs; what they move is counted all the same.
"""

from __future__ import annotations

from math import prod

from perfkit.ops import ACTIVATION_FLOPS, NORM_FLOPS, SOFTMAX_FLOPS
from perfkit.tracing.calls import Call, TensorInfo
from perfkit.tracing.registry import Flops, Rule, register

# FLOPs an element of the result.
_ELEMENTARY = (
    "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or "
    "bitwise_right_shift bitwise_xor ceil copysign cos cosh div eq erf erfc erfinv exp exp2 expm1 floor floor_divide "
    "fmax fmin fmod frac ge gt isinf isnan le lgamma log log10 log1p log2 logical_and logical_not logical_or "
    "logical_xor lt maximum minimum mul ne neg nextafter pow reciprocal remainder round rsqrt rsub sgn sign signbit "
    "sin sinh special_erfcx sqrt square sub tan trunc"
)
_COMPOSED = {
    1: "heaviside hypot threshold",
    2: "addcmul clamp clamp_max clamp_min hardtanh leaky_relu native_dropout prelu _prelu_kernel softshrink",
    3: "addcdiv elu celu lerp logaddexp nan_to_num softplus",  # softplus: exp, add, log
    4: "hardsigmoid log_sigmoid_forward logit sigmoid",  # sigmoid: negate, exp, add, divide
    5: "hardswish mish glu",  # mish: softplus, tanh, multiply; glu: sigmoid, multiply
}
# FLOPs an element of what is reduced.
_REDUCTIONS = {
    1: "amax amin argmax argmin cummax cummin cumprod cumsum max mean median min nansum prod sum",
    2: "aminmax linalg_vector_norm norm",  # square, add
    4: "logsumexp std std_mean var var_mean",  # var: add, subtract, square, add
}
_SOFTMAXES = "_log_softmax _safe_softmax _softmax"
_TAPS = {1: 2, 2: 4, 3: 8}  # neighbours that linear interpolation mixes, by dimensions
_CUBIC_TAPS = 16
_KEPT_STATISTICS = 4  # FLOPs an element of a BatchNorm that need not find its mean and variance


def _named(names: str) -> list[str]:
    return [f"aten.{name}" for name in names.split()]


def each(flops: int) -> Flops:
    """So many FLOPs an element of the result, if it computes in floating point."""
    return lambda call: flops * call.out.elements if call.floats else 0


def each_input(flops: int) -> Flops:
    """So many FLOPs an element of the first argument, if it computes in floating point."""
    return lambda call: flops * prod(call.shape(0)) if call.floats else 0


def gelu(call: Call) -> int:
    """By the error function, or its approximation by tanh."""
    name = "gelu_pytorch_tanh" if call.setting(1, "approximate", "none") == "tanh" else "gelu"
    return ACTIVATION_FLOPS[name] * call.out.elements


def batch_norm(call: Call) -> int:
    """By kept statistics: subtract, multiply by the reciprocal deviation, scale, shift; by its own: as a LayerNorm."""
    kept = isinstance(call.setting(3, "running_mean"), TensorInfo) and not call.setting(5, "training", default=False)
    return (_KEPT_STATISTICS if kept else NORM_FLOPS["layernorm"]) * prod(call.shape(0))


def window(flops: int) -> Flops:
    """So many FLOPs an element of the window of a pool, at every element of the result."""

    def pooled(call: Call) -> int:
        sides: tuple[int, ...] = call.args[1]
        dimensions = int(call.name.rpartition("pool")[2][0])  # avg_pool2d
        taps = prod(sides) if len(sides) == dimensions else sides[0] ** dimensions
        return flops * taps * call.out.elements

    return pooled


for _flops, _names in _COMPOSED.items():
    register(_named(_names), Rule("elementwise", vector=each(_flops)))
register(_named(_ELEMENTARY), Rule("elementwise", vector=each(1)))
for _name in ("relu", "tanh", "silu"):
    register([f"aten.{_name}"], Rule("elementwise", vector=each(ACTIVATION_FLOPS[_name])))
register(["aten.relu6"], Rule("elementwise", vector=each(2)))
register(["aten.gelu"], Rule("elementwise", vector=gelu))

for _flops, _names in _REDUCTIONS.items():
    register(_named(_names), Rule("reduction", vector=each_input(_flops)))
register(_named(_SOFTMAXES), Rule("softmax", vector=each_input(SOFTMAX_FLOPS)))

register(["aten.native_layer_norm", "aten.native_group_norm"], Rule("norm", vector=each_input(NORM_FLOPS["layernorm"])))
register(["aten._weight_norm_interface"], Rule("norm", vector=each_input(4)))  # square, add, divide, multiply
register(["aten.rms_norm", "aten._fused_rms_norm"], Rule("norm", vector=each_input(NORM_FLOPS["rmsnorm"])))
register(
    _named("native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit"),
    Rule("norm", vector=batch_norm),
)
register(
    _named("_native_batch_norm_legit_no_training _batch_norm_no_update"),
    Rule("norm", vector=each_input(_KEPT_STATISTICS)),
)
register(["aten._batch_norm_with_update"], Rule("norm", vector=each_input(NORM_FLOPS["layernorm"])))

register(_named("avg_pool2d avg_pool3d"), Rule("reduction", vector=window(1)))
register(_named("max_pool2d_with_indices max_pool3d_with_indices"), Rule("reduction", vector=window(1)))
register(_named("_adaptive_avg_pool2d _adaptive_avg_pool3d"), Rule("reduction", vector=each_input(1)))
register(_named("adaptive_max_pool2d adaptive_max_pool3d"), Rule("reduction", vector=each_input(1)))
for _dimensions, _name in enumerate(("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"), start=1):
    register(
        [f"aten.{_name}", *([f"aten._{_name}_aa"] if _dimensions == 2 else [])],
        Rule("elementwise", vector=each(2 * _TAPS[_dimensions])),
    )
register(_named("upsample_bicubic2d _upsample_bicubic2d_aa"), Rule("elementwise", vector=each(2 * _CUBIC_TAPS)))
register(["aten.grid_sampler_2d"], Rule("elementwise", vector=each(2 * _TAPS[2])))
