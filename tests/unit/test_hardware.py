"""Devices: every file of hardware_specs, the figures that datasheets print, names, and people's own files."""

import re
from pathlib import Path

import pytest
import yaml

from perfkit import analyze
from perfkit.errors import InvalidSpec, UnknownName, UnsupportedPrecision
from perfkit.hardware import (
    aliases,
    choose_device,
    device_ids,
    load_device,
    read_device,
    specs_folder,
)
from perfkit.units import Precision

IDS = device_ids()
SI = {
    "": 1,
    "MB": 1e6,
    "GB": 1e9,
    "GB/s": 1e9,
    "TFLOP/s": 1e12,
    "TOP/s": 1e12,
    "MHz": 1e6,
    "W": 1,
}


def raw(device_id):
    return yaml.safe_load((specs_folder() / f"{device_id}.yaml").read_text(encoding="utf-8"))


def raw_figures(document):
    """(where, mapping) of everything in a device file that has a value, in the file's order of kinds."""
    memory = document["memory"]
    yield from ((f"peaks[{i}]", peak) for i, peak in enumerate(document["peaks"]))
    yield from ((key, memory[key]) for key in ("capacity", "bandwidth", "l2") if key in memory)
    yield from ((key, document[key]) for key in ("sm_count", "tdp", "pcie") if key in document)
    yield from ((f"clock {key}", clock) for key, clock in document.get("clocks", {}).items())
    yield from ((f"power {key}", power) for key, power in document.get("power", {}).items())
    yield from ((f"links[{i}]", link) for i, link in enumerate(document.get("links", [])))


def read_figures(device):
    """The same places of a device as read."""
    yield from ((f"peaks[{i}]", peak.rate) for i, peak in enumerate(device.peaks))
    named = {"capacity": device.capacity, "bandwidth": device.bandwidth, "l2": device.l2}
    named |= {"sm_count": device.sm_count, "tdp": device.tdp, "pcie": device.pcie and device.pcie.bandwidth}
    yield from ((key, figure) for key, figure in named.items() if figure)
    yield from ((f"clock {key}", clock) for key, clock in device.clocks.items())
    yield from ((f"power {key}", power) for key, power in device.power.items())
    yield from ((f"links[{i}]", link.bandwidth) for i, link in enumerate(device.links))


def rates(device):
    return {(p.engine, p.precision.value, p.accumulate): p.flops_per_s for p in device.peaks}


def of_family(family):
    found = [device for device in map(load_device, IDS) if device.family == family]
    assert found
    return found


# --- every device file


def test_there_are_54_devices_and_one_file_each():
    assert len(IDS) == 54
    stems = {path.stem for path in specs_folder().glob("*.yaml")}
    assert stems == {*IDS, "aliases", "prices", "nvml_names"}


