"""Mistral: Llama's layer with grouped-query attention by default and a sliding window.

Source: transformers `MistralConfig` and `MistralForCausalLM`.
"""

from __future__ import annotations

from perfkit.models.config import Config
from perfkit.models.llama import decoder
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, head_width

CONTEXT = 4096 * 32  # the class default of max_position_embeddings, Mixtral's too


def read(config: Config) -> ModelSpec:
    """Spec of a `MistralForCausalLM`."""
    hidden = config.size("hidden_size", 4096)
    attention = read_attention(config, hidden, window=config.nullable_count("sliding_window", 4096))
    feed_forward = FeedForwardSpec(
        width=config.size("intermediate_size", 14336), gated=True, activation=config.text("hidden_act", "silu")
    )
    layers = config.size("num_hidden_layers", 32)
    stack = StackSpec(hidden, layers, attention, feed_forward, "rmsnorm")
    return decoder(config, "mistral", stack, context=CONTEXT)


def read_attention(config: Config, hidden: int, *, window: int | None) -> AttentionSpec:
    """Attention of Mistral and Mixtral: 8 key and value heads where the key is absent, all where it is null."""
    heads = config.size("num_attention_heads", 32)
    return AttentionSpec(
        heads=heads,
        kv_heads=config.nullable_count("num_key_value_heads", 8) or heads,
        head_dim=config.optional_count("head_dim") or head_width(hidden, heads),
        sliding_window=window,
    )
