"""`strict_reference` against the published code's steps, written as loops over lists: every oddity included.

Source: 42Shawn/LLaVA-PruMerge at 1ca8b2b, llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfkit.errors import InvalidValue
from perfkit.reduction import TokenReducer, reduce
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.prumerge_plus import PruMergePlus
from perfkit.reduction.published import PublishedPruMerge, PublishedPruMergePlus
from perfkit.reduction.spatial import Spatial

Array = NDArray[np.float64]
NEIGHBOURS = 32


def draw(
    side: int, batch: int, sharpness: float, hidden: int = 16, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float64, in which no two scores or cosines are near each other."""
    generator = torch.Generator().manual_seed(seed)
    features, queries, keys = (
        torch.randn(batch, side**2 + one, hidden, generator=generator, dtype=torch.float64) for one in (0, 1, 1)
    )
    return features, sharpness * queries, keys


def attention(queries: Array, keys: Array) -> Array:
    logits = queries @ keys.T / np.sqrt(keys.shape[1])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax: Array = powers / powers.sum(axis=1, keepdims=True)
    return softmax[0, 1:]


def pooled_ratio(scores: list[Array]) -> float:
    pooled = np.concatenate(scores).astype(np.float32)
    low, high = np.percentile(pooled, 25), np.percentile(pooled, 75)
    return int((pooled > high + 1.5 * (high - low)).sum()) / len(pooled)


def greatest(scores: Array, ratio: float) -> list[int]:
    return sorted(range(len(scores)), key=lambda patch: -scores[patch])[: int(len(scores) * ratio)]


def adaptive_plus(scores: Array) -> list[int]:
    ratio = pooled_ratio([scores])
    kept = greatest(scores, ratio)
    return kept + [patch for patch in range(0, 575, int(int(1 / ratio) / 3)) if patch not in kept]


def fixed_plus(scores: Array, ratio: float) -> list[int]:
    step = int(1 / ratio)
    return greatest(scores, ratio) + list(range(int(step / 2), 575, step))


def merged(features: Array, scores: Array, keys: Array, kept: list[int]) -> Array:
    # What is not kept: kept places become 0, and as many zeros as kept ones are cut off. Of a patch kept twice only
    # one zero comes, so the cut takes a patch that is not kept.
    rest = sorted(0 if patch in kept else patch for patch in range(len(features)))[len(kept) :]
    tokens, length = [], np.linalg.norm(keys, axis=1)
    for number, patch in enumerate(kept):
        others = kept[:number] + kept[number + 1 :] + rest
        cosines = keys[others] @ keys[patch] / length[others] / length[patch]
        nearest = [others[place] for place in np.argsort(-cosines)[:NEIGHBOURS]]
        tokens.append(features[patch] + sum(scores[other] * features[other] for other in nearest))
    last = sum((scores[patch] * features[patch] for patch in rest), np.zeros(features.shape[1]))
    return np.array([*tokens, last])


def assert_published(
    method: str, seen: tuple[torch.Tensor, ...], kept: list[list[int]], ratio: float | None = None
) -> None:
    features, queries, keys = seen
    found = reduce(method, features, queries, keys, ratio, strict_reference=True)
    for image, patches in enumerate(kept):
        scores = attention(queries[image].numpy(), keys[image].numpy())
        expected = merged(features[image].numpy(), scores, keys[image, 1:].numpy(), patches)
        np.testing.assert_allclose(found.tokens[image].numpy(), expected, rtol=1e-9, atol=1e-9)
    assert bool(found.mask.all())


def scores_of(seen: tuple[torch.Tensor, ...]) -> list[Array]:
    return [attention(q.numpy(), k.numpy()) for q, k in zip(seen[1], seen[2], strict=True)]


@settings(max_examples=15)  # its loops take half a second a picture
@given(st.sampled_from([6, 16, 24, 27]), st.integers(1, 3), st.integers(0, 99))
def test_the_ratio_of_outliers_is_pooled_over_a_batch(side: int, batch: int, seed: int) -> None:
    seen = draw(side, batch, 2, seed=seed)
    ratio = pooled_ratio(scores_of(seen))
    assert_published("prumerge", seen, [greatest(scores, ratio) for scores in scores_of(seen)])


def test_pooling_gives_every_image_as_many_where_each_alone_has_others() -> None:
    seen = draw(24, 2, 2)
    alone = reduce("prumerge", *seen).counts
    pooled = reduce("prumerge", *seen, strict_reference=True).counts
    assert len(set(alone.tolist())) == 2
    assert len(set(pooled.tolist())) == 1


@pytest.mark.parametrize("ratio", [1 / 8, 0.07, 1 / 576, 1.0])
def test_a_ratio_keeps_so_many_patches(ratio: float) -> None:
    seen = draw(24, 2, 2)
    assert_published("prumerge", seen, [greatest(scores, ratio) for scores in scores_of(seen)], ratio)


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_adaptive_plus_takes_its_grid_from_575_patches(seed: int) -> None:
    seen = draw(24, 1, 1, seed=seed)
    (scores,) = scores_of(seen)
    assert pooled_ratio([scores]) > 0
    assert_published("prumerge+", seen, [adaptive_plus(scores)])


