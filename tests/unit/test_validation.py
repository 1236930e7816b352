"""Measured phases against their predictions: ratios, utilisation, errors, warnings, speed-ups, and how they are shown.

Predictions are made for a device of round figures: 100 TFLOP/s of fp16 products, 10 TFLOP/s beside them, 1 TB/s. The
projector of LLaVA-1.5-7B over 576 tokens is then, op by op (linear 1024 -> 4096, GELU, linear 4096 -> 4096):

    products   2 * 576 * 1024 * 4096 = 4 831 838 208 FLOP at 100 TFLOP/s            48.318 us
    GELU       2 * 576 * 4096 * 2 bytes = 9 437 184 bytes at 1 TB/s                  9.437 us
    products   2 * 576 * 4096 * 4096 = 19 327 352 832 FLOP at 100 TFLOP/s          193.274 us
    together                                                                       251.029 us
"""

import json

import pytest

import perfkit
from perfkit import reports
from perfkit.errors import InvalidValue, UnknownName
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.measurement import Machine, Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.phases import PhaseTime
from perfkit.tables import render_for_people
from perfkit.validation.comparing import ComparedPoint
from perfkit.validation.judging import validate
from perfkit.validation.speedup import NEW_TOKENS, find_speedups

MODEL = "llava-1.5-7b"
PROJECTOR = PhaseCase(MODEL, "projector", 576, 0, 1, "fp16")
PRODUCTS = 24_159_191_040  # 4 831 838 208 + 19 327 352 832
PROJECTOR_S = 48.31838208e-6 + 9.437184e-6 + 193.27352832e-6
# Weights and biases; input; output of the first product; GELU reads and writes; second product's input and output.
PROJECTOR_BYTES = 2 * ((1024 * 4096 + 4096 + 4096 * 4096 + 4096) + 576 * 1024 + 576 * 4096 * (1 + 2 + 2))

YAML = """\
name: A card of round figures
memory:
  capacity: {value: 80, unit: GB}
  bandwidth: {value: 1, unit: TB/s}
peaks:
  - {engine: tensor, precision: fp16, accumulate: fp32, dense: true, value: 100, unit: TFLOP/s}
  - {engine: vector, precision: fp32, accumulate: fp32, dense: true, value: 10, unit: TFLOP/s}
"""


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    path = tmp_path_factory.mktemp("devices") / "round.yaml"
    path.write_text(YAML)
    return str(path)


def timing(median_s, *, stable=True):
    """Seven samples, the least 1 % below the median and the largest 1 % above."""
    return Timing((0.99 * median_s, *[median_s] * 5, 1.01 * median_s), 3, stable=stable)


def machine(name="A card", device=None, kind="cuda"):
    libraries = {"torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"}
    return Machine(kind, name, "CUDA events", 80 * 10**9, 100, "Linux", libraries, device)


def measured(*points, file="mine.json", **of_machine):
    return Measurement(machine(**of_machine), (), points, file)


def phase(name, visual, seconds, *, text=60, runtime="eager", attention="sdpa", **other):
    case = PhaseCase(MODEL, name, visual, text, 1, "fp16", attention, runtime)
    return Point(case, "ok", timing(seconds), **other)


def projector(seconds, **other):
    return Point(PROJECTOR, "ok", timing(seconds), **other)


# --- points


def test_a_point_is_held_against_the_prediction_of_the_same_work(gpu):
    (point,) = validate([measured(projector(0.5e-3))], gpu).points
    assert point.roofline_s == pytest.approx(PROJECTOR_S, rel=1e-12)
    assert point.roofline_ratio == pytest.approx(0.5e-3 / 251.029e-6, rel=1e-5)  # 1.9918
    assert (point.measured_s, point.status) == (0.5e-3, "ok")
    assert point.interval_s == pytest.approx((0.495e-3, 0.505e-3))
    assert (point.expected_s, point.expected_ratio) == (None, None)


def test_utilisation_is_counted_work_over_what_the_device_could_have_done(gpu):
    (point,) = validate([measured(projector(0.5e-3))], gpu).points
    assert point.predicted.matmul_flops == PRODUCTS
    assert point.mfu == pytest.approx(PRODUCTS / (0.5e-3 * 100e12))  # 0.4832
    assert point.predicted.bytes == PROJECTOR_BYTES
    assert point.mbu == pytest.approx(PROJECTOR_BYTES / (0.5e-3 * 1e12))  # 0.1335


