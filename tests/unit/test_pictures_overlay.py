"""Kept patches on pictures: what is faded and what is not, checked on pixels; the sheet; every format."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from doubles import quick_torch
from picture_files import GRID, PATCH, SIDE, write_home, write_pictures
from PIL import Image

from perfkit.charts.overlay import LEFT, LINE, borders, draw_overlay, faded, figure_of, fitted
from perfkit.charts.rendering import ENDINGS
from perfkit.charts.sheet import text_width
from perfkit.charts.style import TEXT
from perfkit.errors import InvalidValue, UnknownName
from perfkit.pictures.overlaying import MOST_TILES, Tile, mask_of, overlay_view
from perfkit.pictures.reading import read_picture
from perfkit.pictures.running import reduce_pictures

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return write_home(tmp_path_factory.mktemp("home"), 5)


@pytest.fixture(scope="module")
def reduced(home):
    def call(methods=("prumerge",), pictures=None, **asked):
        weights = {} if asked.get("random_weights") else {"vision_model": str(home / "clip")}
        options = {"model": str(home / "llava.json"), "budget_s": 0.01, "device": "cpu", **weights, **asked}
        return reduce_pictures([home / "pictures"] if pictures is None else pictures, methods, **options)

    return call


def tile(kept, pixels=None, patch=2):
    kept = np.array(kept, dtype=bool)
    side = len(kept) * patch
    return Tile("a.png", "spatial", np.zeros((side, side, 3), np.uint8) if pixels is None else pixels, kept, patch, 1)


def drawn(figure):
    """The figure's pixels as floats, at 144 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(float)


def place_of(figure, axes, row, column):
    """Pixel (y, x) of the middle of a patch on the drawn figure."""
    box = axes.get_position()
    width, height = figure.get_size_inches() * 144
    x = box.x0 + (column + 0.5) / GRID * box.width
    y = box.y1 - (row + 0.5) / GRID * box.height
    return int((1 - y) * height), int(x * width)


# --- fading


def test_kept_patches_stay_as_they_are_and_others_fade_into_white():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    found = faded(tile([[True, False], [False, True]], pixels))
    pale = (LEFT * pixels + (1 - LEFT) * 255).astype(np.uint8)
    assert np.array_equal(found[:2, :2], pixels[:2, :2])
    assert np.array_equal(found[2:, 2:], pixels[2:, 2:])
    assert np.array_equal(found[:2, 2:], pale[:2, 2:])
    assert np.array_equal(found[2:, :2], pale[2:, :2])


def test_all_kept_is_the_picture_and_none_is_pale():
    pixels = np.full((4, 4, 3), 100, np.uint8)
    assert np.array_equal(faded(tile(np.ones((2, 2)), pixels)), pixels)
    assert (faded(tile(np.zeros((2, 2)), pixels)) == 208).all()  # 0.3 * 100 + 0.7 * 255 = 208.5


def test_pixels_beyond_the_last_patch_are_in_none():
    pixels = np.zeros((5, 5, 3), np.uint8)  # 2 patches of 2, and one pixel more
    found = faded(tile(np.ones((2, 2)), pixels))
    assert (found[:4, :4] == 0).all()
    assert (found[4] == 178).all()
    assert (found[:, 4] == 178).all()


def test_lines_run_between_kept_and_not_and_never_within():
    square = borders(tile([[True, True, False]] * 2 + [[False] * 3], patch=10))
    assert len(square) == 8  # around two by two patches
    assert {point for line in square for point in line} == {
        *((x, 0) for x in (0, 10, 20)),
        *((x, 20) for x in (0, 10, 20)),
        *((x, 10) for x in (0, 20)),
    }
    assert borders(tile(np.zeros((3, 3)))) == []
    assert len(borders(tile(np.ones((3, 3))))) == 12  # the edge of the picture


def test_patches_are_counted_row_by_row():
    assert mask_of((1, 4), 3).astype(int).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


# --- on the drawn picture


