"""Tables of numbers over a grid, linear between its points and exact on them."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any


class Interpolation:
    """`values` (an array of one dimension an axis) at the points of `axes`, ascending; beyond an end as at it.

    >>> import numpy
    >>> Interpolation(([1.0, 3.0], [0.0, 10.0]), numpy.array([[0.0, 10.0], [20.0, 30.0]])).at(2.0, 5.0)
    15.0
    """

    def __init__(self, axes: tuple[Any, ...], values: Any) -> None:
        import numpy

        self._axes = [list(map(float, axis)) for axis in axes]
        # Nested lists: looking up one number in an array takes several times as long.
        self._values = numpy.broadcast_to(numpy.asarray(values, float), tuple(map(len, self._axes))).tolist()

    def at(self, *point: float) -> float:
        """The number at a point, one coordinate an axis."""
        return _between(self._values, self._axes, point, 0)


def _between(values: Any, axes: list[list[float]], point: tuple[float, ...], place: int) -> float:
    if place == len(axes):
        return float(values)
    axis, wanted = axes[place], point[place]
    below = max(bisect_right(axis, wanted) - 1, 0)
    low = _between(values[below], axes, point, place + 1)
    if wanted <= axis[below] or below + 1 == len(axis):
        return low
    high = _between(values[below + 1], axes, point, place + 1)
    return low + (wanted - axis[below]) / (axis[below + 1] - axis[below]) * (high - low)
