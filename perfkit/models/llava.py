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
    feature_layer: int = -2,
    text_may_tie: bool = False,
) -> ModelSpec:
    """Tower, projector and language model of LLaVA's kin, with the visual tokens of one tile.

    `tower`, `language_model`, `strategy` and `feature_layer` are the class defaults of the sections and of the feature
    selection; `text_may_tie`: whether text_config alone can tie the lm_head, which only some of the classes allow.
    The tower runs all its layers, whichever `vision_feature_layer` names.

    Raises:
        InvalidSpec: a section of another kind, an unknown feature selection, or a layer that the tower has not.
    """
    if config.prefix:
        raise InvalidSpec(f"{config.where}: a {family} cannot be a part of another model")
    vision, text, notes = _sections(config, tower, language_model)
    kept, features = _kept_positions(config, vision, strategy), _feature_layers(config, vision, feature_layer)
    projector = ProjectorSpec(
        inputs=vision.stack.hidden * len(features),
        outputs=text.stack.hidden,
        activation=config.text("projector_hidden_act", "gelu"),
        bias=config.flag("multimodal_projector_bias", True),
    )
    return ModelSpec(
        name="",
        family=family,
        source="",
        text=text._replace(tied=config.flag("tie_word_embeddings", False) or (text_may_tie and text.tied)),
        vision=vision._replace(kept_positions=kept, unread_layers=vision.stack.layers - max(features)),
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


def _feature_layers(config: Config, vision: VisionSpec, default: int) -> list[int]:
    """How many layers have run where features are taken: one place, or those of a list, side by side."""
    named = config.raw("vision_feature_layer", default)
    layers = named if isinstance(named, list) else [named]
    if not layers:
        raise InvalidSpec(f"{config.where}: vision_feature_layer must name at least one layer")
    # Hugging Face's hidden states: what enters layer 0, and what leaves each layer.
    states = vision.stack.layers + 1
    if not all(type(layer) is int and -states <= layer < states for layer in layers):
        raise InvalidSpec(
            f"{config.where}: vision_feature_layer must be from {-states} to {states - 1}, "
            f"or a list of such numbers, not {shown(named)}"
        )
    return [layer % states for layer in layers]
