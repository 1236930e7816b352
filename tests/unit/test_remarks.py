"""Notes and headings of a prediction in words: singular and plural, and ratios of nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main
from perfkit.ops import OpCost
from perfkit.remarks import notes
from perfkit.reports.roofline_overview import intensity_of
from perfkit.units import Precision


@pytest.mark.parametrize(
    ("model", "keys"), [("llama-3-8b", "1 key, see"), ("llama-2-7b", "2 keys, see"), ("video-llava-7b", "12 keys, see")]
)
def test_keys_that_a_preset_leaves_to_class_defaults_are_counted(model: str, keys: str) -> None:
    (note,) = [note for note in notes(perfkit.analyze("v100", model), brief=True) if "class defaults" in note]
    assert note.endswith(f": {keys} `perfkit models {model}`")


@pytest.mark.parametrize(("new", "words"), [("1", "mean of 1 new token;"), ("2", "mean of 2 new tokens;")])
def test_one_new_token_is_one(new: str, words: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["roofline", "--gpu", "v100", "--new-tokens", new])
    assert words in result.output


def test_intensity_of_what_moves_nothing_is_unknown() -> None:
    nothing = OpCost("reduction", "pick", "selection", 1, Precision.FP16)
    assert intensity_of(nothing) is None
    assert intensity_of(nothing._replace(vector_flops=576, read_bytes=1152)) == 0.5


def test_devices_side_by_side_say_what_they_all_compute() -> None:
    asked = ["roofline", "--gpu", "v100", "--gpu", "h100", "--reduction", "prumerge"]
    lines = CliRunner(env={"COLUMNS": "200"}).invoke(main, asked).output.splitlines()
    assert lines[0] == "llava-1.5-7b on 2 devices"
    assert lines[1].startswith("32 visual + 60 text tokens, 128 new, 1 image, batch 1;")
    assert lines[2] == "prumerge: 32 of 576 visual tokens enter the language model"
    assert lines[3].split()[:4] == ["device", "peak", "bandwidth", "vision"]
    assert sum("assumed to leave" in line for line in lines) == 1  # a note of both stands once
