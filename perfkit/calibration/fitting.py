"""Parameters of the kernel model from measured products, near those of other devices where rows are few.

Misfit of a row: log(model / measured) / CLOSE, weighed so that each range of m counts alike (`descending` has what is
minimised). Deterministic: no random number is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from perfkit.calibration.descending import descend
from perfkit.calibration.parameters import ALL, PRODUCTS, STARTS, TILE
from perfkit.calibration.thinning import evenly
from perfkit.errors import InvalidValue
from perfkit.kernels.limits import Limits
from perfkit.kernels.products import Product, ProductParameters, product_s
from perfkit.units import Amount

if TYPE_CHECKING:
    from numpy import ndarray

CLOSE = 0.05  # what repeats and library versions differ by, at the least
FEWEST = 10
LOOKED_AT = 1000  # rows of a set: more say no more, and take longer
NOISE, MOST = 0.07, 1000  # the same two of other kernels, which differ more and are quicker
MANY = 200  # rows from which on tiles are fitted too
LOOSE = 3.0  # prior's spread is so many times wider where there are MANY rows
RANGES = ((1, 16), (17, 128), (129, 512), (513, 1536), (1537, 4096), (4097, 10**7))  # of m
M_ENDS = (16, 128, 512, 1536, 4096)  # of all but the last


class Measured(NamedTuple):
    """Products, arrays of float64, with the seconds that they took on a device with such limits."""

    products: Product
    seconds: ndarray
    limits: Limits

    @property
    def rows(self) -> int:
        """How many products there are."""
        return len(self.seconds)

    def take(self, which: ndarray) -> Measured:
        """Some of the rows, by their numbers or by a mask."""
        sizes = {name: _part(getattr(self.products, name), which) for name in ("m", "n", "k", "batch")}
        return Measured(self.products._replace(**sizes), self.seconds[which], self.limits)


def _part(size: Amount, which: ndarray) -> Amount:
    return size[which] if hasattr(size, "shape") else size  # one number stands for all


def range_weights(sizes: ndarray, ends: Sequence[float] = M_ENDS) -> ndarray:
    """Weights of rows that make every range of their sizes count alike; their mean is 1. Default: ranges of m."""
    import numpy

    number = numpy.searchsorted(ends, sizes)
    found, counts = numpy.unique(number, return_counts=True)
    return (len(sizes) / len(found) / counts)[numpy.searchsorted(found, number)]


def fit_products(sets: Sequence[Measured], priors: Sequence[ProductParameters] = ()) -> ProductParameters:
    """`fit_near` of enough rows.

    Raises:
        InvalidValue: fewer than FEWEST rows, or all of one shape.
    """
    _check(sets, sum(each.rows for each in sets))
    return fit_near(sets, priors)


def fit_near(sets: Sequence[Measured], priors: Sequence[ProductParameters] = ()) -> ProductParameters:
    """Parameters that fit measured products best, near the one of `priors` that they agree with most.

    Of each set about LOOKED_AT rows are seen, so that long tables of a device weigh alike. With MANY rows, which need
    no prior, or without one, the fit begins at STARTS and moves LOOSE times as freely. Without any row it stays where
    it begins, at the first.
    """
    if not sets:
        return (priors or STARTS)[0]
    some = [each.take(evenly(each.products.m, LOOKED_AT)) for each in sets]
    many = sum(each.rows for each in sets) >= MANY
    starts, spread = (STARTS, LOOSE) if many or not priors else (priors, 1.0)
    found = [_descend(some, start, spread, tiles=False) for start in starts]
    _, best = min(found, key=lambda pair: pair[0])
    return _descend(some, best, spread, tiles=True)[1] if many else best


def _check(sets: Sequence[Measured], rows: int) -> None:
    if rows < FEWEST:
        raise InvalidValue(f"{rows} measured products cannot determine a fit; at least {FEWEST} are needed")
    shapes = {shape for each in sets for shape in zip(*(part.tolist() for part in each.products[:3]), strict=True)}
    if len(shapes) < 2:
        raise InvalidValue("all products have one shape, which cannot determine a fit")


def _descend(
    sets: Sequence[Measured], start: ProductParameters, spread: float, *, tiles: bool
) -> tuple[float, ProductParameters]:
    """Cost and parameters at the bottom of the valley in which `start` lies, the rates of tiles held or fitted too."""
    import numpy

    moved = ALL if tiles else PRODUCTS
    spreads = [p.spread if p is TILE else p.spread * spread for p in moved]

    def misfit(values: list[float]) -> ndarray:
        parameters = _parameters(values, start)
        return numpy.concatenate([_misfit(each, parameters) / numpy.sqrt(len(sets)) for each in sets])

    cost, values = descend(misfit, moved, _flat(start)[: len(moved)], spreads)
    return cost, _parameters(values, start)


def _misfit(measured: Measured, parameters: ProductParameters) -> ndarray:
    import numpy

    ratio = product_s(measured.products, measured.limits, parameters) / measured.seconds
    misfit: ndarray = numpy.log(ratio) / CLOSE * numpy.sqrt(range_weights(measured.products.m))
    return misfit


def _flat(parameters: ProductParameters) -> list[float]:
    return [*(getattr(parameters, p.name) for p in PRODUCTS), *parameters.tiles]


def _parameters(values: Sequence[float], start: ProductParameters) -> ProductParameters:
    n = len(PRODUCTS)
    return ProductParameters._make([*values[:n], tuple(values[n:]) or start.tiles])
