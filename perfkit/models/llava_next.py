"""LLaVA-NeXT (LLaVA-1.6): the image whole and in a grid of tiles, with a learned newline after each row of patches.

Source: transformers `LlavaNextConfig`, `LlavaNextForConditionalGeneration` and `LlavaNextProcessor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from perfkit.documents import shown
from perfkit.errors import InvalidSpec
from perfkit.models.config import MAXIMUM_SIZE, Config
from perfkit.models.llava import assemble
from perfkit.models.spec import ModelSpec, VisionSpec

# The class default of image_grid_pinpoints: (height, width) of the grids, in pixels.
PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


class Grid(NamedTuple):
    """Tiles of a picture besides the whole one, and the rows and columns of patches that they leave."""

    tiles: int
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """Patches, and a newline after each row of them."""
        return self.rows * (self.columns + 1)


def read(config: Config) -> ModelSpec:
    """Spec of a `LlavaNextForConditionalGeneration`, for a picture that fills the grid with the most tokens."""
    spec = fill_grid(assemble(config, "llava_next"), config, PINPOINTS)
    note = (
        f"{spec.visual_tokens} visual tokens are those of the largest pictures: {spec.projected_tokens} patches, "
        f"which papers count, and {spec.newline_tokens} row ends, which Hugging Face adds; other pictures make fewer"
    )
    return replace(spec, notes=(*spec.notes, note))


def fill_grid(
    spec: ModelSpec,
    config: Config,
    pinpoints: Sequence[Sequence[int]],
    resample: Callable[[Grid, int], Grid] | None = None,
) -> ModelSpec:
    """`spec` for a picture that fills the grid with the most tokens.

    `resample(grid, side)` may shrink the patches of a grid, `side` of them a side of a tile. The newline, one vector,
    is counted among the parameters but belongs to no part that runs.

    Raises:
        InvalidSpec: image_grid_pinpoints that are no multiples of a tile, or tiles with a position too many or few.
    """
    vision, text = spec.vision, spec.text
    if vision is None or text is None or vision.kept_positions != vision.patches:
        raise InvalidSpec(
            "the grid needs every patch of a tile and nothing else: vision_feature_select_strategy must be "
            "default with a class token, full without"
        )
    side = vision.image_size // vision.patch_size
    shapes = _tile_grids(config, pinpoints, vision)
    grids = [Grid(rows * columns, rows * side, columns * side) for rows, columns in shapes]
    if resample is not None:
        grids = [resample(grid, side) for grid in grids]
    largest = max(grids, key=lambda grid: grid.tokens)
    return replace(
        spec,
        tiles=1 + largest.tiles,
        visual_tokens=vision.patches + largest.tokens,
        newline_tokens=largest.rows,
        idle_parameters=text.stack.hidden,
    )


def _tile_grids(config: Config, default: Sequence[Sequence[int]], vision: VisionSpec) -> list[tuple[int, int]]:
    """(rows, columns) of tiles of every grid in image_grid_pinpoints."""
    pinpoints = config.raw("image_grid_pinpoints", default)
    size = vision.image_size
    if not isinstance(pinpoints, Sequence) or not pinpoints or not all(_fits(pair, size) for pair in pinpoints):
        raise InvalidSpec(
            f"{config.where}: image_grid_pinpoints must be a list of (height, width) in multiples "
            f"of image_size {size}, not {shown(pinpoints)}"
        )
    return [(height // size, width // size) for height, width in pinpoints]


def _fits(pair: Any, size: int) -> bool:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        return False
    return all(type(side) is int and 0 < side <= MAXIMUM_SIZE and side % size == 0 for side in pair)