def test_decode_is_the_first_new_token_and_prefill_the_prompt(gpu):
    points = validate([measured(phase("prefill", 32, 0.1), phase("decode", 32, 0.1))], gpu).points
    prediction = perfkit.analyze(gpu, tokens=32)
    predicted = {total.phase: total.roofline_s for total in prediction.phases}
    assert [point.roofline_s for point in points] == [predicted["prefill"], predicted["decode"]]


def test_eager_attention_is_predicted_as_such(gpu):
    fused, eager = validate(
        [measured(phase("prefill", 576, 0.1), phase("prefill", 576, 0.1, attention="eager"))], gpu
    ).points
    assert eager.predicted.bytes > fused.predicted.bytes
    assert eager.predicted.matmul_flops == fused.predicted.matmul_flops


def test_vision_is_predicted_whole_though_its_case_names_no_text(gpu):
    (point,) = validate([measured(phase("vision", 576, 0.1, text=0))], gpu).points
    assert point.predicted.matmul_flops == 381_918_216_192


def test_a_point_that_did_not_fit_stands_without_figures(gpu):
    lost = Point(PROJECTOR, "out of memory", note="not tried")
    v = validate([measured(lost, phase("decode", 32, 0.1))], gpu)
    assert v.points[0].status == "out of memory"
    assert (v.points[0].measured_s, v.points[0].mfu, v.points[0].mbu, v.points[0].roofline_ratio) == (None,) * 4
    assert v.points[0].roofline_s > 0
    assert [fall.case.phase for fall in v.waterfalls] == ["decode"]
    assert {error.phase: error.points for error in v.errors} == {"decode, eager": 1, "all": 1}
    assert "OOM" in shown(v)


def test_an_unstable_point_is_named_so_and_counts(gpu):
    v = validate([measured(Point(PROJECTOR, "ok", timing(0.5e-3, stable=False)))], gpu)
    assert v.points[0].status == "unstable"
    assert v.errors[0].points == 1
    assert v.warnings == ("1 of 1 phases are unstable: figures made of them are as rough as they are",)
    assert "unstable" in shown(v)


def test_a_device_with_measured_rates_has_expected_times(tmp_path):
    path = tmp_path / "this.yaml"
    rate = "  gemv_bandwidth:\n  - {precision: fp16, value: 500, unit: GB/s}\n"
    path.write_text(YAML.replace("peaks:", f"{rate}peaks:"))
    decode, prefill = validate([measured(phase("decode", 32, 0.05), phase("prefill", 32, 0.05))], str(path)).points
    # Products of one row take their weights at half the bandwidth, which is nearly all of a decode step.
    assert decode.expected_s == pytest.approx(2 * decode.roofline_s, rel=0.02)
    assert decode.expected_ratio == pytest.approx(0.05 / decode.expected_s)
    assert prefill.expected_s == pytest.approx(prefill.roofline_s, rel=0.02)


# --- errors


def test_errors_are_means_and_worst_by_phase_and_of_all(gpu):
    slow = Point(PROJECTOR._replace(batch=2), "ok", timing(10.0))
    v = validate([measured(projector(2 * PROJECTOR_S), slow, phase("decode", 32, 0.1))], gpu)
    found = {(error.phase, error.predictor): error for error in v.errors}
    assert set(found) == {("projector", "roofline"), ("decode, eager", "roofline"), ("all", "roofline")}
    # |1 - 2| / 2 = 0.5 of the first; of the second, whose roofline is twice 251 us less shared weights, nearly 1
    assert found["projector", "roofline"].mape == pytest.approx((0.5 + 1) / 2, abs=1e-4)
    assert found["projector", "roofline"].worst == pytest.approx(1, abs=1e-4)
    assert found["all", "roofline"].points == 3


# --- warnings


def test_a_time_below_the_roofline_is_a_warning(gpu):
    v = validate([measured(projector(0.5 * PROJECTOR_S))], gpu)
    (warning,) = v.warnings
    assert "projector, 576 tokens" in warning
    assert "measured below the roofline (0.50 of it): an error of the count, the spec or the timing" in warning


def test_clocks_that_were_held_back_are_named_once_a_reason(gpu):
    held = Counters(3, None, None, None, None, ("sw power cap",), None)
    free = held._replace(throttle_reasons=())
    unknown = held._replace(throttle_reasons=None)
    points = [
        phase("decode", tokens, 0.1, counters=of)
        for tokens, of in ((576, held), (144, held), (64, free), (32, unknown), (16, None))
    ]
    assert validate([measured(*points)], gpu).warnings == (
        "clocks were held back while 2 points were measured: sw power cap",
    )


