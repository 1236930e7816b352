"""What only a real NVIDIA GPU can show: events against the host's clock, graphs against eager launches, counters.

Models are built from small configurations with random weights; nothing is downloaded. Some five minutes on one card.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from perfkit import analyze, measure
from perfkit.hardware import read_device
from perfkit.measuring.backend import Step, open_backend
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.cuda import CudaBackend
from perfkit.measuring.measurement import Measurement
from perfkit.measuring.networks import Network
from perfkit.measuring.protocol import Rules
from perfkit.measuring.schema import read_measurement
from perfkit.memory import weight_bytes
from perfkit.models import load_model
from perfkit.workload import Execution

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch sees; there is none here"),
]

VISUAL, TEXT = 64, 60
RULES = Rules(budget_s=10, warmup_s=3)
BRIEF = Rules(target=0.05, budget_s=0.5, minimum_s=0.02, warmup_s=0.2)


def config(layers: int, hidden: int, inner: int) -> dict[str, Any]:
    text = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "vocab_size": 2048,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 256,
        "image_size": 112,  # 8 x 8 patches
        "intermediate_size": 1024,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "patch_size": 14,
    }
    return {"model_type": "llava", "text_config": text, "vision_config": vision, "image_token_index": 1}


def write(folder: Path, name: str, layers: int, hidden: int, inner: int) -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config(layers, hidden, inner)))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def small(folder: Path) -> str:
    return write(folder, "small", layers=4, hidden=256, inner=512)


@pytest.fixture(scope="module")
def large(folder: Path) -> str:
    """16 layers of 4 * 2048^2 + 3 * 2048 * 5504 = 50.6 million: 1.6 GB in fp16, many times any L2."""
    return write(folder, "large", layers=16, hidden=2048, inner=5504)


@pytest.fixture(scope="module")
def measured(large: str, folder: Path) -> Measurement:
    return measure(folder / "large-out.json", model=large, text_tokens=TEXT, precisions=("fp16",), rules=RULES)


@pytest.fixture
def backend() -> CudaBackend:
    found = open_backend("cuda")
    assert isinstance(found, CudaBackend)
    return found


@pytest.fixture
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


# --- time


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("flush", [False, True])
def test_events_agree_with_the_clock_of_the_host(backend: CudaBackend, flush: bool) -> None:
    size = 4096
    left, right = (torch.randn(size, size, device=backend.device, dtype=torch.float16) for _ in range(2))
    out = torch.empty_like(left)
    products = 200  # 27 TFLOP: above 20 ms on any card, so that some 10 us of launches and waiting do not count

    def call() -> None:
        for _ in range(products):
            torch.mm(left, right, out=out)

    sample, by_host, by_events = backend.sampler(Step(call), flush=flush), [], []
    for _ in range(3):
        call()
    for _ in range(7):
        by_events.append(sample())
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        by_host.append(time.perf_counter() - begin)
    assert median(by_host) > 5e-3
    assert median(by_events) == pytest.approx(median(by_host), rel=0.1)


@pytest.mark.usefixtures("inference")
def test_what_is_prepared_is_not_timed(backend: CudaBackend) -> None:
    large = torch.empty(2**30, dtype=torch.uint8, device=backend.device)
    one = torch.ones(1, device=backend.device)
    sample = backend.sampler(Step(lambda: one.add_(1), lambda: large.zero_()), flush=True)
    taken = [sample() for _ in range(50)]
    # Writing 1 GiB takes 0.1 ms at 10 TB/s, faster than any card; a tiny kernel a hundredth of a millisecond.
    assert 0 < median(taken) < 1e-4


# --- graphs


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_replayed_graph_computes_what_eager_decode_does(backend: CudaBackend, small: str, attention: str) -> None:
    network = Network(load_model(small), backend, "fp32")
    found = {}
    for runtime in ("eager", "graph"):
        torch.manual_seed(7)  # the same keys and values
        torch.cuda.manual_seed_all(7)
        step = network.step(PhaseCase(small, "decode", VISUAL, TEXT, 2, "fp32", attention, runtime))
        logits = []
        for _ in range(3):
            assert step.before is not None
            step.before()
            result = step.call()
            assert isinstance(result, torch.Tensor)
            backend.synchronize()
            logits.append(result.clone())
        assert torch.equal(logits[0], logits[1])  # the cache was put back
        assert torch.equal(logits[0], logits[2])
        found[runtime] = logits[0]
    assert found["eager"].shape == (2, 1, 2048)
    assert bool(found["eager"].isfinite().all())
    torch.testing.assert_close(found["graph"], found["eager"], rtol=1e-4, atol=1e-5)


def test_a_graph_is_one_launch_and_not_slower(small: str, tmp_path: Path) -> None:
    found = measure(
        tmp_path / "out.json", model=small, text_tokens=TEXT, precisions=("fp16",), phases=("decode",), rules=RULES
    )
    eager, graph = found.points
    assert eager.launches is not None
    assert eager.launches > 4 * 20  # 4 layers
    assert graph.launches == 1
    assert eager.timing is not None
    assert graph.timing is not None
    assert graph.timing.median_s < eager.timing.median_s  # so small a model is bound by its launches


# --- a campaign


def test_every_phase_has_its_time_its_counters_and_its_peak(measured: Measurement, large: str) -> None:
    assert [(case.phase, case.runtime) for case in measured.phases] == [
        ("vision", "eager"),
        ("projector", "eager"),
        ("prefill", "eager"),
        ("decode", "eager"),
        ("decode", "graph"),
    ]
    weights = weight_bytes(load_model(large), Execution())
    for point in measured.points:
        assert point.status == "ok", point
        assert point.peak_memory_bytes is not None
        assert weights < point.peak_memory_bytes < weights + 2 * 10**9, point.case.label
    assert measured.machine.kind == "cuda"
    assert measured.machine.cache_bytes
    assert measured.machine.libraries["cuda"] == torch.version.cuda


def test_nvml_watches_the_card(measured: Measurement) -> None:
    pytest.importorskip("pynvml")
    for point in measured.points:
        counters = point.counters
        assert counters is not None, "NVML does not know the card by its UUID (a part of one?)"
        assert counters.readings >= 2
        assert counters.sm_clock_hz is not None
        assert 10**8 < counters.sm_clock_hz[1] < 10**10
        assert counters.temperature_c is not None
        assert 10 < counters.temperature_c[1] < 120
    if all(point.counters and point.counters.energy_j is None for point in measured.points):
        pytest.skip("this card has no energy counter")
    for point in measured.points:
        assert point.counters is not None
        assert point.timing is not None
        assert point.counters.energy_j is not None
        # Between 1 and 3000 W while it runs
        assert 1 < point.counters.energy_j / point.timing.median_s < 3000, point.case.label


def test_nothing_is_faster_than_the_roofline_of_the_card(measured: Measurement, large: str) -> None:
    device = measured.machine.device
    if device is None:
        pytest.skip(f"no device file for {measured.machine.name!r}")
    prediction = analyze(device, large, text_tokens=TEXT, new_tokens=1, precision="fp16")
    bounds = {phase.phase: phase.roofline_s for phase in prediction.phases}
    for case, point in measured.phases.items():
        if case.phase not in ("prefill", "decode"):
            continue  # their weights fit the L2, which the roofline does not know
        assert point.timing is not None
        assert point.timing.median_s >= 0.95 * bounds[case.phase], case.label


def test_a_campaign_is_resumed(small: str, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    asked: dict[str, Any] = {"model": small, "text_tokens": TEXT, "precisions": ("fp16",), "rules": BRIEF}
    first = measure(output, phases=("vision", "decode"), **asked)
    whole = measure(output, resume=True, **asked)
    assert whole.points[:3] == read_measurement(output).points[:3]
    assert [point.case for point in whole.points[:3]] == [point.case for point in first.points]
    assert len(whole.points) == 5
    assert len(whole.runs) == 2
    assert read_measurement(output).phases.keys() == whole.phases.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_more_than_the_card_holds_is_a_row(small: str, tmp_path: Path, backend: CudaBackend) -> None:
    # A cache of 4 layers * 2 * 256 wide * 2 bytes * 124 tokens = 0.5 MB a sequence
    batch = 2 * backend.free_bytes() // (4 * 2 * 256 * 2 * (VISUAL + TEXT))
    found = measure(
        tmp_path / "out.json",
        model=small,
        text_tokens=TEXT,
        precisions=("fp16",),
        phases=("decode",),
        batches=(batch, 1),
        rules=BRIEF,
    )
    assert [point.status for point in found.points] == ["out of memory"] * 2 + ["ok"] * 2
    assert "out of memory" in str(found.points[0].note).lower()


def test_tf32_products_are_faster_than_fp32_ones(backend: CudaBackend, large: str, tmp_path: Path) -> None:
    if "tf32" not in backend.precisions:
        pytest.skip("this card has no TF32")
    found = measure(
        tmp_path / "out.json",
        model=large,
        text_tokens=448,  # 512 rows: bound by products
        precisions=("fp32", "tf32"),
        phases=("prefill",),
        rules=RULES,
    )
    fp32, tf32 = (point.timing for point in found.points)
    assert fp32 is not None
    assert tf32 is not None
    assert tf32.median_s < fp32.median_s


# --- kernels and peaks


def test_the_kernel_suite_writes_its_table(small: str, tmp_path: Path) -> None:
    found = measure(
        tmp_path / "kernels.csv",
        suite="kernels",
        model=small,
        tokens=(VISUAL,),
        text_tokens=TEXT,
        precisions=("fp16",),
        rules=BRIEF,
    )
    with (tmp_path / "kernels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(point.status == "ok" for point in found.points) > 50
    assert all(0 < float(row["measured_s"]) < 1 for row in rows)
    assert {"gemm", "copy", "launch", "attention_decode"} <= {row["op"] for row in rows}


def test_the_peaks_suite_writes_a_device(small: str, tmp_path: Path) -> None:
    measure(tmp_path / "this.yaml", suite="peaks", model=small, precisions=("fp16", "fp32"), rules=BRIEF)
    device = read_device(tmp_path / "this.yaml")
    prediction = analyze(str(tmp_path / "this.yaml"), small, tokens=VISUAL, text_tokens=TEXT, precision="fp16")
    assert all(phase.roofline_s > 0 for phase in prediction.phases)
    assert device.name == torch.cuda.get_device_name()
