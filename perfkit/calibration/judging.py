"""How far a fit is off on rows that it did not see, and how widely measured times lie about it.

Rows of one weight (n, k) go into one fold, because rows that differ in m alone are near each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from perfkit.calibration.fitting import RANGES, Measured, range_weights
from perfkit.kernels.calibrations import FitError, Spread
from perfkit.kernels.products import ProductParameters, product_s

if TYPE_CHECKING:
    from numpy import ndarray

Fit: TypeAlias = Callable[[Sequence[Measured]], ProductParameters]

FOLDS = 5
BAND = (0.05, 0.95)


class Held(NamedTuple):
    """Rows kept out of a fit: rows of each range of m, and predicted over measured times, with the rows' weights."""

    m: ndarray
    ratios: ndarray
    weights: ndarray

    def error(self, op: str) -> FitError:
        """Mean and 90th percentile of absolute errors, ranges of m weighing alike."""
        import numpy

        off = numpy.abs(self.ratios - 1)
        mean = float(numpy.average(off, weights=self.weights))
        return FitError(op, len(off), mean, _weighted_quantile(off, self.weights, 0.9))

    def by_range(self) -> dict[tuple[int, int], float]:
        """Mean absolute error in each range of m that has rows."""
        import numpy

        found = {}
        for first, last in RANGES:
            inside = (self.m >= first) & (self.m <= last)
            if inside.any():
                found[first, last] = float(numpy.abs(self.ratios[inside] - 1).mean())
        return found

    def spread(self) -> Spread:
        """Factors of the predicted time between which nine of ten measured ones lie."""
        low, high = (_weighted_quantile(1 / self.ratios, self.weights, q) for q in BAND)
        return Spread(min(low, 1.0), max(high, 1.0))


def judge(measured: Measured, parameters: ProductParameters) -> Held:
    """Rows held against parameters that were fitted without them."""
    times = product_s(measured.products, measured.limits, parameters)
    return Held(measured.products.m, times / measured.seconds, range_weights(measured.products.m))


def cross_validate(sets: Sequence[Measured], fit: Fit, folds: int = FOLDS) -> Held:
    """Every row predicted by a fit to the rows of other weights, in all sets."""
    import numpy

    numbers = [fold_of(each, folds) for each in sets]
    ratios = [numpy.empty(each.rows) for each in sets]
    for fold in range(folds):
        inside = [number == fold for number in numbers]
        if any(which.any() for which in inside):
            fitted = fit([each.take(~which) for each, which in zip(sets, inside, strict=True) if not which.all()])
            for each, which, ratio in zip(sets, inside, ratios, strict=True):
                if which.any():
                    ratio[which] = judge(each.take(which), fitted).ratios
    return held_by(
        [Held(each.products.m, r, range_weights(each.products.m)) for each, r in zip(sets, ratios, strict=True)]
    )


def leave_one_out(devices: Sequence[Sequence[Measured]], fit: Fit) -> Held:
    """The rows of every device predicted by a fit to the other devices."""
    held = []
    for number, own in enumerate(devices):
        others = [each for other, sets in enumerate(devices) if other != number for each in sets]
        fitted = fit(others)
        held += [judge(each, fitted) for each in own]
    return held_by(held)


def fold_of(measured: Measured, folds: int = FOLDS) -> ndarray:
    """Fold of each row by its weight (n, k), the same in every set."""
    product = measured.products
    found: ndarray = (product.n * 7919 + product.k * 104729) % folds  # primes: near sizes fall apart
    return found.astype(int)


def _weighted_quantile(values: ndarray, weights: ndarray, q: float) -> float:
    import numpy

    order = numpy.argsort(values)
    reached = numpy.cumsum(weights[order])
    return float(values[order][numpy.searchsorted(reached, q * reached[-1])])


def held_by(sets: Sequence[Held]) -> Held:
    """All rows of several."""
    import numpy

    return Held(*(numpy.concatenate(parts) for parts in zip(*sets, strict=True)))