def test_a_case_measured_twice_counts_once_and_is_named(gpu):
    first, second = measured(projector(1e-3), file="a.json"), measured(projector(2e-3), file="b.json")
    v = validate([first, second], gpu)
    assert [point.measured_s for point in v.points] == [2e-3]
    assert v.warnings == (f"{PROJECTOR.label}: measured in a.json and in b.json; the last counts",)


# --- which device


def test_the_machines_own_device_is_taken():
    v = validate([measured(projector(1e-3), device="h100-sxm-80gb")])
    assert v.device.id == "h100-sxm-80gb"
    assert validate([measured(projector(1e-3), device="h100-sxm-80gb")], "a100").device.id == "a100-sxm-80gb"


def test_a_machine_that_is_no_device_needs_one():
    with pytest.raises(InvalidValue) as caught:
        validate([measured(projector(1e-3), name="Some CPU")])
    assert str(caught.value) == (
        "mine.json: no device here is 'Some CPU': run `perfkit measure --suite peaks --output this.yaml` on it "
        "and pass `--gpu this.yaml`"
    )


def test_two_machines_are_refused_by_name(gpu):
    one, other = measured(projector(1e-3), file="a.json"), measured(projector(1e-3), name="Another", file="b.json")
    with pytest.raises(InvalidValue, match=r"two machines: a\.json is of A card, b\.json of Another"):
        validate([one, other], gpu)


def test_kernels_alone_are_nothing_to_validate(gpu):
    with pytest.raises(InvalidValue, match="no phase of a model was measured"):
        validate([measured()], gpu)


def test_a_model_that_is_not_here_is_an_error(gpu):
    with pytest.raises(UnknownName, match="unknown model 'gone'"):
        validate([measured(Point(PROJECTOR._replace(model="gone"), "ok", timing(1e-3)))], gpu)


# --- speed-ups


def compared(name, visual, roofline_s, measured_s, *, expected_s=None, text=60, runtime="eager", attention="sdpa"):
    case = PhaseCase(MODEL, name, visual, text, 1, "fp16", attention, runtime)
    total = PhaseTime(name, *[1] * 7, roofline_s, 0.0, expected_s)
    return ComparedPoint(case, "ok", timing(measured_s), None, total, 1.0, 1.0)


# ms:            roofline 576, 32;  measured 576, 32
# vision         2                  4                      at 576 in both requests
# projector      2, 1               4, 4
# prefill        20, 5              40, 20
# decode         5, 4               10, 10
REQUEST = [
    compared("vision", 576, 2e-3, 4e-3, text=0),
    *(compared("projector", n, r, m, text=0, attention=None) for n, r, m in ((576, 2e-3, 4e-3), (32, 1e-3, 4e-3))),
    *(compared("prefill", n, r, m) for n, r, m in ((576, 20e-3, 40e-3), (144, 9e-3, 9e-3), (32, 5e-3, 20e-3))),
    *(compared("decode", n, r, m) for n, r, m in ((576, 5e-3, 10e-3), (32, 4e-3, 10e-3))),
]


def test_speedups_of_phases_are_the_largest_count_against_the_smallest():
    phases = {s.what: s for s in find_speedups(REQUEST) if s.new_tokens is None}
    assert {what: (s.promised, s.got) for what, s in phases.items()} == {
        "projector": (2.0, 1.0),
        "prefill": (4.0, 2.0),  # 20 / 5, 40 / 20
        "decode": (1.25, 1.0),
    }
    assert phases["prefill"].share == pytest.approx(1 / 3)  # (2 - 1) / (4 - 1)
    assert phases["decode"].share == 0
    assert (phases["prefill"].case.visual_tokens, phases["prefill"].to_tokens) == (576, 32)


def test_speedups_of_requests_add_decode_steps_to_all_that_comes_first():
    requests = {s.new_tokens: s for s in find_speedups(REQUEST) if s.new_tokens is not None}
    assert tuple(requests) == NEW_TOKENS
    assert requests[1].promised == pytest.approx((2 + 2 + 20) / (2 + 1 + 5))  # 24 / 8: prefill gives the first token
    assert requests[1].got == pytest.approx((4 + 4 + 40) / (4 + 4 + 20))  # 48 / 28
    assert requests[512].promised == pytest.approx((24 + 511 * 5) / (8 + 511 * 4))
    assert requests[512].got == pytest.approx((48 + 5110) / (28 + 5110))
    assert requests[1].expected is None


def test_a_small_promise_has_no_share():
    pair = [compared("decode", 576, 1.04, 2.0), compared("decode", 32, 1.0, 1.0)]
    (speedup,) = find_speedups(pair)
    assert (speedup.promised, speedup.got, speedup.share) == (1.04, 2.0, None)


