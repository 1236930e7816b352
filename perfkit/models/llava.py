"""LLaVA-1.5: a vision tower, a two-layer projector, a language model; one tile an image.

Source: transformers `LlavaConfig` and `LlavaForConditionalGeneration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfkit.documents import shown
from perfkit.errors import InvalidSpec
from perfkit.models import read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec, ProjectorSpec, TextSpec, VisionSpec

# What LlavaConfig builds where vision_config is absent altogether: CLIP ViT-L/14-336.
CLIP_LARGE_336: Mapping[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


def read(config: Config) -> ModelSpec:
    """Spec of a `LlavaForConditionalGeneration`."""
    return assemble(config, "llava", text_may_tie=True)


def assemble(
    config: Config,
    family: str,
    *,
    tower: Mapping[str, Any] = CLIP_LARGE_336,
    language_model: str = "llama",
    strategy: str = "default",
    text_may_tie: bool = False,
) -> ModelSpec:
    """Tower, projector and language model of LLaVA's kin, with the visual tokens of one tile.

    `tower`, `language_model` and `strategy` are the class defaults of the sections and of the feature selection;
    `text_may_tie`: whether text_config alone can tie the lm_head, which only some of the classes allow.
    `vision_feature_layer` changes nothing but the projector's width: the tower runs all its layers.

    Raises:
        InvalidSpec: a section of another kind, or an unknown feature selection.
    """
    if config.prefix:
        raise InvalidSpec(f"{config.where}: a {family} cannot be a part of another model")
    vision, text, notes = _sections(config, tower, language_model)
    kept = _kept_positions(config, vision, strategy)
    projector = ProjectorSpec(
        inputs=vision.stack.hidden * _feature_layers(config),
        outputs=text.stack.hidden,
        activation=config.text("projector_hidden_act", "gelu"),
        bias=config.flag("multimodal_projector_bias", True),
    )
    return ModelSpec(
        name="",
        family=family,
        source="",
        text=text._replace(tied=config.flag("tie_word_embeddings", False) or (text_may_tie and text.tied)),
        vision=vision._replace(kept_positions=kept),
        projector=projector,
        visual_tokens=kept,
        notes=notes,
    )


def _sections(
    config: Config, tower: Mapping[str, Any], language_model: str
) -> tuple[VisionSpec, TextSpec, tuple[str, ...]]:
    vision = read_model(config.section("vision_config", tower["model_type"], tower))
    text = read_model(config.section("text_config", language_model))
    if text.text is not None and text.text.bridged:
        raise InvalidSpec(
            f"{config.where}: a language model whose embedding is narrower than its layers is not counted"
        )
    if vision.vision is None or text.text is None or not text.has_decoder:
        raise InvalidSpec(f"{config.where}: needs a vision tower in vision_config and a language model in text_config")
    return vision.vision, text.text, vision.notes + text.notes


def _kept_positions(config: Config, vision: VisionSpec, default: str) -> int:
    strategy = config.text("vision_feature_select_strategy", default)
    if strategy not in ("default", "full"):
        raise InvalidSpec(
            f"{config.where}: vision_feature_select_strategy must be default or full, not {shown(strategy)}"
        )
    # "default" drops the first position, which is CLIP's class token.
    kept = vision.positions - 1 if strategy == "default" else vision.positions
    if not kept:
        raise InvalidSpec(f"{config.where}: an image leaves no visual token")
    return kept


def _feature_layers(config: Config) -> int:
    """Layers whose outputs stand side by side before the projector: one, or as many as the list names."""
    layers = config.values.get("vision_feature_layer")
    if not isinstance(layers, list):
        return 1
    if not layers:
        raise InvalidSpec(f"{config.where}: vision_feature_layer must name at least one layer")
    return len(layers)
