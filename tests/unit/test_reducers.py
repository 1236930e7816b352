"""Reducers on tensors by hand: which patches are kept, what they become, inputs of every format, gradients."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from drawing import drawn
from torch import Tensor

from perfkit.errors import InvalidValue
from perfkit.reduction import ReducedTokens, reduce
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.tensors import _distinct, class_attention, outliers

MERGING = ("prumerge", "prumerge+")


def numbered(side: int, batch: int = 1) -> Tensor:
    """Features of two numbers: each patch its own place, twice."""
    return torch.arange(float(side**2)).view(1, -1, 1).expand(batch, -1, 2)


def attended(weights: list[float], heights: list[float] | None = None) -> tuple[Tensor, Tensor]:
    """Queries and keys of width 2 under which attention goes as `weights`, class token first.

    The query (sqrt 2, 0) makes logits sqrt 2 * log w / sqrt 2 = log w; `heights` turn the keys apart.
    """
    heights = heights or [0.0] * len(weights)
    keys = torch.tensor([[[log(weight), height] for weight, height in zip(weights, heights, strict=True)]])
    return torch.tensor([[[sqrt(2), 0.0]]]), keys


# --- samplers


@pytest.mark.parametrize(
    ("text", "side", "ratio", "kept"),
    [
        ("sequential:n=5", 4, None, [0, 1, 2, 3, 4]),
        ("sequential", 4, 0.3, [0, 1, 2, 3]),  # floor(4.8)
        ("spatial:n=4", 4, None, [0, 4, 8, 12]),  # floor(16 i / 4)
        ("spatial:n=5", 4, None, [0, 3, 6, 9, 12]),  # 0, 3.2, 6.4, 9.6, 12.8
        ("spatial:n=3", 2, None, [0, 1, 2]),  # 0, 1.33, 2.67
        ("spatial", 3, 0.8, [0, 1, 2, 3, 5, 6, 7]),  # floor(7.2) = 7 of 9: 0, 1.29, 2.57, 3.86, 5.14, 6.43, 7.71
        ("spatial:n=1", 5, None, [0]),
        ("random:n=9", 3, None, list(range(9))),
        ("random", 3, 1, list(range(9))),
    ],
)
def test_which_patches_samplers_keep(text: str, side: int, ratio: float | None, kept: list[int]) -> None:
    found = reduce(text, numbered(side, batch=2), None, None, ratio)
    for image in range(2):
        assert found.tokens[image, :, 0].tolist() == kept
        assert found.kept[image].nonzero().flatten().tolist() == kept
    assert found.counts.tolist() == [len(kept)] * 2
    assert bool(found.mask.all())


def test_spatial_takes_one_patch_of_each_row_where_there_are_as_many() -> None:
    tokens = reduce("spatial:n=24", numbered(24), None, None).tokens
    assert tokens[0, :, 0].tolist() == [24 * row for row in range(24)]


def test_random_patches_are_drawn_for_each_image_and_stand_in_their_order() -> None:
    torch.manual_seed(7)
    first = reduce("random:n=64", numbered(24, batch=3), None, None)
    second = reduce("random:n=64", numbered(24, batch=3), None, None)
    for image in first.tokens[..., 0].tolist():
        assert image == sorted(set(image))
        assert len(image) == 64
    # Two draws of 64 of 576 agree by chance once in C(576, 64), about 10^86.
    draws = [tuple(image) for found in (first, second) for image in found.tokens[..., 0].tolist()]
    assert len(set(draws)) == 6
    torch.manual_seed(7)
    assert torch.equal(reduce("random:n=64", numbered(24, batch=3), None, None).kept, first.kept)


def test_random_keeps_every_patch_as_often_as_any_other() -> None:
    torch.manual_seed(0)
    kept = reduce("random:n=4", numbered(4, batch=4000), None, None).kept
    # 4000 images keep a patch 1000 times, with a deviation of sqrt(4000 * 1/4 * 3/4) = 27.4: five of them are 137.
    assert int((kept.sum(dim=0) - 1000).abs().max()) < 137


@pytest.mark.parametrize("text", ["sequential:n=3", "spatial:n=3", "random:n=3"])
def test_samplers_give_numbers_as_they_are_and_read_nothing_else(text: str) -> None:
    features, queries, keys = drawn()
    torch.manual_seed(1)
    plain = reduce(text, features.double(), None, None)
    torch.manual_seed(1)
    beside = reduce(text, features.double(), queries * torch.nan, keys[:, :2])
    assert torch.equal(plain.tokens, beside.tokens)
    for image, patches in enumerate(plain.kept):
        assert torch.equal(plain.tokens[image], features.double()[image, patches])


# --- PruMerge on grids of two and three patches a side

# 2 x 2: weights 1 + 1 + 2 + 1 + 15 = 20, so the patches have attention 0.05, 0.1, 0.05, 0.75. Quartiles at places 0.75
# and 2.25 of 0.05, 0.05, 0.1, 0.75: 0.05 and 0.1 + 0.65 / 4 = 0.2625. The fence, 0.2625 + 1.5 * 0.2125 = 0.58125,
# leaves one outlier: patch 3.
WEIGHTS = [1, 1, 2, 1, 15]
# Keys (0, 1), (0.69, -1), (0, -1), (2.71, 1). Cosines with patch 3, of length 2.887: 1 / 2.887 = 0.346;
# (0.69 * 2.71 - 1) / (1.217 * 2.887) = 0.250; -0.346. With patch 1: patch 0 -0.822, 2 0.822, 3 0.250.
HEIGHTS = [0, 1, -1, -1, 1]
FEATURES = torch.tensor([[[20.0, 0], [0, 10], [40, 40], [1, 1]]])


@pytest.mark.parametrize(
    ("neighbours", "ratio", "tokens"),
    [
        # x3 + 0.05 x0; behind it what is left: 0.05 x0 + 0.1 x1 + 0.05 x2 = (1 + 2, 1 + 2)
        (1, None, [[2, 1], [3, 3]]),
        (2, None, [[2, 2], [3, 3]]),  # and 0.1 x1
        (3, None, [[4, 4], [3, 3]]),  # and 0.05 x2
        (32, None, [[4, 4], [3, 3]]),  # there are no more
        # 3, then 1: x1 + 0.05 x2; what is left: 0.05 x0 + 0.05 x2 = (1 + 2, 2)
        (1, 0.5, [[2, 1], [2, 12], [3, 2]]),
        # x1 + 0.05 x2 + 0.75 x3
        (2, 0.5, [[2, 2], [2.75, 12.75], [3, 2]]),
        # Nothing is kept: 3 + 0.75 x3
        (1, 0.24, [[3.75, 3.75]]),
        # All are kept, equal ones by place, and the last token is 0: x0 + 0.75 x3; x2 + 0.1 x1
        (1, 1, [[2, 1], [2, 12], [20.75, 0.75], [40, 41], [0, 0]]),
    ],
)
def test_prumerge_by_hand(neighbours: int, ratio: float | None, tokens: list[list[float]]) -> None:
    found = reduce("prumerge", FEATURES, *attended(WEIGHTS, HEIGHTS), ratio, neighbours)
    torch.testing.assert_close(found.tokens, torch.tensor([tokens], dtype=torch.float32), rtol=1e-5, atol=1e-5)
    assert found.kept.tolist() == [[0 if ratio is None else ratio == 1, ratio in (0.5, 1), ratio == 1, ratio != 0.24]]
    assert found.counts.tolist() == [len(tokens)]


@pytest.mark.parametrize(
    ("heights", "neighbours", "token"),
    [
        # Patch 3 has the key (2.71, 1); attention is 1 / 19 of the others. A key (0, 0) has cosine 0: behind (0, 1), of
        # cosine 0.346, and before (0, -1).
        ([0, 0, 1, -1, 1], 1, [1, 1 + 10 / 19]),
        ([0, 0, 1, -1, 1], 2, [1 + 20 / 19, 1 + 10 / 19]),
        # Equal keys: the first patches.
        ([0, 1, 1, 1, 1], 1, [1 + 20 / 19, 1]),
        ([0, 1, 1, 1, 1], 2, [1 + 20 / 19, 1 + 10 / 19]),
        ([0, 0, 0, 0, 0], 1, [1 + 20 / 19, 1]),
    ],
)
def test_the_nearest_among_keys_of_no_length_and_equal_ones(
    heights: list[float], neighbours: int, token: list[float]
) -> None:
    found = reduce("prumerge", FEATURES, *attended([1, 1, 1, 1, 15], heights), neighbours=neighbours)
    torch.testing.assert_close(found.tokens[0, 0], torch.tensor(token))


def test_the_text_says_neighbours_as_the_argument_does() -> None:
    seen = FEATURES, *attended(WEIGHTS, HEIGHTS)
    said, given = reduce("prumerge:k=2", *seen), reduce("prumerge", *seen, neighbours=2)
    assert torch.equal(said.tokens, given.tokens)
    assert torch.equal(reduce("prumerge:k=2", *seen, neighbours=2).tokens, given.tokens)
    assert torch.equal(reduce(PruMerge(2), *seen).tokens, given.tokens)


def test_an_image_without_outliers_becomes_one_token_and_is_padded() -> None:
    queries, flat = attended([1, 1, 1, 1, 1])
    features = torch.cat([FEATURES, FEATURES])
    keys = torch.cat([flat, attended(WEIGHTS, HEIGHTS)[1]])
    found = reduce("prumerge", features, queries.expand(2, 1, 2), keys, neighbours=1)
    assert found.counts.tolist() == [1, 2]
    assert found.mask.tolist() == [[True, False], [True, True]]
    # A fifth of (61, 51): the class token's own fifth is nobody's.
    torch.testing.assert_close(found.tokens[0], torch.tensor([[12.2, 10.2], [0, 0]]))
    torch.testing.assert_close(found.tokens[1], torch.tensor([[2.0, 1], [3, 3]]))
    assert found.skipped.tolist() == [False, False]


@pytest.mark.parametrize(
    ("patch", "kept"),
    [(4, [0, 3, 4, 6]), (3, [0, 3, 6]), (8, [0, 3, 6, 8])],  # one outlier of 9: every floor(floor(9 / 1) / 3) = 3rd
)
def test_prumerge_plus_adds_a_grid_by_hand(patch: int, kept: list[int]) -> None:
    weights = [1.0] * 10
    weights[1 + patch] = 30
    queries, keys = attended(weights)
    found = reduce("prumerge+", numbered(3), queries, keys)
    assert found.kept.nonzero()[:, 1].tolist() == kept
    # Tokens: the outlier, then the grid's others by place. Keys but the outlier's are zeros, so their cosines are 0,
    # and its 8 neighbours are all others: attention 1 / 39 each, 30 / 39 its own.
    order = [patch, *(other for other in kept if other != patch)]
    merged = [p + sum(weights[1 + other] * other for other in range(9) if other != p) / 39 for p in order]
    rest = sum(other for other in range(9) if other not in kept) / 39
    torch.testing.assert_close(found.tokens[0, :, 0], torch.tensor([*merged, rest]))


def test_prumerge_plus_with_a_ratio_by_hand() -> None:
    weights = [1.0] * 17
    weights[1 + 5], weights[1 + 6] = 9, 4
    found = reduce("prumerge+", numbered(4), *attended(weights), ratio=0.25)
    # floor(16 * 0.25) = 4: 5, 6, and the first of equal ones, 0 and 1. Every 4th from 2 on: 2, 6, 10, 14
    assert found.kept.nonzero()[:, 1].tolist() == [0, 1, 2, 5, 6, 10, 14]
    assert found.counts.tolist() == [8]


@pytest.mark.parametrize("ratio", [1 / 93, 1e-4, 1e-20, 1e-310])
def test_a_grid_wider_than_the_picture_has_its_first_patch_at_half_of_it(ratio: float) -> None:
    # 1 / 93 of 81 patches is none, and of 0 ... 80 the grid holds floor(93 / 2) = 46; beyond it is outside.
    found = reduce("prumerge+", *drawn(9, 1), ratio)
    assert found.kept.nonzero()[:, 1].tolist() == ([46] if ratio == 1 / 93 else [])


def test_a_grid_keeps_its_step_where_the_ratio_is_rounded() -> None:
    # 1 / (1 / 93) is 92.99999999999999 in binary: every 93rd of 576 from 46 on, and floor(576 / 93) = 6 patches before.
    queries, keys = attended([1.0] * 577)
    kept = reduce("prumerge+", numbered(24), queries, keys, 1 / 93).kept.nonzero()[:, 1].tolist()
    assert kept == [0, 1, 2, 3, 4, 5, 46, 139, 232, 325, 418, 511]


@pytest.mark.parametrize("ratio", [1e-4, 1e-310])
def test_a_published_grid_that_starts_behind_its_end_stops(ratio: float) -> None:
    with pytest.raises(InvalidValue, match="has a grid that starts behind its end, patch 575, and stops"):
        reduce("prumerge+", *drawn(24, 1), ratio, strict_reference=True)
    # From patch 575 on, with the end before it, there is none: one token of everything.
    assert reduce("prumerge+", *drawn(24, 1), 1 / 1150, strict_reference=True).counts.tolist() == [1]


# --- inputs of every kind


@pytest.mark.parametrize("text", ["prumerge", "prumerge+", "sequential:n=3", "spatial:n=3", "random:n=3"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_formats_are_those_of_float32_rounded(text: str, dtype: torch.dtype) -> None:
    seen = [tensor.to(dtype) for tensor in drawn()]
    torch.manual_seed(0)
    found = reduce(text, *seen)
    torch.manual_seed(0)
    exact = reduce(text, *(tensor.float() for tensor in seen))
    assert found.tokens.dtype == dtype
    assert torch.equal(found.kept, exact.kept)
    # Keys in float64 may give a score or a cosine that float32 has one rounding apart.
    places = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float64 else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(found.tokens.float(), exact.tokens.to(dtype).float(), **places)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("ratio", [None, 1 / 8])
@pytest.mark.parametrize("method", MERGING)
def test_autocast_around_it_changes_no_bit(method: str, ratio: float | None, strict: bool) -> None:
    seen = drawn(24, 1)
    expected = reduce(method, *seen, ratio, strict_reference=strict)
    with torch.autocast("cpu", torch.bfloat16):
        found = reduce(method, *seen, ratio, strict_reference=strict)
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_formats_of_features_and_keys_may_differ() -> None:
    features, queries, keys = drawn()
    found = reduce("prumerge", features.half(), queries.bfloat16(), keys.bfloat16())
    exact = reduce("prumerge", features.half().float(), queries.bfloat16().float(), keys.bfloat16().float())
    assert torch.equal(found.tokens, exact.tokens.half())


@pytest.mark.parametrize("text", ["prumerge", "prumerge+", "sequential:n=3", "spatial:n=3"])
def test_layout_in_memory_does_not_matter_and_inputs_stay_as_they_are(text: str) -> None:
    seen = drawn()
    strided = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in seen]
    cut = [torch.cat([tensor, tensor], dim=2)[:, :, :8] for tensor in seen]
    expected = reduce(text, *seen)
    before = [tensor.clone() for tensor in (*strided, *cut)]
    for tensors in (strided, cut):
        assert not any(tensor.is_contiguous() for tensor in tensors)
        found = reduce(text, *tensors)
        torch.testing.assert_close(found.tokens, expected.tokens)
        assert torch.equal(found.kept, expected.kept)
    assert all(torch.equal(*pair) for pair in zip(before, (*strided, *cut), strict=True))


def test_only_the_class_token_s_query_is_read() -> None:
    features, queries, keys = drawn()
    whole = reduce("prumerge", features, queries, keys)
    assert torch.equal(reduce("prumerge", features, queries[:, :1], keys).tokens, whole.tokens)
    queries[:, 1:] = torch.nan
    assert torch.equal(reduce("prumerge", features, queries, keys).tokens, whole.tokens)


def test_what_a_reducer_gives_is_a_tuple_by_name() -> None:
    found = reduce("prumerge", *drawn())
    tokens, mask, kept = found
    assert isinstance(found, ReducedTokens)
    assert (tokens.shape[:2], mask.dtype, kept.dtype) == (mask.shape, torch.bool, torch.bool)
    assert torch.equal(found.counts, kept.sum(dim=1) + 1)


# --- ties, and inputs that stay as they are


@pytest.mark.parametrize("size", [1, 1e8, 1e12])
@pytest.mark.parametrize("hidden", [64, 100, 1024])
@pytest.mark.parametrize("batch", [1, 3])
def test_equal_keys_have_equal_scores_whatever_their_size(batch: int, hidden: int, size: float) -> None:
    # A logit is about size^2 (a sum of `hidden` products over sqrt(hidden)). Of 1e16 the last bit in float64 is 2: were
    # one patch's sum added in another order, its score would be e^2 = 7.4 times as large, an "outlier".
    draw = torch.Generator().manual_seed(0)
    queries = size * torch.randn(batch, 1, hidden, generator=draw)
    keys = (size * torch.randn(batch, 1, hidden, generator=draw)).expand(batch, 577, hidden)
    for laid in (keys.contiguous(), keys.mT.contiguous().mT, keys):
        scores = class_attention(queries, laid)
        assert torch.equal(scores, scores[:, :1].expand_as(scores))
        assert int(outliers(scores).sum()) == 0


def test_zeros_of_either_sign_tie() -> None:
    ranks = _distinct(torch.tensor([[-0.0, 0.0, -0.0, -1e-45, 1e-45]]))
    assert ranks.argsort(descending=True).tolist() == [[4, 0, 1, 2, 3]]


def test_inputs_in_float64_stay_as_they_are() -> None:
    seen = tuple(tensor.double() for tensor in drawn())
    before = [tensor.clone() for tensor in seen]
    for text in MERGING:
        for strict in (False, True):
            reduce(text, *seen, 1 / 4, neighbours=4, strict_reference=strict and text == "prumerge")
    assert all(torch.equal(*pair) for pair in zip(seen, before, strict=True))


# --- gradients


def test_gradients_of_features_by_hand() -> None:
    features = FEATURES.clone().requires_grad_()
    reduce("prumerge", features, *attended(WEIGHTS, HEIGHTS), neighbours=2).tokens.sum().backward()
    # Patch 3 is itself; 0 and 1 are its neighbours and in the last token, 2 is in the last token alone.
    slopes = torch.tensor([0.05 + 0.05, 0.1 + 0.1, 0.05, 1])
    torch.testing.assert_close(features.grad, slopes.view(1, 4, 1).expand(1, 4, 2))


@pytest.mark.parametrize("method", MERGING)
@pytest.mark.parametrize("ratio", [None, 0.25])
def test_gradients_reach_all_that_is_read(method: str, ratio: float | None) -> None:
    seen = [tensor.double().requires_grad_() for tensor in drawn(4, 1)]

    def loss() -> Tensor:
        return (reduce(method, *seen, ratio, neighbours=4).tokens * torch.arange(1, 9)).sum()

    loss().backward()
    step = 1e-3
    for tensor in seen:
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        for place in [(0, 0, 0), (0, 3, 5), (0, 15, 7)]:
            with torch.no_grad():
                tensor[place] += step
                above = loss()
                tensor[place] -= 2 * step
                below = loss()
                tensor[place] += step
            # Sums are of float32: one of 500 is right to 3e-5, and a difference of two over 2e-3 to 0.03.
            assert float(tensor.grad[place]) == pytest.approx(float(above - below) / (2 * step), rel=2e-3, abs=0.05)
    queries = seen[1].grad
    assert queries is not None
    assert not queries[:, 1:].any()  # rows that are not read


@pytest.mark.parametrize("text", ["sequential:n=3", "spatial:n=3", "random:n=3"])
def test_gradients_of_samplers_are_ones_where_a_patch_is_kept(text: str) -> None:
    features = drawn()[0].requires_grad_()
    found = reduce(text, features, None, None)
    found.tokens.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, found.kept.unsqueeze(-1).expand_as(features).float())
