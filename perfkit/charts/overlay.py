"""Which patches of pictures are kept, on the pictures themselves: the rest is faded, with a line between the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit import reports
from perfkit.charts.headings import listed
from perfkit.charts.rendering import write_figure
from perfkit.charts.sheet import EDGE, Heading, sheet, text_width
from perfkit.charts.style import FAINT, INK, LEADING, TEXT, WIDTHS
from perfkit.pictures.overlaying import OverlayView, Tile
from perfkit.pictures.results import MEANS_NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT = 0.3  # of a faded pixel that is left, the rest is white
LINE = "#D55E00"  # Okabe and Ito's vermilion, which few photographs have much of
MANY = (4, 3)  # tiles in a row, where there are more than a row of them
GAP = 9.0  # points between tiles
Line: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
NAMES = 2 * LEADING * TEXT + 2  # points above a tile: its name, and what is kept of it


def draw_overlay(view: OverlayView, path: Path | str) -> None:
    """Write a chart of `view`: png, svg, pdf or html, by the ending of `path`; html has the tables too.

    Raises:
        UnknownName: another ending.
        MachineError: no matplotlib, or the file cannot be written; nothing is changed then.
    """
    write_figure(Path(path), lambda: figure_of(view), reports.overview(view.run))


def figure_of(view: OverlayView) -> Figure:
    """The chart as a figure: a column wide for one tile, else a page."""
    methods = len(view.run.methods)
    columns = _columns(len(view.tiles), methods)
    places = [_place(i, columns, methods) for i in range(len(view.tiles))]
    rows = 1 + places[-1][0]
    width = "column" if len(view.tiles) == 1 else "page"
    side = (72 * WIDTHS[width] - 2 * EDGE - (columns - 1) * GAP) / columns
    figure = sheet(width, rows * (GAP + NAMES + side) / 72, _heading(view))
    figure.set_layout_engine("none")  # tiles stand where they are put
    for (down, right), tile in zip(places, view.tiles, strict=True):
        up = EDGE + (rows - 1 - down) * (NAMES + side + GAP)
        _draw_tile(_axes(figure, EDGE + right * (side + GAP), up, side), tile, side)
    return figure


def _columns(tiles: int, methods: int) -> int:
    """All in a row where they are few; a picture's methods beside each other; else as leaves the fewest empty places.

    Methods that a row cannot hold stand in as few rows as they need, evenly.

    >>> [_columns(tiles, 1) for tiles in (1, 4, 5, 7, 9)], _columns(6, 2), _columns(6, 3)
    ([1, 4, 3, 4, 3], 4, 3)
    >>> [_columns(tiles, tiles) for tiles in (5, 7, 9, 24)]
    [3, 4, 3, 4]
    """
    if methods > MANY[0]:
        return -(-methods // -(-methods // MANY[0]))
    if methods > 1:
        together = max(1, MANY[0] // methods)
        return methods * min(together, tiles // methods)
    return tiles if tiles <= MANY[0] else min(MANY, key=lambda columns: -tiles % columns)


def _place(number: int, columns: int, methods: int) -> tuple[int, int]:
    """Row and column of a tile; where a picture's methods take several rows, the next picture begins another.

    >>> [_place(number, 3, 5) for number in (2, 3, 4, 5)]
    [(0, 2), (1, 0), (1, 1), (2, 0)]
    """
    if methods <= columns:
        return divmod(number, columns)
    picture, method = divmod(number, methods)
    down, right = divmod(method, columns)
    return picture * -(-methods // columns) + down, right


def _axes(figure: Figure, right: float, up: float, side: float) -> Axes:
    """Square axes without a frame, from places in points."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    axes = figure.add_axes((right / width, up / height, side / width, side / height))
    axes.set_axis_off()
    return axes


def _heading(view: OverlayView) -> Heading:
    run = view.run
    methods = list(dict.fromkeys(tile.method for tile in view.tiles))
    asked = "".join(f"{setting}; " for setting in run.methods[0].settings)  # which all methods share
    grid = f"{run.tower.grid} x {run.tower.grid} patches"
    lines = [f"{asked}{drawable(run.tower.source)}; {grid} of what the tower sees; faded ones are not kept"]
    lines += [f"{MEANS_NOTHING.capitalize()}."] if run.tower.random else []
    rest = len(view.not_shown)
    lines += [f"{rest} more pictures are not shown." if rest > 1 else "1 more picture is not shown."] if rest else []
    return Heading(f"Patches that {listed(methods)} keep{'s' * (len(methods) == 1)}", tuple(lines))


