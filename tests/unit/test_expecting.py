"""Expected times of whole models: sums of kernels, redone by hand with parameters that are easy to reckon with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import perfkit
from perfkit import reports
from perfkit.attention import AttentionShape, fused_attention
from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.hardware import choose_device, load_device
from perfkit.kernels import expect_ops, expectation_of
from perfkit.kernels.calibrations import Calibration, Spread, calibration_for, complete, read_bundled
from perfkit.kernels.host import EAGER
from perfkit.kernels.limits import limits_of
from perfkit.kernels.products import Product, product_s
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.models import load_model
from perfkit.ops import OpCost, Place, add, experts, linear, norm, rotary
from perfkit.phases import range_of
from perfkit.remarks import notes, warnings
from perfkit.reports.expected import expected_in_words
from perfkit.roofline import OpTime, engines_of, time_ops
from perfkit.units import Precision

FP16 = Place("decode", 1, *[Precision.FP16] * 4)
W4A16 = Place("decode", 1, Precision.INT4, *[Precision.FP16] * 3, 128)
V100 = load_device("v100")  # 125 TFLOP/s, 900 GB/s, 80 multiprocessors at 1.53 GHz


def plain(**changes: Any) -> Calibration:
    """The V100's, made so that a product is its bytes at 800 GB/s and 2 us, all else bytes at 600 GB/s and 1 us."""
    own = calibration_for(V100)
    # Everything but bytes takes next to nothing, and a large exponent hides it behind them.
    product = own.products["tensor"]._replace(
        start_s=2e-6, bandwidth=800 / 900, overlap=16.0, peak=100.0, load=0.0, step_s=0.0, prologue_k=0.0
    )
    rows = own.forms["elementwise"]._replace(start_s=1e-6, bandwidth=600 / 900, warm=0.0, lone=1e12, full=1e12)
    spread = {"tensor products": Spread(0.8, 1.5), "elementwise": Spread(0.5, 2.0)}
    products, forms = {**own.products, "tensor": product}, {**own.forms, "elementwise": rows}
    return replace(own, products=products, forms=forms, spread=spread, **changes)


def timed(op: OpCost, runtime: Any = "graph", calibration: Calibration | None = None) -> OpTime:
    engines = engines_of(V100, [op, linear(FP16, "q_proj", 1, 8, 8)])
    expectation = expectation_of(engines, calibration or plain())
    (time,) = expect_ops(expectation, engines, time_ops(engines, [op]), runtime)
    return time


def seconds(value: float, rel: float = 1e-9) -> Any:
    return pytest.approx(value, rel=rel)


# --- ops


def test_a_product_is_its_kernel_as_often_as_it_runs() -> None:
    op = linear(FP16._replace(repeat=32), "q_proj", 1, 4096, 4096)
    bytes_s = 2 * (4096 * 4096 + 2 * 4096) / 800e9
    assert timed(op).expected_s == seconds(32 * (2e-6 + bytes_s), rel=1e-4)
    assert timed(op).launches == 32


def test_the_range_of_an_op_is_that_of_its_kind_of_kernel() -> None:
    time = timed(linear(FP16, "q_proj", 1, 4096, 4096))
    assert time.expected_low_s == seconds(0.8 * time.expected_s)
    assert time.expected_high_s == seconds(1.5 * time.expected_s)


def test_quantised_weights_move_their_own_bytes() -> None:
    # 4 bits a weight and an fp16 scale for 128 of them: 4096 * 4096 / 2 + 4096 * 32 * 2 = 8,650,752 bytes
    bytes_s = (8_650_752 + 2 * 2 * 4096) / 800e9
    assert timed(linear(W4A16, "q_proj", 1, 4096, 4096)).expected_s == seconds(2e-6 + bytes_s, rel=1e-4)


def test_what_has_no_shape_of_its_own_is_its_bytes() -> None:
    op = rotary(FP16, "rotary", 100, 100, 4096, 128)
    assert timed(op).expected_s == seconds(1e-6 + (2 * 100 * 4096 + 2 * 100 * 128) * 2 / 600e9)
    assert timed(add(FP16, "residual", 100, 4096)).expected_s == seconds(1e-6 + 3 * 100 * 4096 * 2 / 600e9)


def test_experts_are_products_of_no_one_shape() -> None:
    # 2 of 8 experts for one row: their weights at 800 GB/s; the row twice in, twice out
    op = experts(FP16, "up_proj", 1, 4096, 14336, count=8, chosen=2)
    assert timed(op).expected_s == seconds(2e-6 + 2 * (2 * 4096 * 14336 + 2 * (4096 + 14336)) / 800e9)


