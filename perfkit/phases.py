"""Times of ops summed: a phase, or any other group, with what is expected of it and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from perfkit.kernels.host import HostTime
from perfkit.ops import COMMUNICATION, maximum
from perfkit.roofline import OpTime
from perfkit.units import Amount

# How much of what kernels are off is off in all of a phase alike; what is left partly cancels between different ops.
# So 55 of the 58 whole forwards in papers/timings lay inside their range when it was chosen; at 0.5 57 did, at 0.2 53.
SHARED = 0.3


class PhaseTime(NamedTuple):
    """Sum of the ops of one phase; its roofline and expected times (None where unknown) are the sums of theirs.

    Where a host launches the kernels one by one (`launch_s`: what that takes, else None), no phase is expected to be
    faster than its launches. `bound` is that of the ops which take most of the time, or `launch`; `compute_bound_s` is
    the time of those bound by compute, `communication_s` of those by which GPUs exchange. Nine of ten times lie from
    `expected_low_s` to `expected_high_s`.
    """

    phase: str
    matmul_flops: Amount
    flops: Amount
    weight_bytes: Amount
    read_bytes: Amount
    write_bytes: Amount
    kv_read_bytes: Amount
    kv_write_bytes: Amount
    roofline_s: Amount
    compute_bound_s: Amount
    expected_s: Amount | None = None
    expected_low_s: Amount | None = None
    expected_high_s: Amount | None = None
    launch_s: Amount | None = None
    communication_s: Amount = 0

    @property
    def bytes(self) -> Amount:
        """All traffic."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes + self.read_bytes + self.write_bytes

    @property
    def compute_bound(self) -> Any:
        """Whether compute bounds the larger part of the time on the GPUs themselves, at each point of a sweep."""
        return 2 * self.compute_bound_s >= self.roofline_s - self.communication_s

    @property
    def bound(self) -> str:
        """`launch` where the host is what it waits for; else what bounds most: compute, memory or communication."""
        if self.launch_s is not None and self.expected_s is not None and self.launch_s >= self.expected_s:
            return "launch"
        larger = maximum(self.compute_bound_s, self.roofline_s - self.communication_s - self.compute_bound_s)
        if self.communication_s > larger:
            return COMMUNICATION
        return "compute" if self.compute_bound else "memory"

    def less(self, part: PhaseTime) -> PhaseTime:
        """What is left of it without `part`, figure by figure."""
        return PhaseTime(self.phase, *map(_difference, self[1:], part[1:]))


def total_of(phase: str, times: Iterable[OpTime]) -> PhaseTime:
    """Sum of ops, of a phase or of any other group."""
    members = list(times)
    alone = [time for time in members if time.cost.kind != COMMUNICATION]
    costs = [time.cost for time in members]
    low, high = range_of(members) or (None, None)
    return PhaseTime(
        phase=phase,
        matmul_flops=sum([op.matmul_flops for op in costs]),
        flops=sum([op.flops for op in costs]),
        weight_bytes=sum([op.weight_bytes for op in costs]),
        read_bytes=sum([op.read_bytes for op in costs]),
        write_bytes=sum([op.write_bytes for op in costs]),
        kv_read_bytes=sum([op.kv_read_bytes for op in costs]),
        kv_write_bytes=sum([op.kv_write_bytes for op in costs]),
        roofline_s=sum([time.roofline_s for time in members]),
        compute_bound_s=sum([time.roofline_s * (time.compute_s >= time.memory_s) for time in alone]),
        expected_s=sum_of_known([time.expected_s for time in members]),
        expected_low_s=low,
        expected_high_s=high,
        communication_s=sum([time.roofline_s for time in members if time.cost.kind == COMMUNICATION]),
    )


def range_of(parts: Iterable[OpTime | PhaseTime]) -> tuple[Amount, Amount] | None:
    """Between which the sum of several expected times lies, nine times out of ten; None where one of them is not known.

    Of how far each part reaches, SHARED adds up as what is off in all alike, and the rest as what is off by chance:
    with d_i the way from an expected time to its end, sqrt(SHARED (sum d_i)^2 + (1 - SHARED) sum d_i^2).

    >>> part = OpTime(None, 0, 0, 0, expected_s=10.0, expected_low_s=9.0, expected_high_s=12.0)
    >>> low, high = range_of([part, part])  # 20 - sqrt(0.3 * 2^2 + 0.7 * (1 + 1)), 20 + sqrt(0.3 * 4^2 + 0.7 * (4 + 4))
    >>> round(low, 3), round(high, 3)
    (18.388, 23.225)
    """
    known: list[Any] = [(part.expected_low_s, part.expected_s, part.expected_high_s) for part in parts]
    if any(time is None for times in known for time in times):  # times may be arrays
        return None
    expected = sum([time for _, time, _ in known])
    return (
        expected - _together([time - low for low, time, _ in known]),
        expected + _together([high - time for _, time, high in known]),
    )


def _together(ways: list[Amount]) -> Amount:
    return (SHARED * sum(ways) ** 2 + (1 - SHARED) * sum([way**2 for way in ways])) ** 0.5


def _difference(whole: Amount | None, part: Amount | None) -> Amount | None:
    """None where one of them is not known."""
    return None if whole is None or part is None else whole - part


def sum_of_known(seconds: Iterable[Amount | None]) -> Amount | None:
    """Their sum, or None where one is not known."""
    total: Amount = 0
    for one in seconds:
        if one is None:
            return None
        total = total + one
    return total


def launched(total: PhaseTime, launches: Amount, host: HostTime) -> PhaseTime:
    """A phase whose kernels a host launches one by one, ahead of the device for as long as it can."""
    times = (total.expected_s, total.expected_low_s, total.expected_high_s)
    expected, low, high = (
        None if time is None else maximum(time, launches * each) for time, each in zip(times, host, strict=True)
    )
    return total._replace(
        expected_s=expected, expected_low_s=low, expected_high_s=high, launch_s=launches * host.expected_s
    )
