"""Calibrations: what is written is read again, what cannot be is named, and what comes with perfkit holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfkit.calibration import forms
from perfkit.calibration.parameters import ATTENTION_DECODE_START, COLLECTIVE, ELEMENTWISE_START, NETWORK, TILE
from perfkit.calibration.parameters import PRODUCTS as BOUNDS
from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.hardware import Device, Figure, device_ids, load_device
from perfkit.kernel_shapes import bmm, gemm, over_rows
from perfkit.kernels import calibrations
from perfkit.kernels.calibrations import (
    CAUTIOUS,
    ENGINES,
    Calibration,
    FitError,
    FittedOn,
    Spread,
    calibration_for,
    calibration_ids,
    calibrations_folder,
    read_bundled,
    read_calibration,
    write_calibration,
)
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES, FORMS, kind_of
from perfkit.kernels.limits import Limits, limits_of
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.products import TILES, Product, ProductParameters, product_s
from perfkit.roofline import engines_of, time_ops
from perfkit.units import Precision

EXCHANGES = {COLLECTIVES: COLLECTIVE, BETWEEN_NODES: NETWORK}  # which no kernel tables are fitted to
V100, A100, T4 = (load_device(name) for name in ("v100", "a100", "t4"))
REACHED = tuple(0.9 + 0.01 * number for number in range(len(TILES)))
TENSOR = ProductParameters(
    start_s=3.1234567e-6,
    bandwidth=0.812345678,
    overlap=3.0,
    peak=0.7,
    load=1.23456789e-2,
    quantisation=0.0,
    split_s=2.0000004e-6,
    l2_rate=0.13,
    warm=0.17,
    step_s=1.2345678e-11,
    lone=2.5477e-9,
    prologue_k=1234.5678,
    tiles=REACHED,
)
MADE_UP = Calibration(
    id="made-up",
    title='Made up: "quoted", with \\ and é',
    device="v100-sxm2-32gb",
    family=None,
    fitted_on=(
        FittedOn("a, b.csv", 12, "0123456789012345", "v100-sxm2-32gb"),  # a digest that is a number, but text
        FittedOn("c.csv.gz", 37582, "e75d186959b290b1", "v100-sxm2-32gb"),
    ),
    command="perfkit calibrate 'a, b.csv' c.csv.gz --gpu v100",
    products={"tensor": TENSOR, "vector": TENSOR._replace(peak=0.9)},
    forms={"attention_decode": ATTENTION_DECODE_START, "elementwise": ELEMENTWISE_START},
    errors=(FitError("gemm", 12, 0.06351, 0.12849),),
    spread={"gemm": Spread(0.88724, 1.15072), "bmm": Spread(1.0, 1.0)},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made-up.yaml"


def written(path: Path, calibration: Calibration = MADE_UP) -> str:
    write_calibration(calibration, path)
    return path.read_text()


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        read_calibration(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# --- written and read


def test_what_is_written_is_read_again(path: Path) -> None:
    write_calibration(MADE_UP, path)
    again = read_calibration(path)
    for name in ("id", "title", "device", "family", "fitted_on", "command"):
        assert getattr(again, name) == getattr(MADE_UP, name)
    assert list(again.products) == ["tensor", "vector"]
    for engine, parameters in MADE_UP.products.items():
        # six digits: off by at most half of the last, 5e-6 of the number
        assert again.products[engine][:-1] == pytest.approx(parameters[:-1], rel=5e-6, abs=0)
        assert again.products[engine].tiles == pytest.approx(REACHED, rel=5e-6)
    assert list(again.forms) == list(MADE_UP.forms)
    for name, form in MADE_UP.forms.items():
        assert type(again.forms[name]) is type(form)
        assert again.forms[name] == pytest.approx(form, rel=5e-6)
    assert again.errors == (FitError("gemm", 12, 0.0635, 0.1285),)
    assert again.spread == {"gemm": Spread(0.8872, 1.1507), "bmm": Spread(1.0, 1.0)}


def test_what_was_read_is_written_alike(path: Path, tmp_path: Path) -> None:
    text = written(path)
    assert written(tmp_path / "again.yaml", read_calibration(path)) == text


def test_numbers_are_written_without_exponents(path: Path) -> None:
    text = written(path)
    assert not re.search(r"[0-9][eE][-+]?[0-9]", text.split("products:")[1])
    # 3.1234567 us; 1.2345678e-11 s are 0.012345678 ns; 2.5477e-9 in full
    for line in ("start_us: 3.12346", "step_ns: 0.0123457", "lone: 0.0000000025477", "quantisation: 0", "load: 0.01"):
        assert f"    {line}" in text
    assert "    prologue_k: 1234.57\n" in text


def test_what_is_not_there_is_not_written(path: Path) -> None:
    bare = replace(MADE_UP, device=None, products={"vector": TENSOR}, forms={}, errors=(), spread={})
    text = written(path, bare)
    assert not re.search(r"^(device|family|elementwise|errors|spread|  tensor):", text, flags=re.MULTILINE)
    again = read_calibration(path)
    assert (again.device, again.family, list(again.products)) == (None, None, ["vector"])
    assert (again.forms, again.errors, again.spread) == ({}, (), {})
    write_calibration(replace(bare, products={}), path)
    assert read_calibration(path).products == {}


# --- what is refused

SWAPS = [
    ("title: ", "titel: ", "title is missing"),
    ("command: ", "comand: ", "command is missing"),
    ("fitted_on:", "fitted:", "fitted_on is missing"),
    ("products:", "product:", "products is missing"),
    ("  tensor:", "  tensors:", "products: unknown key 'tensors'; nearest: tensor; allowed: tensor, vector"),
    ("spread:", "spreads:", "unknown key 'spreads'; nearest: spread"),
    ("    peak:", "    peaks:", "products: tensor: peak is missing"),
    ("    start_us: 3.12346", "    start_s: 3.12346", "products: tensor: start_us is missing"),
    ("    peak: 0.7\n", "    peak: 0.7\n    pull: 1\n", "products: tensor: unknown key 'pull'"),
    ("peak: 0.7", "peak: '0.7'", "products: tensor: peak must be a number from 0 to 1000000, not '0.7'"),
    ("peak: 0.7", "peak: -0.7", "products: tensor: peak must be a number from 0 to 1000000, not -0.7"),
    ("peak: 0.7", "peak: yes", "products: tensor: peak must be a number from 0 to 1000000, not True"),
    ("peak: 0.7", "peak: .nan", "products: tensor: peak must be a number from 0 to 1000000, not nan"),
    ("peak: 0.7", "peak: .inf", "products: tensor: peak must be a number from 0 to 1000000, not inf"),
    ("peak: 0.7", "peak: 1000001", "products: tensor: peak must be a number from 0 to 1000000, not 1000001"),
    ("peak: 0.7", "peak: 7e-1", "products: tensor: peak must be a number from 0 to 1000000, not '7e-1'"),
    ("peak: 0.7", "peak:", "products: tensor: peak must be a number from 0 to 1000000, not None"),
    ("64x64: 0.91", "64x65: 0.92", "products: tensor: tiles: 64x64 is missing"),
    ("64x64: 0.91", "64x64: 0.92, 512x512: 1", "products: tensor: tiles: unknown key '512x512'"),
    ("64x64: 0.91", "64x64: fast", "products: tensor: tiles: 64x64 must be a number from 0 to 1000000, not 'fast'"),
    ("rows: 12, sha", "rows: 0, sha", "fitted_on[0]: rows must be a whole number above zero"),
    ("rows: 12, sha", "rows: 1.5, sha", "fitted_on[0]: rows must be a whole number above zero"),
    ("rows: 12, sha", "row: 12, sha", "fitted_on[0]: rows is missing"),
    ("{op: gemm, rows", "{op: 3, rows", "errors[0]: op must be text, not 3"),
    ("mape: 0.0635", "mape: low", "errors[0]: mape must be a number from 0 to 1000000, not 'low'"),
    ("block_us: 1.45\n", "block_s: 1.45e-6\n", "attention_decode: block_us is missing"),
    ("full: 7.15", "full: -1", "elementwise: full must be a number from 0 to 1000000, not -1"),
    ("elementwise:\n", "elementwise:\n  pull: 1\n", "elementwise: unknown key 'pull'"),
    ("bmm: {low: 1.0000", "bmm: {least: 1.0000", "spread: bmm: low is missing"),
    ("bmm: {low: 1.0000, high: 1.0000}", "bmm: 1", "spread: bmm: must be a mapping, not 1"),
]


@pytest.mark.parametrize(("there", "instead", "message"), SWAPS)
def test_a_key_or_number_that_cannot_be_is_one_line(there: str, instead: str, message: str, path: Path) -> None:
    text = written(path)
    assert there in text
    assert refusal(path, text.replace(there, instead, 1)).startswith(message)


@pytest.mark.parametrize(("content", "message"), [("", "must hold a mapping"), ("title: [", "not YAML")])
def test_a_file_that_holds_no_calibration_is_one_line(content: str, message: str, path: Path) -> None:
    assert refusal(path, content).startswith(message)


def test_a_missing_file_is_one_line(path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"made-up\.yaml: no such file$"):
        read_calibration(path)


# --- whose it is


def test_a_calibration_of_another_device_or_family_is_refused() -> None:
    MADE_UP.check_device(V100)
    with pytest.raises(InvalidValue, match=r"^calibration made-up is of v100-sxm2-32gb, not of a100-sxm-80gb "):
        MADE_UP.check_device(A100)
    with pytest.raises(InvalidValue, match=r"not of v100-sxm2-16gb \(family volta\)$"):
        MADE_UP.check_device(load_device("v100-sxm2-16gb"))  # a sibling is another device
    volta = replace(MADE_UP, device=None, family="volta")
    volta.check_device(load_device("v100-sxm2-16gb"))
    with pytest.raises(InvalidValue, match=r"is of family volta, not of a100-sxm-80gb \(family ampere\)$"):
        volta.check_device(A100)
    for device in (V100, A100, replace(A100, family=None)):
        replace(MADE_UP, device=None).check_device(device)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(calibrations, "calibrations_folder", lambda: tmp_path)
    read_bundled.cache_clear()
    yield tmp_path
    read_bundled.cache_clear()


def test_a_device_takes_its_own_then_its_family_s_then_the_cautious(folder: Path) -> None:
    for name in (V100.id, "volta", CAUTIOUS):
        write_calibration(replace(MADE_UP, device=None, title=name), folder / f"{name}.yaml")
    sibling = load_device("v100-sxm2-16gb")
    found = [calibration_for(device).id for device in (V100, sibling, A100, replace(A100, family=None))]
    assert found == [V100.id, "volta", CAUTIOUS, CAUTIOUS]
    assert calibration_ids() == sorted([V100.id, "volta", CAUTIOUS])


@pytest.mark.usefixtures("folder")
def test_without_the_cautious_one_it_is_missed() -> None:
    with pytest.raises(InvalidSpec, match=r"cautious\.yaml is missing$"):
        calibration_for(V100)


# --- limits


def test_limits_are_those_of_the_datasheet() -> None:
    # A100-SXM: 312 TFLOP/s in fp16, 108 multiprocessors at 1410 MHz, 40 MB of L2
    limits = limits_of(A100, Precision.FP16)
    assert limits == Limits(312e12, A100.bytes_per_s, 108, 1410e6, pytest.approx(40e6, rel=0.05))
    assert limits_of(V100, Precision.FP32).flops_per_s == V100.product_peak(Precision.FP32).flops_per_s


def test_a_figure_that_is_not_known_is_named() -> None:
    unknown = Figure(None, "unknown", "none")
    for what, less in {
        "sm_count": replace(V100, sm_count=None),
        "clock": replace(V100, clocks={}),
        "l2": replace(V100, l2=unknown),
    }.items():
        with pytest.raises(InvalidSpec, match=f"^{V100.id}: its {what} is not known, which the kernel model needs$"):
            limits_of(less, Precision.FP16)


# --- expected times


def test_expected_times_are_those_of_the_engine_s_parameters() -> None:
    found = expected_s(bmm(3, 100, 200, 300), Precision.FP16, V100, MADE_UP)
    assert found == product_s(Product(100, 200, 300, 3, 2), limits_of(V100, Precision.FP16), TENSOR)
    slower = expected_s(gemm(100, 200, 300), Precision.FP32, V100, MADE_UP)
    vector = TENSOR._replace(peak=0.9)
    assert slower == product_s(Product(100, 200, 300, 1, 4), limits_of(V100, Precision.FP32), vector)


def test_arrays_of_shapes_give_arrays_of_the_same_times() -> None:
    m = np.array([1.0, 77.0, 4096.0])
    together = expected_s(gemm(m, 4096 + 0 * m, 1024 + 0 * m), Precision.FP16, V100, MADE_UP)
    alone = [expected_s(gemm(each, 4096.0, 1024.0), Precision.FP16, V100, MADE_UP) for each in m.tolist()]
    assert together == pytest.approx(alone, rel=1e-12)


def test_nothing_is_found_in_a_cold_cache() -> None:
    warm, cold = (expected_s(gemm(1, 512, 512), Precision.FP16, V100, MADE_UP, warm=warm) for warm in (True, False))
    limits = limits_of(V100, Precision.FP16)
    assert cold == product_s(Product(1, 512, 512), limits, TENSOR._replace(warm=0.0))
    assert cold > warm


def test_other_kernels_and_engines_have_no_model() -> None:
    assert expected_s(over_rows("copy", 8, 64), Precision.FP16, V100, MADE_UP)
    assert expected_s(over_rows("copy", 8, 64), Precision.FP16, V100, replace(MADE_UP, forms={})) is None
    tensor = replace(MADE_UP, products={"tensor": TENSOR})
    assert expected_s(gemm(8, 64, 64), Precision.FP32, V100, tensor) is None
    assert expected_s(gemm(8, 64, 64), Precision.FP16, V100, tensor)


# --- those that come with perfkit

IDS = calibration_ids()
DEVICES = [load_device(name) for name in device_ids()]
FAMILIES = {device.family for device in DEVICES}


def test_the_cautious_one_comes_with_perfkit() -> None:
    cautious = read_bundled(CAUTIOUS)
    assert (cautious.device, cautious.family) == (None, None)
    assert set(cautious.products) == set(ENGINES)
    assert calibrations_folder().is_dir()


@pytest.mark.parametrize("name", IDS)
def test_a_calibration_is_named_after_what_it_is_of(name: str) -> None:
    found = read_calibration(calibrations_folder() / f"{name}.yaml")
    assert (found.device or found.family or CAUTIOUS) == name == found.id
    assert found.device is None or (found.family is None and found.device in device_ids())
    assert found.family is None or found.family in {*FAMILIES, "cpu"}
    assert found.products
    assert found.fitted_on
    assert {each.device for each in found.fitted_on} <= {*device_ids(), "xeon-2-threads"}  # in reports/measured


@pytest.mark.parametrize("name", IDS)
def test_parameters_are_within_their_bounds(name: str) -> None:
    for parameters in read_bundled(name).products.values():
        values = [*((getattr(parameters, bound.name), bound) for bound in BOUNDS)]
        values += [(tile, TILE) for tile in parameters.tiles]
        for value, bound in values:  # written with six digits
            assert bound.low * (1 - 5e-6) <= value <= bound.high * (1 + 5e-6), bound
    for form, fitted in read_bundled(name).forms.items():
        for bound in EXCHANGES[form] if form in EXCHANGES else forms.FORMS[form].parameters:
            assert bound.low * (1 - 5e-6) <= getattr(fitted, bound.name) <= bound.high * (1 + 5e-6), bound


@pytest.mark.parametrize("name", IDS)
def test_errors_and_spreads_can_be(name: str) -> None:
    found = read_bundled(name)
    assert set(found.spread) <= {kind_of("gemm", "tensor"), kind_of("gemm", "vector"), *FORMS}
    for error in found.errors:
        assert found.spread_of(error.op), error.op
        assert 0 < error.mape <= error.p90 < (1 if name != "cpu" else 2)  # single kernels of a noisy machine
        assert error.rows <= sum(each.rows for each in found.fitted_on)
    for low, high in found.spread.values():
        assert 0 < low <= 1 <= high < 10


def known(device: Device) -> bool:
    """Whether all that the model needs of a device is printed."""
    try:
        limits_of(device, device.precisions()[0])
    except InvalidSpec:
        return False
    return True


def grid() -> tuple[np.ndarray, ...]:
    m, n, k = np.meshgrid([1, 16, 100, 577, 4096, 16384], [64, 1024, 11008], [64, 4096, 14336], indexing="ij")
    return m.ravel().astype(float), n.ravel().astype(float), k.ravel().astype(float)


@pytest.mark.parametrize("device", [device for device in DEVICES if known(device)], ids=lambda device: device.id)
def test_no_device_is_expected_to_be_much_faster_than_its_roofline(device: Device) -> None:
    shape = gemm(*grid())
    for precision in device.precisions():
        expected = expected_s(shape, precision, device, calibration_for(device), warm=False)
        if expected is None:
            continue
        cost = cost_of_shape(shape, precision)
        (time,) = time_ops(engines_of(device, [cost]), [cost])
        assert np.isfinite(expected).all()
        # Clocks above the printed boost, and sustained rates above what a datasheet promises, but not twice.
        assert (expected >= 0.6 * time.roofline_s).all()
        assert (expected <= 4 * time.roofline_s + 1e-3).all()