def test_expected_speedups_stand_where_both_ends_are_expected():
    pair = [compared("decode", 576, 2.0, 3.0, expected_s=3.0), compared("decode", 32, 1.0, 1.0, expected_s=2.0)]
    assert find_speedups(pair)[0].expected == 1.5
    assert find_speedups([pair[0], compared("decode", 32, 1.0, 1.0)])[0].expected is None


def test_runtimes_are_not_mixed_and_graphs_share_the_eager_prefill():
    graph = [compared("decode", n, r, m, runtime="graph") for n, r, m in ((576, 5e-3, 5e-3), (32, 4e-3, 4e-3))]
    found = find_speedups([*REQUEST, *graph])
    (fast,) = (s for s in found if s.new_tokens == 8 and s.case.runtime == "graph")
    assert fast.got == pytest.approx((4 + 4 + 40 + 7 * 5) / (4 + 4 + 20 + 7 * 4))
    assert sum(s.what == "prefill" for s in found) == 1


@pytest.mark.parametrize("missing", ["vision", "projector", "prefill"])
def test_a_request_with_a_phase_missing_is_left_out(missing):
    rest = [point for point in REQUEST if point.case.phase != missing]
    assert all(s.new_tokens is None for s in find_speedups(rest))


def test_a_prompt_without_an_image_is_no_end_of_a_speedup():
    assert find_speedups([compared("prefill", 576, 2.0, 2.0), compared("prefill", 0, 1.0, 1.0)]) == ()


# --- reports


def shown(v, width=100):
    return render_for_people(reports.overview(v), width=width)


@pytest.fixture(scope="module")
def whole(gpu):
    """Four phases at two counts, decode both ways."""
    decode = [phase("decode", n, 0.02, runtime=r) for n in (576, 32) for r in ("eager", "graph")]
    projectors = [Point(PROJECTOR._replace(visual_tokens=n), "ok", timing(1e-3)) for n in (576, 32)]
    prefill = [phase("prefill", n, s) for n, s in ((576, 0.2), (32, 0.04))]
    return validate([measured(phase("vision", 576, 0.02, text=0), *projectors, *prefill, *decode)], gpu)


def test_the_document_has_the_keys_of_the_contract(whole):
    document = json.loads(json.dumps(reports.document(whole), allow_nan=False))
    assert list(document) == ["device", "machine", "hosts", "points", "errors", "waterfall", "speedups", "warnings"]
    assert document["device"] == "round"
    assert document["machine"]["name"] == "A card"
    assert document["points"][0]["phase"] == "vision"
    assert set(document["errors"]) == {"vision", "projector", "prefill", "decode, eager", "decode, graph", "all"}
    assert set(document["errors"]["all"]["roofline"]) == {"points", "mape", "worst"}
    assert len(document["waterfall"]) == len(document["points"]) == 9
    requests = [s for s in document["speedups"] if s["what"] == "request"]
    assert [(s["runtime"], s["new_tokens"]) for s in requests] == [
        (r, n) for r in ("eager", "graph") for n in NEW_TOKENS
    ]
    assert (requests[0]["from_tokens"], requests[0]["to_tokens"]) == (576, 32)


def test_the_tidy_table_has_a_row_a_point_and_the_parts_of_its_time(whole):
    frame = perfkit.report(whole).to_frame()
    assert len(frame) == 9
    assert list(frame["phase"][:3]) == ["vision", "projector", "projector"]
    assert ((frame["kernels_s"] + frame["unexplained_s"] - frame["measured_s"]).abs() < 1e-12).all()


def test_people_see_what_is_shared_once_and_what_differs_in_columns(whole):
    text = shown(whole)
    assert "llava-1.5-7b, batch 1, fp16, sdpa attention, warm cache, torch 2.13.0" in text
    assert "A card (measured) against round (predicted)" in text
    assert "decode, graph  576 + 60" in text
    assert "Speed-up from 576 to 32 visual tokens" in text
    assert "numpy" not in text


@pytest.mark.parametrize("width", [70, 100, 140])
def test_no_line_is_wider_than_the_terminal(whole, width):
    assert max(map(len, shown(whole, width).splitlines())) <= width


def test_a_bar_is_drawn_where_there_is_room(whole):
    assert "█" * 3 in shown(whole)


def test_without_kernels_the_reader_is_told_how_to_get_them(whole):
    assert "no kernel was measured: `perfkit measure --suite kernels` does" in " ".join(shown(whole).split())
