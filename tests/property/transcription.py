"""The reducers written out as the paper's text has them: loops over images and patches, in float64, nothing shared.

Scores and cosines are compared as float32 numbers, so that what is equal in exact arithmetic is equal here.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def class_attention(queries: Array, keys: Array) -> NDArray[np.float32]:
    """Row of the class token, columns of the patches, of softmax(q k^T / sqrt(C))."""
    width = keys.shape[1]
    logits = np.array([float(queries[0] @ key) / np.sqrt(width) for key in keys])
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum())[1:].astype(np.float32)


def outlying(scores: NDArray[np.float32]) -> int:
    """How many exceed Q3 + 1.5 (Q3 - Q1)."""
    low, high = np.percentile(scores.astype(np.float64), [25, 75])
    return sum(float(score) > high + 1.5 * (high - low) for score in scores)


def by_attention(scores: NDArray[np.float32], count: int) -> list[int]:
    """The `count` patches with the largest, the first of equal ones first."""
    return sorted(range(len(scores)), key=lambda patch: (-scores[patch], patch))[:count]


def wanted(patches: int, ratio: Fraction) -> int:
    return floor(patches * ratio)


def prumerge_patches(scores: NDArray[np.float32], ratio: Fraction | None) -> list[int]:
    return by_attention(scores, outlying(scores) if ratio is None else wanted(len(scores), ratio))


def prumerge_plus_patches(scores: NDArray[np.float32], ratio: Fraction | None) -> list[int]:
    kept, patches = prumerge_patches(scores, ratio), len(scores)
    if ratio is not None:
        step = floor(1 / ratio)
        grid = range(step // 2, patches, step)
    elif kept:
        step = floor(Fraction(floor(Fraction(patches, len(kept))), 3))
        grid = range(0, patches, max(1, step))
    else:
        grid = range(0)
    return kept + [patch for patch in grid if patch not in kept]


def cosine(one: Array, other: Array) -> np.float32:
    lengths = np.sqrt(one @ one) * np.sqrt(other @ other)
    return np.float32(one @ other / lengths) if lengths else np.float32(0)


def merged(features: Array, scores: Array, keys: Array, kept: list[int], neighbours: int) -> Array:
    """Kept patches, each with its nearest added, and one token of all the others."""
    patches, tokens = range(len(features)), []
    for patch in kept:
        others = [other for other in patches if other != patch]
        others.sort(key=lambda other: (-cosine(keys[patch], keys[other]), other))
        token = features[patch].copy()
        for other in others[:neighbours]:
            token += scores[other] * features[other]
        tokens.append(token)
    rest = np.zeros(features.shape[1])
    for patch in patches:
        if patch not in kept:
            rest += scores[patch] * features[patch]
    return np.array([*tokens, rest])


def reduced(
    method: str, features: Array, queries: Array, keys: Array, ratio: Fraction | None, neighbours: int
) -> tuple[Array, list[int]]:
    """Tokens of one image, and the patches that are kept."""
    patches = len(features)
    if method in ("prumerge", "prumerge+"):
        scores = class_attention(queries, keys)
        choose = prumerge_patches if method == "prumerge" else prumerge_plus_patches
        kept = choose(scores, ratio)
        return merged(features, scores.astype(np.float64), keys[1:], kept, neighbours), kept
    assert ratio is not None
    count = wanted(patches, ratio)
    kept = list(range(count)) if method == "sequential" else [i * patches // count for i in range(count)]
    return features[kept], kept
