"""Mixtral: Mistral's attention, and a router that sends each token to a few of several feed-forward blocks.

Source: transformers `MixtralConfig` and `MixtralForCausalLM`.
"""

from __future__ import annotations

from perfkit.models.config import Config
from perfkit.models.llama import decoder
from perfkit.models.mistral import CONTEXT, read_attention
from perfkit.models.spec import FeedForwardSpec, ModelSpec, StackSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `MixtralForCausalLM`."""
    hidden = config.size("hidden_size", 4096)
    attention = read_attention(config, hidden, window=config.optional_count("sliding_window"))
    feed_forward = FeedForwardSpec(
        width=config.size("intermediate_size", 14336),
        gated=True,
        activation=config.text("hidden_act", "silu"),
        experts=config.count("num_local_experts", 8, minimum=2),
        experts_per_token=config.count("num_experts_per_tok", 2),
    )
    layers = config.size("num_hidden_layers", 32)
    stack = StackSpec(hidden, layers, attention, feed_forward, "rmsnorm")
    return decoder(config, "mixtral", stack, context=CONTEXT)
