"""SigLIP's vision tower: like CLIP's without class token and first norm, with an attention-pooling head.

Source: transformers `SiglipVisionConfig` and `SiglipVisionModel`.
"""

from __future__ import annotations

from perfkit.models.clip import encoder
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, VisionSpec


def read(config: Config) -> ModelSpec:
    """Spec of a `SiglipVisionModel`; of a whole SigLIP the vision tower is taken."""
    if config.values.get("vision_config") is not None:
        config = config.section("vision_config", "siglip_vision_model")
    stack = encoder(config, "gelu_pytorch_tanh")
    image, patch = config.count("image_size", 224), config.count("patch_size", 16)
    vision = VisionSpec(
        stack=stack,
        image_size=image,
        patch_size=patch,
        kept_positions=(image // patch) ** 2,
        channels=config.count("num_channels", 3),
        class_token=False,
        patch_bias=True,
        pre_norm=False,
        post_norm="all",
        pooling_head=config.flag("vision_use_head", True),
    )
    return ModelSpec(name="", family="siglip", source="", vision=vision, visual_tokens=vision.positions)
