"""Parameters of the kernel model from measured products, near those of other devices where rows are few.

Misfit of a row: log(model / measured) / NOISE, weighed so that each range of m counts alike (`descending` has what is
minimised). Deterministic: no random number is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from perfkit.calibration.descending import descend
from perfkit.calibration.parameters import ALL, PRODUCTS, STARTS, TILE
from perfkit.errors import InvalidValue
from perfkit.kernels.limits import Limits
from perfkit.kernels.products import Product, ProductParameters, product_s

if TYPE_CHECKING:
    from numpy import ndarray

NOISE = 0.07  # what repeats and library versions differ by
FEWEST = 10
MOST = 1000  # rows of a set that a fit looks at: more say no more, and take longer
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
        m, n, k, batch, size = self.products
        return Measured(
            Product(m[which], n[which], k[which], _part(batch, which), size), self.seconds[which], self.limits
        )


def _part(batch: object, which: ndarray) -> object:
    return batch[which] if hasattr(batch, "shape") else batch  # type: ignore[index]  # one number stands for all


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

    A set counts by its rows, of which MOST are looked at. With MANY rows, which need no prior, or without one, the fit
    begins at STARTS and moves LOOSE times as freely. Without any row it stays where it begins, at the first.
    """
    if not sets:
        return (priors or STARTS)[0]
    some = [_thinned(each) for each in sets]
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


def _thinned(measured: Measured) -> Measured:
    """Every so manieth row by m, so that MOST at the most are left and every m keeps its share."""
    import numpy

    step = -(-measured.rows // MOST)
    return measured if step == 1 else measured.take(numpy.argsort(measured.products.m, kind="stable")[::step])


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
    misfit: ndarray = numpy.log(ratio) / NOISE * numpy.sqrt(range_weights(measured.products.m))
    return misfit


def _flat(parameters: ProductParameters) -> list[float]:
    return [*(getattr(parameters, p.name) for p in PRODUCTS), *parameters.tiles]


def _parameters(values: Sequence[float], start: ProductParameters) -> ProductParameters:
    n = len(PRODUCTS)
    return ProductParameters._make([*values[:n], tuple(values[n:]) or start.tiles])
