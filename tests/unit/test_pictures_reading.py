"""Pictures from files: which are meant, what becomes of every sort, and what is refused with which words."""

import io
import os
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import picture, write_pictures
from PIL import Image, ImageCms, PngImagePlugin

from perfkit.errors import InvalidValue, MachineError
from perfkit.pictures.finding import SUFFIXES, find_pictures
from perfkit.pictures.reading import FORMATS, MOST_PIXELS, UnreadablePicture, read_picture

RED, GREEN = (255, 0, 0), (0, 255, 0)


def saved(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def pixels(path):
    image = read_picture(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(path):
    with pytest.raises(UnreadablePicture) as refused:
        read_picture(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- which files are meant


def test_files_and_folders_in_their_order_each_once(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.webp", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "deeper.png").mkdir()
    (tmp_path / "deeper.png" / "x.png").touch()
    one = tmp_path / "notes.txt"  # a file that is named itself may end in anything
    found = find_pictures([str(one), tmp_path, str(tmp_path / "a.jpg")])
    assert [path.name for path in found] == ["notes.txt", "a.jpg", "b.PNG", "c.webp"]


def test_every_suffix_belongs_to_a_format_that_is_read():
    Image.init()
    known = {suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS}
    assert set(SUFFIXES) <= known


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "no such file or folder"),
        ("", "holds no pictures"),  # the folder itself
        ("a\0b.png", "no such file or folder"),
        ("n" * 300, "no such file or folder"),
        ("pipe", "neither a file nor a folder"),
    ],
)
def test_what_is_no_picture_and_no_folder_is_refused(name, words, tmp_path):
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe")  # opening one would wait for ever
    with pytest.raises(InvalidValue, match=words):
        find_pictures([f"{tmp_path}/{name}"])


def test_nothing_named_is_refused():
    with pytest.raises(InvalidValue, match="name at least one picture"):
        find_pictures([])


def test_a_folder_without_rights_is_one_line(tmp_path, monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", forbidden)
    with pytest.raises(MachineError, match="cannot be read: Permission denied"):
        find_pictures([tmp_path])


# --- what is read


@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in SUFFIXES])
def test_every_suffix_can_be_read(name, tmp_path):
    image = picture().convert("L") if name.endswith("pgm") else picture()
    assert pixels(saved(tmp_path, image, name)).shape == (90, 120, 3)


def test_lossless_formats_come_back_bit_for_bit(tmp_path):
    for name, options in (("a.png", {}), ("a.bmp", {}), ("a.tiff", {}), ("a.webp", {"lossless": True})):
        assert np.array_equal(pixels(saved(tmp_path, picture(), name, **options)), np.asarray(picture()))


def test_grey_is_three_equal_channels(tmp_path):
    found = pixels(saved(tmp_path, Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))))
    assert found.tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


def test_black_and_white_is_0_and_255(tmp_path):
    found = pixels(saved(tmp_path, Image.fromarray(np.array([[True, False]]))))
    assert found.tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_are_scaled_down_not_clipped(name, tmp_path):
    # 257 = 65535 / 255: 0 -> 0, 256 -> 256 / 257 = 0.996 -> 1, 32768 -> 127.5 -> 128, 65535 -> 255; clipped all but one
    # of them were 255.
    grey = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert grey.mode == "I;16"
    assert pixels(saved(tmp_path, grey, name))[0, :, 0].tolist() == [0, 1, 128, 255]


@given(value=st.integers(0, 65535))
def test_sixteen_bits_round_to_the_nearest_of_eight(value):
    from perfkit.pictures.reading import _eight_bits

    found = int(np.asarray(_eight_bits(Image.fromarray(np.array([[value]], dtype=np.uint16))))[0, 0])
    assert abs(found - value / 257) <= 0.5


def test_big_endian_sixteen_bits_are_the_same(tmp_path):
    data = np.array([[0, 32768, 65535]], dtype=">u2").tobytes()
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + data)  # PGM is big-endian
    assert pixels(path)[0, :, 0].tolist() == [0, 128, 255]


def test_32_bit_grey_within_sixteen_bits_is_taken_as_such_and_beyond_refused(tmp_path):
    inside = Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
    assert inside.mode == "I"
    assert pixels(saved(tmp_path, inside, "a.tiff"))[0, :, 0].tolist() == [0, 255]
    beyond = Image.fromarray(np.array([[0, 65536]], dtype=np.int32))
    assert "outside 16 bits" in refusal(saved(tmp_path, beyond, "b.tiff"))


def test_floating_point_pixels_are_refused(tmp_path):
    image = Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32))
    assert "no known range" in refusal(saved(tmp_path, image, "a.tiff"))


def test_cmyk_becomes_rgb(tmp_path):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    found = pixels(saved(tmp_path, cyan, "a.jpg", quality=100))[8, 8]
    assert found[0] < 10  # no red is left of cyan
    assert min(found[1:]) > 245


