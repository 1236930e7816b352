"""From the roofline to what was measured, step by step: slower kernels, launch gaps, and what stays unexplained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.measurement import Point
from perfkit.roofline import OpTime
from perfkit.validation.kernel_times import KernelTimes
from perfkit.validation.predicting import PredictedPhase

BASES = ("kernels measured", "interpolated", "expected", "roofline")


class Waterfall(NamedTuple):
    """Parts of the measured time of a phase, in seconds.

    `kernels_s`: sum of its kernels at the speed that each reaches alone. `launch_s`: time that the device waits for
    launches, None where it is not known. `shares`: of `kernels_s`, by basis (BASES). `unmeasured`: ops that had no
    measured kernel.
    """

    case: PhaseCase
    measured_s: float
    roofline_s: float
    kernels_s: float
    launch_s: float | None
    shares: dict[str, float]
    unmeasured: tuple[str, ...]

    @property
    def slower_kernels_s(self) -> float:
        """What its kernels take beyond their roofline; below zero where they are faster than it."""
        return self.kernels_s - self.roofline_s

    @property
    def unexplained_s(self) -> float:
        """What is left; below zero where the parts explain more than was measured."""
        return self.measured_s - self.kernels_s - (self.launch_s or 0.0)

    @property
    def parts_s(self) -> tuple[float, float, float, float]:
        """Roofline, slower kernels, launch gaps, unexplained; their sum is what was measured."""
        return self.roofline_s, self.slower_kernels_s, self.launch_s or 0.0, self.unexplained_s


class _Kernels(NamedTuple):
    """All launches of an op: how many, their seconds, and what those rest on."""

    name: str
    launches: int
    seconds: float
    basis: str

    @property
    def measured(self) -> bool:
        return self.basis in BASES[:2]


def explain(kind: str, point: Point, case: PhaseCase, predicted: PredictedPhase, kernels: KernelTimes) -> Waterfall:
    """Waterfall of a phase that was timed on a machine of `kind` (cuda or cpu).

    Raises:
        ValueError: the point has no timing.
    """
    if point.timing is None:
        raise ValueError(f"{case.label}: was not timed")
    ops = [_achievable(time, kernels) for time in predicted.ops]
    total = sum(op.seconds for op in ops)
    inside = sum(op.launches for op in ops if op.measured)
    return Waterfall(
        case=case,
        measured_s=point.timing.median_s,
        roofline_s=predicted.total.roofline_s,
        kernels_s=total,
        launch_s=launch_gaps_s(kind, point, total, kernels.launch_s, inside),
        shares={basis: _seconds_by(basis, ops) / total for basis in BASES},
        unmeasured=tuple(dict.fromkeys(op.name for op in ops if not op.measured)),
    )


def _achievable(time: OpTime, kernels: KernelTimes) -> _Kernels:
    """An op at the speed that its kernel reaches; never raised to the roofline, so that a kernel below it shows.

    What eager code runs as several kernels was not timed as one, but for activations, which are timed as they run.
    """
    op, found = time.cost, kernels.find(time.cost)
    if time.launches > op.repeat and time.expected_s is not None and op.kind != "activation":
        found = None
    if found is not None:
        return _Kernels(op.name, op.repeat, op.repeat * found.seconds, BASES[0] if found.exact else BASES[1])
    if time.expected_s is not None:
        return _Kernels(op.name, op.repeat, time.expected_s, BASES[2])
    return _Kernels(op.name, op.repeat, time.roofline_s, BASES[3])


def _seconds_by(basis: str, ops: Iterable[_Kernels]) -> float:
    return sum(op.seconds for op in ops if op.basis == basis)


def launch_gaps_s(
    kind: str, point: Point, kernels_s: float, launch_s: float | None = None, inside: int = 0
) -> float | None:
    """Seconds that launches add to kernels of `kernels_s`; None where nothing tells what they cost.

    A GPU computes while the host launches, and waits only for what the host takes longer: the time that was measured
    for launching the call, or else its launches at `launch_s` each. A graph is launched at once. On a CPU the same
    threads launch and compute, so launches add up, save the `inside` ones that measured kernels hold already.

    >>> decode = PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa")
    >>> launch_gaps_s("cuda", Point(decode, "ok", launches=1000), 0.003, launch_s=5e-6)  # 1000 * 5 us - 3 ms
    0.002
    >>> launch_gaps_s("cuda", Point(decode, "ok", launches=1000, host_s=0.0125), 0.0025)  # 12.5 - 2.5 ms
    0.01
    >>> launch_gaps_s("cpu", Point(decode, "ok", launches=1000), 0.003, launch_s=5e-6, inside=600)  # 400 * 5 us
    0.002
    """
    if kind == "cuda" and point.host_s is not None:
        return max(0.0, point.host_s - kernels_s)
    if kind == "cuda" and isinstance(point.case, PhaseCase) and point.case.runtime == "graph":
        return 0.0
    if point.launches is None or launch_s is None:
        return None
    if kind == "cpu":
        return max(0, point.launches - inside) * launch_s
    return max(0.0, point.launches * launch_s - kernels_s)
