"""What a model can take of a workload and an execution, and the one line that says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny import LLAMA, MIXED, TINY, TOWER

from perfkit.counting import execution_of, workload_of
from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup, Workload

TEXT = ModelSpec("text", "llama", "by hand", LLAMA)
ENCODER = replace(TEXT, name="encoder", text=LLAMA._replace(lm_head=False))
BARE = ModelSpec("bare", "clip", "by hand", vision=TOWER, visual_tokens=5)
TILED = replace(TINY, tiles=2, visual_tokens=10, newline_tokens=2)  # 2 tiles of 4 patches, and 2 learned ends of rows


def refused(spec: ModelSpec, **asked: Any) -> str:
    with pytest.raises(InvalidValue) as caught:
        workload_of(spec, **asked)
    return str(caught.value)


# --- what comes of a request


def test_a_request_in_which_nothing_is_said() -> None:
    # 60 of text and 128 new ones are the defaults of `Workload`; 4 visual tokens an image
    assert workload_of(TINY) == Workload(4, 60, 128, 1, 1)
    assert workload_of(TINY, images=3, batch=2) == Workload(12, 60, 128, 2, 3)


def test_a_request_in_which_everything_is_said() -> None:
    schedule = (LayerGroup(1, 5), LayerGroup(2, 3))
    asked = {"tokens": 7, "text_tokens": 6, "new_tokens": 5, "batch": 2, "images": 2, "schedule": schedule}
    assert workload_of(TINY, **asked) == Workload(7, 6, 5, 2, 2, schedule)  # type: ignore[arg-type]


def test_parts_that_a_model_lacks_get_nothing() -> None:
    assert workload_of(TEXT, images=3) == Workload(0, 60, 128, 1, 0)
    assert workload_of(ENCODER) == Workload(0, 60, 0, 1, 0)
    assert workload_of(BARE, images=2, text_tokens=9) == Workload(10, 0, 0, 1, 2)


def test_a_reducer_leaves_its_tokens_unless_they_are_given() -> None:
    assert workload_of(TINY, images=2, reduction="spatial:n=3") == Workload(6, images=2, reduction="spatial:n=3")
    assert workload_of(TINY, images=2, tokens=5, reduction="spatial:n=3").visual_tokens == 5


def test_a_pruner_makes_the_schedule() -> None:
    workload = workload_of(TINY, tokens=3, reduction="fastv:k=1,r=.5")
    assert workload == Workload(3, schedule=(LayerGroup(1, 3), LayerGroup(2, 2)), reduction="fastv:k=1,r=0.5")


# --- what is refused, in words


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"text_tokens": 0}, "text tokens"),
        ({"new_tokens": -1}, "new tokens"),
        ({"images": 0}, "images"),
        ({"schedule": (LayerGroup(0, 4), LayerGroup(3, 4))}, "layers of a group"),
        ({"schedule": (LayerGroup(3, -1),)}, "visual tokens of a group"),
    ],
)
def test_a_count_that_is_none_is_named(asked: dict[str, Any], words: str) -> None:
    assert refused(TINY, **asked).startswith(f"{words} ")


def test_no_visual_token_of_a_group_is_a_count() -> None:
    assert workload_of(TINY, schedule=(LayerGroup(2, 4), LayerGroup(1, 0))).schedule[1].visual_tokens == 0


def test_more_tokens_than_images_make() -> None:
    assert refused(TINY, tokens=9, images=2) == "9 visual tokens: tiny makes at most 8 of 2 image(s)"
    assert refused(TEXT, tokens=1) == "1 visual tokens: text sees no images: use 0"
    bare = "bare is a bare vision tower, which makes 5 of 1 image(s), no fewer"
    assert refused(BARE, tokens=4) == f"4 visual tokens: {bare}"
    assert refused(BARE, tokens=6) == "6 visual tokens: bare makes at most 5 of 1 image(s)"


def test_schedules_that_do_not_fit() -> None:
    assert refused(TINY, schedule=(LayerGroup(2, 4),)) == ("the schedule lists 2 layers, which are not those of tiny")
    assert refused(BARE, schedule=(LayerGroup(3, 5),)) == "the schedule lists 3 layers, which are not those of bare"
    grown = (LayerGroup(1, 3), LayerGroup(2, 4))
    assert refused(TINY, schedule=grown) == "visual tokens cannot grow from layer to layer: [4, 3, 4]"
    assert refused(TINY, tokens=2, schedule=(LayerGroup(3, 3),)).endswith("[2, 3]")


def test_reductions_of_what_cannot_be_reduced() -> None:
    twice = "fastv:k=2,r=0.5: a schedule of layers is given already; give one of the two"
    assert refused(TINY, reduction="fastv", schedule=(LayerGroup(3, 4),)) == twice
    text = "vtw:k=16: text sees no images, so there are no visual tokens to reduce"
    assert refused(TEXT, reduction="vtw:k=16") == text
    bare = "vtw:k=16: bare is a bare vision tower, without a language model to see fewer tokens"
    assert refused(BARE, reduction="vtw:k=16") == bare
    assert refused(TINY, tokens=0, reduction="vtw:k=1") == "vtw:k=1: there are no visual tokens to reduce (--tokens 0)"
    none = "spatial:n=3: there are no visual tokens to reduce (--tokens 0)"
    assert refused(TINY, tokens=0, reduction="spatial:n=3") == none
    classless = replace(TINY, vision=TOWER._replace(class_token=False))
    assert refused(classless, reduction="prumerge") == (
        "prumerge: it needs a class token, and the tower of tiny has none"
    )
    assert workload_of(classless, reduction="spatial:n=3").visual_tokens == 3


def test_tokens_that_a_reducer_cannot_leave() -> None:
    left = "visual tokens cannot be left of 2 image(s): the tower of tiny makes 4 of an image, and at least 1 stay"
    assert refused(TINY, images=2, tokens=1, reduction="spatial:n=3") == f"spatial:n=3: 1 {left}"
    assert refused(TINY, images=2, tokens=9, reduction="spatial:n=3") == f"spatial:n=3: 9 {left}"
    for tokens in (2, 8):  # the fewest and the most
        assert workload_of(TINY, images=2, tokens=tokens, reduction="spatial:n=3").visual_tokens == tokens


def test_tokens_of_tiles_that_a_reducer_cannot_leave() -> None:
    # A method that works on each tile by itself leaves a token of each of the two, and no learned ends of rows.
    asked: dict[str, Any] = {"reduction": "prumerge:k=2", "images": 2}
    words = "the tower of tiny makes 8 of an image, and at least 2 stay: one of each of its 2 tiles"
    for tokens in (3, 17):
        said = f"prumerge:k=2: {tokens} visual tokens cannot be left of 2 image(s): {words}"
        assert refused(TILED, tokens=tokens, **asked) == said
    for tokens in (4, 16):
        assert workload_of(TILED, tokens=tokens, **asked).visual_tokens == tokens
    # Another looks at the image as a whole.
    assert workload_of(TILED, tokens=2, images=2, reduction="spatial:n=1").visual_tokens == 2


def test_one_point_of_a_sweep_is_enough_to_refuse_it() -> None:
    for tokens in ([4.0, 5.0], [5.0, 4.0]):
        assert "tiny makes at most 4" in refused(TINY, tokens=np.array(tokens))
    assert "no visual tokens to reduce" in refused(TINY, tokens=np.array([0.0, 4.0]), reduction="fastv:k=1")
    assert "cannot be left" in refused(TINY, tokens=np.array([4.0, 5.0]), reduction="spatial:n=1")
    grown = (LayerGroup(3, np.array([3.0, 4.0])),)
    assert "cannot grow" in refused(TINY, tokens=np.array([3.0, 3.0]), schedule=grown)
    assert "no fewer" in refused(BARE, tokens=np.array([5.0, 4.0]))


# --- executions


def test_an_execution_as_a_model_can_run_it() -> None:
    asked = replace(MIXED, logits="all")
    assert execution_of(TINY, asked) == asked
    assert execution_of(ENCODER, asked) == Execution(Precision.FP32, Precision.FP16, Precision.FP16, logits="none")
    assert execution_of(BARE, asked) == Execution(logits="none")  # all of it in fp16
