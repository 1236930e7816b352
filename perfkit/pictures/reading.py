"""Pictures from files that anybody may have made: read whole, upright and as RGB, or refused with the reason.

A file is opened by the formats of photographs and plots alone, so that none of Pillow's rarer decoders, and no
interpreter of PostScript, ever sees it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# A quarter of a GiB as RGB: where Pillow, too, takes a picture for a decompression bomb.
MOST_PIXELS = 2**30 // 4 // 3
SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16-bit grey; "I" may hold more
LONGEST_REASON = 120  # characters of what Pillow says of a broken file


class UnreadablePicture(InvalidValue):
    """A file that is no picture, or none that can be taken as it is; its text says why, without the file's name."""


def read_picture(path: Path) -> Image:
    """The picture in a file: upright as EXIF has it, its first frame, RGB of 8 bits.

    16-bit grey is scaled down; transparency is left out, as LLaVA's code does, so what is see-through shows its colour.

    Raises:
        UnreadablePicture: no picture of FORMATS, truncated, of more than MOST_PIXELS, or without a way to RGB.
    """
    from PIL import Image, ImageOps

    with _refusals(), Image.open(path, formats=FORMATS) as picture:
        check_pixels(picture.size)  # before anything is decoded
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))


def check_pixels(size: tuple[int, int], when: str = "") -> None:
    """Refuse a picture of (width, height) that would take too much memory.

    Raises:
        UnreadablePicture: more than MOST_PIXELS.
    """
    width, height = size
    if width * height > MOST_PIXELS:
        raise UnreadablePicture(f"{width} x {height} pixels{when}; {_TOO_MANY}")


_TOO_MANY = f"more than {MOST_PIXELS} are taken for a decompression bomb"


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever goes wrong in a decoder, as one line."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF, say, of a picture that can be read all the same
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UnreadablePicture:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadablePicture(f"too many pixels; {_TOO_MANY}") from None
    except UnidentifiedImageError:
        raise UnreadablePicture(f"no picture of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of broken files raise whatever they meet: struct.error, KeyError, ...
        raise UnreadablePicture(f"cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (told.partition("\n")[0] or type(error).__name__)[:LONGEST_REASON]


def _rgb(picture: Image) -> Image:
    if picture.mode in SIXTEEN_BITS:
        picture = _eight_bits(picture)
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return picture.convert("RGB")


def _eight_bits(picture: Image) -> Image:
    """Grey of 16 bits as 8, rounded: 65535 / 257 = 255."""
    import numpy as np
    from PIL import Image

    grey = np.asarray(picture).astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("grey values outside 16 bits have no known range")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))
