"""Which rows of a long table a fit looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray

GOLDEN = 0.6180339887498949  # (5^(1/2) - 1) / 2


def evenly(sizes: ndarray, most: int) -> ndarray:
    """Places of about `most` rows, as many of small sizes as of large ones: all, where there are no more.

    Those whose rank by size, times the golden ratio, has the smallest fractions: every stretch of ranks keeps its
    share, and no period in which a table repeats its other columns falls in step, as it may with every tenth row.

    >>> import numpy
    >>> # 0.618 i modulo 1 below 3 / 8: of 0, .62, .24, .85, .47, .09, .71, .33 the first, third, sixth and last
    >>> evenly(numpy.arange(8.0), 3).tolist()
    [0, 2, 5, 7]
    """
    import numpy

    order = numpy.argsort(sizes, kind="stable")
    if len(sizes) <= most:
        return order
    kept: ndarray = order[numpy.arange(len(sizes)) * GOLDEN % 1 < most / len(sizes)]
    return kept
