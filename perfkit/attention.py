"""Cost of attention: one fused kernel, or its parts through memory; the conventions are those of `ops`."""

from __future__ import annotations

from typing import NamedTuple

from perfkit.kernel_shapes import KernelShape, bmm
from perfkit.ops import SOFTMAX_FLOPS, OpCost, Place, softmax
from perfkit.units import Amount


class AttentionShape(NamedTuple):
    """Attention of `queries` tokens to `keys` tokens in each of `batch` sequences.

    `cached`: keys and values come from the cache, in its precision; else they are activations.
    """

    batch: Amount
    queries: Amount
    keys: Amount
    heads: int
    kv_heads: int
    head_dim: int
    cached: bool

    @property
    def product_flops(self) -> Amount:
        """Of one of the two products, q k^T or p v: 2 batch queries keys heads head_dim."""
        return 2 * self.heads * self.head_dim * self.batch * self.queries * self.keys

    @property
    def query_elements(self) -> Amount:
        """Of the queries, and of the output."""
        return self.heads * self.head_dim * self.batch * self.queries

    @property
    def key_elements(self) -> Amount:
        """Of the keys, or of the values, each head once."""
        return self.kv_heads * self.head_dim * self.batch * self.keys

    @property
    def scores(self) -> Amount:
        """Elements of the score matrix, all heads."""
        return self.heads * self.batch * self.queries * self.keys

    @property
    def cached_elements(self) -> Amount:
        """Of the keys, or of the values, that are read from the cache."""
        return self.key_elements if self.cached else 0

    @property
    def loose_elements(self) -> Amount:
        """Of the keys, or of the values, that are read as activations."""
        return 0 if self.cached else self.key_elements

    def kernel(self, phase: str) -> KernelShape:
        """The fused kernel: causal over a prompt, one token against the cache, or bidirectional."""
        kind = "encoder" if not self.cached else "decode" if phase == "decode" else "prefill"
        return KernelShape(
            f"attention_{kind}",
            batch=self.batch,
            q_tokens=self.queries,
            kv_tokens=self.keys,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            causal=int(kind == "prefill"),
        )


def fused_attention(place: Place, name: str, shape: AttentionShape) -> OpCost:
    """softmax(q k^T) v in one kernel: scores never leave the chip.

    Source: Dao et al., FlashAttention (arXiv 2205.14135); traffic of an ideal kernel, keys and values read once.

    >>> from perfkit.units import Precision
    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> fused_attention(p, "attention", AttentionShape(1, 6, 6, 2, 2, 5, cached=True)).matmul_flops  # 4 * 6 * 6 * 10
    1440
    """
    return place.cost(
        name,
        "attention",
        matmul=2 * shape.product_flops,
        vector=SOFTMAX_FLOPS * shape.scores,
        read=shape.query_elements + 2 * shape.loose_elements,
        write=shape.query_elements,
        kv_read=2 * shape.cached_elements,
        kernel=shape.kernel(place.phase),
    )


def eager_attention(place: Place, name: str, shape: AttentionShape) -> tuple[OpCost, ...]:
    """The same through memory: scores (batch, heads, queries, keys) are written, normalised, read again.

    Under grouped-query attention keys and values are first copied out to every query head, as eager code does.

    >>> from perfkit.units import Precision
    >>> p = Place("prefill", 1, *[Precision.FP16] * 4)
    >>> ops = eager_attention(p, "attention", AttentionShape(1, 6, 6, 2, 2, 5, cached=True))
    >>> sum(op.matmul_flops for op in ops), ops[1].bytes  # 4 * 6 * 6 * 10; 2 * 6 * 6 scores read and written, 2 bytes
    (1440, 288)
    """
    if shape.kv_heads < shape.heads:
        copied = _repeat_kv(place, name, shape)
        return (copied, *eager_attention(place, name, shape._replace(kv_heads=shape.heads, cached=False)))
    scores, queries = shape.scores, shape.query_elements
    heads, cached, loose = shape.batch * shape.heads, shape.cached_elements, shape.loose_elements
    qk = bmm(heads, shape.queries, shape.keys, shape.head_dim)
    pv = bmm(heads, shape.queries, shape.head_dim, shape.keys)

    def product(which: str, read: Amount, write: Amount, kernel: KernelShape) -> OpCost:
        return place.cost(
            f"{name}_{which}",
            "attention",
            matmul=shape.product_flops,
            read=read,
            write=write,
            kv_read=cached,
            kernel=kernel,
        )

    return (
        product("qk", queries + loose, scores, qk),
        softmax(place, f"{name}_softmax", heads * shape.queries, shape.keys),
        product("pv", scores + loose, queries, pv),
    )


def _repeat_kv(place: Place, name: str, shape: AttentionShape) -> OpCost:
    """Keys and values copied out to every query head."""
    return place.cost(
        f"{name}_repeat_kv",
        "copy",
        read=2 * shape.loose_elements,
        write=2 * shape.key_elements * (shape.heads // shape.kv_heads),
        kv_read=2 * shape.cached_elements,
    )
