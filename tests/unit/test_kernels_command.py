"""`perfkit kernels`: a table in, its columns and predicted times out; errors where times were measured."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import commands
import pytest

from perfkit import reports
from perfkit.errors import InvalidValue
from perfkit.hardware import load_device
from perfkit.kernel_shapes import gemm
from perfkit.kernels.calibrations import Calibration, FittedOn, Spread, write_calibration
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.products import ProductParameters
from perfkit.tables import FORMATS
from perfkit.units import Precision
from perfkit.validation import kernel_tables
from perfkit.validation.kernel_tables import predict_kernels

SQUARE_S = 2 * 4096**3 / 125e12  # on a V100, fp16
PRODUCTS = ProductParameters(2e-6, 0.8, 8, 0.8, 0.1, 0.5, 2e-6, 0.1, 0, 0, 0, 0)
VOLTA = Calibration(
    id="made-up",
    title="Made up for tests",
    device=None,
    family="volta",
    fitted_on=(FittedOn("none.csv", 12, "0123456789abcdef", "v100-sxm2-32gb"),),
    command="none",
    products={"tensor": PRODUCTS, "vector": PRODUCTS},
    spread={"gemm": Spread(0.75, 1.5)},
)
HEADER = "note,op,precision,m,n,k"
LINES = ('"a, b",gemm,fp16,4096,4096,4096', "=1+1,gemm,fp32,1,4096,4096", ",bmm,fp16,4096,4096,4096")
MEASURED = (2 * SQUARE_S, 1e-4)


@pytest.fixture
def volta(tmp_path: Path) -> Path:
    path = tmp_path / "made-up.yaml"
    write_calibration(VOLTA, path)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "kernels.csv"
    path.write_text("\n".join([HEADER, *LINES[:2]]) + "\n")
    return path


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "measured.csv"
    lines = (f"{line},{seconds!r}" for line, seconds in zip(LINES, MEASURED, strict=False))
    path.write_text("\n".join([f"{HEADER},measured_s", *lines]) + "\n")
    return path


error_line = partial(commands.error_line, "kernels")


def run(file: Path, volta: Path, *more: object, gpu: str = "v100-sxm2-32gb") -> Any:
    result = commands.run("kernels", file, "--gpu", gpu, "--calibration", volta, *more)
    assert result.exit_code == 0, result.output
    return result


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- csv


def test_the_columns_of_the_file_are_kept_and_times_stand_behind(table: Path, volta: Path) -> None:
    result = run(table, volta)
    assert result.stderr == ""
    header, first, second = result.stdout.splitlines()
    assert header == f"{HEADER},roofline_s,expected_s,expected_low_s,expected_high_s"
    assert first.startswith(f'"a, b",gemm,fp16,4096,4096,4096,{SQUARE_S!r},')
    assert second.startswith("'=1+1,gemm,fp32,")  # what a spreadsheet would take for a formula is quoted


def test_times_are_those_of_the_formulas(table: Path, volta: Path) -> None:
    square, row = rows_of(run(table, volta).stdout)
    v100 = load_device("v100-sxm2-32gb")
    assert float(square["roofline_s"]) == SQUARE_S
    assert float(row["roofline_s"]) == 4 * (4096 * 4096 + 2 * 4096) / 900e9
    for found, shape, precision in (
        (square, gemm(4096, 4096, 4096), Precision.FP16),
        (row, gemm(1, 4096, 4096), Precision.FP32),
    ):
        expected = expected_s(shape, precision, v100, replace(VOLTA, id="again"))
        assert float(found["expected_s"]) == pytest.approx(expected, rel=1e-12)
        assert float(found["expected_low_s"]) == pytest.approx(0.75 * expected)
        assert float(found["expected_high_s"]) == pytest.approx(1.5 * expected)


def test_csv_is_what_is_written_unless_a_format_is_named(measured: Path, volta: Path, tmp_path: Path) -> None:
    assert run(measured, volta).stdout == run(measured, volta, "--format", "csv").stdout
    run(measured, volta, "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == run(measured, volta).stdout


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written(form: str, table: Path, measured: Path, volta: Path) -> None:
    assert run(table, volta, "--format", form).stdout
    assert run(measured, volta, "--format", form).stdout


# --- errors


def test_json_tells_errors_by_op(measured: Path, volta: Path) -> None:
    document = json.loads(run(measured, volta, "--format", "json").stdout)
    rows = rows_of(run(measured, volta).stdout)
    assert (document["device"], document["calibration"]) == ("v100-sxm2-32gb", "made-up")
    found = document["ops"]["gemm"]
    # |1 / 2 - 1| of the square; 4 (4096^2 + 2 * 4096) B / 900 GB/s = 74.60 us of 100 us
    assert found["roofline_mape"] == pytest.approx((0.5 + (1 - 0.7460)) / 2, rel=1e-3)
    off = [abs(float(row["expected_s"]) / float(row["measured_s"]) - 1) for row in rows]
    assert found["expected_mape"] == pytest.approx(sum(off) / 2)
    assert found["expected_p90"] == pytest.approx(min(off) + 0.9 * (max(off) - min(off)))
    assert found["rows"] == 2
    assert list(document["ops"]) == ["gemm"]


def test_without_times_there_are_no_errors(table: Path, volta: Path) -> None:
    document = json.loads(run(table, volta, "--format", "json").stdout)
    nothing = {"roofline_mape": None, "expected_mape": None, "expected_p90": None}
    assert document["ops"] == {"gemm": {"rows": 2, **nothing}}


def test_people_see_errors_or_the_first_rows(table: Path, measured: Path, volta: Path) -> None:
    (errors,) = reports.overview(predict_kernels(measured, "v100", volta))
    assert [row["op"] for row in errors.records()] == ["gemm"]
    first, sums = reports.overview(predict_kernels(table, "v100", volta))
    assert [row["sizes"] for row in first.records()] == ["m 4096, n 4096, k 4096", "m 1, n 4096, k 4096"]
    (together,) = sums.records()
    assert together["roofline_s"] == sum(row["roofline_s"] for row in first.records())
    assert "Made up for tests" in first.title


def test_a_long_table_is_cut_for_people(tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("\n".join([HEADER, *(f",gemm,fp16,{m},64,64" for m in range(1, 16))]))
    first, sums = reports.overview(predict_kernels(path, "v100", volta))
    assert (len(first.rows), first.notes[-1]) == (10, "5 more rows; --format csv lists all.")
    assert sums.rows[0][:2] == ("gemm", 15)


# --- where nothing is expected


def test_an_op_without_a_model_is_empty_and_told(tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text(f"{HEADER},measured_s\n,copy,fp16,8,64,,1e-5\n,gemm,fp16,8,64,64,1e-5\n,copy,fp32,8,64,,1e-5\n")
    result = run(path, volta)
    copied, product, again = rows_of(result.stdout)
    assert [copied["expected_s"], copied["expected_high_s"], again["expected_s"]] == ["", "", ""]
    assert float(copied["roofline_s"]) == 2 * 8 * 64 * 2 / 900e9
    assert float(product["expected_s"]) > 0
    assert result.stderr == (
        "warning: nothing is expected of copy in fp16, copy in fp32: calibration made-up has no model of it\n"
    )
    found = json.loads(run(path, volta, "--format", "json").stdout)["ops"]["copy"]
    assert (found["rows"], found["expected_mape"], found["expected_p90"]) == (2, None, None)
    assert found["roofline_mape"] > 0.9


def test_launches_are_kept_without_times(tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "timed.csv"
    path.write_text(f"{HEADER},measured_s\n,launch,fp16,,,,4e-6\n{LINES[0]},1\n")
    result = run(path, volta)
    launch, square = rows_of(result.stdout)
    assert (launch["roofline_s"], launch["expected_s"]) == ("", "")
    assert float(square["roofline_s"]) == SQUARE_S
    assert result.stderr == f"warning: {path}: rows of op launch have no shape, and no predicted time\n"
    assert list(json.loads(run(path, volta, "--format", "json").stdout)["ops"]) == ["gemm"]


def test_a_device_of_which_too_little_is_known_keeps_its_roofline(
    table: Path, volta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v100 = replace(load_device("v100"), l2=None)
    monkeypatch.setattr(kernel_tables, "choose_device", lambda _: kernel_tables.Choice(v100, v100.id))
    predictions = predict_kernels(table, "v100", volta)
    assert predictions.roofline_s[0] == SQUARE_S
    assert predictions.expected_s[0] != predictions.expected_s[0]  # NaN
    (warning,) = predictions.warnings
    assert warning.startswith("nothing is expected of gemm in fp16, gemm in fp32: v100-sxm2-32gb: its l2 is not known")


def test_a_borrowed_calibration_is_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cautious = replace(VOLTA, id="cautious", family=None)
    monkeypatch.setattr(kernel_tables, "calibration_for", lambda _: cautious)
    (warning,) = predict_kernels(table, "v100").warnings
    assert warning == ("no calibration of v100-sxm2-32gb or its family (volta): expected times borrow cautious")


def test_a_table_that_the_fit_saw_is_told(measured: Path, table: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    for file, told in ((measured, True), (table, False)):
        digest = sha256(file.read_bytes()).hexdigest()[:16]
        write_calibration(replace(VOLTA, fitted_on=(FittedOn(file.name, 2, digest, "v100-sxm2-32gb"),)), path)
        warning = f"calibration own was fitted on {file}: errors here are of rows that the fit saw"
        assert predict_kernels(file, "v100", path).warnings == ((warning,) if told else ())


# --- what is refused


def test_a_calibration_of_another_device_is_refused(table: Path, volta: Path) -> None:
    line = error_line(table, "--gpu", "a100", "--calibration", volta)
    assert line == "calibration made-up is of family volta, not of a100-sxm-80gb (family ampere)"


def test_a_precision_that_the_device_lacks_is_named_with_its_row(tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "bf16.csv"
    path.write_text(f"{HEADER}\n{LINES[0]}\n,gemm,bf16,1,2,3\n")
    line = error_line(path, "--gpu", "v100", "--calibration", volta)
    assert line.startswith(f"{path}: row 3: v100-sxm2-32gb has no engine for bf16 products; it multiplies in fp32")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINES[2], "row 2: bmm needs batch, m, n, k: no column batch"),
        (",gemm,fp16,0,4096,4096", "row 2: m must be a whole number from 1 to 10000000, not '0'"),
        (",gem,fp16,1,4096,4096", "row 2: unknown op 'gem'; nearest: gemm, gelu, gelu_mul"),
    ],
)
def test_a_row_that_cannot_be_is_one_line(line: str, message: str, tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(f"{HEADER}\n{line}\n")
    assert error_line(path, "--gpu", "v100", "--calibration", volta) == f"{path}: {message}"
    out = tmp_path / "out.csv"
    assert error_line(path, "--gpu", "v100", "--calibration", volta, "--output", out)
    assert not out.exists()


def test_times_that_cannot_be_are_named_with_their_row(tmp_path: Path, volta: Path) -> None:
    path = tmp_path / "fast.csv"
    path.write_text(f"{HEADER},measured_s\n{LINES[0]},1\n{LINES[0]},1e-9\n")
    line = error_line(path, "--gpu", "v100", "--calibration", volta, "--format", "json")
    assert line.startswith(f"{path}: row 3: gemm m=4096 n=4096 k=4096 in fp16 took 1e-09 s, 1.1e+06 times faster than")


def test_predicted_columns_are_not_written_twice(table: Path, volta: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.csv"
    again.write_text(run(table, volta).stdout)
    line = error_line(again, "--gpu", "v100", "--calibration", volta)
    assert line == f"{again}: has a column roofline_s already: rename it or leave it out"


def test_tables_are_written_one_at_a_time(table: Path, volta: Path) -> None:
    predictions = predict_kernels(table, "v100", volta)
    with pytest.raises(InvalidValue, match="one at a time"):
        reports.report([predictions, predictions])


@pytest.mark.parametrize("gpu", ["v10", "none.yaml"])
def test_an_unknown_device_is_named(gpu: str, table: Path) -> None:
    assert gpu in error_line(table, "--gpu", gpu)
