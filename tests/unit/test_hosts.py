"""What a measured host takes for a launch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles import MACHINE

from perfkit.kernel_shapes import gemm
from perfkit.kernels.host import HostTime
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.measurement import Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.validation.hosts import LEAST, host_of
from perfkit.validation.judging import validate

DECODE = PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa")


def timed(host_ms: float) -> Point:
    return Point(DECODE, "ok", launches=1000, host_s=host_ms * 1e-3)


def test_the_median_stands_for_a_host_and_nine_of_ten_phases_are_its_range() -> None:
    # 40 phases of 1, 2, ... 40 us a launch: two of them at each end are left out
    assert host_of(map(timed, range(1, 41))) == pytest.approx(HostTime(20.5e-6, 3e-6, 38e-6))


def test_graphs_short_calls_and_phases_without_a_host_tell_nothing() -> None:
    told = [timed(10)] * (LEAST - 1)
    graph = Point(DECODE._replace(runtime="graph"), "ok", launches=1, host_s=1e-5)
    silent = [graph, Point(DECODE, "ok", launches=1000), Point(DECODE, "ok", host_s=1.0)]
    kernel = Point(KernelCase(gemm(1, 512, 512), "fp16"), "ok", launches=1, host_s=1.0)
    assert host_of([*told, *silent, kernel]) is None
    assert host_of([*told, *silent, timed(10)]) == pytest.approx(HostTime(1e-5, 1e-5, 1e-5))


def test_each_measurement_has_its_own_host_whatever_its_name() -> None:
    # Six phases of 1000 launches each, at batches 1 to 6 with a host of 10 ms, at 7 to 12 with one of 30.
    made = [
        replace(
            Measurement(MACHINE, file="mine.json"),
            points=tuple(
                Point(DECODE._replace(batch=batch), "ok", Timing((s,) * 7, 3, stable=True), launches=1000, host_s=s)
                for batch in batches
            ),
        )
        for batches, s in ((range(1, 7), 0.01), (range(7, 13), 0.03))
    ]
    both = validate(made)
    assert [host.expected_s for host in both.hosts] == pytest.approx([1e-5, 3e-5])
    for one in made:
        (alone, held) = validate([one]), [point for point in both.points if point.case in one.phases]
        assert [point.expected_s for point in held] == [point.expected_s for point in alone.points]
    assert both.points[0].expected_s != both.points[-1].expected_s
    assert len(validate([made[0], made[0]]).hosts) == 1


def test_a_phase_that_its_device_bounds_tells_nothing_of_the_host() -> None:
    # 1000 launches in 40 ms: the host waited for a device that took 120.
    told = [timed(10)] * LEAST
    waited = Point(DECODE, "ok", Timing((0.120,), warmup=0, stable=True), launches=1000, host_s=0.040)
    assert host_of([*told, *[waited] * 20]) == pytest.approx(HostTime(1e-5, 1e-5, 1e-5))
    bound = replace(waited, timing=Timing((0.044,), warmup=0, stable=True))
    assert host_of([*told, *[bound] * 20]) == pytest.approx(HostTime(4e-5, 1e-5, 4e-5))
