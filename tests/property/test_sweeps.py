"""Every row of a sweep is the analysis of its point."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfkit
from perfkit.latency import Prediction
from perfkit.sweeping.columns import columns_of
from perfkit.sweeping.formats import plain
from perfkit.sweeping.grid import grid_of
from perfkit.sweeping.ranges import counts_of
from perfkit.sweeping.request import SweepRequest

OWN = {"llava-1.5-7b": 576, "llava-next-7b": 2928, "llama-3-8b": 0, "bert-base": 0, "mixtral-8x7b": 0}
GPUS = ("v100", "h100", "a100", "l40s")


def some(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, min_size=1, max_size=most, unique=True).map(tuple)


@st.composite
def requests(draw: Callable[..., Any], basis: Any) -> SweepRequest:
    models = draw(some(st.sampled_from(sorted(OWN)), 2))
    images = draw(some(st.integers(1, 3), 2))
    most = min(OWN[model] for model in models) * min(images)
    tokens = draw(st.none() | some(st.integers(0, most)))
    return SweepRequest(
        gpu=draw(some(st.sampled_from(GPUS), 2)),
        model=models,
        precision=draw(some(st.sampled_from(["fp16", "int8"]), 2)),
        weights=draw(st.just(()) | some(st.sampled_from(["int4", "int8", "fp16"]), 2)),
        kv=draw(st.just(()) | some(st.sampled_from(["int4", "fp16"]), 2)),
        attention=draw(some(st.sampled_from(["fused", "eager"]), 2)),
        tp=counts_of("tp", draw(some(st.sampled_from([1, 2]), 2))),
        pp=counts_of("pp", draw(some(st.sampled_from([1, 2]), 1))),
        images=counts_of("images", images),
        tokens=() if tokens is None else counts_of("tokens", tokens, 0),
        text_tokens=counts_of("text tokens", draw(some(st.integers(1, 3000)))),
        new_tokens=counts_of("new tokens", draw(some(st.integers(1, 500)))),
        batch=counts_of("batch", draw(some(st.integers(1, 256)))),
        basis=basis,
        runtime=draw(st.sampled_from([None, "eager"])) if basis == "expected" else None,
    )


def analysis(row: dict[str, Any]) -> Prediction:
    return perfkit.analyze(
        row["device"],
        row["model"],
        tokens=row["visual_tokens"],
        text_tokens=row["text_tokens"],
        new_tokens=max(row["new_tokens"], 1),
        batch=row["batch"],
        images=max(row["images"], 1),  # of models that see none
        precision=row["activations"],
        weights=row["weights"],
        kv=row["kv"],
        attention=row["attention"],
        tp=row["tp"],
        pp=row["pp"],
        runtime=row.get("runtime", "graph"),
    )


def figures(one: Prediction) -> dict[str, Any]:
    """What the columns must say, asked of the prediction itself."""
    phases = {phase.phase: phase for phase in one.phases}
    found: dict[str, Any] = {
        "ttft_roofline_s": one.ttft_roofline_s,
        "tpot_roofline_s": one.tpot_roofline_s,
        "memory_weights_bytes": one.footprint.weights,
        "memory_kv_bytes": one.footprint.kv,
        "memory_activations_bytes": one.footprint.activations,
        "memory_total_bytes": one.footprint.total,
        "fits": one.fits,
        "prefill_flops": phases["prefill"].flops,
        "prefill_bytes": phases["prefill"].bytes,
        "prefill_roofline_s": phases["prefill"].roofline_s,
        "vision_roofline_s": phases["vision"].roofline_s if "vision" in phases else 0,
        "projector_roofline_s": phases["projector"].roofline_s if "projector" in phases else 0,
    }
    if "decode" in phases:
        decode = phases["decode"]
        found |= {"decode_flops": decode.flops, "decode_bytes": decode.bytes, "decode_roofline_s": decode.roofline_s}
    return found


def expected_figures(one: Prediction) -> dict[str, Any]:
    low, high = one.ttft_range_s or (None, None)
    step = one.mean_decode
    return {
        "ttft_expected_s": one.ttft_expected_s,
        "ttft_expected_low_s": low,
        "ttft_expected_high_s": high,
        "tpot_expected_s": one.tpot_expected_s,
        "tpot_expected_low_s": step and step.expected_low_s,
        "tpot_expected_high_s": step and step.expected_high_s,
    }


def same(swept: Any, single: Any) -> bool:
    return swept != swept if single is None else math.isclose(swept, single, rel_tol=1e-12)


def check(request: SweepRequest, data: Any) -> None:
    grid = grid_of(request)
    columns = {key: plain(column).tolist() for key, column in columns_of(grid, 0, grid.points).items()}
    for row in data.draw(some(st.integers(0, grid.points - 1), 4)):
        point = {key: column[row] for key, column in columns.items()}
        one = analysis(point)
        expected = figures(one) | (expected_figures(one) if request.basis == "expected" else {})
        assert {key: (point[key], n) for key, n in expected.items() if not same(point[key], n)} == {}


@given(requests("roofline"), st.data())
def test_a_row_of_rooflines_is_the_analysis_of_its_point(request: SweepRequest, data: Any) -> None:
    check(request, data)


@settings(max_examples=25)
@given(requests("expected"), st.data())
def test_a_row_of_expected_times_is_the_analysis_of_its_point(request: SweepRequest, data: Any) -> None:
    check(request, data)


@pytest.mark.parametrize("most", [1, 3, 50])
def test_however_a_grid_is_cut_the_rows_are_the_same(most: int) -> None:
    grid = grid_of(
        SweepRequest(("v100",), tokens=(range(0, 577, 96),), batch=(range(1, 8),), text_tokens=(range(5, 8),))
    )
    times = [value for box in grid.boxes(0, grid.points, most) for value in _times(grid, box)]
    whole = columns_of(grid, 0, grid.points)["ttft_roofline_s"]
    assert times == pytest.approx(whole.tolist(), rel=1e-12)


def _times(grid: Any, box: Any) -> list[float]:
    import numpy

    times: list[float] = numpy.broadcast_to(grid.predict(box).ttft_roofline_s, box.shape).ravel().tolist()
    return times
