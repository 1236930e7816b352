"""CLIP's vision tower: patch convolution, class token, learned positions, a pre-norm stack.

Source: transformers `CLIPVisionConfig` and `CLIPVisionModel`.
"""

from __future__ import annotations

from perfkit.models.classic import classic_stack
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, StackSpec, VisionSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `CLIPVisionModel`; of a whole CLIP the vision tower is taken."""
    # Where an old file has both, Hugging Face lets vision_config_dict overrule vision_config.
    key = "vision_config" if config.values.get("vision_config_dict") is None else "vision_config_dict"
    if config.values.get(key) is not None:
        config = config.section(key, "clip_vision_model")
    stack = encoder(config, "quick_gelu")
    image, patch = config.count("image_size", 224), config.count("patch_size", 32)
    vision = VisionSpec(
        stack=stack,
        image_size=image,
        patch_size=patch,
        kept_positions=(image // patch) ** 2 + 1,
        channels=config.count("num_channels", 3),
    )
    return ModelSpec(name="", family="clip", source="", vision=vision, visual_tokens=vision.positions)


def encoder(config: Config, activation: str) -> StackSpec:
    """Layers of CLIP's and SigLIP's towers, whose classes share every default but the activation."""
    return classic_stack(
        config.size("hidden_size", 768),
        config.size("num_hidden_layers", 12),
        config.size("num_attention_heads", 12),
        config.size("intermediate_size", 3072),
        config.text("hidden_act", activation),
        causal=False,
    )