def test_a_patch_on_the_grid_that_outlies_is_kept_twice() -> None:
    seen = draw(24, 3, 2)
    kept = [fixed_plus(scores, 1 / 8) for scores in scores_of(seen)]
    assert [len(patches) for patches in kept] == [144, 144, 144]  # 72 + len(range(4, 575, 8)) = 72 + 72
    assert min(len(set(patches)) for patches in kept) < 144
    assert_published("prumerge+", seen, kept, 1 / 8)


def test_97_outliers_make_the_step_1_and_keep_all_but_the_last() -> None:
    features, queries, keys = draw(24, 1, 0)
    keys[0, 1:101, 0] = 5  # 100 equal outliers: int(1 / (100 / 576)) = 5, int(5 / 3) = 1
    queries[0, 0, 0] = 9
    counts = reduce("prumerge+", features, queries, keys, strict_reference=True).counts
    assert counts.tolist() == [576]  # range(0, 575) and one appended; the paper's intent keeps patch 575 too
    assert reduce("prumerge+", features, queries, keys).counts.tolist() == [577]


def test_no_outlier_leaves_the_appended_token_alone() -> None:
    features, _, keys = draw(24, 1, 1)
    level = torch.zeros_like(keys)
    found = reduce("prumerge", features, level, keys, strict_reference=True)
    assert found.counts.tolist() == [1]
    torch.testing.assert_close(found.tokens[0, 0], features[0].sum(dim=0) / 577)  # all attention is equal


@pytest.mark.parametrize(
    ("method", "side", "batch", "sharpness", "ratio", "why"),
    [
        ("prumerge", 5, 1, 4, None, "needs more than 32 patches for 32 neighbours, there are 25"),
        (
            "prumerge",
            5,
            1,
            1,
            0.04,
            "needs more than 32 patches for 32 neighbours, there are 25",
        ),  # of one that is kept
        ("prumerge+", 24, 2, 1, None, "takes one image at a time in adaptive PruMerge.*, not 2"),
        ("prumerge+", 24, 1, 0, None, "divides by the share of outliers, and there are none"),
        ("prumerge+", 16, 1, 2, None, "has a grid up to patch 57[0-4], and there are 256 patches"),
        ("prumerge+", 16, 1, 0, 1 / 8, "has room for 32 patches of a grid, and ratio 0.125 makes 72"),
        ("prumerge+", 24, 1, 1, 0.15, "has room for 86 patches of a grid, and ratio 0.15 makes 96"),
    ],
)
def test_where_the_published_code_stops_so_does_this(
    method: str, side: int, batch: int, sharpness: float, ratio: float | None, why: str
) -> None:
    with pytest.raises(InvalidValue, match=f"strict_reference: the published code {why}, and stops with an error"):
        reduce(method, *draw(side, batch, sharpness), ratio, strict_reference=True)


def test_as_many_outliers_as_there_can_be_still_leave_a_step() -> None:
    features, queries, keys = draw(24, 1, 0)
    keys[0, 1:144, 0] = 5  # 143 lie above Q3, which stands at place 431.25 of 575; int(576 / 143) = 4, int(4 / 3) = 1
    queries[0, 0, 0] = 9
    assert reduce("prumerge+", features, queries, keys, strict_reference=True).counts.tolist() == [576]


