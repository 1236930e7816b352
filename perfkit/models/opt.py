"""OPT: layer norm, learned positions, ReLU, and in OPT-350m a token table narrower than the layers.

Source: transformers `OPTConfig` and `OPTForCausalLM`.
"""

from __future__ import annotations

from perfkit.models.classic import classic_stack
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, StackSpec, TextSpec

POSITION_OFFSET = 2  # OPTLearnedPositionalEmbedding has two rows in front that no token uses


def read(config: Config) -> ModelSpec:
    """Spec of an `OPTForCausalLM`."""
    stack = _stack(config)
    context = config.count("max_position_embeddings", 2048)
    norm_first = config.flag("do_layer_norm_before", True)
    text = TextSpec(
        stack=stack,
        vocab=config.size("vocab_size", 50272),
        context=context,
        embedding_width=config.optional_count("word_embed_proj_dim") or stack.hidden,
        position_rows=context + POSITION_OFFSET,
        final_norm=norm_first and not config.values.get("_remove_final_layer_norm"),
        tied=config.flag("tie_word_embeddings", True),
    )
    return ModelSpec(name="", family="opt", source="", text=text)


def _stack(config: Config) -> StackSpec:
    return classic_stack(
        config.size("hidden_size", 768),
        config.size("num_hidden_layers", 12),
        config.size("num_attention_heads", 12),
        config.size("ffn_dim", 3072),
        config.text("activation_function", "relu"),
        causal=True,
        bias=config.flag("enable_bias", True),
        norm_weights=config.flag("layer_norm_elementwise_affine", True),
    )
