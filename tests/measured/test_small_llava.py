"""A small LLaVA really timed on this CPU, against itself and against a roofline over rates that were measured too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from perfkit import analyze, measure
from perfkit.latency import Prediction
from perfkit.measuring.backend import UNKNOWN_CACHE
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.cpu import last_level_cache_bytes
from perfkit.measuring.measurement import Measurement
from perfkit.measuring.protocol import Rules, Timing
from perfkit.models import load_model
from perfkit.units import Precision

TOKENS, TEXT = 64, 60
CACHES = 4.5  # times the last cache level: the weights of the tower, and those of the language model, each
LAYER_BYTES = 4 * (4 * 1024**2 + 2 * 1024 * 4096)  # fp32, of the tower; the language model's are a little larger
MOST_BYTES = 2 * 2**30  # of either, so that a machine with a huge cache does not build a huge model
PHASES = ["vision", "projector", "prefill", "decode"]
RULES = Rules(budget_s=4, minimum_s=1, warmup_s=1.5)
PEAK_RULES = Rules(budget_s=1.5, minimum_s=0.5, warmup_s=0.5)

pytestmark = pytest.mark.slow


def config(layers: int) -> dict[str, object]:
    text = {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "vocab_size": 2048,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 112,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": layers,
        "patch_size": 14,
    }
    return {"model_type": "llava", "text_config": text, "vision_config": vision, "image_token_index": 1}


def write_model(folder: Path) -> str:
    wanted = CACHES * (last_level_cache_bytes() or UNKNOWN_CACHE)
    if wanted > MOST_BYTES:
        pytest.skip(f"the last cache level is too large for a small model: {wanted / CACHES / 2**20:.0f} MiB")
    path = folder / "config.json"
    path.write_text(json.dumps(config(layers=-int(-wanted // LAYER_BYTES))))
    return str(path)


def run(model: str, output: Path) -> Measurement:
    return measure(
        output, model=model, tokens=(TOKENS,), text_tokens=TEXT, precisions=("fp32",), device="cpu", rules=RULES
    )


def read_rates(device: Path) -> Measurement:
    """What this machine reaches now, written as a device."""
    return measure(device, suite="peaks", precisions=("fp32",), device="cpu", rules=PEAK_RULES)


def predict(model: str, device: Path) -> Prediction:
    return analyze(str(device), model, tokens=TOKENS, text_tokens=TEXT, precision="fp32")


# One test, so that what is timed is timed once, however many workers the tests are spread over.
def test_two_runs_agree_and_neither_beats_the_roofline_of_measured_rates(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    check_weights(model)
    devices = [tmp_path / f"{when}.yaml" for when in ("before", "between", "after")]
    before = read_rates(devices[0])
    first = timings(run(model, tmp_path / "first.json"))
    between = read_rates(devices[1])
    second = timings(run(model, tmp_path / "second.json"))
    after = read_rates(devices[2])
    check_agreement(first, second, drift_of(before, between, after))
    predictions = [predict(model, device) for device in devices]
    check_bound(first, predictions)
    check_bound(second, predictions)
    check_one_row_products(predictions[-1])


def timings(measurement: Measurement) -> dict[PhaseCase, Timing]:
    found = {case: point.timing for case, point in measurement.phases.items() if point.timing}
    assert [case.phase for case in found] == PHASES
    return found


def check_weights(model: str) -> None:
    """Those of the tower and of the language model each exceed four times the last cache level."""
    spec, cache = load_model(model), last_level_cache_bytes() or UNKNOWN_CACHE
    for part in (spec.vision, spec.text):
        assert part is not None
        assert 4 * part.stack.parameters > 4 * cache  # 4 bytes a parameter


def drift_of(*readings: Measurement) -> float:
    """How much the machine itself changed: the largest change of the time of any one kernel from reading to reading."""
    series = [[reading.kernels[case].timing for reading in readings] for case in readings[0].kernels]
    medians = [[timing.median_s for timing in timings if timing] for timings in series]
    return max(max(times) / min(times) for times in medians) - 1


def check_agreement(first: dict[PhaseCase, Timing], second: dict[PhaseCase, Timing], drift: float) -> None:
    """Medians lie within the stated intervals of each other, or one of the two says that it is unstable.

    An interval speaks of its own series; by what the machine became faster or slower between two series, as its
    kernels tell, they may lie apart.
    """
    for case, one in first.items():
        other = second[case]
        if one.stable and other.stable:
            assert one.interval_s is not None
            assert other.interval_s is not None
            assert one.interval_s[0] <= other.interval_s[1] * (1 + drift), case.label
            assert other.interval_s[0] <= one.interval_s[1] * (1 + drift), case.label


def check_bound(measured: dict[PhaseCase, Timing], predictions: Sequence[Prediction]) -> None:
    """What else runs on the machine can only lower a rate, so of several readings of the rates the fastest counts."""
    for case, timing in measured.items():
        bounds = [phase.roofline_s for p in predictions for phase in p.phases if phase.phase == case.phase]
        assert len(bounds) == len(predictions)
        assert timing.median_s >= 0.95 * min(bounds), case.label


def check_one_row_products(prediction: Prediction) -> None:
    """Decode is expected at the rate that products of one row reach, not at that of a copy."""
    rate = prediction.device.gemv[Precision.FP32].value
    products = [op for op in prediction.ops if op.cost.phase == "decode" and op.cost.kind == "linear"]
    assert rate is not None
    assert {op.cost.kernel.m for op in products if op.cost.kernel} == {1}
    for op in products:
        assert op.expected_s == pytest.approx(op.cost.bytes / rate, rel=1e-12)
