"""What a picture of kept patches shows: crops as the tower sees them, with the patches that each method keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.pictures.finding import shown
from perfkit.pictures.reading import UnreadablePicture, read_picture
from perfkit.pictures.results import Kept, ReducedPictures

MOST_TILES = 24  # that a page holds at a size at which patches can be seen
MOST_NAMED = 3  # of pictures that are not shown


class Tile(NamedTuple):
    """A picture and what a method keeps of it.

    `pixels` (side, side, 3), 8 bits: what the tower sees; `kept` (grid, grid), True where a patch is kept, of
    `patch_size` x `patch_size` pixels.
    """

    picture: str
    method: str
    pixels: Any
    kept: Any
    patch_size: int
    tokens: int


@dataclass(frozen=True)
class OverlayView:
    """Tiles row by row, a row a picture where there are several methods, with the run that they are of."""

    tiles: tuple[Tile, ...]
    run: ReducedPictures
    not_shown: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Pictures that the page has no room for."""
        if not self.not_shown:
            return ()
        names, number = ", ".join(self.not_shown[:MOST_NAMED]), len(self.not_shown)
        which = names if number <= MOST_NAMED else f"{number} pictures, the first {names}"
        return (f"the overlay shows {MOST_TILES} tiles at most; not on it: {which}",)


def check_methods(methods: int) -> None:
    """Refuse more methods than a page has tiles for.

    Raises:
        InvalidValue: more than MOST_TILES.
    """
    if methods > MOST_TILES:
        raise InvalidValue(f"an overlay shows {MOST_TILES} methods at most beside each other, not {methods}")


def overlay_view(run: ReducedPictures) -> OverlayView:
    """Tiles of the first pictures that every method has kept something of.

    Raises:
        InvalidValue: there is none; more methods than MOST_TILES; or a picture that cannot be read any more.
    """
    check_methods(len(run.methods))
    by_path = [{kept.path: kept for kept in method.kept} for method in run.methods]
    paths = [kept.path for kept in run.methods[0].kept if all(kept.path in found for found in by_path)]
    first = paths[: MOST_TILES // len(run.methods)]
    if not first:
        raise InvalidValue("no picture has been reduced by every method, so there is none to draw")
    tiles = tuple(tile for path in first for tile in _tiles(run, [found[path] for found in by_path]))
    return OverlayView(tiles, run, tuple(shown(path) for path in paths[len(first) :]))


def _tiles(run: ReducedPictures, kept: Sequence[Kept]) -> Iterator[Tile]:
    """Of one picture, which each method has `kept` something of."""
    name = kept[0].picture
    try:
        pixels = run.tower.preprocessing.crop(read_picture(kept[0].path))  # read again: a run holds no pixels
    except UnreadablePicture as error:
        raise InvalidValue(f"{name}: {error}; it could be read a moment ago") from None
    for method, one in zip(run.methods, kept, strict=True):
        yield Tile(name, method.text, pixels, mask_of(one.patches, run.tower.grid), run.tower.patch_size, one.tokens)


def mask_of(patches: Sequence[int], grid: int) -> Any:
    """(grid, grid), True at these patches, which are counted row by row.

    >>> mask_of((0, 3), 2).tolist()
    [[True, False], [False, True]]
    """
    import numpy as np

    mask = np.zeros(grid * grid, dtype=bool)
    mask[list(patches)] = True
    return mask.reshape(grid, grid)
