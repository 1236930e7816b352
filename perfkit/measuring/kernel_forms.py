"""Kernels in torch: sizes of their operands, and the call on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.costs import GATED
from perfkit.measuring.kernel_costs import check_timed

Size: TypeAlias = tuple[int, ...]


class Form(NamedTuple):
    """An op in torch: sizes of what stays warm and of what a model finds cold, and the call on both, in that order."""

    warm: tuple[Size, ...]
    cold: tuple[Size, ...]
    run: Callable[..., Any]


def form_of(shape: KernelShape) -> Form:
    """Form of an op other than `launch`, as Hugging Face's models call it where torch has it as one operator.

    Activations without one are a few launches: quick_gelu three, a gated one two (its function, then the product).

    Raises:
        InvalidValue: an op that cannot be timed.
    """
    op = check_timed(shape.op)
    return _FORMS[op](shape) if op in _FORMS else _activation(shape)


def is_composite(op: str) -> bool:
    """Whether torch launches a few kernels for it.

    >>> is_composite("silu_mul"), is_composite("silu")
    (True, False)
    """
    return op.endswith(GATED) or op == "quick_gelu"


# A KernelShape is Any below, because an op has all columns that its form asks for.


def _gemm(s: Any) -> Form:
    from torch.nn import functional

    return Form(((s.m, s.k),), ((s.n, s.k),), functional.linear)


def _bmm(s: Any) -> Form:
    import torch

    return Form(((s.batch, s.m, s.k),), ((s.batch, s.k, s.n),), torch.bmm)


def _attention(s: Any) -> Form:
    """Queries, keys and values are (batch, heads, tokens, head_dim)."""
    from torch.nn import functional

    keys = (s.batch, s.kv_heads, s.kv_tokens, s.head_dim)
    causal, grouped = s.op == "attention_prefill", s.kv_heads < s.heads
    run = partial(functional.scaled_dot_product_attention, is_causal=causal, enable_gqa=grouped)
    return Form(((s.batch, s.heads, s.q_tokens, s.head_dim),), (keys, keys), run)


def _rmsnorm(s: Any) -> Form:
    from torch.nn import functional

    return Form(((s.n,),), ((s.m, s.n),), lambda weight, x: functional.rms_norm(x, (s.n,), weight))


def _layernorm(s: Any) -> Form:
    from torch.nn import functional

    def run(weight: Any, bias: Any, x: Any) -> Any:
        return functional.layer_norm(x, (s.n,), weight, bias)

    return Form(((s.n,), (s.n,)), ((s.m, s.n),), run)


def _softmax(s: Any) -> Form:
    import torch

    return Form((), ((s.m, s.n),), partial(torch.softmax, dim=-1))


def _add(s: Any) -> Form:
    import torch

    return Form((), ((s.m, s.n), (s.m, s.n)), torch.add)


def _copy(s: Any) -> Form:
    return Form((), ((s.m, s.n), (s.m, s.n)), lambda source, out: out.copy_(source))


_FORMS: dict[str, Callable[[Any], Form]] = {
    "gemm": _gemm,
    "bmm": _bmm,
    "attention_prefill": _attention,
    "attention_decode": _attention,
    "attention_encoder": _attention,
    "rmsnorm": _rmsnorm,
    "layernorm": _layernorm,
    "softmax": _softmax,
    "add": _add,
    "copy": _copy,
}


def _activation(s: Any) -> Form:
    function = _functions()[s.op.removesuffix(GATED)]
    if s.op.endswith(GATED):
        return Form((), ((s.m, s.n), (s.m, s.n)), lambda gate, up: function(gate) * up)
    return Form((), ((s.m, s.n),), function)


def _functions() -> dict[str, Callable[[Any], Any]]:
    """Every activation that has a cost formula."""
    import torch
    from torch.nn import functional

    tanh_form = partial(functional.gelu, approximate="tanh")
    return {
        "relu": torch.relu,
        "tanh": torch.tanh,
        **dict.fromkeys(("silu", "swish"), functional.silu),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        **dict.fromkeys(("gelu", "gelu_python"), functional.gelu),
        **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh"), tanh_form),
    }