def test_many_rows_of_experts_compute_at_the_rate_of_large_products() -> None:
    # Up to memory, which the rows share: 4096 rows, 2 of 8 experts each, 2 * 2 * 4096 * 4096 * 14336 FLOPs
    op = experts(FP16, "up_proj", 4096, 4096, 14336, count=8, chosen=2)
    own = calibration_for(V100)
    large = Product(8192, 8192, 8192)
    rate = large.flops / product_s(large, limits_of(V100, Precision.FP16), own.products["tensor"]._replace(warm=0.0))
    assert 0.5 * 125e12 < rate < 125e12
    found = timed(op, calibration=own).expected_s
    assert found == seconds(own.products["tensor"].start_s + 4 * 4096 * 4096 * 14336 / rate)


def test_eager_kernels_add_up() -> None:
    # RMSNorm in 8 kernels: 36 bytes an element and 16 a row
    time = timed(norm(FP16, "input_norm", 100, 4096, "rmsnorm"), "eager")
    assert time.expected_s == seconds(8 * 1e-6 + (36 * 100 * 4096 + 16 * 100) / 600e9)
    assert time.launches == 8


def test_attention_does_not_count_the_cache_twice() -> None:
    """Where an op of its own writes the cache, the kernel of a prompt does not."""
    own = plain()
    nothing = dict.fromkeys(("start_s", "block_s", "bare", "reread", "warm"), 0.0)
    prefill = own.forms["attention_prefill"]._replace(peak=1e3, **nothing)
    shape = AttentionShape(1, 512, 512, 32, 32, 128, cached=True)
    op = fused_attention(FP16._replace(phase="prefill"), "attention", shape)
    found = timed(op, calibration=replace(own, forms={**own.forms, "attention_prefill": prefill}))
    assert found.expected_s == seconds(4 * 512 * 4096 * 2 / (prefill.bandwidth * 900e9), rel=1e-3)  # q, k, v, output


def test_whole_models_find_their_weights_cold() -> None:
    warm = plain()
    warm = replace(warm, products={**warm.products, "tensor": warm.products["tensor"]._replace(warm=3.0)})
    op = linear(FP16, "q_proj", 1, 512, 512)  # 0.5 MB, of 6 MB of L2
    assert timed(op, calibration=warm).expected_s == timed(op).expected_s


def test_arrays_give_what_points_give() -> None:
    rows = np.array([1.0, 17.0, 640.0])
    swept = timed(linear(FP16, "q_proj", rows, 4096, 4096), calibration=calibration_for(V100)).expected_s
    points = [timed(linear(FP16, "q_proj", int(m), 4096, 4096), calibration=calibration_for(V100)) for m in rows]
    assert list(swept) == [seconds(point.expected_s) for point in points]


# --- phases


def prediction(gpu: str = "v100", runtime: str = "graph", **asked: Any) -> Prediction:
    return perfkit.analyze(gpu, runtime=runtime, **{"tokens": 32, **asked})


def test_a_graph_adds_up_its_kernels() -> None:
    p = prediction()
    for phase in p.phases:
        members = [time for time in p.ops if time.cost.phase == phase.phase]
        assert phase.expected_s == seconds(sum(time.expected_s for time in members))
        assert phase.launch_s is None
    assert p.ttft_expected_s == seconds(sum(phase.expected_s for phase in p.phases[:-1]))


def test_eager_decode_on_a_fast_card_waits_for_its_host() -> None:
    decode = prediction("h100", "eager").phases[-1]
    # A layer launches 3 + 1 + 3 products, 2 norms of 8, rotary 10, attention 1 behind 2 of its cache, an activation of
    # 2 and 2 residuals: 40; beside 32 layers one embedding, a norm and lm_head.
    launches = 32 * 40 + 1 + 8 + 1
    assert decode.launch_s == seconds(launches * EAGER.expected_s)
    assert (decode.expected_s, decode.bound) == (decode.launch_s, "launch")
    assert decode.expected_high_s == seconds(launches * EAGER.high_s)
    assert prediction("h100").phases[-1].bound == "memory"


def test_a_long_prefill_hides_its_launches() -> None:
    prefill = next(p for p in prediction("v100", "eager", tokens=576, batch=8).phases if p.phase == "prefill")
    assert prefill.bound == "compute"
    assert prefill.expected_s > prefill.launch_s


def test_roofline_times_do_not_depend_on_the_runtime() -> None:
    graph, eager = prediction(), prediction(runtime="eager")
    assert [time.roofline_s for time in graph.ops] == [time.roofline_s for time in eager.ops]
    assert graph.ttft_roofline_s == eager.ttft_roofline_s


