"""Reducers of torch against their transcription: random and peaked attention, grids, batches, ties, extreme values."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import transcription
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from perfkit.errors import InvalidValue
from perfkit.reduction import REDUCERS, ReducedTokens, reduce

MERGING = ("prumerge", "prumerge+")
SAMPLERS = ("sequential", "spatial")
RATIOS = (None, Fraction(1, 8), Fraction(7, 100), Fraction(1))


def tensors(side: int, batch: int, hidden: int, sharpness: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, queries and keys; the class token's attention grows more peaked with `sharpness`."""
    draw = torch.Generator().manual_seed(seed)
    features, queries, keys = (torch.randn(batch, side**2 + one, hidden, generator=draw) for one in (0, 1, 1))
    return features, sharpness * queries, keys


def assert_transcribed(
    method: str, seen: tuple[Tensor, Tensor, Tensor], ratio: Fraction | None, neighbours: int = 32
) -> None:
    """All of a batch against the transcription of each image, and the padding."""
    found = reduce(method, *seen, None if ratio is None else float(ratio), neighbours)
    scale = float(seen[0].abs().max())
    for image in range(len(seen[0])):
        features, queries, keys = (tensor[image].double().numpy() for tensor in seen)
        tokens, kept = transcription.reduced(method, features, queries, keys, ratio, neighbours)
        assert int(found.counts[image]) == len(tokens)
        assert found.kept[image].nonzero().flatten().tolist() == sorted(kept)
        real = found.tokens[image, : len(tokens)].double().numpy()
        np.testing.assert_allclose(real / (scale or 1), tokens / (scale or 1), rtol=1e-5, atol=1e-5)
        assert not found.tokens[image, len(tokens) :].any()


@pytest.mark.parametrize("sharpness", [0.1, 3])
@pytest.mark.parametrize(("side", "batch"), [(24, 1), (16, 2), (27, 1), (4, 3)])
@pytest.mark.parametrize(("method", "ratio"), list(product(MERGING, RATIOS[:3])))
def test_merging_reducers_agree_with_their_transcription(
    method: str, ratio: Fraction | None, side: int, batch: int, sharpness: float
) -> None:
    assert_transcribed(method, tensors(side, batch, 32, sharpness), ratio)


@pytest.mark.parametrize("side", [1, 2, 16, 24, 27])
@pytest.mark.parametrize("ratio", [Fraction(1, 4), Fraction(53, 100), Fraction(1)])
@pytest.mark.parametrize("method", SAMPLERS)
def test_samplers_agree_with_their_transcription(method: str, ratio: Fraction, side: int) -> None:
    seen = tensors(side, 2, 8, 1)
    if side == 1 and ratio < 1:
        with pytest.raises(InvalidValue, match="keeps none; 1 to 1 can be kept"):
            reduce(method, *seen, float(ratio))
    else:
        assert_transcribed(method, seen, ratio)


def test_llava_s_own_shape_agrees_at_its_full_width() -> None:
    for method in MERGING:
        assert_transcribed(method, tensors(24, 1, 1024, 0.5), None)


# --- whatever comes

values = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, -3.0])
extreme = st.sampled_from([0.0, 1e-40, 1e-30, 1.0, -2.0, 1e15, -1e30, 3e37])


@st.composite
def batches(draw: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Small batches whose keys and queries repeat themselves, or are of any size."""
    batch, side, hidden = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    numbers = draw(st.sampled_from([values, extreme]))
    # Few different keys for many patches: ties in attention and in cosines.
    pool = draw(st.lists(st.lists(numbers, min_size=hidden, max_size=hidden), min_size=1, max_size=6))
    rows = draw(st.lists(st.sampled_from(pool), min_size=batch * (side**2 + 1), max_size=batch * (side**2 + 1)))
    keys = torch.tensor(rows).view(batch, side**2 + 1, hidden)
    row = st.lists(numbers, min_size=hidden, max_size=hidden)
    queries = torch.tensor(draw(st.lists(row, min_size=batch, max_size=batch))).view(batch, 1, hidden)
    seed = draw(st.integers(0, 9))
    features = torch.randn(batch, side**2, hidden, generator=torch.Generator().manual_seed(seed))
    return features, queries.expand(-1, side**2 + 1, -1), keys


ratios = st.one_of(st.none(), st.integers(1, 60).map(lambda parts: Fraction(parts, 60)))


@given(st.sampled_from(MERGING), batches(), ratios, st.integers(1, 40))
def test_ties_constants_and_extremes_agree(
    method: str, seen: tuple[Tensor, Tensor, Tensor], ratio: Fraction | None, neighbours: int
) -> None:
    assert_transcribed(method, seen, ratio, neighbours)


@given(st.sampled_from(SAMPLERS), st.integers(1, 30), st.integers(1, 60))
def test_samplers_agree_at_every_size(method: str, side: int, parts: int) -> None:
    ratio = Fraction(parts, 60)
    assume(side**2 * ratio >= 1)
    assert_transcribed(method, tensors(side, 1, 2, 1), ratio)


# `random` draws for each image anew.
@given(st.sampled_from((*MERGING, *SAMPLERS)), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99))
@example("prumerge+", 4, 6, 0)
def test_an_image_does_not_depend_on_its_batch(method: str, batch: int, side: int, seed: int) -> None:
    seen = tensors(side, batch, 8, 3, seed)
    ratio = None if method in MERGING else 1.0
    together = reduce(method, *seen, ratio)
    for image in range(batch):
        alone = reduce(method, *(tensor[image : image + 1] for tensor in seen), ratio)
        count = int(alone.counts)
        assert count == int(together.counts[image])
        torch.testing.assert_close(together.tokens[image, :count], alone.tokens[0], rtol=1e-6, atol=1e-6)
        assert torch.equal(together.kept[image], alone.kept[0])


@given(st.sampled_from(REDUCERS), st.integers(1, 4), st.integers(1, 6), st.integers(1, 60))
def test_masks_counts_and_padding_fit_together(method: str, batch: int, side: int, parts: int) -> None:
    seen = tensors(side, batch, 4, 3)
    ratio = max(parts / 60, 1 / side**2)
    found = reduce(method, *seen, ratio)
    assert_sound(found, appended=method in MERGING)
    if method in MERGING:
        assert_sound(reduce(method, *seen), appended=True)


def assert_sound(found: ReducedTokens, *, appended: bool) -> None:
    batch, most, _ = found.tokens.shape
    assert found.mask.shape == (batch, most)
    # Real tokens first, padding behind, and as many as patches are kept.
    assert torch.equal(found.mask, torch.arange(most) < found.counts.unsqueeze(1))
    assert torch.equal(found.counts, found.kept.sum(dim=1) + appended)
    assert not found.tokens[~found.mask].any()
    assert not found.skipped.any()
