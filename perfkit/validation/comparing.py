"""One timed phase beside what was predicted of it."""

from __future__ import annotations

from typing import NamedTuple

from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.measurement import Point
from perfkit.measuring.protocol import Timing
from perfkit.phases import PhaseTime
from perfkit.validation.predicting import PredictedPhase


class ComparedPoint(NamedTuple):
    """A case, its timing (None where it did not run) and its prediction; times in seconds.

    `flops_per_s`, `bytes_per_s`: peak rate of its products, and memory bandwidth, of the device.
    """

    case: PhaseCase
    status: str
    timing: Timing | None
    launches: int | None
    predicted: PhaseTime
    flops_per_s: float
    bytes_per_s: float

    @property
    def measured_s(self) -> float | None:
        """Median of the samples."""
        return None if self.timing is None else self.timing.median_s

    @property
    def interval_s(self) -> tuple[float, float] | None:
        """95 % interval of the median, None where there are too few samples for one."""
        return None if self.timing is None else self.timing.interval_s

    @property
    def roofline_s(self) -> float:
        """No run of these kernels is faster at the rates that the device is said to have."""
        return float(self.predicted.roofline_s)

    @property
    def expected_s(self) -> float | None:
        """What the device's calibration or measured rates predict, None where it has none."""
        return None if self.predicted.expected_s is None else float(self.predicted.expected_s)

    @property
    def roofline_ratio(self) -> float | None:
        """Measured over roofline; below 1 something is wrong."""
        return None if self.measured_s is None else self.measured_s / self.roofline_s

    @property
    def expected_ratio(self) -> float | None:
        """Measured over expected."""
        return None if self.measured_s is None or self.expected_s is None else self.measured_s / self.expected_s

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: products over what the engine could have made in the measured time.

        Source: Chowdhery et al., PaLM (arXiv 2204.02311), appendix B; here of any phase.
        """
        return None if self.measured_s is None else self.predicted.matmul_flops / self.measured_s / self.flops_per_s

    @property
    def mbu(self) -> float | None:
        """Model bandwidth utilisation: bytes of ideal kernels over what memory could have moved in that time."""
        return None if self.measured_s is None else self.predicted.bytes / self.measured_s / self.bytes_per_s


def compare(case: PhaseCase, point: Point, predicted: PredictedPhase) -> ComparedPoint:
    """A point of a measurement beside its prediction."""
    unstable = point.timing is not None and not point.timing.stable
    return ComparedPoint(
        case=case,
        status="unstable" if unstable else point.status,
        timing=point.timing,
        launches=point.launches,
        predicted=predicted.total,
        flops_per_s=predicted.flops_per_s,
        bytes_per_s=predicted.bytes_per_s,
    )
