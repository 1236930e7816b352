"""The peaks suite: cases sized to the machine, and the device file of a measurement made by hand."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_FLOOR
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from perfkit.cli import main
from perfkit.errors import InvalidValue
from perfkit.hardware import Device, read_device
from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.device_file import _rounded
from perfkit.measuring.kernel_costs import cost_of
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.peaks import WEIGHTS, device_yaml, peak_cases
from perfkit.measuring.protocol import Timing
from perfkit.units import Precision

GIB = 2**30
MACHINE = Machine(
    kind="cpu",
    name="AMD EPYC: 7 #3, 'Milan'",  # nothing in it may break the file
    clock="monotonic clock",
    memory_bytes=25_276_510_208,
    cores=2,
    platform="Linux",
    libraries={"torch": "2.13.0+cpu"},
    cache_bytes=2**25,
)
RUN = Run("2026-03-01T10:11:12+00:00", "perfkit measure --suite peaks", "0.1.0")
CAUSAL = KernelShape("attention_prefill", None, None, None, 1, 1000, 1000, 10, 10, 100, 1)


def point(shape: KernelShape, precision: str, *samples: float) -> Point:
    case = KernelCase(shape, precision)
    if not samples:
        return Point(case, "out of memory", note="too large")
    return Point(case, "ok", Timing(samples, 1, stable=True))


POINTS = (
    point(over_rows("copy", 1000, 1000), "fp32", 3e-4, 2e-4, 4e-4),  # 8 MB in 0.2 ms: 40 GB/s
    point(over_rows("copy", 2000, 1000), "fp32"),
    # 4 * (10^6 + 2000) = 4.008 MB, at best in 0.16 ms: 25.05 GB/s; with 8.012 MB, medians of 0.2 and 0.4 ms: 20.03 GB/s
    point(gemm(1, 1000, 1000), "fp32", 2e-4, 1.6e-4, 3e-4),
    point(gemm(1, 1000, 2000), "fp32", 4e-4),
    point(gemm(1, 1000, 1000), "bf16", 2e-4),  # 2.004 MB in 0.2 ms: 10.02 GB/s
    point(gemm(1000, 1000, 1000), "fp32", 2e-2, 1.1111e-2),  # 2 GFLOP in 11.111 ms: 180.002 GFLOP/s
    point(gemm(500, 1000, 1000), "fp32", 1e-2),  # 100 GFLOP/s
    point(gemm(1000, 1000, 1000), "bf16", 4e-3),  # 500 GFLOP/s
    point(CAUSAL, "bf16", 4e-3),  # 4 * 1000^2 * 1000 = 4 GFLOP: 1000 GFLOP/s as counted, half of it never done
)


def measurement(*points: Point, machine: Machine = MACHINE) -> Measurement:
    return Measurement(machine, (RUN,), points or POINTS, "peaks.json")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return written(tmp_path, measurement())


def written(folder: Path, measured: Measurement) -> Device:
    (folder / "this.yaml").write_text(device_yaml(measured), encoding="utf-8")
    return read_device(folder / "this.yaml")


# --- the device file


def test_the_device_is_the_machine(device: Device) -> None:
    assert (device.id, device.name, device.vendor, device.family) == ("this", MACHINE.name, "AMD", "cpu")
    assert device.memory_bytes == 25.27e9  # rounded down
    assert device.sources == {
        "measured": "perfkit measure --suite peaks, perfkit 0.1.0, 2026-03-01, torch 2.13.0+cpu, " + MACHINE.name
    }


def test_peaks_are_the_best_products_rounded_up(device: Device) -> None:
    peaks = {peak.precision: peak for peak in device.peaks}
    assert peaks[Precision.FP32].rate.printed == "180.1 GFLOP/s"  # 180.002
    assert peaks[Precision.BF16].rate.printed == "500.0 GFLOP/s"
    assert {(peak.engine, peak.accumulate, peak.rate.source) for peak in device.peaks} == {
        ("vector", "fp32", "measured")
    }
    assert device.vector_peak() == peaks[Precision.FP32]


def test_figures_say_what_they_were_reached_with(device: Device) -> None:
    note = device.product_peak(Precision.FP32).rate.note
    # Quartiles of two samples are the samples themselves: (20 - 11.111) / 15.5555 = 57.1 %
    assert note == "gemm m=1000 n=1000 k=1000 fp32: best of 2 samples, spread 57.1 %"
    assert device.bandwidth.note is not None
    assert device.bandwidth.note.startswith("copy m=1000 n=1000 fp32: best of 3 samples")
    assert "1 x 1000 x 1000, 1 x 1000 x 2000" in str(device.gemv[Precision.FP32].note)


def test_bandwidth_is_that_of_the_best_copy(device: Device) -> None:
    assert device.bytes_per_s == 40e9


def test_a_product_of_one_row_that_is_faster_than_a_copy_raises_the_bound(tmp_path: Path) -> None:
    faster = point(gemm(1, 1000, 1000), "fp32", 0.5e-4)  # 4.008 MB in 50 us: 80.16 GB/s
    assert written(tmp_path, measurement(*POINTS[:1], faster)).bandwidth.printed == "80.16 GB/s"


def test_one_row_products_are_expected_at_their_medians(device: Device) -> None:
    assert device.gemv[Precision.FP32].printed == "20.03 GB/s"  # (4.008 + 8.012) MB / 0.6 ms
    assert device.gemv[Precision.BF16].printed == "10.02 GB/s"


def test_large_products_are_expected_at_their_medians(device: Device) -> None:
    # (2 + 1) GFLOP; medians of 15.5555 and 10 ms: 3 / 25.5555 ms = 117.39 GFLOP/s
    assert device.gemm[Precision.FP32].printed == "117.4 GFLOP/s"
    assert device.gemm[Precision.BF16].printed == "500.0 GFLOP/s"


def test_a_gpu_multiplies_half_precision_on_its_tensor_cores(tmp_path: Path) -> None:
    gpu = MACHINE._replace(kind="cuda", name="Tesla V100-SXM2-32GB", device="v100-sxm2-32gb")
    copied, product = POINTS[0], gemm(1000, 1000, 1000)
    timed = [point(product, p, 1e-4) for p in ("fp32", "tf32", "fp16", "bf16")]
    device = written(tmp_path, measurement(copied, *timed, machine=gpu))
    engines = {peak.precision.value: peak.engine for peak in device.peaks}
    assert engines == {"fp32": "vector", "tf32": "tensor", "fp16": "tensor", "bf16": "tensor"}
    assert (device.vendor, device.family, device.gemv) == ("NVIDIA", "volta", {})


def test_an_unknown_maker_is_left_out(tmp_path: Path) -> None:
    device = written(tmp_path, measurement(machine=MACHINE._replace(name="Neoverse-N1")))
    assert (device.vendor, device.family) == (None, "cpu")


@pytest.mark.parametrize(
    ("points", "what"),
    [(POINTS[1:2], "product"), (POINTS[:1], "product"), (POINTS[5:6], "copy"), (POINTS[1:2] + POINTS[5:6], "copy")],
)
def test_a_measurement_that_lacks_what_a_device_needs_is_refused(points: tuple[Point, ...], what: str) -> None:
    with pytest.raises(InvalidValue, match=f"peaks.json: no timed {what}: `perfkit measure --suite peaks`"):
        device_yaml(measurement(*points))


def test_the_file_is_plain_yaml() -> None:
    text = device_yaml(measurement())
    assert yaml.safe_load(text)["name"] == MACHINE.name
    assert "!!" not in text
    assert "&id" not in text


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [(180.0, 180.0, 180.0), (180.001, 180.1, 180.0), (0.29, 0.29, 0.29), (99999.0, 100000.0, 99990.0), (7, 7.0, 7.0)],
)
def test_rounding_keeps_a_bound_a_bound(value: float, up: float, down: float) -> None:
    assert _rounded(value, ROUND_CEILING) == up
    assert _rounded(value, ROUND_FLOOR) == down


# --- the device in use


def test_roofline_takes_the_file(tmp_path: Path) -> None:
    written(tmp_path, measurement())
    asked = ["roofline", "--gpu", str(tmp_path / "this.yaml"), "--precision", "fp32", "--tokens", "32"]
    result = CliRunner().invoke(main, [*asked, "--format", "json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["calibration"] == "measured rates of this"
    totals = document["totals"]
    assert totals["tpot_expected_s"] / totals["tpot_roofline_s"] == pytest.approx(40 / 20.03, rel=0.01)
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 0, shown.output
    assert "measured: fp32 180.1 GFLOP/s (vector)" in shown.output


def test_gpus_shows_every_figure(tmp_path: Path) -> None:
    written(tmp_path, measurement())
    result = CliRunner().invoke(main, ["gpus", str(tmp_path / "this.yaml")])
    assert result.exit_code == 0, result.output
    for part in ("180.1 GFLOP/s", "40.0 GB/s", "one-row fp32 products", "20.03 GB/s", "one-row bf16 products"):
        assert part in result.output


# --- the cases


def backend(kind: str = "cpu", free: int = 16 * GIB, cache: int | None = 2**25) -> Any:
    return SimpleNamespace(
        device=SimpleNamespace(type=kind),
        precisions=("fp32", "bf16") if kind == "cpu" else ("fp32", "tf32", "fp16", "bf16"),
        machine=lambda: MACHINE._replace(cache_bytes=cache),
        free_bytes=lambda: free,
    )


def cases_of(machine: Any) -> list[KernelCase]:
    return peak_cases(machine, machine.precisions)


def test_only_the_asked_precisions_are_timed() -> None:
    assert {case.precision for case in peak_cases(backend(), ("fp32",))} == {"fp32"}


def test_copies_and_the_largest_weight_exceed_the_cache_many_times() -> None:
    cases = cases_of(backend())
    (copied,) = [case for case in cases if case.shape.op == "copy"]
    assert cost_of(copied).bytes == 2 * 16 * 2**25  # 512 MiB read, as many written
    for precision in ("fp32", "bf16"):
        one_row = [case for case in cases if case.shape.op == "gemm" and case.shape.m == 1]
        largest = max(cost_of(case).weight_bytes for case in one_row if case.precision == precision)
        assert largest == 16 * 2**25
        weights = {(case.shape.n, case.shape.k) for case in one_row if case.precision == precision}
        assert weights > set(WEIGHTS)


def test_sizes_keep_within_the_free_memory() -> None:
    (copied, *_) = cases_of(backend(free=GIB))
    assert cost_of(copied).bytes == 2 * GIB // 8


def test_a_cache_that_is_not_known_is_not_a_small_one() -> None:
    (copied, *_) = cases_of(backend(cache=None))
    assert cost_of(copied).bytes == 2 * 2**28


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_precision_of_the_device_has_products_of_many_rows(kind: str) -> None:
    machine = backend(kind)
    cases = cases_of(machine)
    assert len(set(cases)) == len(cases)
    for precision in machine.precisions:
        rows = [case.shape.m for case in cases if case.precision == precision and case.shape.op == "gemm"]
        assert sum(m > 1 for m in rows) == 6


def test_products_on_a_cpu_are_small_enough_for_one_that_emulates_bf16() -> None:
    # At 20 GFLOP/s, as AVX2 without bf16 instructions makes them, the largest takes a second.
    assert max(cost_of(case).flops for case in cases_of(backend())) <= 22e9
