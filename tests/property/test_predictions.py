"""What must hold of every prediction: faster devices are no slower, more work is no faster, sums are sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.hardware import Choice, Device, load_device
from perfkit.latency import Prediction, predict
from perfkit.memory import kv_bytes, weight_bytes
from perfkit.models import load_model, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup, Workload

GPT2 = {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 8192, "vocab_size": 701}
V100 = load_device("v100-sxm2-32gb")
FIGURES = (
    "matmul_flops",
    "vector_flops",
    "weight_bytes",
    "read_bytes",
    "write_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
)
SPECS = {
    "gpt2": replace(read_model(Config(GPT2, "gpt2")), name="gpt2"),
    **{name: load_model(name) for name in ("llava-1.5-7b", "llava-next-7b", "mixtral-8x7b", "bert-base")},
}

specs = st.sampled_from(list(SPECS.values()))
executions = st.builds(
    Execution,
    weights=st.sampled_from([Precision.FP16, Precision.INT8, Precision.INT4, Precision.FP32]),
    kv=st.sampled_from([Precision.FP16, Precision.INT8, Precision.INT4]),
    attention=st.sampled_from(["fused", "eager"]),
    logits=st.sampled_from(["last", "all", "none"]),
)
factors = st.floats(1.0, 100.0)


@st.composite
def workloads(draw: Callable[..., Any], spec: ModelSpec) -> Workload:
    images = draw(st.integers(1, 3))
    return workload_of(
        spec,
        tokens=draw(st.integers(0, images * spec.visual_tokens)),
        text_tokens=draw(st.integers(1, 2000)),
        new_tokens=draw(st.integers(1, 500)),
        batch=draw(st.integers(1, 200)),
        images=images,
    )


@st.composite
def cases(draw: Callable[..., Any]) -> tuple[ModelSpec, Workload, Execution]:
    spec = draw(specs)
    return spec, draw(workloads(spec)), execution_of(spec, draw(executions))


def predicted(spec: ModelSpec, workload: Workload, execution: Execution, device: Device = V100) -> Prediction:
    return predict(spec, Choice(device, device.id), workload, execution)


def faster(device: Device, peaks: float = 1.0, bandwidth: float = 1.0) -> Device:
    """A device with all its peaks, or its bandwidth, so many times higher."""
    scaled = [p._replace(rate=p.rate._replace(value=(p.flops_per_s or 0.0) * peaks)) for p in device.peaks]
    memory = device.bandwidth._replace(value=device.bytes_per_s * bandwidth)
    return replace(device, peaks=tuple(scaled), bandwidth=memory)


def times(prediction: Prediction) -> list[float]:
    """Of every op, of every phase, to the first token, and of an output token."""
    ops = [op.roofline_s for op in prediction.ops]
    phases = [phase.roofline_s for phase in prediction.phases]
    return [*ops, *phases, prediction.ttft_roofline_s, prediction.tpot_roofline_s or 0.0]


def no_more(smaller: float, larger: float) -> bool:
    """Up to the last digits of a float."""
    return smaller <= larger * (1 + 1e-12)


# --- devices


@given(cases(), factors)
def test_no_time_rises_with_bandwidth(case: Any, factor: float) -> None:
    slow, fast = predicted(*case), predicted(*case, faster(V100, bandwidth=factor))
    assert all(no_more(b, a) for a, b in zip(times(slow), times(fast), strict=True))


@given(cases(), factors)
def test_no_time_rises_with_the_peaks(case: Any, factor: float) -> None:
    slow, fast = predicted(*case), predicted(*case, faster(V100, peaks=factor))
    assert all(no_more(b, a) for a, b in zip(times(slow), times(fast), strict=True))


@given(cases(), factors)
def test_a_device_that_is_faster_throughout_is_faster_by_as_much(case: Any, factor: float) -> None:
    slow, fast = predicted(*case), predicted(*case, faster(V100, factor, factor))
    for a, b in zip(times(slow), times(fast), strict=True):
        assert b * factor == pytest.approx(a, rel=1e-9)


@given(cases())
def test_no_op_is_faster_than_memory_or_any_engine(case: Any) -> None:
    for time in predicted(*case).ops:
        assert time.roofline_s >= time.cost.bytes / 900e9
        assert time.roofline_s >= time.cost.vector_flops / 15.7e12
        assert no_more(time.cost.matmul_flops / 125e12, time.roofline_s)  # no engine of a V100 multiplies faster


# --- workloads


@pytest.mark.parametrize("what", ["visual_tokens", "text_tokens", "batch", "new_tokens", "images"])
@given(cases(), st.integers(1, 300))
def test_more_work_is_never_faster(what: str, case: Any, more: int) -> None:
    spec, workload, execution = case
    if what == "visual_tokens":
        more = min(more, workload.images * spec.visual_tokens - workload.visual_tokens)
    if what == "new_tokens" and not spec.has_decoder:
        more = 0
    larger = replace(workload, **{what: getattr(workload, what) + more})
    a, b = predicted(spec, workload, execution), predicted(spec, larger, execution)
    assert no_more(a.ttft_roofline_s, b.ttft_roofline_s)
    assert no_more(a.tpot_roofline_s or 0, b.tpot_roofline_s or 0)
    assert no_more(a.footprint.total, b.footprint.total)
    longer = {phase.phase: phase.roofline_s for phase in b.phases}
    assert all(no_more(phase.roofline_s, longer[phase.phase]) for phase in a.phases)


@given(cases(), st.integers(1, 200))
def test_flops_of_two_batches_are_those_of_both_together(case: Any, other: int) -> None:
    spec, workload, execution = case

    def flops(batch: int) -> int:
        return sum(op.flops for op in count_ops(spec, replace(workload, batch=batch), execution))

    assert flops(workload.batch) + flops(other) == flops(workload.batch + other)


@given(st.integers(1, 31), st.integers(0, 576), st.integers(0, 576), st.integers(1, 500))
def test_each_layer_costs_what_it_sees(layers: int, first: int, second: int, text: int) -> None:
    spec, more, fewer = SPECS["llava-1.5-7b"], max(first, second), min(first, second)

    def prefill(*groups: tuple[int, int]) -> int:
        workload = workload_of(spec, text_tokens=text, schedule=tuple(LayerGroup(*group) for group in groups))
        forward = count_ops(spec, workload, Execution(logits="none"))
        return sum(op.matmul_flops for op in forward if op.phase == "prefill")

    split, kept, dropped = prefill((layers, more), (32 - layers, fewer)), prefill((32, more)), prefill((32, fewer))
    assert 32 * split == layers * kept + (32 - layers) * dropped


# --- sums


@given(cases())
def test_figures_are_never_negative_and_products_are_whole(case: Any) -> None:
    for op in count_ops(*case):
        assert all(getattr(op, figure) >= 0 for figure in FIGURES)
        assert type(op.matmul_flops) is type(op.vector_flops) is int
        assert op.matmul_flops % 2 == 0  # multiply-adds


@given(cases())
def test_bytes_are_whole_but_for_expected_experts(case: Any) -> None:
    spec = case[0]
    for op in count_ops(*case):
        if not (spec.family == "mixtral" and op.name in ("gate_proj", "up_proj", "down_proj")):
            assert type(op.bytes) is int


@given(cases())
def test_phases_add_up_to_the_whole(case: Any) -> None:
    prediction = predicted(*case)
    for figure in (*FIGURES[2:], "matmul_flops", "flops", "bytes"):
        whole = sum(getattr(op.cost, figure) for op in prediction.ops)
        assert sum(getattr(phase, figure) for phase in prediction.phases) == pytest.approx(whole, rel=1e-12)
    seconds = sum(phase.roofline_s for phase in prediction.phases)
    assert seconds == pytest.approx(sum(op.roofline_s for op in prediction.ops), rel=1e-12)
    assert [p.phase for p in prediction.phases] == list(dict.fromkeys(op.cost.phase for op in prediction.ops))


# --- precisions


def traffic(ops: tuple[OpCost, ...], figure: str) -> float:
    return sum(getattr(op, figure) for op in ops)


@given(cases(), st.sampled_from([Precision.FP16, Precision.BF16, Precision.FP32]))
def test_narrower_weights_are_never_more_bytes(case: Any, activations: Precision) -> None:
    spec, workload, execution = case
    widths = [Precision.FP32, Precision.FP16, Precision.FP8, Precision.INT4]
    made = [replace(execution, activations=activations, weights=weights) for weights in widths]
    stored = [weight_bytes(spec, execution) for execution in made]
    moved = [traffic(count_ops(spec, workload, execution), "weight_bytes") for execution in made]
    assert stored == sorted(stored, reverse=True)
    assert moved == sorted(moved, reverse=True)
    if spec.text is not None:
        assert len(set(stored)) == len(set(moved)) == 4


@given(cases())
def test_a_narrower_cache_is_in_proportion(case: Any) -> None:
    spec, workload, execution = case
    wide, half, quarter = (replace(execution, kv=p) for p in (Precision.FP16, Precision.INT8, Precision.INT4))
    for figure in ("kv_read_bytes", "kv_write_bytes"):
        whole = traffic(count_ops(spec, workload, wide), figure)
        assert traffic(count_ops(spec, workload, half), figure) * 2 == whole
        assert traffic(count_ops(spec, workload, quarter), figure) * 4 == whole
    assert kv_bytes(spec, workload, half.kv) * 2 == kv_bytes(spec, workload, wide.kv)


@given(cases())
def test_eager_attention_never_moves_less(case: Any) -> None:
    spec, workload, execution = case
    fused, eager = (predicted(spec, workload, replace(execution, attention=kind)) for kind in ("fused", "eager"))
    assert no_more(fused.ttft_roofline_s, eager.ttft_roofline_s)
    for a, b in zip(fused.phases, eager.phases, strict=True):
        assert a.flops == b.flops
        assert no_more(a.bytes, b.bytes)
