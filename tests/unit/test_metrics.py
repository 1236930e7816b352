"""Errors of predictions: percentages, their mean, worst and percentiles; nothing is computed of nothing."""

import numpy
import pytest

from perfkit.errors import InvalidValue
from perfkit.metrics import absolute_percentage_error, mape, p90, percentage_error, percentile, worst

PAIRS = [(5.0, 4.0), (3.0, 4.0), (6.0, 4.0)]  # +0.25, -0.25, +0.5


def test_errors_have_a_sign_and_their_mean_has_none():
    assert [percentage_error(*pair) for pair in PAIRS] == [0.25, -0.25, 0.5]
    assert [absolute_percentage_error(*pair) for pair in PAIRS] == [0.25, 0.25, 0.5]
    assert mape(PAIRS) == pytest.approx(1 / 3)  # (0.25 + 0.25 + 0.5) / 3
    assert worst(PAIRS) == 0.5


def test_the_worst_may_be_too_low():
    assert worst([(1.0, 4.0), (5.0, 4.0)]) == 0.75


def test_pairs_may_come_from_anywhere():
    assert mape(pair for pair in PAIRS) == mape(PAIRS)
    assert mape(zip([5.0], [4.0], strict=True)) == 0.25


def test_nine_of_ten():
    assert p90(PAIRS) == pytest.approx(0.45)  # place 0.9 * 2 = 1.8 of 0.25, 0.25, 0.5: 0.25 + 0.8 * 0.25


@pytest.mark.parametrize("q", [0, 10, 33.3, 50, 90, 99.9, 100])
@pytest.mark.parametrize("values", [[3.0], [2.0, 1.0], [5.0, 1.0, 4.0, 2.0, 2.0, 9.0]])
def test_percentiles_are_those_of_numpy(values, q):
    assert percentile(values, q) == pytest.approx(float(numpy.percentile(values, q)))


@pytest.mark.parametrize("summary", [mape, worst, p90])
def test_no_pairs_have_no_error(summary):
    with pytest.raises(InvalidValue, match="at least one pair"):
        summary([])


@pytest.mark.parametrize("measured", [0.0, -1.0, float("nan")])
def test_a_measured_value_is_above_zero(measured):
    for function in (percentage_error, absolute_percentage_error):
        with pytest.raises(InvalidValue, match="must be above zero"):
            function(1.0, measured)


def test_percentiles_of_nothing_and_outside_are_refused():
    with pytest.raises(InvalidValue, match="at least one value"):
        percentile([], 50)
    for q in (-1, 101, float("nan")):
        with pytest.raises(InvalidValue, match="between 0 and 100"):
            percentile([1.0], q)
