"""Models on several GPUs, whatever the model, the workload and the degrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perfkit.counting import count_ops, workload_of
from perfkit.hardware import choose_device
from perfkit.latency import Prediction, predict
from perfkit.memory import stage_weight_bytes, weight_bytes
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec, StackSpec
from perfkit.ops import COMMUNICATION
from perfkit.parallel import part_of, pipeline_efficiency, stage_layers, tensor_degrees
from perfkit.units import Precision
from perfkit.workload import Execution

A100 = choose_device("a100")
SPECS = {name: load_model(name) for name in ("llava-1.5-13b", "llama-3-8b", "mixtral-8x7b", "qwen2-7b")}
COLUMNS = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "lm_head"}
ROWS = {"o_proj", "down_proj"}

models = st.sampled_from(sorted(SPECS)).map(SPECS.__getitem__)
weights = st.sampled_from([Precision.FP16, Precision.INT8, Precision.INT4])


def stack_of(spec: ModelSpec) -> StackSpec:
    assert spec.text is not None
    return spec.text.stack


@st.composite
def split(draw: Any) -> tuple[ModelSpec, Execution]:
    spec = draw(models)
    tp, pp = draw(st.sampled_from(tensor_degrees(stack_of(spec)))), draw(st.integers(1, stack_of(spec).layers))
    return spec, Execution(weights=draw(weights), tp=tp, pp=pp)


def alone(execution: Execution) -> Execution:
    return Execution(weights=execution.weights)


@given(split(), st.integers(1, 4), st.integers(1, 500))
def test_costs_are_those_of_one_gpu(asked: tuple[ModelSpec, Execution], batch: int, text: int) -> None:
    spec, execution = asked
    workload = workload_of(spec, batch=batch, text_tokens=text)
    one, several = (predict(spec, A100, workload, e) for e in (alone(execution), execution))
    own = [time for time in several.ops if time.cost.kind != COMMUNICATION]
    assert [time.cost._replace(kernel=None) for time in own] == [time.cost._replace(kernel=None) for time in one.ops]
    for name in ("flops", "matmul_flops", "bytes"):
        assert [getattr(p, name) for p in several.phases] == [getattr(p, name) for p in one.phases]


@given(models, st.integers(1, 4))
def test_one_gpu_is_what_it_was(spec: ModelSpec, batch: int) -> None:
    workload = workload_of(spec, batch=batch)
    one, asked = predict(spec, A100, workload, Execution()), predict(spec, A100, workload, Execution(tp=1, pp=1))
    assert asked == one
    assert one.layout is None
    assert all(time.cost.kind != COMMUNICATION for time in one.ops)
    assert all(phase.communication_s == 0 for phase in one.phases)


@given(split(), st.integers(1, 500))
def test_products_are_a_share_of_the_whole(asked: tuple[ModelSpec, Execution], text: int) -> None:
    spec, execution = asked
    workload = workload_of(spec, text_tokens=text)
    whole = count_ops(spec, workload, execution)
    own = count_ops(part_of(spec, execution), workload, execution)
    a = stack_of(spec).attention
    replicated = {"k_proj", "v_proj"} if execution.tp > a.kv_heads else set()
    for op, part in zip(whole, own, strict=True):
        assert (op.phase, op.name) == (part.phase, part.name)
        if op.phase in ("vision", "projector"):
            assert part == op
        elif op.name in (COLUMNS | ROWS) - replicated - {"lm_head"}:
            assert part.matmul_flops * execution.tp == op.matmul_flops
        elif op.name == "lm_head":  # a vocabulary may be padded
            assert 0 <= part.matmul_flops * execution.tp - op.matmul_flops < op.matmul_flops * 1e-3
        elif op.name in replicated:
            assert part.matmul_flops * a.kv_heads == op.matmul_flops


@given(split(), st.integers(1, 4), st.integers(1, 2000))
def test_no_split_is_faster_than_its_gpus(asked: tuple[ModelSpec, Execution], batch: int, text: int) -> None:
    spec, execution = asked
    workload = workload_of(spec, batch=batch, text_tokens=text)
    one, several = (predict(spec, A100, workload, e, expected=False) for e in (alone(execution), execution))
    assert several.ttft_roofline_s >= one.ttft_roofline_s / execution.tp * (1 - 1e-12)
    assert one.tpot_roofline_s is not None
    assert several.tpot_roofline_s >= one.tpot_roofline_s / execution.tp * (1 - 1e-12)


@given(split())
def test_no_exchange_is_expected_faster_than_its_link(asked: tuple[ModelSpec, Execution]) -> None:
    spec, execution = asked
    assume(execution.gpus > 1)
    found = [t for t in predict(spec, A100, workload_of(spec), execution).ops if t.cost.kind == COMMUNICATION]
    assert found
    assert all(time.expected_s > time.roofline_s for time in found)


@given(split())
def test_slices_hold_the_whole_model(asked: tuple[ModelSpec, Execution]) -> None:
    spec, execution = asked
    whole, tp = weight_bytes(spec, alone(execution)), execution.tp
    held = sum(stage_weight_bytes(spec, execution)) * tp
    a, stack = stack_of(spec).attention, stack_of(spec)
    # What is on every GPU: tower, projector, norms, biases, routers, and heads of keys and values that are fewer.
    text = spec.text
    assert text is not None
    replicated = (spec.parameters - text.parameters + stack.layers * stack.other_parameters + 2 * stack.hidden) * 2
    router = stack.layers * stack.hidden * stack.feed_forward.experts * 2 * (stack.feed_forward.experts > 1)
    kv = stack.layers * 2 * stack.hidden * a.kv_width * 2 * max(tp // a.kv_heads - 1, 0)
    padding = 2 * 2 * tp * text.embedding_width
    assert whole <= held <= whole + (replicated + router) * (tp - 1) + kv + padding + whole * 0.01 * (tp > 1)


@given(st.integers(1, 200), st.data())
def test_stages_have_all_layers_and_differ_by_one(layers: int, data: Any) -> None:
    stages = stage_layers(layers, data.draw(st.integers(1, layers)))
    assert sum(stages) == layers
    assert max(stages) - min(stages) <= 1
    assert stages[0] == min(stages) or len(set(stages)) == 1 or stages[0] - stages[-1] <= 1


@given(st.integers(1, 1000), st.integers(1, 64))
def test_a_pipeline_is_never_more_than_busy(micro_batches: int, pp: int) -> None:
    assert 1 / pp <= pipeline_efficiency(micro_batches, pp) <= 1
    assert pipeline_efficiency(micro_batches + 1, pp) >= pipeline_efficiency(micro_batches, pp)


points = st.fixed_dictionaries({"batch": st.integers(1, 64), "text_tokens": st.integers(1, 3000)})


@given(split(), st.lists(points, min_size=1, max_size=4))
def test_a_sweep_of_a_split_model_is_its_points(
    asked: tuple[ModelSpec, Execution], several: list[dict[str, int]]
) -> None:
    spec, execution = asked
    columns: Any = {name: np.array([point[name] for point in several], dtype=float) for name in several[0]}
    swept = predict(spec, A100, workload_of(spec, **columns), execution)
    for index, point in enumerate(several):
        single = predict(spec, A100, workload_of(spec, **point), execution)
        for name, value in figures(swept).items():
            assert element(value, index) == pytest.approx(figures(single)[name], rel=1e-12), name


def figures(p: Prediction) -> dict[str, Any]:
    return {
        "ttft_roofline_s": p.ttft_roofline_s,
        "ttft_expected_s": p.ttft_expected_s,
        "tpot_roofline_s": p.tpot_roofline_s,
        "tpot_expected_s": p.tpot_expected_s,
        "communication_s": sum(phase.communication_s for phase in p.phases),
        **p.footprint._asdict(),
    }


def element(value: Any, index: int) -> float:
    return float(value[index]) if getattr(value, "ndim", 0) else float(value)