@pytest.mark.parametrize("methods", [("prumerge",), ("prumerge+", "spatial:n=8")])
def test_the_drawing_is_bright_where_the_run_kept_a_patch_and_pale_elsewhere(methods, home, reduced):
    run = reduced(methods, [home / "pictures" / "01.png"])
    view = overlay_view(run)
    figure = figure_of(view)
    pixels = drawn(figure)
    crop = run.tower.preprocessing.crop(read_picture(home / "pictures" / "01.png")).astype(float)
    tiles = [axes for axes in figure.axes if axes.images]
    assert len(tiles) == len(methods)
    for axes, method in zip(tiles, run.methods, strict=True):
        kept = set(method.kept[0].patches)
        assert 0 < len(kept) < GRID * GRID
        for patch in range(GRID * GRID):
            row, column = divmod(patch, GRID)
            middle = crop[row * PATCH + PATCH // 2, column * PATCH + PATCH // 2]
            expected = middle if patch in kept else LEFT * middle + (1 - LEFT) * 255
            y, x = place_of(figure, axes, row, column)
            near = pixels[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)
            assert np.abs(near - expected).max(axis=1).min() < 12, (method.text, patch)


def test_a_line_is_drawn_between_kept_patches_and_others_and_nowhere_else(home, reduced):
    view = overlay_view(reduced(["spatial:n=8"], [home / "pictures" / "00.png"]))
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)  # on which no other colour is taken for the line's
    uneven = np.zeros((GRID, GRID), dtype=bool)
    uneven[0, :3] = uneven[5, 2] = uneven[6, 2] = True  # unlike its mirror images
    figure = figure_of(replace(view, tiles=(view.tiles[0]._replace(pixels=grey, kept=uneven),)))
    pixels = drawn(figure)
    line = np.array([int(LINE[i : i + 2], 16) for i in (1, 3, 5)])
    for row in range(GRID):
        for column in range(GRID - 1):
            y, x = place_of(figure, figure.axes[0], row, column + 0.5)  # between a patch and the next
            near = pixels[y - 2 : y + 3, x - 4 : x + 5].reshape(-1, 3)
            found = np.abs(near - line).max(axis=1).min() < 60
            assert found == (uneven[row, column] != uneven[row, column + 1]), (row, column)


def test_a_tile_is_the_crop_of_the_tower(reduced):
    for one in overlay_view(reduced()).tiles:
        assert one.pixels.shape == (SIDE, SIDE, 3)
        assert one.kept.shape == (GRID, GRID)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_drawn_and_the_same_run_gives_the_same_bytes(ending, home, reduced, tmp_path):
    view = overlay_view(reduced(["prumerge", "spatial:n=4"], [home / "pictures" / "00.png"]))
    for name in "ab":
        draw_overlay(view, tmp_path / f"{name}{ending}")
    first, second = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
    assert first.startswith(STARTS[ending])
    assert first == second