def test_ids_are_lower_case_words():
    assert [name for name in IDS if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


@pytest.mark.parametrize("device_id", IDS)
def test_a_file_says_what_the_device_is(device_id):
    device = load_device(device_id)
    assert device.id == device_id
    assert device.vendor
    assert device.architecture
    assert device.family
    assert device.confidence in ("high", "medium", "low")
    assert 2016 <= device.year <= 2026
    assert device.sources


@pytest.mark.parametrize("device_id", IDS)
def test_every_figure_in_si_is_the_printed_value_times_its_unit(device_id):
    printed, read = dict(raw_figures(raw(device_id))), dict(read_figures(load_device(device_id)))
    assert read.keys() == printed.keys()
    for where, mapping in printed.items():
        if mapping["value"] == "unknown":
            assert read[where].value is None, where
        else:
            assert read[where].value == pytest.approx(mapping["value"] * SI[mapping.get("unit", "")], rel=1e-12), where


@pytest.mark.parametrize("device_id", IDS)
def test_every_figure_names_a_listed_source_or_how_it_is_derived(device_id):
    device = load_device(device_id)
    for where, figure in read_figures(device):
        assert figure.source in device.sources or (figure.source == "derived" and figure.note), where


@pytest.mark.parametrize("device_id", IDS)
def test_an_unknown_figure_says_why(device_id):
    for where, figure in read_figures(load_device(device_id)):
        assert figure.value is not None or figure.note, where


@pytest.mark.parametrize("device_id", IDS)
def test_no_peak_counts_structured_sparsity(device_id):
    assert all(peak["dense"] is True for peak in raw(device_id)["peaks"])


@pytest.mark.parametrize("device_id", IDS)
def test_memory_is_known_and_of_a_plausible_size(device_id):
    device = load_device(device_id)
    assert 8e9 <= device.memory_bytes <= 300e9
    assert 200e9 <= device.bytes_per_s <= 8.1e12


@pytest.mark.parametrize("device_id", IDS)
def test_every_device_multiplies_in_some_half_or_wider_precision(device_id):
    assert {"fp16", "bf16"} & {p.value for p in load_device(device_id).precisions()}


def test_names_are_not_repeated():
    names = [load_device(device_id).name for device_id in IDS]
    assert sorted(set(names)) == sorted(names)


# --- the figures that datasheets print

TENSOR_FP16, VECTOR_FP32 = ("tensor", "fp16", "fp32"), ("vector", "fp32", "fp32")
TENSOR_TF32, TENSOR_FP8 = ("tensor", "tf32", "fp32"), ("tensor", "fp8", "fp32")


@pytest.mark.parametrize(
    ("device_id", "engine", "tera"),
    [
        ("v100-sxm2-32gb", TENSOR_FP16, 125),
        ("v100-sxm2-32gb", VECTOR_FP32, 15.7),
        ("v100-sxm2-32gb", ("vector", "int8", "int32"), 62.7),  # DP4A: 5120 cores * 8 operations * 1.53 GHz
        ("v100-sxm2-32gb", ("vector", "fp64", "fp64"), 7.8),
        ("v100-sxm2-16gb", TENSOR_FP16, 125),
        ("v100-pcie-16gb", TENSOR_FP16, 112),
        ("v100-pcie-32gb", TENSOR_FP16, 112),
        ("v100-pcie-32gb", VECTOR_FP32, 14),
        ("v100s-pcie-32gb", TENSOR_FP16, 130),
        ("p100-sxm2-16gb", ("vector", "fp16", "fp16"), 21.2),
        ("p100-sxm2-16gb", VECTOR_FP32, 10.6),
        ("t4", TENSOR_FP16, 65),
        ("t4", VECTOR_FP32, 8.1),
        ("t4", ("tensor", "int8", "int32"), 130),
        ("a100-sxm-80gb", TENSOR_FP16, 312),
        ("a100-sxm-80gb", ("tensor", "bf16", "fp32"), 312),
        ("a100-sxm-80gb", TENSOR_TF32, 156),
        ("a100-sxm-80gb", VECTOR_FP32, 19.5),
        ("a100-sxm-80gb", ("tensor", "int8", "int32"), 624),
        ("a100-pcie-40gb", TENSOR_FP16, 312),
        ("rtx-3090", TENSOR_FP16, 71.2),  # 142.3 with fp16 accumulate
        ("rtx-4090", TENSOR_FP16, 165.2),
        ("rtx-4090", ("tensor", "fp16", "fp16"), 330.3),
        ("rtx-4090", TENSOR_FP8, 330.3),
        ("rtx-4090", ("tensor", "fp8", "fp16"), 660.6),
        ("rtx-4090", VECTOR_FP32, 82.6),
        ("l40", TENSOR_FP16, 181.05),
        ("l40s", TENSOR_FP16, 362.05),
        ("h100-sxm-80gb", TENSOR_FP16, 989.4),
        ("h100-sxm-80gb", TENSOR_FP8, 1978.9),
        ("h100-sxm-80gb", TENSOR_TF32, 494.7),
        ("h100-sxm-80gb", VECTOR_FP32, 67),  # 132 SMs * 128 cores * 2 * 1.98 GHz
        ("h100-pcie-80gb", TENSOR_FP16, 756),
        ("h200-sxm-141gb", TENSOR_FP16, 989.4),  # H100's chip with more memory
        ("h20-96gb", TENSOR_FP16, 148),
        ("b200-sxm", TENSOR_FP16, 2250),
        ("mi210", ("tensor", "fp32", "fp32"), 45.3),
        ("mi250x", ("tensor", "fp32", "fp32"), 95.7),
        ("mi250x", VECTOR_FP32, 47.9),
        ("mi300x", TENSOR_FP16, 1307.4),
        ("tpuv4", ("tensor", "bf16", "fp32"), 275),
    ],
)
def test_peaks_are_those_of_the_datasheet(device_id, engine, tera):
    assert rates(load_device(device_id))[engine] == pytest.approx(tera * 1e12, rel=1e-12)


@pytest.mark.parametrize(
    ("device_id", "gigabytes", "gigabytes_per_s"),
    [
        ("v100-sxm2-32gb", 32, 900),
        ("v100-pcie-16gb", 16, 900),
        ("v100s-pcie-32gb", 32, 1134),
        ("p100-sxm2-16gb", 16, 732),
        ("t4", 16, 320),
        ("a100-sxm-80gb", 80, 2039),
        ("a100-pcie-80gb", 80, 1935),
        ("a100-sxm-40gb", 40, 1555),
        ("rtx-4090", 24, 1008),
        ("l40s", 48, 864),
        ("h100-sxm-80gb", 80, 3350),
        ("h100-pcie-80gb", 80, 2000),
        ("h200-sxm-141gb", 141, 4800),
        ("h20-96gb", 96, 4000),
        ("b200-sxm", 180, 8000),
        ("mi250x", 128, 3277),
        ("mi300x", 192, 5300),
        ("tpuv4", 32, 1200),
    ],
)
def test_memory_is_that_of_the_datasheet(device_id, gigabytes, gigabytes_per_s):
    device = load_device(device_id)
    assert device.memory_bytes == gigabytes * 1e9
    assert device.bytes_per_s == gigabytes_per_s * 1e9


# FLOPs that an SM (or compute unit) does in a clock: dense fp16 products summed in fp32, as the whitepapers say.
PER_SM_AND_CLOCK = {
    "v100-sxm2-32gb": 1024,  # 8 tensor cores * 64 multiply-adds * 2
    "v100-pcie-16gb": 1024,
    "v100s-pcie-32gb": 1024,
    "t4": 1024,
    "rtx-2080-ti": 512,  # GeForce sums in fp32 at half rate
    "a100-sxm-80gb": 2048,  # 4 tensor cores * 256 multiply-adds * 2
    "a30": 2048,
    "a10": 1024,
    "a10g": 512,
    "a40": 1024,
    "rtx-a6000": 1024,
    "rtx-3090": 512,
    "rtx-4090": 512,
    "rtx-6000-ada": 1024,
    "l4": 1024,
    "l40": 512,
    "l40s": 1024,
    "h100-sxm-80gb": 4096,  # 4 tensor cores * 512 multiply-adds * 2
    "h100-pcie-80gb": 4096,
    "h200-sxm-141gb": 4096,
    "rtx-5090": 512,
    "rtx-pro-6000-blackwell": 1024,
    "mi210": 1024,
    "mi250x": 1024,
    "mi300x": 2048,
}


@pytest.mark.parametrize(("device_id", "per_clock"), PER_SM_AND_CLOCK.items())
def test_the_fp16_peak_is_units_times_clock_times_width(device_id, per_clock):
    # A sparse figure taken for a dense one would be twice this, another SKU's clock some 10 % off.
    device = load_device(device_id)
    clock = device.clocks.get("tensor", device.clocks["boost"])
    assert rates(device)[TENSOR_FP16] == pytest.approx(device.sm_count.value * clock.value * per_clock, rel=0.012)


def test_h100_prints_its_tensor_rates_at_a_lower_clock_than_its_boost():
    clocks = load_device("h100-sxm-80gb").clocks
    assert (clocks["boost"].value, clocks["tensor"].value) == (1980e6, 1830e6)


def test_v100_is_a_volta_of_80_sms_and_300_w():
    device = load_device("v100-sxm2-32gb")
    assert (device.family, device.compute_capability) == ("volta", "7.0")
    assert (device.sm_count.value, device.tdp.value) == (80, 300)
    assert load_device("v100-pcie-32gb").tdp.value == 250


def test_v100_multiplies_int8_on_its_vector_units_only():
    assert {p.engine for p in load_device("v100-sxm2-32gb").peaks if p.precision is Precision.INT8} == {"vector"}


@pytest.mark.parametrize(
    ("device_id", "figure"),
    [("gb200", "sm_count"), ("b300-sxm", "clock boost"), ("gb300", "sm_count"), ("tpuv4", "clock boost")],
)
def test_what_no_source_prints_is_unknown_and_not_guessed(device_id, figure):
    assert dict(read_figures(load_device(device_id)))[figure].value is None


@pytest.mark.parametrize(
    ("family", "missing"),
    [
        ("pascal", {"bf16", "tf32", "fp8", "int8", "fp4"}),
        ("volta", {"bf16", "tf32", "fp8", "int4", "fp4"}),
        ("turing", {"bf16", "tf32", "fp8", "fp4"}),
        ("ampere", {"fp8", "fp4"}),
        ("ada", {"fp4"}),
        ("hopper", {"int4", "fp4"}),
        ("cdna2", {"fp8", "tf32", "fp4"}),
        ("tpu", {"fp16", "fp8", "tf32", "fp4"}),
    ],
)
def test_a_family_lacks_what_came_after_it(family, missing):
    for device in of_family(family):
        assert not {p.precision.value for p in device.peaks} & missing, device.id


def test_pascal_has_no_tensor_engine():
    assert {p.engine for device in of_family("pascal") for p in device.peaks} == {"vector"}


def test_tpus_publish_no_vector_rate():
    assert {device.vector_peak() for device in of_family("tpu")} == {None}


def test_the_vector_rate_is_that_of_fp32():
    assert load_device("v100").vector_peak().flops_per_s == 15.7e12
    assert load_device("mi250x").vector_peak().flops_per_s == 47.9e12


# --- the engine that multiplies


@pytest.mark.parametrize(
    ("device_id", "precision", "engine", "tera"),
    [
        ("rtx-4090", "fp16", TENSOR_FP16, 165.2),  # not the 330.3 that sum in fp16
        ("rtx-4090", "fp8", TENSOR_FP8, 330.3),  # not the 660.6
        ("rtx-2080-ti", "fp16", TENSOR_FP16, 53.8),  # not the 107.6
        ("v100-sxm2-32gb", "fp16", TENSOR_FP16, 125),  # not the 31.3 of the vector units
        ("v100-sxm2-32gb", "fp32", VECTOR_FP32, 15.7),
        ("v100-sxm2-32gb", "int8", ("vector", "int8", "int32"), 62.7),
        ("p100-sxm2-16gb", "fp16", ("vector", "fp16", "fp16"), 21.2),  # it has no wider one
        ("mi250x", "fp32", ("tensor", "fp32", "fp32"), 95.7),  # the faster of two that sum in fp32
        ("a100-sxm-80gb", "fp32", VECTOR_FP32, 19.5),  # fp32 is not tf32
        ("a100-sxm-80gb", "tf32", TENSOR_TF32, 156),
    ],
)
def test_products_run_on_the_fastest_engine_that_sums_in_32_bits(device_id, precision, engine, tera):
    peak = load_device(device_id).product_peak(Precision(precision))
    assert (peak.engine, peak.precision.value, peak.accumulate) == engine
    assert peak.flops_per_s == pytest.approx(tera * 1e12)


def test_a_precision_that_the_card_lacks_is_refused_with_what_it_offers():
    with pytest.raises(UnsupportedPrecision) as caught:
        load_device("v100").product_peak(Precision.BF16)
    message = str(caught.value)
    assert "v100-sxm2-32gb" in message
    assert "bf16" in message
    assert "fp32 (15.7 TFLOP/s, vector), fp16 (125 TFLOP/s, tensor), int8 (62.7 TOP/s, vector)" in message


@pytest.mark.parametrize(
    ("device_id", "precisions"),
    [
        ("v100", ["fp32", "fp16", "int8"]),
        ("p100", ["fp32", "fp16"]),
        ("a100", ["fp32", "tf32", "fp16", "bf16", "int8"]),
        ("h100", ["fp32", "tf32", "fp16", "bf16", "fp8", "int8"]),
        ("tpuv4", ["bf16", "int8"]),
    ],
)
def test_precisions_are_those_with_a_rate(device_id, precisions):
    assert [p.value for p in load_device(device_id).precisions()] == precisions


# --- names


@pytest.mark.parametrize(
    ("alias", "device_id"),
    [
        ("v100", "v100-sxm2-32gb"),
        ("a100", "a100-sxm-80gb"),
        ("h100", "h100-sxm-80gb"),
        ("h200", "h200-sxm-141gb"),
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("p100", "p100-sxm2-16gb"),
        ("a100-40gb", "a100-sxm-40gb"),
        ("mi300", "mi300x"),
    ],
)
def test_an_alias_means_one_device(alias, device_id):
    choice = choose_device(alias)
    assert choice.device.id == device_id
    assert choice.is_alias


def test_every_alias_points_at_devices_and_hides_none():
    assert aliases()
    assert not set(aliases()) & set(IDS)
    for alias, targets in aliases().items():
        assert set(targets) <= set(IDS), alias
        assert len(set(targets)) == len(targets) >= 1, alias
        assert alias == alias.lower()


def test_v100_names_every_other_v100_as_a_sibling():
    siblings = choose_device("v100").siblings
    assert set(siblings) == {name for name in IDS if name.startswith("v100")} - {"v100-sxm2-32gb"}


def test_a100_names_every_other_a100_as_a_sibling():
    siblings = choose_device("a100").siblings
    assert set(siblings) == {name for name in IDS if name.startswith("a100")} - {"a100-sxm-80gb"}


@pytest.mark.parametrize("name", ["V100", "v100", "V100-SXM2-32GB", "Rtx4090", "T4"])
def test_case_does_not_matter(name):
    assert load_device(name) == load_device(name.lower())


def test_an_id_is_no_alias():
    choice = choose_device("v100-sxm2-32gb")
    assert not choice.is_alias
    assert choice.siblings == ()


@pytest.mark.parametrize("device_id", IDS)
def test_every_id_loads_itself(device_id):
    assert load_device(device_id).id == device_id


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("v10", "v100"),
        ("v100-sxm2-32g", "v100-sxm2-32gb"),
        ("a10o", "a100"),
        ("h1000", "h100"),
        ("rtx-4091", "rtx-4090"),
        ("mi300y", "mi300x"),
        ("l40-s", "l40s"),
        ("tpu4", "tpuv4"),
    ],
)
def test_a_typo_gets_the_nearest_names(typo, meant):
    with pytest.raises(UnknownName) as caught:
        load_device(typo)
    nearest = str(caught.value).split("nearest: ")[1].split("; ")[0].split(", ")
    assert meant in nearest


