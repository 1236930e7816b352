"""Shapes of single kernels, as tables of measured kernels name them; SI units, one row a shape.

| op | shape columns | meaning |
| --- | --- | --- |
| `gemm` | m, n, k | (m, k) x (k, n): m is tokens, n x k is the weight |
| `bmm` | batch, m, n, k | batched product |
| `attention_prefill` | batch, q_tokens = kv_tokens, heads, kv_heads, head_dim, causal = 1 | fused, over a prompt |
| `attention_decode` | batch, q_tokens = 1, kv_tokens, heads, kv_heads, head_dim | one new token against the cache |
| `attention_encoder` | batch, q_tokens = kv_tokens, heads, kv_heads, head_dim, causal = 0 | bidirectional |
| `rmsnorm`, `layernorm`, `softmax`, `add`, `gelu`, ... | m, n | m rows of width n |
| `silu_mul`, ... | m, n | gated activation; n is the width of the output |
| `launch` | none | one tiny operation, as the host sees it |
"""

from __future__ import annotations

from typing import NamedTuple

from perfkit.units import Amount

LAUNCH = "launch"
_ATTENTION = ("batch", "q_tokens", "kv_tokens", "heads", "kv_heads", "head_dim")
_PRODUCTS = {"gemm": ("m", "n", "k"), "bmm": ("batch", "m", "n", "k")}


class KernelShape(NamedTuple):
    """One launch of a kernel, or an array a column of many; columns that its op does not have are None."""

    op: str
    m: Amount | None = None
    n: Amount | None = None
    k: Amount | None = None
    batch: Amount | None = None
    q_tokens: Amount | None = None
    kv_tokens: Amount | None = None
    heads: Amount | None = None
    kv_heads: Amount | None = None
    head_dim: Amount | None = None
    causal: int | None = None


def sizes_of(op: str) -> tuple[str, ...]:
    """Columns that an op has beside `causal`, which its name tells.

    >>> sizes_of("bmm"), sizes_of("gelu")
    (('batch', 'm', 'n', 'k'), ('m', 'n'))
    """
    if op.startswith("attention_"):
        return _ATTENTION
    return _PRODUCTS.get(op, ("m", "n"))


def gemm(m: Amount, n: Amount, k: Amount) -> KernelShape:
    """Product of (m, k) and (k, n)."""
    return KernelShape("gemm", m, n, k)


def bmm(batch: Amount, m: Amount, n: Amount, k: Amount) -> KernelShape:
    """Products of `batch` pairs of (m, k) and (k, n)."""
    return KernelShape("bmm", m, n, k, batch)


def over_rows(op: str, m: Amount, n: Amount) -> KernelShape:
    """Element-wise or row-wise kernel over m rows of width n."""
    return KernelShape(op, m, n)