def test_a_sweep_gives_what_each_point_gives() -> None:
    spec, tokens = load_model("llava-1.5-7b"), (32, 576)
    for runtime in ("graph", "eager"):
        execution = parse_execution("fp16", runtime=runtime)
        swept = predict(spec, choose_device("a100"), workload_of(spec, tokens=np.array(tokens, float)), execution)
        points = [prediction("a100", runtime, tokens=count) for count in tokens]
        assert list(swept.ttft_expected_s) == [seconds(p.ttft_expected_s) for p in points]
        assert list(swept.tpot_expected_s) == [seconds(p.tpot_expected_s) for p in points]


def test_a_range_is_shared_in_part_and_by_chance_in_part() -> None:
    part = OpTime(None, 0, 0, 0, 10.0, 8.0, 13.0)  # type: ignore[arg-type]  # its cost is not looked at
    low, high = range_of([part] * 4)
    # down: sqrt(0.3 * 8^2 + 0.7 * 4 * 2^2) = sqrt(30.4), up: sqrt(0.3 * 12^2 + 0.7 * 4 * 3^2) = sqrt(68.4)
    assert (40 - low, high - 40) == (seconds(30.4**0.5), seconds(68.4**0.5))
    assert range_of([part, part._replace(expected_low_s=None)]) is None


# --- which calibration


def test_what_a_calibration_lacks_is_borrowed_and_said() -> None:
    card = load_device("l4")
    found = calibration_for(card)
    assert found.id == "ada"
    assert found.borrowed["elementwise"] == "cautious"
    assert found.forms["elementwise"] == read_bundled("cautious").forms["elementwise"]
    assert found.products["tensor"] == read_bundled("ada").products["tensor"]
    assert "calibration ada borrows elementwise from cautious" in notes(prediction("l4"))


def test_a_note_names_what_a_prediction_took_alone() -> None:
    (note,) = [note for note in notes(prediction("h100")) if "borrows" in note]
    assert "vector" not in note  # fp16 products need the tensor engine


def test_a_family_without_data_borrows_the_cautious_default() -> None:
    p = prediction("mi300x")
    assert p.expectation.id == "cautious"
    assert "no calibration of mi300x or its family (cdna3): expected times borrow cautious" in notes(p)


def test_a_cautious_default_that_was_asked_for_is_not_borrowed() -> None:
    p = prediction(calibration="hardware_specs/calibrations/cautious.yaml")
    assert p.expectation.id == "cautious"
    assert not any("borrow" in note for note in notes(p))


def test_a_calibration_is_completed_for_the_device_that_it_is_of() -> None:
    only = replace(read_bundled("volta"), products={}, forms={}, spread={})
    found = complete(only, V100)
    assert set(found.products) == {"tensor", "vector"}
    assert found.products["tensor"] == calibration_for(V100).products["tensor"]
    assert found.borrowed["tensor"] == "v100-sxm2-32gb"


def test_a_calibration_of_another_device_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"calibration l40s is of l40s, not of v100-sxm2-32gb \(family volta\)"):
        prediction(calibration="hardware_specs/calibrations/l40s.yaml")


def test_a_device_of_which_too_little_is_known_takes_a_rule_of_thumb_and_says_so() -> None:
    p = prediction("gb200")
    assert p.expectation.id == "rule of thumb"
    why = "gb200: its sm_count is not known, which the kernel model needs"
    assert f"expected times are a rule of thumb: {why}" in warnings(p)
    # 3 us and 0.8 of the bandwidth a kernel: in decode all but the smallest wait for memory
    decode = p.phases[-1]
    launches = sum(time.launches for time in p.ops if time.cost.phase == "decode")
    assert decode.expected_s == seconds(3e-6 * launches + decode.bytes / (0.8 * p.device.bytes_per_s))
    assert decode.expected_low_s < decode.expected_s < decode.expected_high_s
    eager = prediction("gb200", "eager").phases[-1]
    assert eager.bound == "launch"


# --- reports


def test_json_carries_expected_times_with_their_ranges() -> None:
    p = prediction()
    document = reports.document(p)
    assert document["calibration"] == "v100-sxm2-32gb"
    assert document["execution"]["runtime"] == "graph"
    for record in (*document["phases"], *document["ops"]):
        assert 0 < record["expected_low_s"] < record["expected_s"] < record["expected_high_s"]


def test_people_see_times_with_their_ranges() -> None:
    p = prediction()
    phases, totals, _ = reports.overview(p)
    shown = {row["phase"]: row["expected"] for row in phases.records()}
    prefill = next(phase for phase in p.phases if phase.phase == "prefill")
    words = expected_in_words(prefill.expected_s, prefill.expected_low_s, prefill.expected_high_s)
    assert shown["prefill"] == words
    assert f"expected {expected_in_words(p.ttft_expected_s, *p.ttft_range_s)}" in str(totals.rows)