@pytest.mark.parametrize(("side", "hidden"), [(1, 4), (5, 4), (5, 64)])
@pytest.mark.parametrize("method", ["prumerge", "prumerge+"])
def test_where_nothing_is_kept_no_neighbours_are_needed(method: str, side: int, hidden: int) -> None:
    # int(25 / 600) = 0 patches; the grid starts at 600 // 2 = 300, and its one patch finds no room and is lost.
    seen = draw(side, 2, 1, hidden)
    found = reduce(method, *seen, 1 / 600, strict_reference=True)
    assert found.counts.tolist() == [1, 1]
    for image, scores in enumerate(scores_of(seen)):
        expected = merged(seen[0][image].numpy(), scores, seen[2][image, 1:].numpy(), [])
        np.testing.assert_allclose(found.tokens[image].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_without_outliers_few_patches_are_enough() -> None:
    features, queries, keys = draw(5, 1, 0)  # all attention is equal
    found = reduce("prumerge", features, queries, keys, strict_reference=True)
    torch.testing.assert_close(found.tokens[0, 0], features[0].sum(dim=0) / 26)


def test_one_patch_fills_two_places_where_the_grid_is_empty() -> None:
    # int(1156 / 1150) = 1 patch; the grid runs from 1150 // 2 = 575 to 575. It is torch that fills both places of one.
    seen = draw(34, 2, 4)
    kept = [greatest(scores, 1 / 1150) * 2 for scores in scores_of(seen)]
    assert [len(patches) for patches in kept] == [2, 2]
    assert_published("prumerge+", seen, kept, 1 / 1150)


# --- in half formats

# Keys of +-1 in 16 columns: their length is 4, so unit keys, cosines and products with whole queries are exact in any
# format that sums in float32, in whatever order. What is rounded are the logits, beyond 256 in bfloat16 and 2048 in
# float16, and softmax, weights and sums after them; scores and cosines tie by the dozen.


def halves(dtype: torch.dtype, method: str) -> tuple[torch.Tensor, ...]:
    """Of one image in adaptive PruMerge+, which takes no more, of two elsewhere."""
    generator = torch.Generator().manual_seed(0)
    batch = 1 if method == "prumerge+" else 2
    features = torch.randn(batch, 576, 16, generator=generator)
    top = {torch.bfloat16: 300, torch.float16: 2500}[dtype]
    queries = torch.randint(-3, 4, (batch, 577, 16), generator=generator).float()
    queries[:, 0, 0] = top
    keys = torch.randint(0, 2, (batch, 577, 16), generator=generator).float() * 2 - 1
    return features.to(dtype), queries.to(dtype), keys.to(dtype)


def in_format(
    features: torch.Tensor, scores: torch.Tensor, keys: torch.Tensor, kept: list[int], neighbours: int = NEIGHBOURS
) -> torch.Tensor:
    """The published loop, in the tensors' own format: `merged` with torch's ops and their ties."""
    rest = sorted(0 if patch in kept else patch for patch in range(len(features)))[len(kept) :]
    units = torch.nn.functional.normalize(keys, dim=-1)
    tokens = []
    for number, patch in enumerate(kept):
        others = kept[:number] + kept[number + 1 :] + rest
        near = (units[patch : patch + 1] @ units[others].T)[0].topk(neighbours).indices.tolist()
        nearest = [others[place] for place in near]
        tokens.append((features[nearest] * scores[nearest, None]).sum(dim=0) + features[patch])
    last = (features[rest] * scores[rest, None]).sum(dim=0)
    return torch.stack([*tokens, last])


def scores_in_format(seen: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Attention of all positions, of which the class token's row over the patches is taken."""
    whole: torch.Tensor = (seen[1] @ seen[2].mT) * seen[2].shape[-1] ** -0.5
    return whole.softmax(dim=-1)[:, 0, 1:]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ratio", [None, 1 / 16])  # 36 patches, and for PruMerge+ the 36 of range(8, 575, 16)
@pytest.mark.parametrize("method", ["prumerge", "prumerge+"])
def test_numbers_and_ties_are_those_of_the_format(method: str, ratio: float | None, dtype: torch.dtype) -> None:
    seen = halves(dtype, method)
    scores = scores_in_format(seen)
    share = pooled_ratio([row.double().numpy() for row in scores]) if ratio is None else ratio
    found = reduce(method, *seen, ratio, strict_reference=True)
    assert found.tokens.dtype == dtype
    for image, row in enumerate(scores):
        kept = row.unsqueeze(0).topk(int(576 * share)).indices[0].tolist()
        if method == "prumerge+":
            step = int(int(1 / share) / 3) if ratio is None else int(1 / share)
            grid = range(0, 575, step) if ratio is None else range(step // 2, 575, step)
            kept += [patch for patch in grid if ratio is not None or patch not in kept]
        assert kept
        expected = in_format(seen[0][image], row, seen[2][image, 1:], kept)
        # Products are rounded, added in float32 in whatever order, and rounded again: the last place may differ, but
        # seldom. Of products that are not rounded one token in ten would, and one number in three of the last token.
        places = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(found.tokens[image], expected, rtol=places, atol=places)
        assert float((found.tokens[image] == expected).float().mean()) > 0.97


# --- which class, which error


def test_methods_without_a_published_code_of_their_own_stay_as_they_are() -> None:
    spatial = TokenReducer("spatial:n=4", strict_reference=True).method
    assert (type(spatial), spatial) == (Spatial, Spatial(4))
    for name, published, own in (
        ("prumerge", PublishedPruMerge, PruMerge),
        ("prumerge+", PublishedPruMergePlus, PruMergePlus),
    ):
        strict = TokenReducer(f"{name}:k=3", strict_reference=True).method
        assert (type(strict), strict.text) == (published, f"{name}:k=3")
        assert strict.as_published() is strict
        assert type(TokenReducer(name).method) is own


def test_a_number_that_is_not_finite_is_named_before_it_enters_the_pool() -> None:
    features, queries, keys = draw(24, 3, 2)
    keys[1, 5, 0] = float("nan")
    with pytest.raises(InvalidValue, match="keys of 1 of 3 images are not finite, the first nan in image 1"):
        reduce("prumerge", features, queries, keys, strict_reference=True)
