"""Where tables of step times have their points: every batch while it is small, lengths evenly."""

from __future__ import annotations

from typing import Any

SMALL = 32  # batches up to which each has a point
GROWTH = 16  # beyond that points lie 1 / GROWTH apart
POINTS = 17  # of lengths that vary
FINE = 65  # of context and of tokens in a step


def batch_axis(most: int) -> Any:
    """Batches from 1 to `most`.

    >>> batch_axis(40).tolist()[-5:]
    [32.0, 34.0, 36.0, 38.0, 40.0]
    """
    import numpy

    points, batch = [], 1
    while batch < most:
        points.append(batch)
        batch += max(1, batch // GROWTH) if batch >= SMALL else 1
    return numpy.array([*points, most], float)


def length_axis(least: float, most: float, points: int = POINTS) -> Any:
    """Lengths from `least` to `most`: the one where they are the same, else whole numbers that hold both.

    >>> length_axis(3, 3).tolist(), length_axis(0, 8, 3).tolist()
    ([3.0], [0.0, 4.0, 8.0])
    """
    import numpy

    if least == most:
        return numpy.array([least], float)
    return numpy.unique(numpy.linspace(numpy.floor(least), numpy.ceil(most), points).round())