def test_lab_becomes_rgb(tmp_path):
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(picture(), srgb, lab, outputMode="LAB")
    found = pixels(saved(tmp_path, image, "a.tiff")).astype(int)
    assert np.abs(found - np.asarray(picture())).mean() < 4  # the rounding of a wider space


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert pixels(saved(tmp_path, image)).tolist() == [[list(RED), list(GREEN)]]


@pytest.mark.parametrize("transparency", [0, b"\x00\x80"])
def test_a_palette_with_transparency_warns_nobody(transparency, tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path, image, transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(path).tolist() == [[list(RED), list(GREEN)]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_left_out_as_llava_does(mode, tmp_path):
    image = Image.new(mode, (1, 1), (*RED, 0)[-len(mode) :] if mode == "RGBA" else (70, 0))
    assert pixels(saved(tmp_path, image))[0, 0].tolist() == (list(RED) if mode == "RGBA" else [70] * 3)


def test_exif_turns_the_picture_upright(tmp_path):
    image = Image.fromarray(np.array([[RED, GREEN]], dtype=np.uint8))  # 2 wide, 1 high
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left goes up
    assert pixels(saved(tmp_path, image, exif=exif)).tolist() == [[list(RED)], [list(GREEN)]]


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN)]
    for name in ("a.gif", "a.webp", "a.tiff"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert pixels(path)[0, 0].tolist() == list(RED), name


def test_one_pixel_is_a_picture(tmp_path):
    assert pixels(saved(tmp_path, Image.new("RGB", (1, 1), RED))).tolist() == [[list(RED)]]


def test_a_picture_is_known_by_its_content_not_its_name(tmp_path):
    saved(tmp_path, picture(), "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), np.asarray(picture()))


# --- hostile and broken files


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG whose header promises far more pixels than its few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(9460, 9460), (13400, 13400), (60000, 60000), (MOST_PIXELS + 1, 1)])
def test_a_bomb_is_refused_by_its_header_and_warns_nobody(width, height, tmp_path):
    # 9460^2 is just above Pillow's warning, 13400^2 above its error.
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f"more than {MOST_PIXELS} are taken for a decompression bomb" in refusal(path)


def test_the_limit_holds_where_somebody_switched_pillows_off(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(60000, 60000))
    assert refusal(path) == f"60000 x 60000 pixels; more than {MOST_PIXELS} are taken for a decompression bomb"


def test_a_narrower_limit_of_somebodys_own_is_heeded(tmp_path, monkeypatch):
    path = saved(tmp_path, picture())  # 120 x 90 = 10 800 pixels
    for limit in (8000, 5000):  # of which Pillow warns, and which it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert refusal(path).startswith("too many pixels")


def test_the_limit_is_pillows_own():
    assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS == 89_478_485


def test_a_picture_of_as_many_pixels_as_allowed_passes_the_check():
    from perfkit.pictures.reading import check_pixels

    check_pixels((MOST_PIXELS, 1))
    with pytest.raises(UnreadablePicture):
        check_pixels((MOST_PIXELS + 1, 1))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff"])
def test_a_truncated_picture_is_refused_not_greyed(name, tmp_path):
    whole = saved(tmp_path, picture(), name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\0" * 4096],
    ids=repr,
)
def test_what_is_no_picture_is_refused(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert refusal(tmp_path / "a.png")


@given(
    content=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P6 "]),
)
def test_whatever_the_bytes_are_they_are_a_picture_or_refused(content, start, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(start + content)
    with warnings.catch_warnings(), suppress(UnreadablePicture):
        warnings.simplefilter("error")
        assert read_picture(path).mode == "RGB"


@given(
    place=st.integers(0, 10**6), byte=st.integers(0, 255), name=st.sampled_from(["a.png", "a.jpg", "a.gif", "a.tiff"])
)
def test_a_flipped_byte_is_read_or_refused(place, byte, name, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"flipped-{name}"
    buffer = io.BytesIO()
    picture(size=(24, 18)).save(
        buffer, format={"a.png": "PNG", "a.jpg": "JPEG", "a.gif": "GIF", "a.tiff": "TIFF"}[name]
    )
    content = bytearray(buffer.getvalue())
    content[place % len(content)] = byte
    path.write_bytes(content)
    with warnings.catch_warnings(), suppress(UnreadablePicture):
        warnings.simplefilter("error")
        assert read_picture(path).mode == "RGB"


def test_a_bomb_of_text_is_refused(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "a" * 2**26, zip=True)
    assert refusal(saved(tmp_path, Image.new("RGB", (1, 1)), pnginfo=info))


def test_postscript_is_never_interpreted(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert "no picture of a known format" in refusal(path)


def test_a_file_without_rights_says_so(tmp_path, monkeypatch):
    path = saved(tmp_path, picture())
    real = io.open

    def forbidden(file, *rest, **options):
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *rest, **options)

    monkeypatch.setattr("builtins.open", forbidden)
    assert refusal(path) == "cannot be read: Permission denied"


def test_two_spellings_of_a_path_are_one_picture(tmp_path):
    write_pictures(tmp_path / "some", 2)
    (tmp_path / "other").mkdir()
    assert len(find_pictures([tmp_path / "some", tmp_path / "other" / ".." / "some" / "00.png"])) == 2
