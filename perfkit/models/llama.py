"""Llama and its kin (Llama-2, Llama-3, Vicuna): RMSNorm, rotary, gated SiLU, grouped-query attention.

Source: transformers `LlamaConfig` and `LlamaForCausalLM`.
"""

from __future__ import annotations

from perfkit.models.config import Config
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, TextSpec, head_width


def read(config: Config) -> ModelSpec:
    """Spec of a `LlamaForCausalLM`."""
    hidden = config.size("hidden_size", 4096)
    heads = config.size("num_attention_heads", 32)
    bias = config.flag("attention_bias", False)
    attention = AttentionSpec(
        heads=heads,
        kv_heads=config.optional_count("num_key_value_heads") or heads,
        head_dim=config.optional_count("head_dim") or head_width(hidden, heads),
        qkv_bias=bias,
        output_bias=bias,
    )
    feed_forward = FeedForwardSpec(
        width=config.size("intermediate_size", 11008),
        gated=True,
        activation=config.text("hidden_act", "silu"),
        bias=config.flag("mlp_bias", False),
    )
    layers = config.size("num_hidden_layers", 32)
    return decoder(config, "llama", StackSpec(hidden, layers, attention, feed_forward, "rmsnorm"))


def decoder(config: Config, family: str, stack: StackSpec, *, vocab: int = 32000, context: int = 2048) -> ModelSpec:
    """Language model around `stack` with rotary positions, a final norm and an lm_head."""
    text = TextSpec(
        stack=stack,
        vocab=config.size("vocab_size", vocab),
        context=config.count("max_position_embeddings", context),
        embedding_width=stack.hidden,
        tied=config.flag("tie_word_embeddings", False),
    )
    return ModelSpec(name="", family=family, source="", text=text)