@pytest.mark.parametrize("name", ["", " ", "aliases", "prices", "nvml_names", ".", "..", "v100 ", "a" * 5000, "x\0y"])
def test_what_is_no_name_is_unknown(name):
    with pytest.raises(UnknownName, match="unknown GPU"):
        load_device(name)


# --- NVML's names and prices


def test_nvml_names_belong_to_devices():
    names = yaml.safe_load((specs_folder() / "nvml_names.yaml").read_text())
    assert set(names.values()) <= set(IDS)
    assert names["Tesla V100-SXM2-32GB"] == "v100-sxm2-32gb"
    assert names["NVIDIA A100-SXM4-80GB"] == "a100-sxm-80gb"
    assert names["NVIDIA H100 80GB HBM3"] == "h100-sxm-80gb"


def test_no_two_nvml_names_mean_one_device():
    names = yaml.safe_load((specs_folder() / "nvml_names.yaml").read_text())
    assert len(set(names.values())) == len(names)


# --- people's own files

MINIMAL = """\
name: My card
peaks:
  - {engine: tensor, precision: fp16, accumulate: fp32, dense: true, value: 100, unit: TFLOP/s}
memory:
  capacity: {value: 24, unit: GB}
  bandwidth: {value: 600, unit: GB/s}
"""


