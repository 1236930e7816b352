"""The Pareto front: what nothing else beats in one figure without losing in another."""

from __future__ import annotations

from typing import Any


def front_of(figures: Any) -> Any:
    """Which rows of `figures` (rows, what is to be small) no other row is as good as in all and better than in one.

    Equal rows stand together. Rows are met in order of their first figure, so each is held against the front so far.

    >>> import numpy
    >>> front_of(numpy.array([[1.0, 5.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0], [4.0, 1.0]])).tolist()
    [True, True, False, True, True]
    """
    import numpy

    on_front = numpy.zeros(len(figures), bool)
    front: Any = numpy.empty((0, figures.shape[1]))
    for place in numpy.lexsort(figures.T[::-1]):
        row = figures[place]
        beaten = (front <= row).all(axis=1) & (front < row).any(axis=1)
        if not beaten.any():
            on_front[place] = True
            front = numpy.vstack([front, row])
    return on_front
