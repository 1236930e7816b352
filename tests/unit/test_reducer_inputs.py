"""What reducers refuse, word for word, and what becomes of images with numbers that are not finite."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from drawing import Tensors, drawn
from torch import Tensor

from perfkit.errors import InvalidValue, UnknownName
from perfkit.reduction import REDUCERS, TokenReducer, reduce
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.random import Random
from perfkit.reduction.sequential import Sequential
from perfkit.reduction.spatial import Spatial

SCORING = ("prumerge", "prumerge+")
NAMES = ("features", "queries", "keys")
EVERY = ("prumerge", "prumerge+", "sequential:n=3", "spatial:n=3", "random:n=3")


def refused(*asked: Any, **settings: Any) -> str:
    with pytest.raises(InvalidValue) as caught:
        reduce(*asked, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- shapes


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        (3, "3 patches are no square grid; the nearest are 1x1 and 2x2"),
        (15, "15 patches are no square grid; the nearest are 3x3 and 4x4"),
        (575, "575 patches are no square grid; the nearest are 23x23 and 24x24"),
        (577, "577 patches are no square grid (is the class token left in?); the nearest are 24x24 and 25x25"),
        (17, "17 patches are no square grid (is the class token left in?); the nearest are 4x4 and 5x5"),
    ],
)
@pytest.mark.parametrize("method", EVERY)
def test_grids_that_are_not_square(method: str, patches: int, message: str) -> None:
    rows = torch.ones(1, 1 + patches, 4)
    assert refused(method, rows[:, 1:], rows, rows) == message


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (3, "a grid of 3x3 has 9 patches; the features have 16 (4x4)"),
        (16, "a grid of 16x16 has 256 patches; the features have 16 (4x4)"),
        (0, "grid (patches of a side) must be a whole number from 1 to 10000000, not 0"),
        (-4, "grid (patches of a side) must be a whole number from 1 to 10000000, not -4"),
        (4.0, "grid (patches of a side) must be a whole number from 1 to 10000000, not 4.0"),
        ((4, 2), "grid (patches of a side) must be a whole number from 1 to 10000000, not (4, 2)"),
        (np.full(2000, 4.0), "grid (patches of a side) must be a Python int, not a value of type ndarray"),
        (torch.tensor(4), "grid (patches of a side) must be a Python int, not a value of type Tensor"),
    ],
)
def test_grids_that_do_not_match_the_features(grid: Any, message: str) -> None:
    assert refused("prumerge", *drawn(), grid=grid) == message


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (torch.ones(16, 8), "(16, 8) of float32"),
        (torch.ones(1, 4, 4, 8), "(1, 4, 4, 8) of float32"),
        (torch.ones(0, 16, 8), "(0, 16, 8) of float32"),
        (torch.ones(2, 0, 8), "(2, 0, 8) of float32"),
        (torch.ones(2, 16, 0), "(2, 16, 0) of float32"),
        (torch.ones(2, 16, 8, dtype=torch.int64), "(2, 16, 8) of int64"),
        (torch.ones(2, 16, 8, dtype=torch.complex64), "(2, 16, 8) of complex64"),
        (torch.ones(2, 16, 8).to(torch.float8_e4m3fn), "(2, 16, 8) of float8_e4m3fn"),
        (torch.ones(2, 16, 8).to_sparse(), "(2, 16, 8) of float32 (sparse_coo)"),
        (
            torch.nested.as_nested_tensor(list(torch.ones(2, 16, 8)), layout=torch.jagged),
            "a nested tensor of float32 (jagged)",
        ),
        (np.ones((2, 16, 8), np.float32), "a value of type ndarray"),
        ([[1.0]], "a value of type list"),
        (None, "a value of type NoneType"),
    ],
)
@pytest.mark.parametrize("method", EVERY)
def test_features_of_another_kind(method: str, features: Any, found: str) -> None:
    _, queries, keys = drawn()
    message = f"features must be floats of 16, 32 or 64 bits (batch, patches, hidden), not {found}"
    assert refused(method, features, queries, keys) == message


@pytest.mark.parametrize("name", ["queries", "keys"])
@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.ones(2, 16, 8), "(2, 16, 8) of float32"),  # without the class token
        (torch.ones(1, 17, 8), "(1, 17, 8) of float32"),
        (torch.ones(2, 17, 4), "(2, 17, 4) of float32"),
        (torch.ones(17, 8), "(17, 8) of float32"),
        (torch.ones(2, 2, 17, 4), "(2, 2, 17, 4) of float32"),  # heads apart
        (torch.ones(2, 17, 8, dtype=torch.bool), "(2, 17, 8) of bool"),
        (torch.ones(2, 17, 8, dtype=torch.complex64), "(2, 17, 8) of complex64"),
        (torch.ones(2, 17, 8).to(torch.float8_e5m2), "(2, 17, 8) of float8_e5m2"),
        (torch.ones(2, 17, 8).to_sparse(), "(2, 17, 8) of float32 (sparse_coo)"),
        (np.ones((2, 17, 8), np.float32), "a value of type ndarray"),
    ],
)
@pytest.mark.parametrize("method", SCORING)
def test_queries_and_keys_of_another_kind(method: str, name: str, tensor: Any, found: str) -> None:
    seen = dict(zip(NAMES, drawn(), strict=True)) | {name: tensor}
    message = refused(method, **seen)
    allowed = "floats of 16, 32 or 64 bits (2, 17, 8): the class token, then the patches"
    assert message == f"{name} must be {allowed}, not {found}"


@pytest.mark.parametrize("name", ["queries", "keys"])
@pytest.mark.parametrize("method", SCORING)
def test_all_tensors_are_on_one_device(method: str, name: str) -> None:
    seen = dict(zip(NAMES, drawn(), strict=True))
    message = refused(method, **seen | {name: seen[name].to("meta")})
    assert message == f"{name} are on meta and features on cpu; one device has all"


def test_keys_need_all_their_rows() -> None:
    features, queries, keys = drawn()
    allowed = "floats of 16, 32 or 64 bits (2, 17, 8): the class token, then the patches"
    message = refused("prumerge", features, queries[:, :1], keys[:, :1])
    assert message == f"keys must be {allowed}, not (2, 1, 8) of float32"


@pytest.mark.parametrize("missing", ["queries", "keys"])
@pytest.mark.parametrize("method", ["prumerge", "prumerge+", "prumerge:k=3"])
def test_methods_that_score_need_queries_and_keys(method: str, missing: str) -> None:
    seen = dict(zip(NAMES, drawn(), strict=True)) | {missing: None}
    assert refused(method, **seen) == f"{method} needs the {missing} of the tower's last layer, class token first"


# --- settings


@pytest.mark.parametrize("method", REDUCERS)
@pytest.mark.parametrize(
    "ratio",
    [0, 0.0, -0.5, 1.0001, 2, 10**400, float("nan"), True, "0.5", Fraction(3, 2), np.float32(0), Decimal("0.5"), 0.5j],
)
def test_ratios_that_cannot_be(method: str, ratio: Any) -> None:
    message = f"ratio must be a number above 0 and at most 1, not {ratio!r}"
    assert refused(method, *drawn(), ratio) == message
    with pytest.raises(InvalidValue) as caught:
        TokenReducer(method, ratio)
    assert str(caught.value) == message


@pytest.mark.parametrize("ratio", [Fraction(1, 2), np.float32(0.5), np.float64(0.5), np.float16(0.5)])
@pytest.mark.parametrize("method", REDUCERS)
def test_a_ratio_may_be_any_real_number(method: str, ratio: Any) -> None:
    seen = drawn()
    assert torch.equal(reduce(method, *seen, ratio).counts, reduce(method, *seen, 0.5).counts)
    assert type(TokenReducer(method, ratio).ratio) is float


@pytest.mark.parametrize("number", [2.5, "3", True, 0, -1, 10**8])
@pytest.mark.parametrize("sampler", [Sequential, Spatial, Random])
def test_counts_of_samplers_that_cannot_be(sampler: type[Sequential], number: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        sampler(number)
    assert str(caught.value) == f"{sampler.name}: n must be a whole number from 1 to 10000000, not {number!r}"


def test_counts_are_no_arrays() -> None:
    for number in (np.int64(3), np.array([3.0, 4.0]), torch.tensor(3)):
        kind = f"must be a Python int, not a value of type {type(number).__name__}"
        with pytest.raises(InvalidValue, match=f"^sequential: n {kind}$"):
            Sequential(number)
        assert refused("prumerge", *drawn(), neighbours=number) == f"neighbours {kind}"


@pytest.mark.parametrize("neighbours", [0, -1, 1.5, True, None, "3", 10**8])
def test_neighbours_that_cannot_be(neighbours: Any) -> None:
    message = f"neighbours must be a whole number from 1 to 10000000, not {neighbours!r}"
    assert refused("prumerge", *drawn(), neighbours=neighbours) == message
    with pytest.raises(InvalidValue) as caught:
        TokenReducer("prumerge", neighbours=neighbours)
    assert str(caught.value) == message


def test_neighbours_of_a_value_are_looked_at_too() -> None:
    assert refused(PruMerge(0), *drawn()) == "neighbours must be a whole number from 1 to 10000000, not 0"


def test_neighbours_cannot_be_said_twice() -> None:
    message = "prumerge:k=16 says how many neighbours; 8 says otherwise"
    assert refused("prumerge:k=16", *drawn(), neighbours=8) == message


def test_a_k_of_the_method_stands_where_neighbours_are_left_at_32() -> None:
    assert str(TokenReducer("prumerge:k=16").method) == "prumerge:k=16"
    assert str(TokenReducer("prumerge:k=16", neighbours=32).method) == "prumerge:k=16"
    assert str(TokenReducer("prumerge:k=16", neighbours=16).method) == "prumerge:k=16"


@pytest.mark.parametrize("run", [lambda **given: reduce("prumerge", *drawn(), **given), TokenReducer])
@pytest.mark.parametrize("word", ["drop", "", None])
def test_what_becomes_of_images_is_one_of_two_words(run: Any, word: Any) -> None:
    given = {"non_finite": word} | ({"method": "prumerge"} if run is TokenReducer else {})
    with pytest.raises(UnknownName, match=f"unknown non_finite '{word}'; allowed: raise, skip"):
        run(**given)


@pytest.mark.parametrize(
    ("text", "ratio", "message"),
    [
        ("sequential", None, "sequential needs n or a ratio: one of them says how many tokens are kept"),
        ("random:n=3", 0.5, "random has n=3, and a ratio is given as well: one of them says how many tokens are kept"),
        ("spatial:n=17", None, "spatial:n=17: there are 16 patches; 1 to 16 can be kept"),
        ("spatial", 0.06, "ratio 0.06 of 16 patches keeps none; 1 to 16 can be kept"),  # 0.96
    ],
)
def test_counts_that_samplers_cannot_keep(text: str, ratio: float | None, message: str) -> None:
    assert refused(text, *drawn(), ratio) == message


# --- numbers that are not finite


def spoilt(name: str, value: float, *places: tuple[int, int, int]) -> Tensors:
    """Tensors of three images with `value` in some places of the one named."""
    seen = drawn(batch=3)
    for place in places:
        seen[NAMES.index(name)][place] = value
    return seen


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("features", (1, 0, 0)),
        ("features", (1, 15, 7)),
        ("queries", (1, 0, 3)),
        ("keys", (1, 0, 0)),  # the class token's own key
        ("keys", (1, 16, 7)),
    ],
)
@pytest.mark.parametrize("method", SCORING)
@pytest.mark.parametrize("ratio", [None, 0.5])
def test_one_number_is_named(
    method: str, ratio: float | None, name: str, place: tuple[int, int, int], value: float
) -> None:
    image, row, column = place
    assert refused(method, *spoilt(name, value, place), ratio) == (
        f"{name} of 1 of 3 images are not finite, the first {value} in image {image}, row {row}, column {column}; "
        "non_finite='skip' leaves such images out"
    )


def test_of_many_the_first_tensor_and_all_its_images_are_named() -> None:
    features, queries, keys = spoilt("features", torch.inf, (2, 4, 1), (2, 1, 1), (0, 9, 5))
    keys[1] = torch.nan
    assert refused("prumerge", features, queries, keys).startswith(
        "features of 2 of 3 images are not finite, the first inf in image 0, row 9, column 5;"
    )


@pytest.mark.parametrize("method", ["sequential:n=3", "spatial:n=3", "random:n=3"])
def test_samplers_look_at_features_alone(method: str) -> None:
    features, queries, keys = spoilt("features", torch.nan, (1, 15, 0))
    assert refused(method, features, None, None).startswith("features of 1 of 3 images are not finite, the first nan")
    reduce(method, drawn()[0], queries * torch.nan, keys * torch.nan)


@pytest.mark.parametrize("largest", [torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max])
def test_numbers_that_are_large_are_finite(largest: float) -> None:
    features, queries, keys = drawn()
    features[1, 3, 3] = largest
    found = reduce("sequential:n=4", features, queries, keys)
    assert found.tokens[1, 3, 3] == largest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ratio", [None, 0.5])
@pytest.mark.parametrize("method", SCORING)
def test_a_skipped_image_changes_no_bit_of_the_others(
    method: str, ratio: float | None, name: str, value: float
) -> None:
    whole = reduce(method, *drawn(batch=3), ratio)
    found = reduce(method, *spoilt(name, value, (1, 0, 0)), ratio, non_finite="skip")
    assert found.skipped.tolist() == [False, True, False]
    assert found.counts.tolist() == [int(whole.counts[0]), 0, int(whole.counts[2])]
    assert not found.tokens[1].any()
    assert not found.kept[1].any()
    for image in (0, 2):
        count = int(whole.counts[image])
        assert torch.equal(found.tokens[image, :count], whole.tokens[image, :count])
        assert torch.equal(found.kept[image], whole.kept[image])
        assert not found.tokens[image, count:].any()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("method", EVERY)
def test_all_images_may_be_skipped(method: str, strict: bool) -> None:
    features, queries, keys = drawn(6)
    nothing = torch.full_like(features, torch.nan)
    found = reduce(method, nothing, queries, keys, strict_reference=strict, non_finite="skip")
    assert found.counts.tolist() == [0, 0]
    assert found.skipped.tolist() == [True, True]
    assert not found.tokens.any()
    assert found.kept.tolist() == [[False] * 36] * 2
    # No room but for the token that would be appended, or for as many patches as were asked for
    assert found.tokens.shape == (2, 1 if method in SCORING else 3, 8)
    assert found.mask.shape == (2, found.tokens.shape[1])


@pytest.mark.parametrize("method", SCORING)
def test_what_is_skipped_needs_no_room(method: str) -> None:
    counts = reduce(method, *drawn(24, 3)).counts
    widest = int(counts.argmax())
    features, queries, keys = drawn(24, 3)
    features[widest, 0, 0] = torch.nan  # its attention still has as many outliers
    found = reduce(method, features, queries, keys, non_finite="skip")
    others = [int(count) for image, count in enumerate(counts) if image != widest]
    assert found.tokens.shape[1] == max(others) < int(counts.max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_skipped_image_is_left_out_of_the_published_pool(name: str, value: float) -> None:
    features, queries, keys = drawn(24, 3)
    alone = reduce("prumerge", *(tensor[[0, 2]] for tensor in (features, queries, keys)), strict_reference=True)
    spoiled = dict(zip(NAMES, (features, queries, keys), strict=True))
    spoiled[name][1, 0, 0] = value
    found = reduce("prumerge", **spoiled, strict_reference=True, non_finite="skip")
    assert found.counts.tolist() == [alone.tokens.shape[1], 0, alone.tokens.shape[1]]
    assert torch.equal(found.tokens[[0, 2]], alone.tokens)
    assert torch.equal(found.kept[[0, 2]], alone.kept)
    assert not found.tokens[1].any()
    assert not found.kept[1].any()


def test_a_pool_of_all_images_has_other_counts_than_one_without_the_skipped() -> None:
    # So that the test above can fail: the second image's scores do change what the others keep.
    seen = drawn(24, 3)
    whole, two = (
        reduce("prumerge", *tensors, strict_reference=True).counts
        for tensors in (seen, tuple(tensor[[0, 2]] for tensor in seen))
    )
    assert int(whole[0]) != int(two[0])


@pytest.mark.parametrize("method", EVERY)
def test_skip_changes_nothing_where_all_is_finite(method: str) -> None:
    torch.manual_seed(0)
    expected = reduce(method, *drawn())
    torch.manual_seed(0)
    found = reduce(method, *drawn(), non_finite="skip")
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def gradients(seen: Tensors, images: list[int]) -> list[Tensor]:
    """Of features, queries and keys, from the tokens of some images."""
    leaves = [tensor.clone().requires_grad_() for tensor in seen]
    reduce("prumerge", *leaves, 0.5, non_finite="skip").tokens[images].square().sum().backward()
    return [leaf.grad[images] for leaf in leaves if leaf.grad is not None]


def test_gradients_of_the_others_are_what_they_are_without_the_skipped_image() -> None:
    whole = gradients(drawn(batch=3), [0, 2])
    found = gradients(spoilt("keys", torch.nan, (1, 4, 4)), [0, 2])
    assert len(whole) == len(found) == 3
    for tensor, expected in zip(found, whole, strict=True):
        torch.testing.assert_close(tensor, expected)  # sums over neighbourhoods run in another order
