"""perfkit's predictions against times that others measured and published, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from perfkit.hardware import Device, choose_device, load_device
from perfkit.latency import predict
from perfkit.metrics import mape, p90, worst
from perfkit.ops import Place, linear
from perfkit.papers.timings import Paper, Product, Timing, Work, timings
from perfkit.phases import range_of
from perfkit.roofline import engines_of, time_ops


class PublishedPoint(NamedTuple):
    """One published timing and what is predicted of it; `others` are published predictors, name -> seconds.

    `expected_s`, from `expected_low_s` to `expected_high_s` nine times out of ten, is None where nothing is expected,
    and of single products: calibrations are fitted to such tables, and none is judged here by what it may have seen.
    """

    paper: Paper
    device: str
    what: str
    measured_s: float
    roofline_s: float
    expected_s: float | None
    expected_low_s: float | None
    expected_high_s: float | None
    others: dict[str, float]

    @property
    def source(self) -> str:
        """What to cite for the measured time."""
        return self.paper.source

    @property
    def predictions(self) -> dict[str, float]:
        """Predictor -> seconds, perfkit's own first."""
        expected = {} if self.expected_s is None else {"expected": self.expected_s}
        return {"roofline": self.roofline_s, **expected, **self.others}


class PublishedErrors(NamedTuple):
    """Absolute percentage errors, as fractions, of one predictor over all points of a source on a device."""

    paper: str
    device: str
    predictor: str
    points: int
    mape: float
    p90: float
    worst: float


@dataclass(frozen=True, slots=True)
class PublishedValidation:
    """Published timings with predictions of each, source by source and device by device."""

    points: tuple[PublishedPoint, ...]

    def by_source(self) -> list[tuple[PublishedPoint, ...]]:
        """Points of one source on one device together."""
        groups: dict[tuple[Paper, str], list[PublishedPoint]] = {}
        for point in self.points:
            groups.setdefault((point.paper, point.device), []).append(point)
        return [tuple(points) for points in groups.values()]

    def errors(self) -> tuple[PublishedErrors, ...]:
        """Errors of every predictor that spoke of all points of a source on a device."""
        return tuple(error for points in self.by_source() for error in _errors(points))


def published() -> PublishedValidation:
    """Every published timing that comes with perfkit, against the roofline of the same work on the same device.

    >>> errors = {(e.paper, e.device, e.predictor): e.mape for e in published().errors()}
    >>> round(errors["neusight", "v100-pcie-32gb", "Habitat"], 3)
    0.099
    """
    return PublishedValidation(tuple(point_of(timing) for timing in timings()))


def point_of(timing: Timing) -> PublishedPoint:
    """A timing and what is predicted of it.

    >>> from perfkit.units import Precision
    >>> product = Product(4096, 4096, 4096, "TN", Precision.FP16)
    >>> timing = Timing(Paper("mine", "my desk", "once", ()), "v100-sxm2-32gb", "square", product, 0.0013, {})
    >>> f"{point_of(timing).roofline_s * 1e3:.4f} ms"  # 2 * 4096^3 / 125e12
    '1.0995 ms'
    """
    predicted = _predicted(timing.work, timing.device)
    return PublishedPoint(timing.paper, timing.device, timing.what, timing.measured_s, *predicted, timing.others)


class _Predicted(NamedTuple):
    """Seconds; of a `PublishedPoint`."""

    roofline_s: float
    expected_s: float | None = None
    expected_low_s: float | None = None
    expected_high_s: float | None = None


def _predicted(work: Work, device: str) -> _Predicted:
    if isinstance(work, Product):
        return _Predicted(_product_s(work, load_device(device)))
    prediction = predict(work.model, choose_device(device), work.workload, work.execution)
    phases = [phase for phase in prediction.phases if phase.phase in work.phases]
    roofline_s = float(sum(phase.roofline_s for phase in phases))
    ends = range_of(phases)
    if ends is None:
        return _Predicted(roofline_s)
    expected_s = sum(phase.expected_s for phase in phases if phase.expected_s is not None)
    return _Predicted(roofline_s, float(expected_s), *map(float, ends))


def _product_s(work: Product, device: Device) -> float:
    p = work.precision
    place = Place("product", 1, p, p, p, p)
    op = linear(place, "product", work.m, work.k, work.n)
    (time,) = time_ops(engines_of(device, [op]), [op])
    return float(time.roofline_s)


def _errors(points: tuple[PublishedPoint, ...]) -> list[PublishedErrors]:
    first = points[0]
    shared = [name for name in first.predictions if all(name in point.predictions for point in points)]
    pairs = {name: [(point.predictions[name], point.measured_s) for point in points] for name in shared}
    return [
        PublishedErrors(first.paper.name, first.device, name, len(points), mape(of), p90(of), worst(of))
        for name, of in pairs.items()
    ]
