"""Least squares of logarithms from a start that is the prior too: robust, bounded, the same every time.

    minimise  sum_i rho(misfit_i) + sum_p rho((x_p - start_p) / spread_p),  rho(r) = 2 (sqrt(1 + r^2) - 1)

An outlier counts by its size, not by its square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from typing import TYPE_CHECKING

from perfkit.calibration.parameters import Parameter

if TYPE_CHECKING:
    from numpy import ndarray

STEP = 1e-3  # of the derivatives
MOST_STEPS = 60
ENOUGH = 1e-4  # share by which a step must still lower the cost, or move


def descend(
    misfit: Callable[[list[float]], ndarray],
    parameters: Sequence[Parameter],
    start: Sequence[float],
    spreads: Sequence[float],
) -> tuple[float, list[float]]:
    """Cost and values of parameters at the bottom of the valley in which `start` lies."""
    import numpy
    from scipy.optimize import least_squares

    first, low, high = (
        numpy.array([_fitted(p, value) for p, value in zip(parameters, values, strict=True)])
        for values in (start, [p.low for p in parameters], [p.high for p in parameters])
    )
    scale = numpy.array(spreads)
    found = least_squares(
        lambda x: numpy.concatenate([misfit(_values(parameters, x)), (x - first) / scale]),
        numpy.clip(first, low + 1e-9, high - 1e-9),
        bounds=(low, high),
        loss="soft_l1",
        diff_step=STEP,
        x_scale=scale,
        ftol=ENOUGH,
        xtol=ENOUGH,
        max_nfev=MOST_STEPS,
    )
    return float(found.cost), _values(parameters, found.x)


def _fitted(parameter: Parameter, value: float) -> float:
    """As it is fitted; what lies below its least is taken for that."""
    return log(max(value, parameter.low)) if parameter.logarithmic else value


def _values(parameters: Sequence[Parameter], fitted: ndarray) -> list[float]:
    return [exp(x) if p.logarithmic else float(x) for p, x in zip(parameters, fitted.tolist(), strict=True)]
