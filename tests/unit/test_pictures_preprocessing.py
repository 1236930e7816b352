"""Pixels as CLIP makes them: equal to Hugging Face's, computed once more by hand, and files that say otherwise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import picture, write_json
from PIL import Image

from perfkit.errors import InvalidSpec
from perfkit.pictures.preprocessing import clip_preprocessing, read_preprocessing
from perfkit.pictures.reading import UnreadablePicture

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of openai/CLIP
LLAVA_FILE = {
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(MEAN),
    "image_processor_type": "CLIPImageProcessor",
    "image_std": list(STD),
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 336},
}


def by_hand(image, side):
    """CLIP's steps with Pillow and numpy alone: shorter side to `side`, the middle, 0 ... 1, mean and deviation."""
    width, height = image.size
    short = min(width, height)
    resized = image.resize((int(side * width / short), int(side * height / short)), Image.Resampling.BICUBIC)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    middle = np.asarray(resized)[top : top + side, left : left + side]
    return ((middle / 255.0 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 9))
def test_pixels_are_those_of_clip_whatever_the_size(width, height, seed):
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if max(width, height) > 40 * min(width, height):
        return  # thousands of pixels long: slow, and the same
    found = clip_preprocessing(56).pixels([image])
    assert tuple(found.shape) == (1, 3, 56, 56)
    assert np.abs(found[0].numpy() - by_hand(image, 56)).max() < 1e-6


@pytest.mark.parametrize("size", [(640, 480), (336, 336), (100, 37), (3, 3), (1, 1)])
def test_pixels_are_those_of_hugging_face_to_the_bit(size):
    import torch
    from transformers import CLIPImageProcessorPil

    image = picture(1, (640, 480)).resize(size)
    theirs = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    expected = theirs(image, return_tensors="pt")["pixel_values"]
    assert torch.equal(clip_preprocessing(336).pixels([image]), expected)


def test_the_crop_is_what_the_pixels_were_made_of():
    crop = clip_preprocessing(56).crop(picture())
    assert (crop.shape, crop.dtype) == ((56, 56, 3), np.uint8)
    pixels = clip_preprocessing(56).pixels([picture()])[0].numpy()
    assert np.abs((crop / 255 - MEAN) / STD - pixels.transpose(1, 2, 0)).max() < 1e-6


def test_nothing_is_warned_of_and_nothing_asked_of_the_network(monkeypatch, recwarn, caplog):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    clip_preprocessing(56).pixels([picture()])
    assert [str(warning.message) for warning in recwarn] == []
    assert "torchvision" not in caplog.text


def test_a_line_is_refused_before_it_is_blown_up():
    # 1 x 5000 pixels resized to 336 x 1 680 000 would be 564 million pixels, of which 336 x 336 are used.
    with pytest.raises(UnreadablePicture, match="336 x 1680000 pixels when 1 x 5000 are resized"):
        clip_preprocessing(336).pixels([Image.new("RGB", (1, 5000))])
    with pytest.raises(UnreadablePicture, match="1680000 x 336 pixels when 5000 x 1 are resized"):
        clip_preprocessing(336).pixels([Image.new("RGB", (5000, 1))])


# --- files


def test_without_a_file_it_is_clips_own(tmp_path):
    assert read_preprocessing(tmp_path, 56) == clip_preprocessing(56)


@pytest.mark.parametrize("where", ["preprocessor_config.json", "processor_config.json"])
def test_a_file_is_heeded_wherever_transformers_puts_it(where, tmp_path):
    file = {**LLAVA_FILE, "crop_size": {"height": 56, "width": 56}, "size": {"shortest_edge": 80}}
    write_json(tmp_path / where, file if where.startswith("pre") else {"image_processor": file, "patch_size": 14})
    found = read_preprocessing(tmp_path, 56)
    assert found.source == str(tmp_path / where)
    # The shorter side is 80 now, so the crop of 56 shows less of the picture than CLIP's own would.
    whole = by_hand(picture(), 80)[:, 12:68, 12:68]
    assert np.abs(found.pixels([picture()])[0].numpy() - whole).max() < 1e-6


def test_the_file_of_llava_is_clips_own_at_336(tmp_path):
    import torch

    write_json(tmp_path / "preprocessor_config.json", LLAVA_FILE)
    found, own = read_preprocessing(tmp_path, 336), clip_preprocessing(336)
    assert torch.equal(found.pixels([picture()]), own.pixels([picture()]))


def test_sizes_as_old_files_have_them(tmp_path):
    write_json(
        tmp_path / "preprocessor_config.json",
        {"size": 56, "crop_size": 56, "feature_extractor_type": "CLIPFeatureExtractor"},
    )
    assert tuple(read_preprocessing(tmp_path, 56).pixels([picture()]).shape) == (1, 3, 56, 56)


def test_a_processor_config_without_pictures_says_nothing(tmp_path):
    write_json(tmp_path / "processor_config.json", {"processor_class": "LlavaProcessor", "patch_size": 14})
    assert read_preprocessing(tmp_path, 56) == clip_preprocessing(56)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_processor_type": "SiglipImageProcessor"}, "as CLIP does, not by a 'SiglipImageProcessor'"),
        ({"crop_size": {"height": 224, "width": 224}}, "makes pictures of 224 x 224 pixels; the tower sees 336 x 336"),
        ({"do_center_crop": False, "size": {"height": 100, "width": 50}}, "makes pictures of 100 x 50 pixels"),
        ({"size": {"shortest_edge": 10**6}}, "size must be from 1 to 8192 pixels"),
        ({"size": {"shortest_edge": 0}}, "size must be from 1"),
        ({"size": "large"}, "size must be from 1"),
        ({"crop_size": {"height": -1, "width": 336}}, "crop_size must be from 1"),
        ({"crop_size": {"height": 336.5, "width": 336}}, "crop_size must be from 1"),
        ({"size": {"sides": 336}}, "cannot be prepared as it says"),
        ({"resample": "nearest"}, "resample must be a number of Pillow's, 0 to 5, not 'nearest'"),
        ({"resample": 77}, "resample must be"),
        ({"resample": True}, "resample must be"),
        ({"do_resize": "false"}, "do_resize must be true or false, not 'false'"),
        ({"do_normalize": 1}, "do_normalize must be true or false"),
        ({"image_mean": [0.5]}, "cannot be prepared as it says"),
        ({"image_mean": "grey"}, "cannot be prepared as it says"),
        ({"rescale_factor": "small"}, "cannot be prepared as it says"),
        ({"image_std": [0, 0, 0]}, "makes pixels that are not finite"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_file_that_cannot_be_followed_is_one_line_with_its_name(changed, words, tmp_path):
    path = write_json(tmp_path / "preprocessor_config.json", {**LLAVA_FILE, **changed})
    with pytest.raises(InvalidSpec) as refused:
        read_preprocessing(tmp_path, 336)
    assert path in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