@pytest.fixture
def card(tmp_path):
    def write(text):
        path = tmp_path / "my-card.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_minimal_file_is_a_device(card):
    device = load_device(card(MINIMAL))
    assert (device.id, device.name) == ("my-card", "My card")
    assert device.product_peak(Precision.FP16).flops_per_s == 100e12
    assert (device.memory_bytes, device.bytes_per_s) == (24e9, 600e9)
    assert device.vector_peak() is None
    assert device.capacity.source == "not stated"


def test_measured_rates_of_one_row_products_are_kept_by_precision(card):
    rates = f"{GEMV}, {{precision: fp32, value: 550, unit: GB/s, note: 'median of 9'}}"
    device = load_device(card(MINIMAL.replace("memory:", f"memory:\n  gemv_bandwidth: [{rates}]")))
    assert {p.value: figure.value for p, figure in device.gemv.items()} == {"fp16": 500e9, "fp32": 550e9}
    assert device.gemv[Precision.FP32].note == "median of 9"
    assert load_device(card(MINIMAL)).gemv == {}


def test_measured_rates_of_large_products_are_read(card):
    rates = "{precision: fp16, value: 98, unit: TFLOP/s, source: measured}"
    text = MINIMAL.replace("memory:", f"gemm_rate: [{rates}]\nsources: {{measured: by hand}}\nmemory:")
    (rate,) = load_device(card(text)).gemm.values()
    assert (rate.value, rate.printed) == (98e12, "98 TFLOP/s")
    assert load_device(card(MINIMAL)).gemm == {}


