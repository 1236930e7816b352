"""What a LLaVA-1.5 is given in place of images: its own embeddings of a prompt that holds fewer of their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.reduction.llava.prompts import (
    FILLERS,
    check_placeholders,
    checked_ids,
    checked_mask,
    positions_of,
    shorten,
    shortened_companions,
    shortened_mask,
)
from perfkit.reduction.llava.tower import check_pixels, check_tower, hidden_state, run_tower
from perfkit.reduction.reducing import ReducedTokens

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = ("vision_feature_layer", "vision_feature_select_strategy")  # of a call, before those of the configuration
REPLACED = ("pixel_values", "input_ids", "attention_mask", *SETTINGS, *FILLERS)
ELSEWHERE = ("inputs_embeds", "mm_encoder_outputs")  # other ways to hand a model what pixels would become


class ModelInputs(NamedTuple):
    """Arguments that stand for a call's own.

    `images`: what the reducer left. `projected` (tokens of all images, hidden of the language model). `ids`
    (batch, tokens) and `embeddings` (batch, tokens, hidden) of the prompts; `mask` (batch, past + tokens), None where
    nothing is hidden and none was given. `others`: the rest of the call. `dropped`: tokens that a prompt lost.
    """

    images: ReducedTokens
    projected: Tensor
    ids: Tensor
    embeddings: Tensor
    mask: Tensor | None
    others: dict[str, Any]
    dropped: int

    @property
    def tokens(self) -> int:
        """Tokens of a prompt, padding included."""
        return int(self.ids.shape[1])

    def for_forward(self) -> dict[str, Any]:
        """Arguments of `forward`; positions count what the mask shows, where none were given."""
        positions = {} if self.mask is None else {"position_ids": positions_of(self.mask, self.tokens)}
        return {**positions, **self.others, "inputs_embeds": self.embeddings, "attention_mask": self.mask}

    def for_generate(self) -> dict[str, Any]:
        """Arguments of `generate`; the ids are for what looks at words, such as penalties of repetition."""
        return {
            **self.others,
            "input_ids": self.ids,
            "inputs_embeds": self.embeddings,
            "attention_mask": self.mask,
        }


def check_model(model: Any) -> None:
    """Refuse what is no LLaVA-1.5.

    Raises:
        InvalidValue: another class or tower, features of several layers, or with the class token among them.
    """
    from transformers import LlavaForConditionalGeneration

    if not isinstance(model, LlavaForConditionalGeneration):
        raise InvalidValue(f"the model is a {type(model).__name__}; reduced() takes a LlavaForConditionalGeneration")
    check_tower(model.model.vision_tower)
    _feature_layer(model, {})


def reduced_inputs(model: Any, reducer: Any, given: dict[str, Any], *, filler: int = 0, past: int = 0) -> ModelInputs:
    """What stands for a call with `pixel_values` and `input_ids`; the tower runs here, once.

    `filler`: the id of padding. `past`: tokens before those of `input_ids` that a mask made here covers too.

    Raises:
        InvalidValue: inputs that do not fit each other or the model.
    """
    ids, mask, layer = _checked(model, given)
    images = reducer(*run_tower(_tower(model), given["pixel_values"], layer, keys=reducer.method.needs_class_token))
    placeholders = ids == model.config.image_token_id
    short = shorten(placeholders, images.counts, _patches(model), mask)
    short_ids = short.of(ids, filler)
    projected = model.model.multi_modal_projector(images.tokens[images.mask])
    return ModelInputs(
        images=images,
        projected=projected,
        ids=short_ids,
        embeddings=_embedded(model, short_ids, short.of(placeholders, False), projected),
        mask=shortened_mask(mask, short, past),
        others=_others(given) | shortened_companions(given, short, ids),
        dropped=ids.shape[1] - short.tokens,
    )


def _others(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in REPLACED}


def _checked(model: Any, given: dict[str, Any]) -> tuple[Tensor, Tensor | None, int]:
    """Ids, mask and feature layer of a call, before anything has run."""
    for name in ELSEWHERE:
        if given.get(name) is not None:
            raise InvalidValue(f"{name} beside pixel_values: only one of them can say what the images are")
    if not isinstance(given.get("logits_to_keep"), int | None):
        raise InvalidValue(
            "logits_to_keep must be a number of last tokens: places are other ones in the shorter prompt"
        )
    ids, mask, pixels = checked_ids(given.get("input_ids")), given.get("attention_mask"), given["pixel_values"]
    mask = None if mask is None else checked_mask(mask, ids)
    check_pixels(_tower(model), pixels)
    check_placeholders(ids == model.config.image_token_id, len(pixels), _patches(model))
    return ids, mask, _feature_layer(model, given)


def _tower(model: Any) -> Any:
    return model.model.vision_tower


def _patches(model: Any) -> int:
    config = _tower(model).config
    return int((config.image_size // config.patch_size) ** 2)


def _feature_layer(model: Any, given: dict[str, Any]) -> int:
    """The layer that features come from, of the call or of the configuration."""
    asked = [given.get(name) for name in SETTINGS]
    layer, strategy = (
        getattr(model.config, name) if value is None else value for name, value in zip(SETTINGS, asked, strict=True)
    )
    if strategy != "default":
        raise InvalidValue(f"vision_feature_select_strategy must be 'default', patches alone, not {strategy!r}")
    hidden_state(layer, len(_tower(model).encoder.layers))
    return int(layer)


def _embedded(model: Any, ids: Tensor, placeholders: Tensor, projected: Tensor) -> Tensor:
    """(batch, tokens, hidden): words looked up, tokens of images in the places of their placeholders."""
    words: Tensor = model.get_input_embeddings()(ids)
    return words.masked_scatter(placeholders.unsqueeze(-1), projected.to(words.device, words.dtype))
