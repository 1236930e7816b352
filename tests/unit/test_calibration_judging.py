"""How far a fit is off on rows that it did not see: by hand, and which rows a fit is shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from perfkit.calibration import calibrating, fits
from perfkit.calibration.fitting import Measured
from perfkit.calibration.judging import FOLDS, Held, cross_validate, fold_of, held_by, judge, leave_one_out
from perfkit.calibration.parameters import STARTS
from perfkit.kernels.calibrations import Calibration, FitError, FittedOn, Spread
from perfkit.kernels.limits import Limits
from perfkit.kernels.products import Product, ProductParameters, product_s

LIMITS = Limits(100e12, 1e12, 100, 1.5e9, 5e6)
KNOWN = STARTS[0]
WEIGHTS = tuple(product((512, 1024, 3072, 4096, 11008), (512, 1024, 4096)))


def measured(weights: Sequence[tuple[int, int]], m: Sequence[int], factor: float = 1.0) -> Measured:
    """A row for each weight and m, `factor` times as slow as KNOWN says."""
    table = np.array([(each, n, k) for (n, k), each in product(weights, m)], dtype=float)
    products = Product(*table.T, np.ones(len(table)), 2)
    return Measured(products, np.asarray(factor * product_s(products, LIMITS, KNOWN)), LIMITS)


def held(*ratios: float, m: Sequence[float] | None = None, weights: Sequence[float] | None = None) -> Held:
    ones = np.ones(len(ratios))
    return Held(
        ones if m is None else np.array(m), np.array(ratios), ones if weights is None else np.array(weights, float)
    )


class Recording:
    """A fit that remembers what it was shown, and always finds the same."""

    def __init__(self) -> None:
        self.shown: list[set[tuple[float, ...]]] = []

    def __call__(self, sets: Sequence[Measured]) -> ProductParameters:
        assert all(each.rows for each in sets)
        self.shown.append({row for each in sets for row in rows_of(each)})
        return KNOWN


def rows_of(some: Measured) -> list[tuple[float, ...]]:
    m, n, k = some.products[:3]
    return list(zip(m.tolist(), n.tolist(), k.tolist(), some.seconds.tolist(), strict=True))


# --- errors by hand


def test_errors_are_means_weighted_by_rows() -> None:
    # off by 0.1, 0.5, 0: (0.1 + 0.5 + 0) / 3 = 0.2; nine of ten are within the largest of three
    assert held(1.1, 0.5, 1.0).error("gemm") == FitError("gemm", 3, pytest.approx(0.2), 0.5)
    # (4 * 0.1 + 1 * 0.5 + 1 * 0) / 6 = 0.15
    assert held(1.1, 0.5, 1.0, weights=(4, 1, 1)).error("bmm")[:3] == ("bmm", 3, pytest.approx(0.15))


def test_the_90th_percentile_is_of_weights() -> None:
    ratios = [1 + 0.01 * number for number in range(1, 11)]  # off by 1 % to 10 %
    assert held(*ratios).error("gemm").p90 == pytest.approx(0.09)
    # the last with half of all weight: 9 of 18 lie below it
    assert held(*ratios, weights=[1] * 9 + [9]).error("gemm").p90 == pytest.approx(0.10)
    # and with next to none: 0.9 * 9.01 = 8.1 is reached by the ninth
    assert held(*ratios, weights=[1] * 9 + [0.01]).error("gemm").p90 == pytest.approx(0.09)


def test_the_spread_holds_nine_of_ten_measured_times() -> None:
    # measured over predicted: 0.51, 0.52 ... 1.50; 5 % of 100 lie at or below 0.55, 95 % at or below 1.45
    times = [0.50 + 0.01 * number for number in range(1, 101)]
    assert held(*(1 / time for time in times)).spread() == Spread(pytest.approx(0.55), pytest.approx(1.45))


def test_the_expected_time_lies_in_its_spread() -> None:
    assert held(0.5, 0.5, 0.5).spread() == Spread(1.0, 2.0)  # measured twice as slow, always
    assert held(2.0, 2.0, 2.0).spread() == Spread(0.5, 1.0)


def test_errors_by_range_are_of_its_rows_alone() -> None:
    found = held(1.1, 1.3, 0.5, 0.9, m=(1, 16, 17, 5000), weights=(9, 1, 1, 1)).by_range()
    assert found == {
        (1, 16): pytest.approx((0.1 + 0.3) / 2),
        (17, 128): pytest.approx(0.5),
        (4097, 10**7): pytest.approx(0.1),
    }


def test_judging_is_predicted_over_measured() -> None:
    found = judge(measured(WEIGHTS[:2], (1, 16, 600), factor=2.0), KNOWN)
    assert found.ratios == pytest.approx(np.full(6, 0.5))
    assert found.m.tolist() == [1, 16, 600, 1, 16, 600]
    # 6 rows in two ranges of m: 3 for each, by four rows and by two
    assert found.weights == pytest.approx([0.75, 0.75, 1.5] * 2)


def test_held_rows_are_put_together() -> None:
    both = held_by([held(1.0, 2.0, m=(5, 6)), held(3.0, m=(7,), weights=(0.5,))])
    assert [part.tolist() for part in both] == [[5, 6, 7], [1, 2, 3], [1, 1, 0.5]]


# --- which rows a fit sees


def test_rows_of_one_weight_go_into_one_fold() -> None:
    some = measured(WEIGHTS, (1, 100, 4000))
    folds = fold_of(some).reshape(len(WEIGHTS), 3)
    assert (folds == folds[:, :1]).all()
    assert 1 < len(set(folds.ravel().tolist())) <= FOLDS
    # 512 * 7919 + 1024 * 104729 = 111 297 024, which is 4 more than a multiple of 5
    assert fold_of(measured([(512, 1024)], (3,))).tolist() == [4]
    assert fold_of(measured(WEIGHTS, (7, 9))).tolist()[::2] == folds[:, 0].tolist()  # in every set


def test_no_fit_sees_the_rows_that_it_is_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from perfkit.calibration import judging

    fit, judged = Recording(), []
    real = judging.judge

    def spy(some: Measured, parameters: ProductParameters) -> Held:
        judged.append((len(fit.shown), set(rows_of(some))))
        return real(some, parameters)

    monkeypatch.setattr(judging, "judge", spy)
    sets = [measured(WEIGHTS, (1, 100, 4000)), measured(WEIGHTS[:4], (5, 600), factor=1.5)]
    found = cross_validate(sets, fit)
    everything = {row for each in sets for row in rows_of(each)}
    for number, rows in judged:
        shown = fit.shown[number - 1]
        assert not rows & shown
        assert not {row[1:3] for row in rows} & {row[1:3] for row in shown}  # nor any of their weights
    for number, shown in enumerate(fit.shown, 1):  # and all others
        assert shown | {row for fold, rows in judged if fold == number for row in rows} == everything
    assert sum(len(rows) for _, rows in judged) == len(everything)
    assert found.ratios == pytest.approx([1.0] * 45 + [1 / 1.5] * 8)
    assert found.m.tolist() == [*sets[0].products.m, *sets[1].products.m]


def test_each_device_is_judged_by_the_others() -> None:
    devices = [
        [measured(WEIGHTS[:3], (1, 600), factor=2.0), measured(WEIGHTS[:2], (7,), factor=2.0)],
        [measured(WEIGHTS[:3], (2, 700), factor=4.0)],
        [measured(WEIGHTS[:3], (3, 800), factor=5.0)],
    ]
    fit = Recording()
    found = leave_one_out(devices, fit)
    of = [{row for each in sets for row in rows_of(each)} for sets in devices]
    assert fit.shown == [of[1] | of[2], of[0] | of[2], of[0] | of[1]]
    assert found.ratios == pytest.approx([1 / 2] * 8 + [1 / 4] * 6 + [1 / 5] * 6)


def test_a_device_is_judged_by_folds_and_several_by_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [measured(WEIGHTS[:3], (1, 600))]
    fit = Recording()
    monkeypatch.setattr(fits, "leave_one_out", lambda *_: "others")
    monkeypatch.setattr(fits, "cross_validate", lambda *_: "folds")
    assert [fits._held(devices, fit) for devices in ([some], [some, some])] == ["folds", "others"]


# --- what a fit knows beforehand


def calibration(name: str, on: Sequence[str], family: str | None = None) -> Calibration:
    tables = tuple(FittedOn("x.csv", 10, "0" * 16, device) for device in on)
    return Calibration(name, name, None if family else name, family, tables, "none", {"tensor": KNOWN})


def test_what_was_fitted_on_a_device_is_no_prior_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = {
        "own": calibration("own", ["v100-sxm2-32gb"]),
        "other": calibration("other", ["l40s"]),
        "everything": calibration("everything", ["l40s", "v100-sxm2-32gb"]),
        "family": calibration("family", ["a100-sxm-80gb"], family="ampere"),
    }
    monkeypatch.setattr(calibrating, "calibration_ids", lambda: sorted(bundled))
    monkeypatch.setattr(calibrating, "read_bundled", bundled.__getitem__)
    for measured_on, known in {
        ("v100-sxm2-32gb",): ["other"],
        ("l40s",): ["own"],
        ("v100-sxm2-32gb", "l40s"): [],
        ("h200-sxm-141gb",): ["everything", "other", "own"],  # a family's is made of its devices'
    }.items():
        assert [each.id for each in calibrating._known(set(measured_on))] == known
