"""Qwen3: Qwen2 with a norm over each head of q and k, heads of their own width, and optional biases.

Source: transformers `Qwen3Config` and `Qwen3ForCausalLM`.
"""

from __future__ import annotations

from perfkit.models.config import Config
from perfkit.models.qwen2 import language_model
from perfkit.models.spec import AttentionSpec, ModelSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `Qwen3ForCausalLM`."""
    heads = config.size("num_attention_heads", 32)
    bias = config.flag("attention_bias", False)
    attention = AttentionSpec(
        heads=heads,
        kv_heads=config.nullable_count("num_key_value_heads", 32) or heads,
        head_dim=config.count("head_dim", 128),
        qkv_bias=bias,
        output_bias=bias,
        qk_norm=True,
    )
    return language_model(config, "qwen3", config.size("hidden_size", 4096), attention)