# --- tiles


def faded(tile: Tile) -> Any:
    """Pixels (side, side, 3) of a tile, those outside kept patches faded into white.

    >>> import numpy as np
    >>> black = np.zeros((2, 2, 3), dtype=np.uint8)
    >>> kept = np.array([[True, False], [False, False]])
    >>> faded(Tile("a.png", "spatial", black, kept, 1, 1))[:, :, 0].tolist()  # 255 (1 - 0.3) = 178.5
    [[0, 178], [178, 178]]
    """
    import numpy as np

    covered = tile.kept.repeat(tile.patch_size, axis=0).repeat(tile.patch_size, axis=1)
    bright = np.zeros(tile.pixels.shape[:2], dtype=bool)  # a side may have a few pixels more than its patches
    bright[: covered.shape[0], : covered.shape[1]] = covered
    pale = (LEFT * tile.pixels + (1 - LEFT) * 255).astype(np.uint8)
    return np.where(bright[:, :, None], tile.pixels, pale)


def borders(tile: Tile) -> list[Line]:
    """Lines (x, y) to (x, y) in pixels between kept patches and others, and around kept ones at the edge.

    >>> import numpy as np
    >>> kept = np.array([[True, False], [False, False]])
    >>> len(borders(Tile("a.png", "spatial", None, kept, 14, 1)))  # the four sides of one patch
    4
    """
    import numpy as np

    around = np.pad(tile.kept, 1)
    across = [_line(x, y, x, y + 1, tile.patch_size) for y, x in np.argwhere(around[1:-1, 1:] != around[1:-1, :-1])]
    along = [_line(x, y, x + 1, y, tile.patch_size) for y, x in np.argwhere(around[1:, 1:-1] != around[:-1, 1:-1])]
    return [*across, *along]


def _line(x0: int, y0: int, x1: int, y1: int, scale: int) -> Line:
    return (scale * int(x0), scale * int(y0)), (scale * int(x1), scale * int(y1))


def _draw_tile(axes: Axes, tile: Tile, room: float) -> None:
    """The picture with its lines, and above it what it is and what is kept of it."""
    from matplotlib.collections import LineCollection

    side = tile.pixels.shape[0]
    axes.imshow(faded(tile), extent=(0, side, side, 0), interpolation="nearest")
    axes.add_collection(LineCollection(borders(tile), colors="#FFFFFF", linewidths=1.4, capstyle="projecting"))
    axes.add_collection(LineCollection(borders(tile), colors=LINE, linewidths=0.7, capstyle="projecting"))
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": TEXT}
    above["parse_math"] = False  # a name may have dollars in it
    name = fitted(drawable(Path(tile.picture).name), room)
    axes.annotate(name, (0, 1), (0, 3 + LEADING * TEXT), color=INK, fontweight="bold", **above)
    axes.annotate(_told(tile, room), (0, 1), (0, 3), color=FAINT, **above)


def _told(tile: Tile, room: float) -> str:
    """What is kept, in as many words as `room` points hold."""
    kept = int(tile.kept.sum())
    patches = f"{tile.method}: {kept} of {tile.kept.size} patches"
    counted = f"{tile.tokens} token{'s' * (tile.tokens != 1)}"
    tokens = f"{tile.method}: {counted}"
    texts = (patches, tokens) if tile.tokens == kept else (f"{patches}, {counted}", patches, tokens)
    return next((text for text in texts if text_width(text, TEXT) <= room), fitted(tokens, room))


def drawable(text: str) -> str:
    """A text with a box for each letter that the font of charts lacks, which matplotlib would warn of.

    >>> drawable("猫 é.jpg")
    '□ é.jpg'
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold"))).get_charmap()
    return "".join(letter if ord(letter) in known else "□" for letter in text)


def fitted(text: str, room: float) -> str:
    """A text of one line that `room` points hold in bold, its middle left out where it is longer.

    >>> fitted("a-picture-with-a-long-name.png", 90)
    'a-picture…-name.png'
    """
    for left in range(len(text), 0, -1):
        shown = text if left == len(text) else f"{text[: left - left // 2]}…{text[len(text) - left // 2 :]}"
        if text_width(shown, TEXT, bold=True) <= room:
            break
    return shown