def test_a_sustained_rate_is_read_with_its_peak(card):
    sustained = "sustained: {value: 61, unit: TFLOP/s, source: tried, note: hot}"
    text = MINIMAL.replace("unit: TFLOP/s}", f"unit: TFLOP/s, {sustained}}}") + "sources: {tried: my desk}\n"
    peak = load_device(card(text)).product_peak(Precision.FP16)
    assert (peak.flops_per_s, peak.sustained.value, peak.sustained.note) == (100e12, 61e12, "hot")
    assert load_device(card(MINIMAL)).product_peak(Precision.FP16).sustained is None


@pytest.mark.parametrize("device", device_ids())
def test_sustained_rates_are_below_their_peaks(device):
    for peak in load_device(device).peaks:
        assert peak.sustained is None or 0.3 * peak.flops_per_s < peak.sustained.value < peak.flops_per_s


def test_a_file_is_neither_alias_nor_id(card):
    choice = choose_device(card(MINIMAL))
    assert not choice.is_alias
    assert choice.siblings == ()


def test_a_file_in_the_working_folder_needs_no_slash(card, monkeypatch):
    monkeypatch.chdir(Path(card(MINIMAL)).parent)
    assert load_device("my-card.yaml").name == "My card"


def test_a_tilde_is_the_home_folder(card, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(card(MINIMAL)).parent))
    assert load_device("~/my-card.yaml").name == "My card"


