"""What reducers read of a Hugging Face CLIP tower, and no layer more.

    hidden_states[0]   embeddings after the pre norm
    hidden_states[i]   what the i-th layer gives on; of L layers the last is hidden_states[L]

LLaVA-1.5 takes its features from hidden_states[-2], which is what enters the last layer. Of that layer a reducer needs
the keys of all positions and the query of the class token: one norm, one projection, and one row of another. Values,
attention and feed-forward network are left out, and a method that does not ask the class token needs nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from torch import Tensor

FEATURE_LAYER = -2  # LLaVA-1.5's


class TowerTensors(NamedTuple):
    """What a tower hands to a reducer.

    `features` (images, patches, hidden); of the last layer's self-attention, heads side by side, `queries`
    (images, 1, hidden) of the class token and `keys` (images, 1 + patches, hidden), the class token's first. Queries
    and keys are None where they were not asked for.
    """

    features: Tensor
    queries: Tensor | None
    keys: Tensor | None


def run_tower(tower: Any, pixels: Tensor, feature_layer: int = FEATURE_LAYER, *, keys: bool = True) -> TowerTensors:
    """Features of hidden_states[feature_layer] of a `CLIPVisionModel`; queries and keys of its last layer.

    `pixels` (images, channels, side, side), as its image processor makes them. No layer runs whole that the features
    or the keys do not need, and without `keys` nothing runs behind the features.

    Raises:
        InvalidValue: another kind of tower, pixels of another shape, several feature layers, or one that is not there.
    """
    check_tower(tower)
    layers = len(tower.encoder.layers)
    wanted = hidden_state(feature_layer, layers)
    check_pixels(tower, pixels)
    needed = max(wanted, layers - 1) if keys else wanted
    made = enumerate(islice(_hidden_states(tower, pixels), needed + 1))
    states = {place: hidden for place, hidden in made if place in (wanted, layers - 1)}
    features = states[wanted][:, 1:]
    if not keys:
        return TowerTensors(features, None, None)
    return TowerTensors(features, *_query_and_keys(tower.encoder.layers[-1], states[layers - 1]))


def check_tower(tower: Any) -> None:
    """Refuse a tower of another class.

    Raises:
        InvalidValue: no `CLIPVisionModel`.
    """
    from transformers import CLIPVisionModel

    if not isinstance(tower, CLIPVisionModel):
        raise InvalidValue(f"the vision tower is a {type(tower).__name__}; reducers read a CLIPVisionModel")


def check_pixels(tower: Any, pixels: Any) -> None:
    """Refuse pixels that the tower does not take.

    Raises:
        InvalidValue: no batch of square images of its size.
    """
    import torch

    config = tower.config
    image = (config.num_channels, config.image_size, config.image_size)
    shape = tuple(pixels.shape) if isinstance(pixels, torch.Tensor) else type(pixels).__name__
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1:] != image:
        raise InvalidValue(f"pixels must be a tensor (images, {', '.join(map(str, image))}), not {shape}")


def hidden_state(feature_layer: Any, layers: int) -> int:
    """Place of a feature layer among the hidden states of a tower, counted from 0.

    Raises:
        InvalidValue: no single whole number, or one that is not there.

    >>> hidden_state(-2, 24)  # of hidden_states[0] ... hidden_states[24] the last but one
    23
    """
    if isinstance(feature_layer, bool) or not isinstance(feature_layer, int):
        raise InvalidValue(f"features must come from one layer, such as -2, not from {feature_layer}")
    if not -layers - 1 <= feature_layer <= layers:
        raise InvalidValue(
            f"there is no feature layer {feature_layer}: {layers} layers make {-layers - 1} to {layers} (0: embeddings)"
        )
    return feature_layer % (layers + 1)


def _hidden_states(tower: Any, pixels: Tensor) -> Iterator[Tensor]:
    """Hidden states (images, 1 + patches, hidden) one by one; a layer runs when its own is asked for."""
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    yield hidden
    for layer in tower.encoder.layers:
        hidden = layer(hidden, None)
        yield hidden


def _query_and_keys(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Query of the class token and keys of all positions, from what enters a layer."""
    normed = layer.layer_norm1(hidden)
    return layer.self_attn.q_proj(normed[:, :1]), layer.self_attn.k_proj(normed)
