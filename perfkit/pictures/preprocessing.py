"""What CLIP does to a picture before its tower sees it: resize, crop the middle, scale, normalise.

Hugging Face's own processor does it, the one that works with Pillow: torchvision, where it is installed, would resize a
little otherwise. Its values are those of the tower's folder, or CLIP's at the tower's size.

Source: Radford et al., CLIP (arXiv 2103.00020), openai/CLIP at 0848ed7, clip/clip.py; transformers
`CLIPImageProcessorPil`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.documents import read_json, shown
from perfkit.errors import InvalidSpec
from perfkit.pictures.reading import check_pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# What of a processor's file is used; all else in it (names of other classes, say) says nothing of pixels.
KEYS = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)
RESAMPLINGS = range(6)  # filters as Pillow numbers them; 3 is bicubic, CLIP's own
MOST_SIDE = 8192  # pixels of a side to resize to; the largest CLIP towers see 448
KIND = "CLIP"  # what the names of processors that do the same begin with: CLIPImageProcessor, CLIPFeatureExtractor


class Preprocessing(NamedTuple):
    """How pictures become pixels of `side` x `side`; `values` by KEYS; `source`: where these come from."""

    side: int
    values: dict[str, Any]
    source: str

    def pixels(self, pictures: Sequence[Image]) -> Tensor:
        """(pictures, 3, side, side) in float32 of RGB pictures.

        Raises:
            UnreadablePicture: so long and narrow that resizing it would take too much memory.
        """
        made: Tensor = self._made(pictures)["pixel_values"]
        return made

    def crop(self, picture: Image) -> Any:
        """What the tower sees of an RGB picture, for people: a numpy array (side, side, 3) of 8 bits."""
        unscaled: dict[str, Any] = {"do_rescale": False, "do_normalize": False}
        return self._made([picture], **unscaled)["pixel_values"][0].permute(1, 2, 0).byte().numpy()

    def _made(self, pictures: Sequence[Image], **otherwise: Any) -> Any:
        import numpy as np
        from transformers import CLIPImageProcessorPil

        processor = CLIPImageProcessorPil(**self.values)
        for picture in pictures:
            _check_resized(picture.size, processor)
        arrays = [np.asarray(picture) for picture in pictures]
        # Said, because three rows of pixels could be taken for three channels.
        layout: dict[str, Any] = {"input_data_format": "channels_last", "return_tensors": "pt", "do_convert_rgb": False}
        return processor(arrays, **layout, **otherwise)


def clip_preprocessing(side: int) -> Preprocessing:
    """CLIP's own, for a tower that sees `side` x `side` pixels."""
    values = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    return Preprocessing(side, values, "CLIP's own")


def read_preprocessing(folder: Path, side: int) -> Preprocessing:
    """What the processor's file in `folder` says, or CLIP's own where there is none.

    Raises:
        InvalidSpec: a file of another processor, with values that cannot be, or that makes pixels which a tower of
            `side` x `side` does not take.
    """
    document, file = _processor_of(folder)
    if document is None:
        return clip_preprocessing(side)
    kind = document.get("image_processor_type", document.get("feature_extractor_type", KIND))
    if not str(kind).startswith(KIND):
        raise InvalidSpec(f"{file}: pictures are prepared as CLIP does, not by a {shown(kind)}")
    found = Preprocessing(side, {key: document[key] for key in KEYS if document.get(key) is not None}, str(file))
    _check(found)
    return found


def _processor_of(folder: Path) -> tuple[dict[str, Any] | None, Path]:
    """The image processor's part of the file that holds one, and that file."""
    own, whole = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.exists():
        return read_json(own), own
    part = read_json(whole).get("image_processor") if whole.exists() else None
    return (part if isinstance(part, dict) else None), whole


def _check(preprocessing: Preprocessing) -> None:
    """Prepare a picture of one pixel: whatever is wrong with the values shows now."""
    import numpy as np
    from PIL import Image

    side, file = preprocessing.side, preprocessing.source
    _check_values(preprocessing)
    try:
        with np.errstate(all="ignore"):  # what it would warn of is refused below
            pixels = preprocessing.pixels([Image.new("RGB", (1, 1))])
    except Exception as error:  # whatever the processor raises of values that it was not made for
        told = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidSpec(f"{file}: pictures cannot be prepared as it says: {told}") from None
    if tuple(pixels.shape) != (1, 3, side, side):
        made = " x ".join(map(str, pixels.shape[2:]))
        raise InvalidSpec(f"{file}: makes pictures of {made} pixels; the tower sees {side} x {side}")
    if not bool(pixels.isfinite().all()):
        raise InvalidSpec(f"{file}: makes pixels that are not finite")


def _check_values(preprocessing: Preprocessing) -> None:
    """Refuse what the processor would take for something else, or for any size."""
    values, file = preprocessing.values, preprocessing.source
    for key in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
        if not isinstance(values.get(key, True), bool):
            raise InvalidSpec(f"{file}: {key} must be true or false, not {shown(values[key])}")
    if values.get("resample", 3) not in RESAMPLINGS or isinstance(values.get("resample", 3), bool):
        raise InvalidSpec(f"{file}: resample must be a number of Pillow's, 0 to 5, not {shown(values['resample'])}")
    for key in ("size", "crop_size"):
        value = values.get(key, {})
        sizes = list(value.values()) if isinstance(value, dict) else [value]
        if not all(type(size) is int and 1 <= size <= MOST_SIDE for size in sizes):
            raise InvalidSpec(f"{file}: {key} must be from 1 to {MOST_SIDE} pixels, not {shown(value)}")


def _check_resized(size: tuple[int, int], processor: Any) -> None:
    """Refuse what would become too large before its middle is cropped: a line of 1 x 10 000 pixels, say."""
    edge = processor.size.shortest_edge
    if not (processor.do_resize and edge):
        return
    width, height = size
    long = edge * max(size) // min(size)
    resized = (long, edge) if width > height else (edge, long)
    check_pixels(resized, f" when {width} x {height} are resized for the tower")
