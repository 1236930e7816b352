"""LLaVA-OneVision: LLaVA-NeXT's grid of up to 6 x 6 tiles from a SigLIP tower, shrunk where it makes too many patches.

Source: transformers `LlavaOnevisionConfig`, `LlavaOnevisionForConditionalGeneration` and `LlavaOnevisionProcessor`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perfkit.documents import shown
from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.llava import assemble
from perfkit.models.llava_next import Grid, fill_grid
from perfkit.models.spec import ModelSpec

# What LlavaOnevisionConfig builds where vision_config is absent: SigLIP-so400m without its last layer and head.
SIGLIP_SO400M: Mapping[str, Any] = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
PINPOINTS = tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7))
TOLERATED_RATIO = 1.1  # of a grid's side to that of the largest one; a constant in pack_image_features


def read(config: Config) -> ModelSpec:
    """Spec of a `LlavaOnevisionForConditionalGeneration`, for a picture that fills the grid with the most tokens."""
    spec = assemble(
        config,
        "llava_onevision",
        tower=SIGLIP_SO400M,
        language_model="qwen2",
        strategy="full",
        feature_layer=-1,
        text_may_tie=True,
    )
    most = _most_tiles(config)
    spec = fill_grid(spec, config, PINPOINTS, lambda grid, side: shrink(grid, side, most))
    note = (
        f"{spec.visual_tokens} visual tokens, {spec.newline_tokens} of them row ends, are those of one picture that "
        f"fills a grid of {spec.tiles - 1} tiles; other pictures make fewer, save some that fill only part of a "
        "larger grid; videos are pooled instead"
    )
    return replace(spec, notes=(*spec.notes, note))


def shrink(grid: Grid, side: int, most_tiles: int) -> Grid:
    """`grid` as it is resampled where its patches exceed those of `most_tiles` tiles by more than a tenth a side.

    The arithmetic, floats and their rounding included, is that of `LlavaOnevisionProcessor._get_unpadded_features`.

    >>> shrink(Grid(tiles=16, rows=108, columns=108), side=27, most_tiles=9)
    Grid(tiles=16, rows=81, columns=81)
    """
    ratio = math.sqrt(grid.rows * grid.columns / (most_tiles * side**2))
    if ratio <= TOLERATED_RATIO:
        return grid
    return Grid(grid.tiles, int(grid.rows // ratio), int(grid.columns // ratio))


def _most_tiles(config: Config) -> int:
    """The number in vision_aspect_ratio, such as 9 in anyres_max_9."""
    ratio = config.text("vision_aspect_ratio", "anyres_max_9")
    match = re.fullmatch(r"anyres_max_([1-9]\d{0,3})", ratio)
    if match is None:
        raise InvalidSpec(f"{config.where}: vision_aspect_ratio must be like anyres_max_9, not {shown(ratio)}")
    return int(match[1])
