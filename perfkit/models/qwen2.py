"""Qwen2 and Qwen2.5: Llama's layer with biases on q, k and v alone, and a window that only some layers may use.

Source: transformers `Qwen2Config` and `Qwen2ForCausalLM`.
"""

from __future__ import annotations

from dataclasses import replace

from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.llama import decoder
from perfkit.models.spec import AttentionSpec, FeedForwardSpec, ModelSpec, StackSpec, head_width


def read(config: Config) -> ModelSpec:
    """Spec of a `Qwen2ForCausalLM`."""
    hidden = config.size("hidden_size", 4096)
    heads = config.size("num_attention_heads", 32)
    attention = AttentionSpec(
        heads=heads,
        kv_heads=config.nullable_count("num_key_value_heads", 32) or heads,
        head_dim=config.optional_count("head_dim") or head_width(hidden, heads),
        qkv_bias=True,
    )
    return language_model(config, "qwen2", hidden, attention)


def language_model(config: Config, family: str, hidden: int, attention: AttentionSpec) -> ModelSpec:
    """Qwen2's or Qwen3's model around `attention`, which gets the window where every layer has it."""
    layers = config.size("num_hidden_layers", 32)
    window, notes = _window(config, layers)
    feed_forward = FeedForwardSpec(
        width=config.size("intermediate_size", 22016), gated=True, activation=config.text("hidden_act", "silu")
    )
    stack = StackSpec(hidden, layers, attention._replace(sliding_window=window), feed_forward, "rmsnorm")
    return replace(decoder(config, family, stack, vocab=151936, context=32768), notes=notes)


def _window(config: Config, layers: int) -> tuple[int | None, tuple[str, ...]]:
    """The window of all layers, or None; and a note where only some layers have one."""
    if not config.flag("use_sliding_window", False):
        return None, ()
    window = config.nullable_count("sliding_window", 4096)
    if window is None:
        return None, ()
    sliding = _sliding_layers(config, layers)
    if sliding == layers:
        return window, ()
    note = f"{sliding} of {layers} layers look back {window} tokens at most; all are counted with full attention"
    return None, (note,) if sliding else ()


def _sliding_layers(config: Config, layers: int) -> int:
    """How many layers use the window: those named in layer_types, else all from max_window_layers on."""
    types = config.values.get("layer_types")
    if types is None:
        return max(layers - config.count("max_window_layers", 28, minimum=0), 0)
    if not isinstance(types, list) or len(types) != layers:
        raise InvalidSpec(f"{config.where}: layer_types must be a list of {layers} names, one a layer")
    return types.count("sliding_attention")
