"""What an H100 measured, held against what is counted and expected of it: its files come with perfkit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from perfkit import analyze, validate
from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.launching import CACHED, INDEXED, JOINED, TRANSPOSED
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.schema import read_measurement
from perfkit.metrics import mape
from perfkit.units import Precision
from perfkit.validation.judging import Validation

REPORTS = Path(__file__).parents[2] / "reports"
FOLDER = REPORTS / "measured" / "h100-sxm-80gb"
MODELS = ("llava-1.5-7b", "llava-1.5-13b")
FILES = tuple(f"{host}{model}" for host in ("", "second-host-") for model in MODELS)
PREFILL = KernelShape("attention_prefill", None, None, None, 1, 636, 636, 32, 32, 128, 1)


@pytest.fixture(scope="module")
def validation() -> Validation:
    return validate([FOLDER / f"{name}.json" for name in (*FILES, "kernels")])


# --- counted


@pytest.mark.parametrize("row", json.loads((FOLDER / "checks" / "flops-by-torch.json").read_text()), ids=str)
def test_flops_are_those_that_torch_counted_of_the_running_model(row: dict[str, Any]) -> None:
    attention = "eager" if row["attention"] == "eager" else "fused"
    prediction = analyze("h100-sxm", row["model"], tokens=row["visual"], new_tokens=1, attention=attention)
    (phase,) = (phase for phase in prediction.phases if phase.phase == row["phase"])
    # torch counts the angles too, a product of 64 frequencies and the positions: prefill's all, decode's one.
    positions = {"prefill": row["visual"] + row["text"], "decode": 1}.get(row["phase"], 0)
    assert row["torch"] == phase.matmul_flops + 2 * 64 * positions


@pytest.mark.parametrize(
    ("call", "shape", "tolerance"),
    [
        # Read once: 2 * (4096 * 11008 + 4096) bytes; weights, queries, keys and values come in nothing but once.
        ("gemm m=1 n=11008 k=4096", gemm(1, 11008, 4096), 0.001),
        # Keys and values were one tensor here: 2 of 3 that are counted as read.
        ("rmsnorm m=636 n=4096", over_rows("rmsnorm", 636, 4096), 0.003),
        ("gemm m=636 n=4096 k=4096", gemm(636, 4096, 4096), 0.02),
        ("gemm m=636 n=11008 k=4096", gemm(636, 11008, 4096), 0.06),  # some columns are read by two waves
    ],
)
def test_bytes_read_are_those_that_the_profiler_saw(call: str, shape: KernelShape, tolerance: float) -> None:
    with (FOLDER / "checks" / "ncu.csv").open(newline="") as file:
        seen = [int(row["dram_read_bytes"]) for row in csv.DictReader(file) if row["call"] == call]
    cost: Any = cost_of_shape(shape, Precision.FP16)
    counted = cost.weight_bytes + cost.read_bytes
    assert len(seen) == 2
    assert seen == pytest.approx([counted] * 2, rel=tolerance)


@pytest.mark.parametrize("file", FILES)
def test_peak_memory_is_what_torch_held(file: str) -> None:
    """Prefill and decode on a static cache; a growing cache is held twice while it is concatenated, and a tower alone
    holds no cache."""
    seen = 0
    for case, point in read_measurement(FOLDER / f"{file}.json").phases.items():
        if case.phase != "prefill" and case.runtime != "graph":
            continue
        attention = "eager" if case.attention == "eager" else "fused"
        asked = {"tokens": case.visual_tokens, "batch": case.batch, "precision": case.precision}
        prediction = analyze("h100-sxm", case.model, new_tokens=1, attention=attention, **asked)  # type: ignore[arg-type]
        assert point.peak_memory_bytes == pytest.approx(prediction.footprint.total, rel=0.015), case.label
        seen += 1
    assert seen >= 15


# --- timed


def test_nothing_was_measured_below_its_roofline(validation: Validation) -> None:
    ratios = [point.roofline_ratio for point in validation.points if point.roofline_ratio is not None]
    assert len(ratios) == 261  # of 284 that were asked for
    assert min(ratios) > 1


def test_decode_in_a_graph_is_expected_within_five_percent_by_kernels_alone(validation: Validation) -> None:
    found = {(each.phase, each.predictor): each for each in validation.errors}
    assert found["decode, graph", "expected"].mape < 0.05
    assert found["decode, graph", "roofline"].mape > 0.4


def test_prefill_that_the_device_bounds_is_expected_within_five_percent_by_kernels_alone(
    validation: Validation,
) -> None:
    found = {(each.phase, each.predictor): each for each in validation.errors}
    assert found["prefill, device-bound", "expected"].points == 29
    assert found["prefill, device-bound", "expected"].mape < 0.05
    assert found["prefill, device-bound", "expected"].worst < 0.1


def _layer(visual_tokens: int, batch: int) -> list[float]:
    """Seconds of the kernels of a layer, from one gated activation to the next, as the profiler saw them."""
    with (FOLDER / "checks" / "layer-kernels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    asked = ("prefill", str(visual_tokens), str(batch))
    return [float(row["median_s"]) for row in rows if (row["phase"], row["visual_tokens"], row["batch"]) == asked]


@pytest.mark.parametrize(("visual_tokens", "batch", "tolerance"), [(576, 8, 0.13), (144, 8, 0.13), (32, 8, 0.25)])
def test_kernels_of_a_layer_are_expected_as_the_profiler_saw_them(
    visual_tokens: int, batch: int, tolerance: float
) -> None:
    seen = _layer(visual_tokens, batch)
    prediction = analyze("h100-sxm", tokens=visual_tokens, batch=batch, runtime="eager")
    each: Any = {op.cost.name: op.expected_s / op.cost.repeat for op in prediction.ops if op.cost.phase == "prefill"}
    parts = {
        # Behind silu, up, product, down and the residual: 8 of the norm, q k v, 10 of rotary, 2 of the cache and
        # attention itself.
        "input_norm": seen[5:13],
        "rotary": seen[16:26],
        "attention": seen[26:29],
    }
    for name, kernels in parts.items():
        assert each[name] == pytest.approx(sum(kernels), rel=tolerance), name
    # Without the addressing of single elements rotary would be expected at memory's rate: 10 tensors of 2 bytes each,
    # for queries and for keys, a third of the time.
    elements = (visual_tokens + 60) * batch * 4096
    assert sum(parts["rotary"]) > 2 * (2 * 10 * 2 * elements / 3.35e12)


# Kernels of a layer by their place behind silu that address the elements of (tokens, 4096) one by one: of norms
# widening, times the root, times the weights; of rotary, twice, half negated, times the sine; multiplied and added;
# joined; of the cache, joined.
ADDRESSED = {
    INDEXED: ((5, 10, 12, 17, 19, 22, 24, 31, 36, 38), {17: 0.5, 22: 0.5}),
    TRANSPOSED: ((16, 20, 21, 25), {}),
    JOINED: ((18, 23), {}),
    CACHED: ((26, 27), {}),
}


@pytest.mark.parametrize("clocks", ADDRESSED)
def test_clocks_of_addressing_are_the_medians_of_the_profile(clocks: float) -> None:
    places, parts = ADDRESSED[clocks]
    found = []
    for visual_tokens, batch in ((576, 8), (144, 8), (32, 8), (576, 1)):
        seen, elements = _layer(visual_tokens, batch), (visual_tokens + 60) * batch * 4096
        # A launch of 1.2 us taken off; 132 multiprocessors at 1.98 GHz.
        found += [(seen[i] - 1.2e-6) * 132 * 1.98e9 / (elements * parts.get(i, 1)) for i in places]
    assert median(found) == pytest.approx(clocks, rel=0.03)


def test_the_prediction_that_was_made_before_is_kept_and_covers_what_was_timed(validation: Validation) -> None:
    document = json.loads((REPORTS / "validation" / "h100-sxm-80gb-prediction.json").read_text())
    predicted = {PhaseCase(*(point[key] for key in PhaseCase._fields)): point for point in document["points"]}
    timed = {point.case: point for point in validation.points}
    assert timed.keys() <= predicted.keys()
    rooflines = [(timed[case].roofline_s, predicted[case]["roofline_s"]) for case in timed]
    assert mape(rooflines) == pytest.approx(0, abs=1e-12)  # counts have not changed since
