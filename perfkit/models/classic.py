"""What BERT, GPT-2, OPT, CLIP and SigLIP share: layer norm, as many key heads as query heads, two FFN matrices, biases.

Source: Vaswani et al., Attention is all you need (arXiv 1706.03762), section 3.
"""

from __future__ import annotations

from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, StackSpec, head_width


def classic_stack(
    hidden: int,
    layers: int,
    heads: int,
    width: int,
    activation: str,
    *,
    causal: bool,
    fused_qkv: bool = False,
    bias: bool = True,
    norm_weights: bool = True,
) -> StackSpec:
    """`layers` layers of width `hidden` with a feed-forward of inner width `width`; positions are learned elsewhere.

    Raises:
        InvalidSpec: heads that do not divide the hidden width.

    >>> classic_stack(768, 12, 12, 3072, "gelu", causal=False).parameters  # 12 * 7,087,872: the layers of BERT-base
    85054464
    """
    attention = AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=head_width(hidden, heads),
        causal=causal,
        rotary=False,
        qkv_bias=bias,
        output_bias=bias,
        fused_qkv=fused_qkv,
    )
    feed_forward = FeedForwardSpec(width, gated=False, activation=activation, bias=bias)
    return StackSpec(hidden, layers, attention, feed_forward, "layernorm", norm_weights)


def refuse_cross_attention(config: Config) -> None:
    """Refuse a decoder that attends to an encoder.

    Raises:
        InvalidSpec: add_cross_attention is true.
    """
    if config.values.get("add_cross_attention"):
        raise InvalidSpec(f"{config.where}: add_cross_attention is true, and cross-attention is not counted")