def test_a_bundled_file_reads_the_same_by_path():
    assert read_device(specs_folder() / "v100-sxm2-32gb.yaml") == load_device("v100")


@pytest.mark.parametrize(
    ("printed", "si"),
    [("value: 24000, unit: MB", 24e9), ("value: 24, unit: GiB", 24 * 2**30), ("value: 0.024, unit: TB", 24e9)],
)
def test_units_are_decimal_or_binary_as_written(printed, si, card):
    device = load_device(card(MINIMAL.replace("value: 24, unit: GB", printed)))
    assert device.memory_bytes == pytest.approx(si)


def test_a_whole_figure_keeps_its_source_doubt_and_note(card):
    text = MINIMAL.replace("600, unit: GB/s", "600, unit: GB/s, source: sheet, confidence: low, note: a guess")
    bandwidth = load_device(card(text + "sources: {sheet: a leaflet}\n")).bandwidth
    assert (bandwidth.source, bandwidth.confidence, bandwidth.note) == ("sheet", "low", "a guess")
    assert bandwidth.printed == "600 GB/s"


PEAK = "{engine: tensor, precision: fp16, accumulate: fp32, dense: true, value: 100, unit: TFLOP/s}"
GEMV = "{precision: fp16, value: 500, unit: GB/s}"
BAD = {
    "wrong unit": ("600, unit: GB/s", "600, unit: GB", "memory: bandwidth: unit must be one of"),
    "wrong prefix": ("600, unit: GB/s", "600, unit: Gb/s", "memory: bandwidth: unit must be one of"),
    "unit of another quantity": ("24, unit: GB", "24, unit: TFLOP/s", "memory: capacity: unit must be one of"),
    "FLOPS is no unit": ("TFLOP/s", "TFLOPS", "peaks[0]: unit must be one of"),
    "missing unit": ("600, unit: GB/s", "600", "memory: bandwidth: unit must be one of"),
    "125e12 is text": (
        "value: 100,",
        "value: 125e12,",
        "peaks[0]: value must be a plain number, not the text '125e12'",
    ),
    "quoted number": ("value: 100,", 'value: "125",', "peaks[0]: value must be a plain number, not the text '125'"),
    "thousands separator": ("value: 600", "value: '1,000'", "memory: bandwidth: value must be a plain number"),
    "NaN": ("value: 100,", "value: .nan,", "peaks[0]: value must be a number above zero"),
    "infinite": ("value: 100,", "value: .inf,", "peaks[0]: value must be a number above zero"),
    "negative": ("value: 600", "value: -600", "memory: bandwidth: value must be a number above zero"),
    "zero": ("value: 24", "value: 0", "memory: capacity: value must be a number above zero"),
    "overflows in SI": ("value: 600", "value: 1.0e+308", "memory: bandwidth: value must be a number above zero"),
    "vanishes in SI": ("value: 600", "value: 1.0e-320", "memory: bandwidth: value must be a number above zero"),
    "400 digits": ("value: 600", f"value: {10**400}", "memory: bandwidth: value must be a number above zero"),
    "truth": ("value: 24", "value: true", "memory: capacity: value must be a plain number, not True"),
    "no value": ("value: 24", "value: null", "memory: capacity: value must be a plain number, not None"),
    "missing value": ("{value: 24, unit: GB}", "{unit: GB}", "memory: capacity: value is missing"),
    "duplicate key": ("name: My card", "name: My card\nname: Other", "line 2: key 'name' twice"),
    "duplicate key in a figure": ("value: 24", "value: 24, value: 24", "line 5: key 'value' twice"),
    "unknown field": ("name: My card", "name: My card\nvendr: X", "unknown key 'vendr'; nearest: vendor"),
    "unknown field of a figure": ("unit: GB}", "unit: GB, sorce: x}", "memory: capacity: unknown key 'sorce'"),
    "unknown field of memory": ("memory:", "memory:\n  l3: {value: 6, unit: MB}", "memory: unknown key 'l3'"),
    "python tag": ("name: My card", "name: !!python/object:os.x {}", "line 1: tags ("),
    "float tag": ("value: 100,", 'value: !!float "3",', "line 3: tags ("),
    "own tag": ("value: 100,", "value: !foo 3,", "line 3: tags ("),
    "anchor": ("name: My card", "name: &a My card", "line 1: anchors and aliases"),
    "deep nesting": ("name: My card", "notes: " + "[" * 1000 + "]" * 1000, "line 1: nested too deeply"),
    "sparse peak": ("dense: true", "dense: false", "peaks[0]: dense must be true"),
    "density as text": ("dense: true", "dense: 'true'", "peaks[0]: dense must be true"),
    "density not said": ("dense: true, ", "", "peaks[0]: dense is missing"),
    "same peak twice": (PEAK, f"{PEAK}\n  - {PEAK}", "peaks[1]: tensor fp16 fp32 is given twice"),
    "unknown engine": ("engine: tensor", "engine: tensors", "peaks[0]: unknown engine 'tensors'; nearest: tensor"),
    "unknown precision": ("precision: fp16", "precision: fp15", "peaks[0]: unknown precision 'fp15'; nearest: fp16"),
    "unknown accumulate": ("accumulate: fp32", "accumulate: half", "peaks[0]: unknown accumulate 'half'"),
    "source not listed": ("unit: GB}", "unit: GB, source: sheet}", "memory: capacity: source 'sheet' is not listed"),
    "unknown confidence": ("unit: GB}", "unit: GB, confidence: sure}", "memory: capacity: unknown confidence 'sure'"),
    "no peaks": (f"peaks:\n  - {PEAK}\n", "", "peaks is missing"),
    "empty peaks": (f"peaks:\n  - {PEAK}\n", "peaks: []\n", "peaks is empty"),
    "peaks are no list": (f"peaks:\n  - {PEAK}\n", "peaks: {}\n", "peaks must be a list"),
    "no name": ("name: My card\n", "", "name is missing"),
    "no capacity": ("  capacity: {value: 24, unit: GB}\n", "", "memory: capacity is missing"),
    "no bandwidth": ("  bandwidth: {value: 600, unit: GB/s}\n", "", "memory: bandwidth is missing"),
    "bandwidth is a number": ("{value: 600, unit: GB/s}", "600", "memory: bandwidth: must be a mapping, not 600"),
    "one rate of one-row products": (
        "memory:",
        "memory:\n  gemv_bandwidth: {value: 500, unit: GB/s}",
        "memory: gemv_bandwidth must be a list",
    ),
    "one-row products of no precision": (
        "memory:",
        "memory:\n  gemv_bandwidth: [{value: 500, unit: GB/s}]",
        "memory: gemv_bandwidth[0]: precision is missing",
    ),
    "one-row products twice": (
        "memory:",
        f"memory:\n  gemv_bandwidth: [{GEMV}, {GEMV}]",
        "memory: gemv_bandwidth[1]: fp16 is given twice",
    ),
    "a stored format of one-row products": (
        "memory:",
        f"memory:\n  gemv_bandwidth: [{GEMV.replace('fp16', 'int4')}]",
        "memory: gemv_bandwidth[0]: unknown precision 'int4'",
    ),
    "name is a number": ("name: My card", "name: 100", "name must be text, not 100"),
    "year is text": ("name: My card", "name: My card\nyear: '2018'", "year must be a plain number"),
    "year has a fraction": ("name: My card", "name: My card\nyear: 2018.5", "year must be a whole number"),
    "part of an SM": ("name: My card", "name: My card\nsm_count: {value: 80.5}", "sm_count: value must be a whole"),
    "SMs with a unit": (
        "name: My card",
        "name: My card\nsm_count: {value: 80, unit: SM}",
        "sm_count: a count has no unit",
    ),
    "both directions": (
        "name: My card",
        "name: My card\nlinks:\n  - {name: N, value: 300, unit: GB/s, direction: both}",
        "links[0]: direction must be each",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_by_file_and_key(old, new, message, card):
    assert MINIMAL.count(old) >= 1
    path = card(MINIMAL.replace(old, new, 1))
    with pytest.raises(InvalidSpec) as caught:
        load_device(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert len(text.splitlines()) == 1


def test_the_minimal_file_with_nothing_changed_is_good(card):
    # The cases above are bad for what they change and nothing else.
    assert load_device(card(MINIMAL.replace("My card", "My other card"))).name == "My other card"


@pytest.mark.parametrize("name", ["none.yaml", "none/none.yml", "~nobody-of-this-name/x.yaml"])
def test_a_path_to_nothing_says_so(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSpec, match="no such file"):
        load_device(name)


def test_a_folder_is_no_device(tmp_path):
    with pytest.raises(InvalidSpec, match="not a regular file"):
        load_device(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "what"),
    [("value: 600", "my-card: memory bandwidth is unknown"), ("value: 24", "my-card: memory capacity is unknown")],
)
def test_memory_that_is_unknown_is_missed_when_it_is_needed(old, what, card):
    path = card(MINIMAL.replace(old, "value: unknown"))
    assert load_device(path).name == "My card"
    with pytest.raises(InvalidSpec, match=what):
        assert analyze(path).fits


def test_why_a_figure_is_unknown_is_said(card):
    path = card(MINIMAL.replace("600, unit: GB/s", "unknown, unit: GB/s, note: under embargo"))
    with pytest.raises(InvalidSpec, match="memory bandwidth is unknown: under embargo"):
        analyze(path)


def test_an_engine_of_unknown_rate_is_not_passed_over_for_a_slower_one(card):
    vector = PEAK.replace("tensor", "vector").replace("100", "10")
    path = card(MINIMAL.replace(PEAK, f"{PEAK.replace('100', 'unknown')}\n  - {vector}"))
    with pytest.raises(UnsupportedPrecision, match="the rate of fp16 products is unknown"):
        load_device(path).product_peak(Precision.FP16)
    with pytest.raises(UnsupportedPrecision, match="the rate of fp16 products is unknown"):
        analyze(path)


def test_a_rate_that_sums_in_16_bits_serves_where_no_other_is_listed(card):
    # One engine sums in 16 bits; an unknown rate in 32 bits comes first all the same.
    narrow = PEAK.replace("fp32", "fp16").replace("100", "10")
    assert load_device(card(MINIMAL.replace(PEAK, narrow))).product_peak(Precision.FP16).flops_per_s == 10e12
    both = card(MINIMAL.replace(PEAK, f"{PEAK.replace('100', 'unknown')}\n  - {narrow}"))
    with pytest.raises(UnsupportedPrecision, match="unknown"):
        load_device(both).product_peak(Precision.FP16)


def test_what_a_card_lacks_and_what_no_source_prints_are_told_apart():
    with pytest.raises(UnsupportedPrecision, match="v100-sxm2-32gb has no engine for bf16 products"):
        load_device("v100").product_peak(Precision.BF16)
    with pytest.raises(UnsupportedPrecision, match="gaudi2: the rate of fp16 products is unknown: supported"):
        load_device("gaudi2").product_peak(Precision.FP16)
