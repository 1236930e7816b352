"""Fits to made-up rows, whose times are those of known parameters: what they predict of other rows."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, product

import numpy as np
import pytest

from perfkit.calibration import fitting
from perfkit.calibration.fitting import FEWEST, LOOKED_AT, RANGES, Measured, fit_products, range_weights
from perfkit.calibration.parameters import ALL, PRODUCTS, STARTS, TILE
from perfkit.errors import InvalidValue
from perfkit.kernels.limits import Limits
from perfkit.kernels.products import TILES, Product, ProductParameters, product_s

LIMITS = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
KNOWN = ProductParameters(4e-6, 0.7, 2.5, 0.7, 5.0, 0.4, 2e-6, 0.13, 0.17, 1e-10, 0.3, 64.0, 0.2)
NEAR = KNOWN._replace(start_s=3e-6, bandwidth=0.75, peak=0.85, load=10.0, throttle=0.1)  # of a sibling
WEIGHTS = ((4096, 4096), (11008, 4096), (4096, 11008), (1024, 1024), (3072, 1024), (1024, 4096))
M = (1, 2, 4, 8, 16, 24, 32, 64, 96, 128, 192, 256, 384, 512, 700, 1024, 1400, 2048, 3000, 4096)


def rows(weights: object, m: object, known: ProductParameters = KNOWN, limits: Limits = LIMITS) -> Measured:
    """A row for each weight (n, k) and m, with the time of the known parameters."""
    table = np.array([(each, n, k) for (n, k), each in product(weights, m)], dtype=float)  # type: ignore[call-overload]
    products = Product(*table.T, np.ones(len(table)), 2)
    return Measured(products, np.asarray(product_s(products, limits, known)), limits)


def outliers(measured: Measured) -> Measured:
    """Every tenth row three times as slow."""
    seconds = measured.seconds.copy()
    seconds[::10] *= 3
    return measured._replace(seconds=seconds)


OTHERS = rows(((2048, 2048), (8192, 2048), (5120, 5120)), (1, 3, 12, 48, 80, 160, 320, 576, 900, 1800, 3500))


def off(found: ProductParameters, measured: Measured = OTHERS) -> float:
    """Largest error over rows."""
    predicted = product_s(measured.products, measured.limits, found)
    return float(np.abs(predicted / measured.seconds - 1).max())


@lru_cache
def fitted(spoiled: bool = False) -> ProductParameters:
    measured = rows(WEIGHTS, M)
    return fit_products([outliers(measured) if spoiled else measured], [NEAR])


# --- what a fit finds


def test_times_of_known_parameters_are_predicted_on_other_rows() -> None:
    assert off(NEAR) > 0.1  # there is something to find
    assert off(fitted()) < 0.02


@pytest.mark.slow
def test_without_a_prior_they_are_found_as_well() -> None:
    found = fit_products([rows(WEIGHTS[:3], M)])
    assert min(off(start) for start in STARTS) > 0.1
    assert off(found) < 0.02


def test_outliers_count_for_little() -> None:
    assert off(fitted(spoiled=True)) < 0.05


def test_with_many_rows_tiles_are_fitted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # A library whose kernels of the smallest tile are slow.
    slow = rows(WEIGHTS[:4], M[::2], KNOWN._replace(tiles=(0.7, *KNOWN.tiles[1:])))
    monkeypatch.setattr(fitting, "STARTS", (KNOWN,))
    alike = fit_products([slow])
    monkeypatch.setattr(fitting, "MANY", slow.rows)
    found = fit_products([slow])
    assert off(found, slow) < off(alike, slow) / 2
    assert alike.tiles == pytest.approx(KNOWN.tiles)
    assert min(found.tiles) == found.tiles[0] < 0.95


def test_with_fewer_rows_tiles_stay_as_they_are() -> None:
    assert fitted().tiles == pytest.approx(NEAR.tiles)
    other = NEAR._replace(tiles=tuple(0.9 + 0.01 * number for number in range(len(TILES))))
    assert fit_products([rows(WEIGHTS[:3], (1, 64, 512, 4096))], [other]).tiles == pytest.approx(other.tiles)


def test_few_rows_move_what_they_say_something_of() -> None:
    few = rows(WEIGHTS[:3], (1, 2, 4096, 8192))  # bytes alone, and compute alone
    assert few.rows == 12
    found = fit_products([few], [NEAR])
    assert off(NEAR, few) > 0.06
    assert off(found, few) < 0.01
    assert abs(found.peak - KNOWN.peak) < abs(NEAR.peak - KNOWN.peak) / 2
    # nothing of these rows stays in a cache, is split, or fills a part of a wave
    for bound in PRODUCTS:
        if bound.name in ("l2_rate", "warm"):
            assert getattr(found, bound.name) == pytest.approx(getattr(NEAR, bound.name), rel=0.05)


def test_of_several_priors_the_one_that_agrees_most_is_taken() -> None:
    few = rows(WEIGHTS[:3], (1, 2, 4096, 8192))
    far = NEAR._replace(peak=0.3, bandwidth=0.4, l2_rate=1.0, warm=1.0)
    assert fit_products([few], [far, NEAR]) == fit_products([few], [NEAR])


def test_a_fit_is_the_same_again() -> None:
    few = rows(WEIGHTS[:4], (1, 100, 2000))
    assert fit_products([few], [NEAR]) == fit_products([few], [NEAR])


def test_what_is_found_is_within_the_bounds() -> None:
    slow = rows(WEIGHTS[:4], (1, 100, 2000))
    slow = slow._replace(seconds=50 * slow.seconds)  # slower than any device that there is
    found = fit_products([slow], [NEAR._replace(lone=7.0, step_s=0.0)])  # and a prior beyond them
    for bound in PRODUCTS:
        assert bound.low * (1 - 1e-9) <= getattr(found, bound.name) <= bound.high * (1 + 1e-9)


# --- what is refused


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_rows_are_refused(count: int) -> None:
    few = rows(WEIGHTS[:1], range(1, count + 1)) if count else rows(WEIGHTS[:1], (1,)).take(np.array([], dtype=int))
    with pytest.raises(InvalidValue, match=f"^{count} measured products cannot determine a fit; at least 10"):
        fit_products([few], [NEAR])


def test_rows_of_one_shape_are_refused() -> None:
    same = rows(WEIGHTS[:1], (512,) * 12)
    with pytest.raises(InvalidValue, match=r"^all products have one shape"):
        fit_products([same], [NEAR])


# --- rows


def test_every_range_of_m_counts_alike() -> None:
    # m of 1, 16 | 17 | 600, 700, 800, 900: 7 rows in 3 ranges, so 7 / 3 a range: 7/6 each, 7/3, 7/12 each
    weights = range_weights(np.array([600.0, 1, 700, 17, 800, 16, 900]))
    assert weights == pytest.approx([7 / 12, 7 / 6, 7 / 12, 7 / 3, 7 / 12, 7 / 6, 7 / 12])
    assert weights.mean() == pytest.approx(1)
    assert range_weights(np.array([5.0, 6.0])).tolist() == [1, 1]


def test_ranges_leave_no_gap() -> None:
    assert RANGES[0][0] == 1
    assert all(one[1] + 1 == other[0] for one, other in pairwise(RANGES))
    ends = np.array([end for bounds in RANGES for end in bounds], dtype=float)
    assert range_weights(ends) == pytest.approx(np.ones(len(ends)))  # two rows in each


def test_rows_are_taken_with_all_that_belongs_to_them() -> None:
    some = OTHERS.take(OTHERS.products.m > 1000)
    assert some.rows == 6
    assert product_s(some.products, LIMITS, KNOWN) == pytest.approx(some.seconds)
    alike = OTHERS._replace(products=OTHERS.products._replace(batch=2)).take(np.array([0, 3]))
    assert (alike.products.batch, alike.products.m.tolist()) == (2, [1, 48])


def looked_at(monkeypatch: pytest.MonkeyPatch, sets: list[Measured]) -> list[Measured]:
    """What a fit to such sets looks at."""
    seen: list[list[Measured]] = []

    def descend(some: list[Measured], start: ProductParameters, *_: object, **__: object) -> tuple[float, object]:
        seen.append(some)
        return 0.0, start

    monkeypatch.setattr(fitting, "_descend", descend)
    fit_products(sets, [NEAR])
    return seen[0]


def test_of_very_many_rows_every_m_keeps_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    every = rows(WEIGHTS[:1], range(4 * LOOKED_AT, 0, -1))
    some, few = looked_at(monkeypatch, [every, every.take(np.arange(LOOKED_AT))])
    assert some.rows == pytest.approx(LOOKED_AT, abs=2)
    assert few.rows == LOOKED_AT
    # one of four: multiples of the golden ratio leave gaps of three lengths, of which the longest is the others' sum
    assert set(np.diff(some.products.m).tolist()) == {2, 3, 5}


def test_of_a_grid_no_row_or_column_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # 14 * 14 weights and 40 m: a step of 7 would meet the same two k in all rows of an n
    weights = [(1024 * n, 1024 * k) for n in range(1, 15) for k in range(1, 15)]
    monkeypatch.setattr(fitting, "LOOKED_AT", 14 * 14 * 40 // 7)
    (some,) = looked_at(monkeypatch, [rows(weights, range(1, 41))])
    pairs, counts = np.unique(some.products.n * 1e6 + some.products.k, return_counts=True)
    assert len(pairs) == 14 * 14  # 40 / 7 = 5.7 rows of each
    assert counts.min() >= 4
    assert counts.max() <= 8


def test_parameters_that_are_fitted_are_those_that_there_are() -> None:
    assert [bound.name for bound in PRODUCTS] == list(ProductParameters._fields[:-1])
    assert len(ALL) == len(PRODUCTS) + len(TILES)
    for start in STARTS:
        assert all(bound.low <= getattr(start, bound.name) <= bound.high for bound in PRODUCTS)
        assert all(TILE.low < tile < TILE.high for tile in start.tiles)
