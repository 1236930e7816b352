"""Expected times by measured rates, by hand: a CPU of 200 GFLOP/s, 40 GB/s, 20 and 10 of one row in fp32 and bf16."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfkit import reports
from perfkit.counting import workload_of
from perfkit.hardware import Choice, Device, Figure, Peak, load_device
from perfkit.kernels import expect_ops, expectation_of, has_measured_rates
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.models import load_model
from perfkit.ops import OpCost, Place, add, experts, linear
from perfkit.reports.expected import expected_in_words
from perfkit.roofline import OpTime, engines_of, time_ops
from perfkit.units import Precision

FP32, BF16 = Precision.FP32, Precision.BF16


def figure(value: float, unit: str = "GB/s") -> Figure:
    return Figure(value * 1e9, f"{value} {unit}", "measured")


CPU = Device(
    id="this",
    name="A CPU",
    peaks=tuple(Peak("vector", p, "fp32", figure(200, "GFLOP/s")) for p in (FP32, BF16)),
    capacity=figure(100, "GB"),
    bandwidth=figure(40),
    gemv={FP32: figure(20), BF16: figure(10)},
)


def timed(op: OpCost, device: Device = CPU) -> OpTime:
    engines = engines_of(device, [op])
    (time,) = expect_ops(expectation_of(engines), engines, time_ops(engines, [op]))
    return time


def product(rows: Any, precision: Precision = FP32, repeat: int = 1) -> OpCost:
    return linear(Place("decode", repeat, *[precision] * 4), "q_proj", rows, 1000, 1000)


def seconds(value: float) -> Any:
    return pytest.approx(value, rel=1e-12)


def test_large_products_run_at_their_measured_rate() -> None:
    measured = replace(CPU, gemm={BF16: figure(50, "GFLOP/s")})
    time = timed(product(1000, BF16), measured)  # 2 * 1000^3 = 2 GFLOP: 10 ms at the peak, 40 ms as measured
    assert (time.roofline_s, time.expected_s) == (seconds(2e9 / 200e9), seconds(2e9 / 50e9))
    assert timed(product(1000, FP32), measured).expected_s == seconds(2e9 / 200e9)  # not measured in fp32
    assert has_measured_rates(replace(CPU, gemv={}, gemm=measured.gemm))


def test_what_is_no_product_keeps_its_compute_time() -> None:
    measured = replace(CPU, gemm={FP32: figure(1, "GFLOP/s")})
    place = Place("prefill", 1, *[FP32] * 4)
    assert timed(add(place, "residual", 10, 1000), measured).expected_s == seconds(3 * 10_000 * 4 / 40e9)


@pytest.mark.parametrize(("precision", "element", "rate"), [(FP32, 4, 20e9), (BF16, 2, 10e9)])
def test_a_product_of_one_row_runs_at_the_rate_of_its_precision(
    precision: Precision, element: int, rate: float
) -> None:
    time = timed(product(1, precision))
    assert time.roofline_s == seconds(element * 1_002_000 / 40e9)  # weights 1 M, 1000 in, 1000 out
    assert time.expected_s == seconds(element * 1_002_000 / rate)


def test_launches_are_expected_together() -> None:
    assert timed(product(1, repeat=32)).expected_s == seconds(32 * 4 * 1_002_000 / 20e9)


@pytest.mark.parametrize("rows", [2, 64, 5000])
def test_more_rows_are_expected_at_the_roofline(rows: int) -> None:
    time = timed(product(rows))
    assert time.expected_s == time.roofline_s


def test_one_row_may_be_bound_by_compute() -> None:
    slow = replace(CPU, peaks=(Peak("vector", FP32, "fp32", figure(1, "GFLOP/s")),))
    time = timed(product(1), slow)
    assert time.expected_s == time.compute_s == seconds(2e6 / 1e9)  # 2 ms; 4.008 MB / 20 GB/s = 0.2 ms


def test_what_is_no_product_is_expected_at_the_roofline() -> None:
    place = Place("decode", 1, *[FP32] * 4)
    for op in (add(place, "residual", 1, 4096), experts(place, "up_proj", 1, 64, 64, count=8, chosen=2)):
        assert timed(op).expected_s == timed(op).roofline_s


def test_a_precision_that_was_not_measured_takes_the_memory_bandwidth() -> None:
    time = timed(product(1), replace(CPU, gemv={BF16: figure(10)}))
    assert time.expected_s == time.roofline_s


def test_a_datasheet_has_no_measured_rates() -> None:
    assert not has_measured_rates(load_device("v100"))
    assert has_measured_rates(CPU)
    assert expectation_of(engines_of(CPU, [product(1)])).id == "measured rates of this"


def test_arrays_give_what_points_give() -> None:
    rows = np.array([1.0, 2.0, 1.0, 700.0])
    swept = timed(product(rows)).expected_s
    assert list(swept) == [timed(product(int(m))).expected_s for m in rows]


# --- whole predictions


def prediction(device: Device = CPU, **asked: Any) -> Prediction:
    spec = load_model("llava-1.5-7b")
    workload = workload_of(spec, tokens=32, **asked)
    return predict(spec, Choice(device, device.id), workload, parse_execution("fp32"))


def test_phases_and_totals_sum_what_is_expected_of_ops() -> None:
    p = prediction()
    for phase in p.phases:
        assert phase.expected_s == seconds(sum(t.expected_s for t in p.ops if t.cost.phase == phase.phase))
    assert p.ttft_expected_s == seconds(sum(phase.expected_s for phase in p.phases[:-1]))
    assert p.phases[-1].phase == "decode"
    assert p.tpot_expected_s is not None
    # All but 0.6 % of the bytes are weights of one-row products, at half the bandwidth.
    assert 1.95 < p.tpot_expected_s / p.tpot_roofline_s < 2


def test_a_batch_has_no_products_of_one_row_in_decode() -> None:
    p = prediction(batch=2)
    assert p.tpot_expected_s == p.tpot_roofline_s


def test_a_sweep_of_batches_gives_what_each_batch_gives() -> None:
    swept = prediction(batch=np.array([1.0, 2.0]))
    points = [prediction(batch=1), prediction(batch=2)]
    assert list(swept.tpot_expected_s) == [seconds(p.tpot_expected_s) for p in points]
    assert list(swept.ttft_expected_s) == [seconds(p.ttft_expected_s) for p in points]


# --- reports


def test_json_carries_expected_times_and_what_they_stand_on() -> None:
    p = prediction()
    document = reports.document(p)
    assert document["calibration"] == "measured rates of this"
    assert document["totals"]["ttft_expected_s"] == p.ttft_expected_s
    assert document["totals"]["tpot_expected_s"] == p.tpot_expected_s
    assert [phase["expected_s"] for phase in document["phases"]] == [phase.expected_s for phase in p.phases]
    assert all(op["expected_s"] >= op["roofline_s"] for op in document["ops"])
    assert {op["expected_low_s"] for op in document["ops"]} == {None}


def test_the_overview_shows_expected_times_where_there_are_some() -> None:
    measured, thumb = prediction(), prediction(load_device("gb200"))  # whose multiprocessors no source prints
    for p in (measured, thumb):
        phases, totals, kinds = reports.overview(p)
        assert "expected" in [column.key for column in phases.columns]
        assert "expected" in [column.key for column in kinds.columns]
        assert "expected" in str(totals.rows)
    assert "measured: fp32" in reports.overview(measured)[0].title
    (both,) = reports.overview([measured, thumb])
    first, second = (row["tpot_expected"] for row in both.records())
    assert first == expected_in_words(measured.tpot_expected_s)  # of measured rates no range is known
    assert second.endswith(")")
    assert any("rule of thumb" in note for note in both.notes)


def test_the_tidy_table_has_expected_totals() -> None:
    p = prediction()
    rows = {row["name"]: row for row in reports.report(p).records() if row["level"] == "request"}
    assert rows["ttft"]["expected_s"] == p.ttft_expected_s
    assert rows["tpot"]["expected_s"] == p.tpot_expected_s
