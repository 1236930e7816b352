"""BERT: a text encoder with learned positions, token types, a norm over the embeddings and a pooler.

Source: transformers `BertConfig` and `BertModel`.
"""

from __future__ import annotations

from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, TextSpec, head_width


def read(config: Config) -> ModelSpec:
    """Spec of a `BertModel`.

    Raises:
        InvalidSpec: a decoder that attends to an encoder.
    """
    if config.values.get("add_cross_attention"):
        raise InvalidSpec(f"{config.where}: add_cross_attention is true, and cross-attention is not counted")
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
    hidden, heads = config.size("hidden_size", 768), config.size("num_attention_heads", 12)
    attention = AttentionSpec(
        heads=heads,
        kv_heads=heads,
        head_dim=head_width(hidden, heads),
        causal=bool(config.values.get("is_decoder")),
        rotary=False,
        qkv_bias=True,
        output_bias=True,
    )
    feed_forward = FeedForwardSpec(
        width=config.size("intermediate_size", 3072),
        gated=False,
        activation=config.text("hidden_act", "gelu"),
        bias=True,
    )
    return StackSpec(hidden, config.size("num_hidden_layers", 12), attention, feed_forward, "layernorm")
