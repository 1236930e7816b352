"""Ops that several selectors are made of; all of them are of kind `selection`.

Only what a selection uses is counted: one row of scores where one row is read. Picking the k best of n scores counts
one comparison a score, the least that any algorithm takes; it reads n numbers, so that its time is never that of the
comparisons.
"""

from __future__ import annotations

from perfkit.kernel_shapes import bmm
from perfkit.ops import SOFTMAX_FLOPS, OpCost, Place
from perfkit.units import Amount

SELECTION = "selection"


def product(place: Place, name: str, pairs: Amount, m: Amount, n: Amount, k: int, shared: int = 1) -> OpCost:
    """Scores of `pairs` of (m, k) against (n, k): 2 pairs m n k FLOPs; `shared` pairs in a row have one (n, k).

    >>> from perfkit.units import Precision
    >>> product(Place("reduction", 1, *[Precision.FP16] * 4), "scores", 2, 1, 5, 3).matmul_flops  # 2 * 2 * 1 * 5 * 3
    60
    """
    read, write = pairs * m * k + pairs * n * k // shared, pairs * m * n
    return place.cost(name, SELECTION, matmul=2 * pairs * m * n * k, read=read, write=write, kernel=bmm(pairs, m, n, k))


def softmax(place: Place, name: str, scores: Amount) -> OpCost:
    """Softmax over so many scores, whatever their rows: 5 FLOPs a score."""
    return place.cost(name, SELECTION, vector=SOFTMAX_FLOPS * scores, read=scores, write=scores)


def mean(place: Place, name: str, terms: Amount, results: Amount) -> OpCost:
    """Means of `terms` numbers each: one FLOP a number."""
    return place.cost(name, SELECTION, vector=terms * results, read=terms * results, write=results)


def pick(place: Place, name: str, scores: Amount, kept: Amount) -> OpCost:
    """The best or the outlying `kept` of `scores` numbers: one comparison a score; their indices are written.

    >>> from perfkit.units import Precision
    >>> op = pick(Place("reduction", 1, *[Precision.FP16] * 4), "pick", 576, 32)
    >>> op.vector_flops, op.bytes  # 576; (576 + 32) * 2 bytes
    (576, 1216)
    """
    return place.cost(name, SELECTION, vector=scores, read=scores, write=kept)
