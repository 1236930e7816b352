"""GPT-2: layer norm, learned positions, one product for q, k and v, two feed-forward matrices, biases everywhere.

Source: transformers `GPT2Config` and `GPT2LMHeadModel`.
"""

from __future__ import annotations

from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, TextSpec, head_width


def read(config: Config) -> ModelSpec:
    """Spec of a `GPT2LMHeadModel`.

    Raises:
        InvalidSpec: a decoder that attends to an encoder.
    """
    if config.values.get("add_cross_attention"):
        raise InvalidSpec(f"{config.where}: add_cross_attention is true, and cross-attention is not counted")
    stack = _stack(config)
    positions = config.count("n_positions", 1024)
    text = TextSpec(
        stack=stack,
        vocab=config.size("vocab_size", 50257),
        context=positions,
        embedding_width=stack.hidden,
        position_rows=positions,
        tied=config.flag("tie_word_embeddings", True),
    )
    return ModelSpec(name="", family="gpt2", source="", text=text)


def _stack(config: Config) -> StackSpec:
    hidden, heads = config.size("n_embd", 768), config.size("n_head", 12)
    attention = AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=head_width(hidden, heads),
        rotary=False,
        qkv_bias=True,
        output_bias=True,
        fused_qkv=True,
    )
    feed_forward = FeedForwardSpec(
        width=config.optional_count("n_inner") or 4 * hidden,
        gated=False,
        activation=config.text("activation_function", "gelu_new"),
        bias=True,
    )
    return StackSpec(hidden, config.size("n_layer", 12), attention, feed_forward, "layernorm")
