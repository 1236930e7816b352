"""BERT: a text encoder with learned positions, token types, a norm over the embeddings and a pooler.

Source: transformers `BertConfig` and `BertModel`.
"""

from __future__ import annotations

from perfkit.models.classic import classic_stack, refuse_cross_attention
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, StackSpec, TextSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `BertModel`.

    Raises:
        InvalidSpec: a decoder that attends to an encoder.
    """
    refuse_cross_attention(config)
    stack = _stack(config)
    positions = config.count("max_position_embeddings", 512)
    text = TextSpec(
        stack=stack,
        vocab=config.size("vocab_size", 30522),
        context=positions,
        embedding_width=stack.hidden,
        position_rows=positions,
        token_types=config.count("type_vocab_size", 2),
        embedding_norm=True,
        final_norm=False,
        lm_head=False,
        pooler=True,
    )
    return ModelSpec(name="", family="bert", source="", text=text)


def _stack(config: Config) -> StackSpec:
    return classic_stack(
        config.size("hidden_size", 768),
        config.size("num_hidden_layers", 12),
        config.size("num_attention_heads", 12),
        config.size("intermediate_size", 3072),
        config.text("hidden_act", "gelu"),
        causal=config.flag("is_decoder", False),
    )
