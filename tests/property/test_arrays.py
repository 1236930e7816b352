"""A sweep is many points: float64 arrays through the formulas give, element by element, what ints give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.counting import count_ops, decode_ops, execution_of, workload_of
from perfkit.errors import InvalidValue
from perfkit.hardware import choose_device, load_device
from perfkit.latency import predict
from perfkit.memory import footprint
from perfkit.models import load_model, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.roofline import engines_of, time_ops
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup

GPT2 = {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 8192, "vocab_size": 701}
SPECS = {
    "gpt2": replace(read_model(Config(GPT2, "gpt2")), name="gpt2"),
    **{name: load_model(name) for name in ("llava-1.5-7b", "llava-next-7b", "llama-3-8b", "mixtral-8x7b")},
}
FLOPS = ("matmul_flops", "vector_flops")
BYTES = ("weight_bytes", "read_bytes", "write_bytes", "kv_read_bytes", "kv_write_bytes")
TIMES = ("compute_s", "memory_s", "roofline_s")
EXACT = 2**53  # above, a float64 cannot hold every whole number

Point = dict[str, int]
executions = st.builds(
    Execution,
    weights=st.sampled_from([Precision.FP16, Precision.INT4]),
    kv=st.sampled_from([Precision.FP16, Precision.INT4]),
    attention=st.sampled_from(["fused", "eager"]),
    logits=st.sampled_from(["last", "all"]),
)


@st.composite
def sweeps(draw: Callable[..., Any], spec: ModelSpec) -> list[Point]:
    """One to five points; visual tokens of 0 stand among others."""
    visual = st.just(0) | st.integers(0, spec.visual_tokens)
    point = st.fixed_dictionaries(
        {
            "tokens": visual,
            "text_tokens": st.integers(1, 1500),
            "new_tokens": st.integers(1, 300),
            "batch": st.integers(1, 64),
            "images": st.integers(1, 3),
        }
    )
    return draw(st.lists(point, min_size=1, max_size=5))


def columns(points: list[Point]) -> dict[str, Any]:
    return {name: np.array([point[name] for point in points], dtype=np.float64) for name in points[0]}


def element(value: Any, index: int) -> float:
    """Of an array, or a number that is the same at every point."""
    return float(value[index]) if isinstance(value, np.ndarray) and value.ndim else float(value)


def by_name(ops: tuple[Any, ...]) -> dict[tuple[str, str], Any]:
    keys = [(getattr(op, "cost", op).phase, getattr(op, "cost", op).name) for op in ops]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, ops, strict=True))


def assert_same_cost(swept: OpCost, single: OpCost | None, index: int) -> None:
    for figure in FLOPS:
        expected = 0 if single is None else getattr(single, figure)
        assert expected < EXACT
        assert element(getattr(swept, figure), index) == expected
    for figure in BYTES:
        expected = 0 if single is None else getattr(single, figure)
        assert element(getattr(swept, figure), index) == pytest.approx(expected, rel=1e-12, abs=0)
    assert element(swept.repeat, index) == (0 if single is None else single.repeat)


@pytest.mark.parametrize("name", SPECS)
@given(st.data(), executions)
def test_counts_times_and_memory_of_a_sweep_are_those_of_its_points(name: str, data: Any, execution: Execution) -> None:
    spec = SPECS[name]
    points = data.draw(sweeps(spec))
    workload = workload_of(spec, **columns(points))
    swept = count_ops(spec, workload, execution)
    engines = engines_of(load_device("v100"), swept)
    swept_times, need = by_name(time_ops(engines, swept)), footprint(spec, workload, execution, swept)
    for index, point in enumerate(points):
        one = workload_of(spec, **point)
        forward = count_ops(spec, one, execution)
        singles, single_times = by_name(forward), by_name(time_ops(engines, forward))
        assert set(singles) <= set(by_name(swept))
        for key, op in by_name(swept).items():
            # Where a point has no image its vision ops are there with all figures 0.
            assert_same_cost(op, singles.get(key), index)
            assert key in singles or key[0] in ("vision", "projector") or key[1] == "merge_visual"
            for figure in TIMES:
                expected = getattr(single_times[key], figure) if key in singles else 0.0
                assert element(getattr(swept_times[key], figure), index) == pytest.approx(expected, rel=1e-12, abs=0)
        single = footprint(spec, one, execution, forward)
        for figure in ("weights", "kv", "activations", "total"):
            assert element(getattr(need, figure), index) == getattr(single, figure)


@pytest.mark.parametrize("name", SPECS)
@given(st.data())
def test_mean_decode_of_a_sweep(name: str, data: Any) -> None:
    spec = SPECS[name]
    points = data.draw(sweeps(spec))
    workload = workload_of(spec, **columns(points))
    swept = by_name(tuple(decode_ops(spec, workload, Execution(), extra_tokens=workload.mean_extra_tokens)))
    for index, point in enumerate(points):
        one = workload_of(spec, **point)
        singles = by_name(tuple(decode_ops(spec, one, Execution(), extra_tokens=one.mean_extra_tokens)))
        assert set(singles) == set(swept)
        for key, op in swept.items():
            assert_same_cost(op, singles[key], index)


@given(st.lists(st.integers(0, 576), min_size=1, max_size=5))
def test_one_swept_count_among_fixed_ones(tokens: list[int]) -> None:
    # Only the tokens are an array; the rest are ints, as a sweep over one axis has them.
    spec = SPECS["llava-1.5-7b"]
    swept = count_ops(spec, workload_of(spec, tokens=np.array(tokens, dtype=np.float64), batch=3), Execution())
    for index, visual in enumerate(tokens):
        singles = by_name(count_ops(spec, workload_of(spec, tokens=visual, batch=3), Execution()))
        for key, op in by_name(swept).items():
            assert_same_cost(op, singles.get(key), index)


@given(st.lists(st.tuples(st.integers(0, 576), st.integers(0, 576)), min_size=1, max_size=5), st.integers(1, 31))
def test_schedules_sweep_too(tokens: list[tuple[int, int]], layers: int) -> None:
    spec = SPECS["llava-1.5-7b"]

    def counted(more: Any, fewer: Any) -> list[OpCost]:
        schedule = (LayerGroup(layers, more), LayerGroup(32 - layers, fewer))
        return list(count_ops(spec, workload_of(spec, tokens=more, schedule=schedule), Execution()))

    tokens = [(max(pair), min(pair)) for pair in tokens]
    swept = counted(*np.array(tokens, dtype=np.float64).T)
    for index, (more, fewer) in enumerate(tokens):
        singles = counted(more, fewer)
        if more == 0:
            continue  # then a single count has no vision, so its ops do not stand beside the sweep's one by one
        for op, single in zip(swept, singles, strict=True):
            assert_same_cost(op, single, index)


def test_a_swept_schedule_may_grow_nowhere() -> None:
    spec = SPECS["llava-1.5-7b"]
    schedule = (LayerGroup(2, np.array([576.0, 100.0])), LayerGroup(30, np.array([288.0, 101.0])))
    with pytest.raises(InvalidValue, match="cannot grow"):
        workload_of(spec, schedule=schedule)


def test_a_sweep_is_checked_at_every_point() -> None:
    spec = SPECS["llava-1.5-7b"]
    with pytest.raises(InvalidValue, match="at most 576"):
        workload_of(spec, tokens=np.array([0.0, 577.0]))
    with pytest.raises(InvalidValue, match="sees no images"):
        workload_of(SPECS["llama-3-8b"], tokens=np.array([0.0, 1.0]))
    with pytest.raises(InvalidValue, match="batch"):
        workload_of(spec, batch=np.array([1.0, 0.0]))


def test_models_without_a_decoder_sweep_too() -> None:
    spec = load_model("bert-base")
    lengths = np.array([1.0, 60.0, 512.0])
    swept = by_name(count_ops(spec, workload_of(spec, text_tokens=lengths), execution_of(spec, Execution())))
    for index, length in enumerate((1, 60, 512)):
        one = workload_of(spec, text_tokens=length)
        for key, op in by_name(count_ops(spec, one, execution_of(spec, Execution()))).items():
            assert_same_cost(swept[key], op, index)


def test_a_prediction_takes_arrays_as_it_takes_numbers() -> None:
    spec, choice = SPECS["llava-1.5-7b"], choose_device("v100")
    tokens, batch = np.array([0.0, 32.0, 576.0, 576.0]), np.array([1.0, 1.0, 8.0, 64.0])
    swept = predict(spec, choice, workload_of(spec, tokens=tokens, batch=batch), Execution())
    for i in range(len(tokens)):
        one = predict(spec, choice, workload_of(spec, tokens=int(tokens[i]), batch=int(batch[i])), Execution())
        assert swept.ttft_roofline_s[i] == pytest.approx(one.ttft_roofline_s, rel=1e-12)
        assert swept.tpot_roofline_s is not None
        assert swept.tpot_roofline_s[i] == pytest.approx(one.tpot_roofline_s, rel=1e-12)
        assert swept.footprint.total[i] == one.footprint.total
        assert bool(swept.fits[i]) == one.fits
    assert list(swept.fits) == [True, True, True, False]  # 64 * 764 tokens * 524,288 B of cache are 25.6 GB beside 14.1


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "float32"])
def test_arrays_that_would_overflow_or_round_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidValue, match=f"sweeps take float64 arrays and single points Python ints, not {dtype}"):
        workload_of(SPECS["llama-3-8b"], text_tokens=np.array([10_000, 10], dtype=dtype))


def test_a_numpy_scalar_is_refused() -> None:
    with pytest.raises(InvalidValue, match="not int64"):
        workload_of(SPECS["llama-3-8b"], text_tokens=np.int64(32))
