"""What the host of a measured machine takes to launch a kernel, in place of what is expected of any host."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from perfkit.kernels.host import HostTime
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.measurement import Point

LEAST = 6  # timed phases, below which their ends are chance
MANY = 100  # launches of a phase; of fewer, what is around them counts as much
OUTSIDE = 0.05  # of the phases, at each end
AHEAD = 1.5  # times what its host took, above which a phase is bound by its device, whose queue the host may wait for


def host_of(points: Iterable[Point]) -> HostTime | None:
    """Seconds a launch of eager code: median over the phases that were timed, and between which nine of ten lie.

    None where fewer than LEAST phases of MANY launches say what their host took; a graph is one launch, and a phase
    that its device bounds says nothing: some thousand launches ahead a host waits.

    >>> prefill = PhaseCase("llava-1.5-7b", "prefill", 32, 60, 1, "fp16", "sdpa")
    >>> host_of([Point(prefill, "ok", launches=1000, host_s=s / 1e3) for s in (10, 10, 12, 12, 14, 14)])
    HostTime(expected_s=1.2e-05, low_s=1e-05, high_s=1.4e-05)
    """
    each = sorted(found for point in points if (found := _launch_s(point)) is not None)
    if len(each) < LEAST:
        return None
    left_out = int(OUTSIDE * len(each))
    return HostTime(median(each), each[left_out], each[-1 - left_out])


def _launch_s(point: Point) -> float | None:
    if not isinstance(point.case, PhaseCase) or point.host_s is None or (point.launches or 0) < MANY:
        return None
    if point.timing is not None and point.timing.median_s > AHEAD * point.host_s:
        return None
    return point.host_s / (point.launches or 1)