def test_an_unknown_ending_is_refused(reduced, tmp_path):
    with pytest.raises(UnknownName, match="unknown ending of a chart"):
        draw_overlay(overlay_view(reduced()), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def texts(figure):
    return [text.get_text() for text in figure.texts] + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_tile_says_what_it_is_of_and_what_is_kept(reduced):
    run = reduced()
    written = texts(figure_of(overlay_view(run)))
    for kept in run.methods[0].kept:
        assert kept.picture.rpartition("/")[2] in written
    assert any(re.fullmatch(r"prumerge: \d+ of 64 patches(, \d+ tokens)?", text) for text in written)
    assert "Patches that prumerge keeps" in written


def test_a_caption_says_as_much_as_there_is_room_for(reduced):
    view = overlay_view(reduced(ratio=1 / 64))  # one patch, and the appended token
    for method, said in (
        ("prumerge", "prumerge: 1 of 64 patches, 2 tokens"),
        ("prumerge, called so", "prumerge, called so: 1 of 64 patches"),
        ("prumerge, called so at length", "prumerge, called so at length: 2 tokens"),
        ("prumerge, called so at great length", "prumerge, called s…t length: 2 tokens"),
    ):
        figure = figure_of(replace(view, tiles=tuple(tile._replace(method=method) for tile in view.tiles)))
        assert {axes.texts[1].get_text() for axes in figure.axes} == {said}


def test_one_token_is_one(reduced):
    view = overlay_view(reduced(["prumerge+"]))
    none = tuple(tile._replace(kept=np.zeros((GRID, GRID), dtype=bool), tokens=1) for tile in view.tiles)
    assert "prumerge+: 0 of 64 patches, 1 token" in texts(figure_of(replace(view, tiles=none)))


@pytest.mark.parametrize("room", [20, 60, 90])
def test_a_name_that_does_not_fit_loses_its_middle(room):
    name = "a-picture-with-a-long-name.png"
    short = fitted(name, room)
    start, _, end = short.partition("…")
    assert name.startswith(start)
    assert name.endswith(end)
    assert 0 <= len(start) - len(end) <= 1
    assert text_width(short, TEXT, bold=True) <= room
    longer = f"{name[: len(start) + (len(start) == len(end))]}…{name[len(name) - len(start) :]}"
    assert text_width(longer, TEXT, bold=True) > room  # with a letter more it would not fit
    assert fitted(name, 1000) == name


def test_the_heading_says_how_methods_were_asked_to_work(reduced):
    asked = {"ratio": 0.25, "strict_reference": True}
    assert any(
        text.startswith("ratio 0.25; as published; /") for text in texts(figure_of(overlay_view(reduced(**asked))))
    )
    assert not any("ratio" in text or "published" in text for text in texts(figure_of(overlay_view(reduced()))))


def test_dollars_are_no_formula(tmp_path, home, reduced):
    (tmp_path / "$a^$").mkdir()
    path = tmp_path / "$a^$" / "$b^$.png"
    path.write_bytes((home / "pictures" / "00.png").read_bytes())
    weights = tmp_path / "$w^$"
    weights.symlink_to(home / "clip")
    figure = figure_of(overlay_view(reduced(pictures=[path], vision_model=str(weights))))
    assert "$b^$.png" in texts(figure)
    assert "$w^$" in "".join(texts(figure))
    drawn(figure)  # as a formula "$a^$" would end it
    assert not any(text.get_parse_math() for text in [*figure.texts, *figure.axes[0].texts])


def test_random_weights_are_told_on_the_picture(reduced):
    assert "Random weights: which patches are kept, and how many, means nothing." in " ".join(
        texts(figure_of(overlay_view(reduced(random_weights=True, vision_model=None))))
    )
    assert "Random" not in " ".join(texts(figure_of(overlay_view(reduced()))))


def test_tiles_do_not_cover_each_other_or_what_is_written(reduced):
    figure = figure_of(overlay_view(reduced(["prumerge", "prumerge+"])))
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    boxes += [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    boxes += [text.get_window_extent() for text in figure.texts]
    for i, one in enumerate(boxes):
        assert one.x0 >= 0
        assert one.y0 >= 0
        assert one.x1 <= figure.bbox.x1 + 0.5
        for other in boxes[i + 1 :]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert wide < 1 or high < 1.5, (one, other)


# --- which pictures are shown


@pytest.mark.parametrize(("methods", "columns", "rows"), [(4, 4, 1), (5, 3, 2), (7, 4, 2), (9, 3, 3), (24, 4, 6)])
def test_methods_that_a_row_cannot_hold_stand_in_several(methods, columns, rows, home, reduced):
    pictures = [home / "pictures" / "00.png", home / "pictures" / "01.png"]
    view = overlay_view(reduced([f"spatial:n={1 + n}" for n in range(methods)], pictures))
    axes = figure_of(view).axes
    assert len(axes) == len(view.tiles) == methods * min(2, MOST_TILES // methods)
    first = [each.get_position() for each in axes[:methods]]
    assert len({round(box.x0, 4) for box in first}) == columns
    assert len({round(box.y0, 4) for box in first}) == rows
    assert min(box.y0 for box in first) > max([each.get_position().y1 for each in axes[methods:]], default=0)


def test_more_methods_than_a_page_holds_are_refused(home, reduced):
    methods = [f"spatial:n={1 + n}" for n in range(MOST_TILES + 1)]
    run = reduced(methods, [home / "pictures" / "00.png"])
    with pytest.raises(InvalidValue, match="an overlay shows 24 methods at most beside each other, not 25"):
        overlay_view(run)


def test_of_many_pictures_without_room_the_first_are_named(reduced):
    view = replace(overlay_view(reduced()), not_shown=tuple("abcde"))
    assert view.notes == (f"the overlay shows {MOST_TILES} tiles at most; not on it: 5 pictures, the first a, b, c",)
    assert "1 more picture is not shown." in texts(figure_of(replace(view, not_shown=("a",))))


def test_pictures_without_room_are_named(tmp_path, reduced):
    paths = write_pictures(tmp_path, MOST_TILES // 2 + 2)
    view = overlay_view(reduced(["prumerge", "spatial:n=4"], paths))
    assert len(view.tiles) == MOST_TILES
    assert [tile.picture for tile in view.tiles[::2]] == paths[: MOST_TILES // 2]
    assert view.not_shown == tuple(paths[MOST_TILES // 2 :])
    assert view.notes[0] == f"the overlay shows {MOST_TILES} tiles at most; not on it: {paths[-2]}, {paths[-1]}"
    assert "2 more pictures are not shown." in texts(figure_of(view))


def test_all_have_room_and_nobody_is_told(reduced):
    assert overlay_view(reduced()).notes == ()


def test_a_picture_that_is_gone_is_named(tmp_path, reduced):
    (path,) = write_pictures(tmp_path, 1)
    run = reduced(pictures=[path])
    (tmp_path / "00.png").unlink()
    with pytest.raises(
        InvalidValue, match=r"00\.png: cannot be read: No such file or directory; it could be read a moment"
    ):
        overlay_view(run)
