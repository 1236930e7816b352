"""Predictions: TTFT and TPOT from phases, the mean over the new tokens by counting every one, notes and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from perfkit import remarks, reports
from perfkit.counting import count_ops, decode_ops, workload_of
from perfkit.errors import InvalidValue, UnknownName, UnsupportedPrecision
from perfkit.hardware import Choice, choose_device, load_device
from perfkit.latency import Prediction, analyze, parse_execution, predict
from perfkit.models import load_model
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution

LLAVA = "llava-1.5-7b"
FIGURES = ("flops", "matmul_flops", "bytes", "weight_bytes", "read_bytes", "write_bytes", "kv_read_bytes")


def seconds(value: float, rel: float = 1e-12) -> Any:
    return pytest.approx(value, rel=rel)


def roofline_v100(ops: Iterable[OpCost]) -> float:
    """Sum over ops of the largest of products at 125 TFLOP/s, element-wise work at 15.7, bytes at 900 GB/s."""
    return sum(max(op.matmul_flops / 125e12, op.vector_flops / 15.7e12, op.bytes / 900e9) for op in ops)


def phase_of(prediction: Prediction, name: str) -> Any:
    (found,) = [phase for phase in prediction.phases if phase.phase == name]
    return found


# --- phases, TTFT


def test_phases_in_order() -> None:
    assert [p.phase for p in analyze("v100", tokens=32).phases] == ["vision", "projector", "prefill", "decode"]
    assert [p.phase for p in analyze("v100", tokens=0).phases] == ["prefill", "decode"]


@pytest.mark.parametrize("attention", ["fused", "eager"])
@pytest.mark.parametrize("batch", [1, 16])
def test_ttft_is_vision_projector_and_prefill(batch: int, attention: str) -> None:
    spec = load_model(LLAVA)
    forward = count_ops(spec, workload_of(spec, tokens=32, batch=batch), Execution(attention=attention))
    prediction = analyze("v100", LLAVA, tokens=32, batch=batch, attention=attention)
    assert prediction.ttft_roofline_s == seconds(roofline_v100(op for op in forward if op.phase != "decode"))
    for phase in prediction.phases:
        assert phase.roofline_s == seconds(roofline_v100(op for op in forward if op.phase == phase.phase))


def test_ttft_of_llava_on_a_v100_by_hand() -> None:
    # 700 tokens, matrix products alone: (381.9 + 24.2 + 9323.6) GFLOP / 125 TFLOP/s = 77.8 ms; what is bound by memory
    # (norms, activations, residuals, the small projector) comes on top.
    prediction = analyze("v100", LLAVA, tokens=576, text_tokens=124)
    assert 0.0778 < prediction.ttft_roofline_s < 0.0778 * 1.15
    assert phase_of(prediction, "prefill").bound == "compute"


def test_decode_of_llava_on_a_v100_by_hand() -> None:
    # 13_583 MB / 900 GB/s = 15.09 ms
    decode = phase_of(analyze("v100", LLAVA, tokens=576, text_tokens=124), "decode")
    assert decode.roofline_s == seconds(15.1e-3, rel=0.005)
    assert decode.bound == "memory"


def test_phases_sum_their_ops() -> None:
    prediction = analyze("t4", "mixtral-8x7b", batch=3)
    for phase in prediction.phases:
        members = [time for time in prediction.ops if time.cost.phase == phase.phase]
        for figure in FIGURES:
            assert getattr(phase, figure) == seconds(sum(getattr(time.cost, figure) for time in members))
        assert phase.roofline_s == seconds(sum(time.roofline_s for time in members))


def test_bound_of_a_phase_is_that_of_most_of_its_time() -> None:
    for phase in analyze("v100", tokens=32, batch=4).phases:
        members = [t for t in analyze("v100", tokens=32, batch=4).ops if t.cost.phase == phase.phase]
        compute = sum(t.roofline_s for t in members if t.bound == "compute")
        assert phase.bound == ("compute" if compute >= phase.roofline_s / 2 else "memory")


# --- TPOT


@pytest.mark.parametrize("new_tokens", [1, 2, 7, 128])
@pytest.mark.parametrize(("model", "batch"), [(LLAVA, 1), (LLAVA, 64), ("llama-3-8b", 5), ("mixtral-8x7b", 2)])
def test_tpot_is_the_mean_of_all_steps(model: str, batch: int, new_tokens: int) -> None:
    spec = load_model(model)
    workload = workload_of(spec, new_tokens=new_tokens, batch=batch)
    # The independent way: count every step, then divide.
    steps = [tuple(decode_ops(spec, workload, Execution(), extra_tokens=step)) for step in range(new_tokens)]
    mean = analyze("v100", model, new_tokens=new_tokens, batch=batch).mean_decode
    assert mean is not None
    for figure in FIGURES:
        total = sum(getattr(op, figure) for step in steps for op in step)
        assert getattr(mean, figure) == seconds(total / new_tokens)
    # No op changes sides between these steps, so the mean of their times is the time of the mean.
    assert mean.roofline_s == seconds(sum(roofline_v100(step) for step in steps) / new_tokens, rel=1e-9)


@pytest.mark.parametrize(("new_tokens", "middle"), [(1, 0), (3, 1), (129, 64)])
def test_tpot_is_the_time_at_the_mean_cache_length(new_tokens: int, middle: int) -> None:
    spec = load_model(LLAVA)
    step = decode_ops(spec, workload_of(spec, new_tokens=new_tokens), Execution(), extra_tokens=middle)
    assert analyze("v100", LLAVA, new_tokens=new_tokens).tpot_roofline_s == seconds(roofline_v100(step))


def test_one_new_token_is_the_decode_phase() -> None:
    prediction = analyze("v100", LLAVA, tokens=32, new_tokens=1)
    assert prediction.mean_decode == phase_of(prediction, "decode")


def test_decode_phase_is_the_first_step_whatever_follows() -> None:
    few, many = (phase_of(analyze("v100", LLAVA, tokens=32, new_tokens=n), "decode") for n in (1, 500))
    assert few == many


@pytest.mark.parametrize("model", ["bert-base", "clip-vit-l-14-336"])
def test_models_without_a_decoder_have_no_tpot(model: str) -> None:
    prediction = analyze("v100", model)
    assert prediction.tpot_roofline_s is None
    assert prediction.mean_decode is None
    assert prediction.ttft_roofline_s > 0


# --- executions


def test_one_precision_stands_for_three() -> None:
    assert parse_execution("bf16") == Execution(*[Precision.BF16] * 3)
    assert parse_execution("fp16", weights="int4", kv="int8") == Execution(
        Precision.INT4, Precision.FP16, Precision.INT8
    )
    assert parse_execution("fp16", activations="fp8") == Execution(Precision.FP16, Precision.FP8, Precision.FP16)
    made = parse_execution("fp16", attention="eager", logits="all")
    assert (made.attention, made.logits) == ("eager", "all")


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "int4"},  # a way to store, not one to multiply in
        {"precision": "fp64"},
        {"precision": "fp16", "activations": "int4"},
        {"precision": "fp16", "weights": "int3"},
        {"precision": "fp16", "attention": "flash"},
        {"precision": "fp16", "logits": "first"},
    ],
)
def test_unknown_options_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownName):
        parse_execution(**wrong)


def test_four_bit_weights_keep_the_rate_and_save_bytes() -> None:
    plain, narrow = analyze("v100", LLAVA), analyze("v100", LLAVA, weights="int4")
    assert phase_of(narrow, "prefill").matmul_flops == phase_of(plain, "prefill").matmul_flops
    assert phase_of(narrow, "decode").roofline_s < 0.35 * phase_of(plain, "decode").roofline_s


def test_unsupported_products_are_refused() -> None:
    with pytest.raises(UnsupportedPrecision, match="bf16"):
        analyze("v100", LLAVA, precision="bf16")


def test_a_format_that_is_only_stored_needs_no_engine() -> None:
    # A V100 multiplies in no FP8, but can read 8-bit weights and caches.
    assert analyze("v100", LLAVA, weights="fp8", kv="fp8").fits


@pytest.mark.parametrize("counts", [{"tokens": 577}, {"batch": 0}, {"new_tokens": 0}, {"text_tokens": 10_000_001}])
def test_counts_out_of_range(counts: dict[str, int]) -> None:
    with pytest.raises(InvalidValue):
        analyze("v100", LLAVA, **counts)


# --- memory, notes, warnings


def warned(prediction: Prediction, text: str) -> bool:
    return any(text in warning for warning in remarks.warnings(prediction))


def test_fits_up_to_the_reserve() -> None:
    # 14_126_854_144 of weights; cache 2 * 32 * (576 + 60 + 128) * 4096 * 2 = 400_556_032; activations 47_216_640
    need = analyze("v100-sxm2-16gb", LLAVA).footprint
    assert need.total == 14_574_626_816
    # 15_648_368_640 with 1 GiB: it fits 16 GB, 0.35 GB below
    assert analyze("v100-sxm2-16gb", LLAVA).fits
    prediction = analyze("v100-sxm2-16gb", LLAVA, batch=2)  # 447_772_672 more
    assert not prediction.fits
    assert warned(prediction, "does not fit: 16.1 GB with the runtime's reserve")
    assert warned(prediction, "--batch 1")
    assert not warned(analyze("v100-sxm2-16gb", LLAVA), "fit")


def test_a_context_that_is_exceeded_is_a_warning_and_does_not_fit() -> None:
    # 576 + 3392 + 128 = 4096, the context of Vicuna
    inside = analyze("a100-sxm-80gb", LLAVA, text_tokens=3392)
    outside = analyze("a100-sxm-80gb", LLAVA, text_tokens=3393)
    assert inside.fits
    assert not warned(inside, "context")
    assert not outside.fits
    assert warned(outside, "4097 tokens exceed the context of llava-1.5-7b (4096)")


def test_a_window_that_is_exceeded_is_a_warning() -> None:
    # Mistral looks back 4096 tokens: 3968 + 128
    assert not warned(analyze("a100-sxm-80gb", "mistral-7b", text_tokens=3968), "sliding window")
    assert warned(analyze("a100-sxm-80gb", "mistral-7b", text_tokens=3969), "sliding window of 4096")


def test_an_unknown_vector_rate_is_a_warning() -> None:
    assert load_device("tpuv4").vector_peak() is None
    assert warned(analyze("tpuv4", LLAVA, precision="bf16"), "no vector rate is published")
    assert not warned(analyze("v100", LLAVA), "vector")


def test_a_doubted_vector_rate_is_a_warning_because_every_time_uses_it() -> None:
    assert warned(analyze("h20", LLAVA), "vector fp32 rate 44 TFLOP/s is of low confidence")


def test_formats_that_a_model_has_no_use_for_are_not_those_of_its_execution() -> None:
    tower = analyze("tpuv5e", "clip-vit-l-14-336", precision="bf16", weights="fp32", kv="int4")
    assert tower.execution == Execution(*[Precision.BF16] * 3, logits="none")
    assert "multiplies" not in " ".join(table.title for table in reports.overview(tower))  # and the table renders
    encoder = analyze("v100", "bert-base", weights="int8", kv="int4")
    assert (encoder.execution.weights, encoder.execution.kv) == (Precision.INT8, Precision.FP16)


def test_doubtful_devices_are_warnings() -> None:
    # tpuv4.yaml is of medium confidence as a whole, the V100's of high
    assert warned(analyze("tpuv4", LLAVA, precision="bf16"), "of medium confidence")
    assert not warned(analyze("v100", LLAVA), "confidence")


@pytest.mark.parametrize("confidence", ["low", "medium", "high"])
def test_doubtful_figures_are_warnings(confidence: str) -> None:
    device = load_device("v100")
    device = replace(device, bandwidth=device.bandwidth._replace(confidence=confidence))
    spec = load_model(LLAVA)
    prediction = predict(spec, Choice(device, device.id), workload_of(spec), Execution())
    assert warned(prediction, f"bandwidth 900 GB/s is of {confidence} confidence") == (confidence != "high")


def test_int8_on_a_v100_is_labelled_dp4a() -> None:
    assert any("DP4A" in note for note in remarks.notes(analyze("v100", LLAVA, precision="int8")))
    assert not any("DP4A" in note for note in remarks.notes(analyze("v100", LLAVA)))
    assert not any(
        "DP4A" in note for note in remarks.notes(analyze("v100", LLAVA, weights="int8"))
    )  # multiplied in fp16
    assert not any("DP4A" in note for note in remarks.notes(analyze("t4", LLAVA, precision="int8")))  # on tensor cores


def test_an_alias_names_its_device_and_siblings() -> None:
    notes = remarks.notes(analyze("v100", LLAVA))
    assert any("v100 means v100-sxm2-32gb" in note and "v100-pcie-16gb" in note for note in notes)
    assert not any("means" in note for note in remarks.notes(analyze("v100-sxm2-32gb", LLAVA)))


def test_class_defaults_are_named() -> None:
    # llava-1.5-7b-hf leaves the sizes of its language model to the class
    assert any("hidden_size" in note for note in remarks.notes(analyze("v100", LLAVA)))


def test_int8_on_the_vector_engine_of_another_maker_is_not_called_dp4a() -> None:
    choice = choose_device("v100")
    other = choice._replace(device=replace(choice.device, vendor="Other"))
    spec = load_model(LLAVA)
    notes = remarks.notes(predict(spec, other, workload_of(spec), Execution(*[Precision.INT8] * 3)))
    (note,) = [note for note in notes if "int8" in note]
    assert "on the vector engine" in note
    assert "DP4A" not in note
