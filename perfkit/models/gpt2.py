"""GPT-2: layer norm, learned positions, one product for q, k and v, two feed-forward matrices, biases everywhere.

Source: transformers `GPT2Config` and `GPT2LMHeadModel`.
"""

from __future__ import annotations

from perfkit.models.classic import classic_stack, refuse_cross_attention
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, StackSpec, TextSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `GPT2LMHeadModel`.

    Raises:
        InvalidSpec: a decoder that attends to an encoder.
    """
    refuse_cross_attention(config)
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
    hidden = config.size("n_embd", 768)
    return classic_stack(
        hidden,
        config.size("n_layer", 12),
        config.size("n_head", 12),
        config.optional_count("n_inner") or 4 * hidden,
        config.text("activation_function", "gelu_new"),
        causal=True,
        fused_qkv=True,
    )
