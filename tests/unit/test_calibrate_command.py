"""`perfkit calibrate`: tables of measured products in, a calibration and its errors out."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import commands
import pytest
from doubles import MACHINE, POINTS, RUN

from perfkit import reports
from perfkit.calibration import calibrating
from perfkit.calibration import fits as fits_of_all
from perfkit.calibration.calibrating import CalibrationRun, calibrate
from perfkit.calibration.fitting import Measured
from perfkit.calibration.parameters import STARTS
from perfkit.calibration.ranges import RangeErrors
from perfkit.errors import InvalidValue
from perfkit.hardware import load_device, specs_folder
from perfkit.kernel_shapes import KernelShape, bmm
from perfkit.kernels.calibrations import CAUTIOUS, Calibration, FittedOn, calibration_for, read_calibration
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.products import ProductParameters
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.kernels import kernel_table
from perfkit.measuring.measurement import Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.measuring.schema import line_of, read_measurement, text_of
from perfkit.tables import FORMATS
from perfkit.units import Precision

HEADER = "op,precision,batch,m,n,k,measured_s"
KNOWN = STARTS[0]
MADE_UP = Calibration("made-up", "Made up", None, None, (), "none", {"tensor": KNOWN, "vector": KNOWN})
SHAPES = tuple(product((1, 16, 100, 1000), (1024, 3072), (1024, 4096)))  # of m, n and k


def line(shape: tuple[int, int, int], precision: str, gpu: str, factor: float, batch: int = 1) -> str:
    """A row whose time is `factor` times that of KNOWN."""
    seconds = expected_s(bmm(batch, *shape), Precision(precision), load_device(gpu), MADE_UP)
    m, n, k = shape
    head = f"gemm,{precision}," if batch == 1 else f"bmm,{precision},{batch}"
    return f"{head},{m},{n},{k},{factor * seconds!r}"  # type: ignore[operator]


def write(path: Path, lines: Iterable[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def products(path: Path, gpu: str = "v100", precision: str = "fp16", factor: float = 1.25) -> Path:
    return write(path, [line(shape, precision, gpu, factor) for shape in SHAPES])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return products(tmp_path / "kernels.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.yaml"


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[Measured], Sequence[ProductParameters]]]:
    """What a fit was shown, which takes no time and finds what is known."""
    seen: list[tuple[Sequence[Measured], Sequence[ProductParameters]]] = []

    def fit(sets: Sequence[Measured], priors: Sequence[ProductParameters] = ()) -> ProductParameters:
        seen.append((sets, priors))
        return KNOWN

    monkeypatch.setattr(fits_of_all, "fit_products", fit)
    monkeypatch.setattr(fits_of_all, "fit_near", fit)
    return seen


def run(*arguments: object, gpus: Sequence[str] = ("v100",)) -> Any:
    options = [part for gpu in gpus for part in ("--gpu", gpu)]
    result = commands.run("calibrate", *arguments, *options)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object, out: Path, gpus: Sequence[str] = ("v100",)) -> str:
    """The one line of a command that fails and writes nothing, neither a new file nor over one that is there."""
    before = sorted(out.parent.iterdir())
    options = [part for gpu in gpus for part in ("--gpu", gpu)]
    message = commands.error_line("calibrate", *arguments, *options, "--output", out)
    assert sorted(out.parent.iterdir()) == before
    out.write_text("what stood there")
    assert commands.error_line("calibrate", *arguments, *options, "--output", out) == message
    assert out.read_text() == "what stood there"
    out.unlink()
    return message


# --- a fit


def test_a_fit_finds_that_a_device_is_slower(table: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "_known", lambda _: [MADE_UP])
    text = run(table, "--output", out).stdout
    found = read_calibration(out)
    parameters = found.products["tensor"]
    # a quarter slower: 0.8 of the bandwidth and of the peak would be all of it, start and steps take their part
    assert parameters.bandwidth < 0.95 * KNOWN.bandwidth
    assert parameters.peak < 0.95 * KNOWN.peak
    (error,) = found.errors
    assert (error.op, error.rows) == ("tensor products", len(SHAPES))
    assert error.mape < 0.05  # 20 % before it: 1 / 1.25 - 1
    assert "off by before" in text
    again = out.with_name("again.yaml")
    run(table, "--output", again)
    assert [one for one in again.read_text().splitlines() if "command" not in one] == [
        one for one in out.read_text().splitlines() if "command" not in one
    ]


@pytest.mark.usefixtures("fits")
def test_what_is_written_says_where_it_is_from(table: Path, out: Path) -> None:
    run(table, "--output", out)
    found = read_calibration(out)
    digest = sha256(table.read_bytes()).hexdigest()[:16]
    assert found.fitted_on == (FittedOn("kernels.csv", 16, digest, "v100-sxm2-32gb"),)
    assert (found.title, found.device, found.family) == ("V100-SXM2-32GB", "v100-sxm2-32gb", None)
    assert found.command.endswith(f" calibrate {table} --output {out} --gpu v100")
    assert found.products == {"tensor": KNOWN}  # of few digits, all of which are written
    # every row a quarter slower than predicted: off by 0.8 - 1, and measured 1.25 times what is expected
    (error,) = found.errors
    assert tuple(error) == ("tensor products", 16, 0.2, 0.2)
    assert found.spread == {"tensor products": (1.0, 1.25)}


@pytest.mark.usefixtures("fits")
def test_a_calibration_is_used_by_what_predicts(table: Path, out: Path) -> None:
    run(table, "--output", out)
    result = commands.run("kernels", table, "--gpu", "v100", "--calibration", out)
    assert result.exit_code == 0, result.output
    for row in csv.DictReader(io.StringIO(result.stdout)):
        assert float(row["expected_s"]) == pytest.approx(float(row["measured_s"]) / 1.25, rel=1e-4)
        assert float(row["expected_high_s"]) == pytest.approx(float(row["measured_s"]), rel=1e-4)


def test_products_are_fitted_by_engine(tmp_path: Path, fits: list[Any], out: Path) -> None:
    half = [line(shape, "fp16", "v100", 1.5) for shape in SHAPES]
    full = [line(shape, "fp32", "v100", 2.0, batch=3) for shape in SHAPES]
    others = ["copy,fp16,,8,64,,1e-5", "launch,fp16,,,,,5e-6"]
    run(write(tmp_path / "both.csv", [*half, *full, *others]), "--output", out)
    found = read_calibration(out)
    assert set(found.products) == {"tensor", "vector"}
    assert found.fitted_on[0].rows == 2 * len(SHAPES)  # one copy is not fitted, a launch never
    tensor, vector = (each for sets, _ in fits for each in sets if each.rows == 16)  # folds have fewer
    assert vector.products.batch.tolist() == [3] * 16
    assert (tensor.products.element_bytes, vector.products.element_bytes) == (2, 4)
    # off by 1 - 1 / 1.5 and by 1 - 1 / 2
    off = {error.op: error.mape for error in found.errors}
    assert off == {"tensor products": pytest.approx(1 / 3, abs=1e-4), "vector products": pytest.approx(1 / 2, abs=1e-4)}
    assert set(found.spread) == set(off)


def test_the_device_itself_is_no_prior(table: Path, fits: list[Any], out: Path) -> None:
    run(table, "--output", out)
    own = calibration_for(load_device("v100"))
    assert own.device == "v100-sxm2-32gb"
    for _, priors in fits:
        assert own.products["tensor"] not in priors


def test_a_device_is_judged_by_rows_of_other_weights(table: Path, fits: list[Any], out: Path) -> None:
    run(table, "--output", out)
    (everything, *others) = [sum(each.rows for each in sets) for sets, _ in fits]
    assert everything == 16
    assert 1 < len(others) <= 5
    assert sum(16 - rows for rows in others) == 16  # each kept out once


def test_of_several_families_each_is_judged_by_the_others(tmp_path: Path, fits: list[Any], out: Path) -> None:
    one = products(tmp_path / "one.csv", "a100-sxm-80gb")
    other = products(tmp_path / "other.csv", "l40s", factor=2.0)
    result = run(one, other, "--as", CAUTIOUS, "--output", out, gpus=("a100-sxm-80gb", "l40s"))
    found = read_calibration(out)
    assert (found.device, found.family) == (None, None)
    assert [each.device for each in found.fitted_on] == ["a100-sxm-80gb", "l40s"]
    assert [len(sets) for sets, _ in fits] == [2, 1, 1]
    assert found.errors[0].mape == pytest.approx((0.2 + 0.5) / 2, abs=1e-4)
    assert "each row predicted by the other families" in " ".join(result.stdout.split())
    assert "Calibration cautious: " in result.stdout


def test_devices_of_one_family_are_judged_in_parts(tmp_path: Path, fits: list[Any], out: Path) -> None:
    tables = [products(tmp_path / f"{gpu}.csv", gpu) for gpu in ("a100-sxm-80gb", "a30")]
    result = run(*tables, "--as", "family", "--output", out, gpus=("a100-sxm-80gb", "a30"))
    found = read_calibration(out)
    assert (found.device, found.family) == (None, "ampere")
    (everything, *parts) = [sum(each.rows for each in sets) for sets, _ in fits]
    assert everything == 32
    assert sum(32 - rows for rows in parts) == 32  # each kept out once, in both tables at once
    assert "each row predicted by fits to rows of other sizes" in " ".join(result.stdout.split())


def test_one_gpu_stands_for_all_files(tmp_path: Path, fits: list[Any], out: Path) -> None:
    files = [products(tmp_path / f"{name}.csv") for name in "ab"]
    run(*files, "--output", out)
    assert [each.device for each in read_calibration(out).fitted_on] == ["v100-sxm2-32gb"] * 2
    assert [each.rows for each in fits[0][0]] == [16, 16]


def test_ten_rows_are_enough(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "_known", lambda _: [MADE_UP])
    for name, shapes in {"several": SHAPES[:10], "of one weight": [(m, 1024, 1024) for m in range(1, 11)]}.items():
        lines = [line(shape, "fp16", "v100", 1.1) for shape in shapes]
        run(write(tmp_path / f"{name}.csv", lines), "--output", out)
        assert read_calibration(out).errors[0].rows == 10
        out.unlink()


def test_a_table_without_products_gives_a_calibration_without_them(tmp_path: Path, out: Path) -> None:
    # 2 us and 4 m n bytes at 600 GB/s; a V100 copies at 900
    rows = [(m, n) for m in (1, 64, 1000, 8192) for n in (1024, 4096, 5120, 11008)]
    copies = write(tmp_path / "copies.csv", [f"copy,fp16,,{m},{n},,{2e-6 + 4 * m * n / 600e9!r}" for m, n in rows])
    run(copies, "--output", out)
    found = read_calibration(out)
    assert (found.products, list(found.forms)) == ({}, ["elementwise"])
    (error,) = found.errors
    assert (error.op, error.rows) == ("copy", 16)
    assert error.mape < 0.25
    assert found.spread_of("copy") == found.spread["elementwise"]


# --- the samples that a table was made of


def measured(path: Path, lines: Iterable[str] = (), *more: Point, device: str | None = "v100-sxm2-32gb") -> Path:
    """The measurement whose table has such lines, and other points."""
    points = [_point(each) for each in lines]
    path.write_text(text_of(MACHINE._replace(device=device), [RUN], [line_of(each) for each in (*points, *more)]))
    return path


def _point(row: str, *, flushed: bool = False) -> Point:
    op, precision, batch, *sizes, seconds = row.split(",")
    m, n, k = (int(size) if size else None for size in sizes)
    shape = KernelShape(op, m, n, k, int(batch) if batch else None)
    samples = (float(seconds), 9 * float(seconds), 0.9 * float(seconds))  # whose median is the first
    return Point(KernelCase(shape, precision, flushed), "ok", Timing(samples, 0, True))


def parameters_of(path: Path) -> list[str]:
    """Lines of a calibration, without what names its files."""
    return [one for one in path.read_text().splitlines() if not re.match(r"command:|  - \{table:", one)]


def test_a_table_and_its_samples_give_the_same_calibration(tmp_path: Path, out: Path) -> None:
    lines = [line(shape, "fp16", "v100", 1.1 + 0.1 * (i % 3)) for i, shape in enumerate(SHAPES)]
    copies = [
        f"copy,fp16,,{m},{n},,{2e-6 + 4 * m * n / 600e9!r}" for m in (1, 64, 1000) for n in (1024, 2048, 4096, 8192)
    ]
    samples = measured(tmp_path / "kernels.json", [*lines, *copies, "launch,fp16,,,,,5e-6"], *POINTS[:3])
    table = tmp_path / "kernels.csv"
    ours = [each for each in read_measurement(samples).points if each not in POINTS]
    table.write_text(kernel_table(Measurement(MACHINE, (RUN,), tuple(ours))).render("csv"))
    run(samples, "--output", out)
    found = read_calibration(out)
    assert (found.fitted_on[0].table, found.fitted_on[0].rows) == ("kernels.json", len(lines) + len(copies))
    assert (list(found.products), list(found.forms)) == (["tensor"], ["elementwise"])
    again = tmp_path / "again.yaml"
    for file in (table, samples):  # the table; and the same file once more
        run(file, "--output", again)
        assert parameters_of(again) == parameters_of(out)


@pytest.mark.usefixtures("fits")
def test_kernels_timed_with_an_emptied_cache_are_not_taken(table: Path, tmp_path: Path, out: Path) -> None:
    lines = table.read_text().splitlines()[1:]
    cold = [_point(line((m, 512, 512), "fp16", "v100", 3.0), flushed=True) for m in (1, 2, 3)]
    run(measured(tmp_path / "both.json", lines, *cold), "--output", out)
    assert read_calibration(out).fitted_on[0].rows == 16
    only = measured(tmp_path / "cold.json", [], *cold)
    assert refused(only, out=out) == (
        f"{only}: all its kernels were timed with --flush, one call by itself, or are several in one; "
        "`perfkit measure --suite kernels --output kernels.json` times what a fit takes"
    )


def test_a_measurement_without_kernels_says_what_to_run(tmp_path: Path, out: Path) -> None:
    phases = measured(tmp_path / "llava.json", [], *POINTS[:3])
    assert refused(phases, out=out) == (
        f"{phases}: no kernel was timed; `perfkit measure --suite kernels --output kernels.json` times what a fit takes"
    )
    foreign = tmp_path / "foreign.json"
    foreign.write_text("{}")
    assert refused(foreign, out=out) == f"{foreign}: no measurement of perfkit: its schema is not 'perfkit-measurement'"


def test_a_measurement_of_another_device_is_refused(table: Path, tmp_path: Path, out: Path) -> None:
    lines = table.read_text().splitlines()[1:]
    samples = measured(tmp_path / "kernels.json", lines, device="h100-sxm-80gb")
    assert refused(samples, out=out) == f"{samples}: measured on h100-sxm-80gb, not on v100-sxm2-32gb"


@pytest.mark.usefixtures("fits")
@pytest.mark.parametrize("device", [None, "h100-sxm-80gb"])
def test_a_device_file_of_ones_own_may_be_of_any_machine(
    device: str | None, table: Path, tmp_path: Path, out: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text((specs_folder() / "v100-sxm2-32gb.yaml").read_text())
    samples = measured(tmp_path / "kernels.json", table.read_text().splitlines()[1:], device=device)
    run(samples, "--output", out, gpus=(str(mine),))
    assert read_calibration(out).device == "mine"


@pytest.mark.parametrize(
    ("seconds", "shape", "message"),
    [
        (
            "1e-9",
            (4096, 4096, 4096),
            "points[16]: gemm m=4096 n=4096 k=4096 in fp16 took 1e-09 s, 1.1e+06 times faster",
        ),
        ("1e-3", (0, 4096, 4096), "points[16]: m must be a whole number from 1 to 10000000, not '0'"),
    ],
)
def test_samples_that_cannot_be_are_named_with_their_point(
    seconds: str, shape: tuple[int, int, int], message: str, table: Path, tmp_path: Path, out: Path
) -> None:
    lines = [*table.read_text().splitlines()[1:], f"gemm,fp16,,{','.join(map(str, shape))},{seconds}"]
    samples = measured(tmp_path / "kernels.json", lines)
    assert refused(samples, out=out).startswith(f"{samples}: {message}")


# --- reports


@pytest.mark.usefixtures("fits")
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_printed_and_the_calibration_written(form: str, table: Path, out: Path) -> None:
    assert run(table, "--output", out, "--format", form).stdout
    assert read_calibration(out).products


@pytest.mark.usefixtures("fits")
def test_json_tells_errors_by_range(table: Path, out: Path) -> None:
    document = json.loads(run(table, "--output", out, "--format", "json").stdout)
    assert (document["calibration"], document["before"]) == ("v100-sxm2-32gb", "v100-sxm2-32gb")
    assert [(each["first"], each["last"], each["rows"]) for each in document["ranges"]] == [
        (1, 16, 8),
        (17, 128, 4),
        (513, 1536, 4),
    ]
    assert {(each["op"], each["engine"], each["size"]) for each in document["ranges"]} == {("gemm", "tensor", "m")}
    assert [each["after"] for each in document["ranges"]] == pytest.approx([0.2, 0.2, 0.2])
    (error,) = document["errors"]
    assert error == {"op": "tensor products", "rows": 16, "mape": pytest.approx(0.2), "p90": pytest.approx(0.2)}
    assert document["products"]["tensor"]["peak"] == KNOWN.peak
    assert document["warnings"] == []


@pytest.mark.usefixtures("fits")
def test_csv_has_a_row_a_range(table: Path, out: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(table, "--output", out, "--format", "csv").stdout)))
    assert [row["first"] for row in rows] == ["1", "17", "513"]
    assert {row["engine"] for row in rows} == {"tensor"}
    assert [float(row["after"]) for row in rows] == pytest.approx([0.2] * 3)


def test_people_see_ranges_and_what_the_numbers_are() -> None:
    made = Calibration("x", "X", "x", None, (FittedOn("a.csv", 12, "0" * 16, "x"),), "none", {"tensor": KNOWN})
    ranges = (
        RangeErrors("gemm", "tensor", "m", 1, 16, 8, None, 0.1),
        RangeErrors("gemm", "tensor", "m", 4097, None, 4, 0.3, 0.2),
        RangeErrors("attention_decode", None, "cache bytes", 1_000_001, 8_000_000, 4, 0.3, 0.2),
    )
    (shown,) = reports.overview(CalibrationRun(made, MADE_UP, ranges, ()))
    assert shown.title == "Calibration x: X\nfitted on a.csv (x)"
    assert [row["op"] for row in shown.records()] == ["gemm, tensor engine"] * 2 + ["attention_decode"]
    assert [row["range"] for row in shown.records()] == ["m 1-16", "m from 4097", "cache 1-8 MB"]
    assert [row["before"] for row in shown.records()] == [None, 0.3, 0.3]
    assert shown.rule_before == {2}
    assert shown.notes[1] == "Before: calibration made-up, on all rows."
    assert "keys and values" in shown.notes[3]
    before = replace(MADE_UP, fitted_on=made.fitted_on)
    (shown,) = reports.overview(CalibrationRun(made, before, ranges[:2], ()))
    assert shown.notes[1] == "Before: calibration made-up, on all rows, which its fit saw."
    assert not any("keys and values" in note for note in shown.notes)


def test_every_op_is_told_by_range_before_and_after(tmp_path: Path, fits: list[Any], out: Path) -> None:
    # a V100 has no element-wise calibration and decode is new to it: before is what `cautious` or nothing says
    batched = [line(shape, "fp16", "v100", 1.25, batch=2) for shape in SHAPES]
    single = [line(shape, "fp16", "v100", 2.0) for shape in SHAPES]
    copies = [
        f"copy,fp16,,{m},{n},,{2e-6 + 4 * m * n / 600e9!r}" for m in (1, 64, 1000) for n in (1024, 2048, 4096, 8192)
    ]
    run(write(tmp_path / "all.csv", [*single, *copies, *batched]), "--output", out)
    assert fits
    found = calibrate([tmp_path / "all.csv"], ["v100"])
    ranges = {(each.op, each.first): each for each in found.ranges}
    assert list(ranges) == [(op, first) for op in ("gemm", "bmm", "copy") for first in (1, 17, 513)]
    # KNOWN is half of the time of gemm, four fifths of that of bmm
    assert ranges["gemm", 1].after == pytest.approx(0.5, abs=1e-4)
    assert ranges["bmm", 513].after == pytest.approx(0.2, abs=1e-4)
    assert ranges["copy", 1].rows == 4
    before = calibration_for(load_device("v100"))
    off = []
    for shape in SHAPES[:8]:  # m of 1 and 16
        earlier = expected_s(bmm(1, *shape), Precision.FP16, load_device("v100"), before)
        seconds = float(line(shape, "fp16", "v100", 2.0).rsplit(",", 1)[1])
        off.append(abs(earlier / seconds - 1))  # type: ignore[operator]
    assert ranges["gemm", 1].before == pytest.approx(sum(off) / 8)
    assert (ranges["copy", 1].before is None) is ("elementwise" not in before.forms)


@pytest.mark.usefixtures("fits")
def test_rows_that_are_left_out_are_told(tmp_path: Path, out: Path) -> None:
    # 2 * 4096^2 = 34 MB, of which the 6 MB cache holds little, in 20 us: 1.7 TB/s, of 0.9; one row of 21
    lines = [line(shape, "fp16", "v100", 1.25) for shape in (*SHAPES, *((m, 3072, 3072) for m in (2, 3, 4, 5)))]
    path = write(tmp_path / "cached.csv", [*lines, "gemm,fp16,,1,4096,4096,2e-5"])
    result = run(path, "--output", out)
    assert result.stderr.startswith(
        f"warning: {path}: 1 row left out (22): more than 1.15 times faster than the memory"
    )
    assert read_calibration(out).fitted_on[0].rows == 20


# --- what is refused


def test_another_count_of_gpus_than_of_files_is_refused(table: Path, out: Path) -> None:
    assert refused(table, out=out, gpus=("v100", "v100")) == (
        "2 GPUs for 1 files: name one for each file, or one for all"
    )
    message = refused(table, table, table, out=out, gpus=("v100", "t4"))
    assert message.startswith("2 GPUs for 3 files: ")


@pytest.mark.parametrize("name", ["out.csv", "out", "out.yaml.txt", "out.json"])
def test_a_calibration_is_a_yaml(name: str, table: Path, tmp_path: Path) -> None:
    message = refused(table, out=tmp_path / name)
    assert message == f"--output must end in .yaml, which a calibration is, not '{tmp_path / name}'"


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ("0", "row 2: measured_s must be a number of seconds above zero, not '0'"),
        ("-1e-5", "row 2: measured_s must be a number of seconds above zero, not '-1e-5'"),
        ("nan", "row 2: measured_s must be a number of seconds above zero, not 'nan'"),
        ("inf", "row 2: measured_s must be a number of seconds above zero, not 'inf'"),
        ("", "row 2: measured_s must be a number of seconds above zero, and is empty"),
        ("1e-12", "row 2: gemm m=1 n=1024 k=1024 in fp16 took 1e-12 s, "),
    ],
)
def test_times_that_cannot_be_are_named_with_their_row(seconds: str, message: str, table: Path, out: Path) -> None:
    header, first, *lines = table.read_text().splitlines()
    write(table, [",".join([*first.split(",")[:-1], seconds]), *lines], header)
    assert refused(table, out=out).startswith(f"{table}: {message}")


@pytest.mark.parametrize("unit", [1e3, 1e6])
def test_times_in_another_unit_are_refused(unit: float, table: Path, out: Path) -> None:
    write(table, [line(shape, "fp16", "v100", 1.25 * unit) for shape in SHAPES])
    assert refused(table, out=out).startswith(f"{table}: row 2: 16 of 16 rows, this one first, took more than 30 times")


def test_tables_that_say_too_little_are_refused(tmp_path: Path, out: Path) -> None:
    lines = [line(shape, "fp16", "v100", 1.25) for shape in SHAPES]
    few = write(tmp_path / "few.csv", lines[:9])
    assert refused(few, out=out) == f"{few}: 9 rows of kernels; a fit needs at least 10"
    same = write(tmp_path / "same.csv", lines[:1] * 12)
    assert refused(same, out=out).startswith(f"{same}: all 12 rows are of one shape (gemm m=1 n=1024 k=1024)")
    timeless = write(tmp_path / "timeless.csv", [f"{each.rsplit(',', 1)[0]}," for each in lines])
    assert refused(timeless, out=out) == f"{timeless}: no column measured_s with seconds in it: nothing to fit"
    # 12 rows, of which no kind has 10
    copies = [f"copy,fp16,,{m},64,,1e-5" for m in range(1, 7)]
    attention = write(
        tmp_path / "attention.csv",
        [*(f"{each},,,," for each in copies), *(f"attention_decode,fp16,1,,,,1e-5,{n},8,8,64" for n in range(1, 7))],
        f"{HEADER},kv_tokens,heads,kv_heads,head_dim",
    )
    message = refused(attention, out=out)
    assert message == f"{attention}: no kind of kernel has 10 rows of 3 shapes, which a fit needs"


@pytest.mark.usefixtures("fits")
def test_kinds_that_say_too_little_are_left_out_and_told(table: Path, out: Path) -> None:
    lines = table.read_text().splitlines()[1:]
    alike = [line(shape, "fp32", "v100", 1.25) for shape in [*SHAPES[:2] * 5, SHAPES[0]]]  # 11 rows, 2 shapes
    copies = [f"copy,fp16,,{m},64,,1e-5" for m in range(1, 10)]  # 9 rows
    result = run(write(table, [*lines, *alike, *copies]), "--output", out)
    left_out = "not fitted, with fewer than 10 rows or 3 shapes: products on the vector engine, copy"
    assert result.stderr == f"warning: {left_out}\n"
    found = read_calibration(out)
    assert (set(found.products), found.fitted_on[0].rows) == ({"tensor"}, 16)


@pytest.mark.usefixtures("fits")
def test_rows_of_one_range_are_told(tmp_path: Path, out: Path) -> None:
    lines = [line((1, n, k), "fp16", "v100", 1.25) for n in (1024, 2048, 4096) for k in (1024, 2048, 4096, 8192)]
    result = run(write(tmp_path / "one.csv", lines), "--output", out)
    told = "all rows of gemm on the tensor engine have m 1-16: of others the calibration says what it began at"
    assert result.stderr == f"warning: {told}\n"


def test_a_missing_file_device_or_kind_is_named(table: Path, tmp_path: Path, out: Path) -> None:
    none = tmp_path / "none.csv"
    assert refused(none, out=out) == f"{none}: no such file"
    assert refused(table, out=out, gpus=("v10",)).startswith("unknown GPU 'v10'; nearest: ")
    assert refused(table, "--as", "all", out=out).startswith("unknown --as 'all'; allowed: cautious, device, family")


def test_devices_that_do_not_belong_together_are_refused(table: Path, tmp_path: Path, out: Path) -> None:
    other = products(tmp_path / "other.csv", "t4")
    message = refused(table, other, out=out, gpus=("v100", "t4"))
    assert message == "a device's calibration takes one GPU, not t4, v100-sxm2-32gb; --as family"
    message = refused(table, other, "--as", "family", out=out, gpus=("v100", "t4"))
    assert message == "a family's calibration takes GPUs of one family, not ['turing', 'volta']"


def test_a_precision_that_the_device_lacks_is_named_with_its_row(table: Path, out: Path) -> None:
    write(table, [each.replace("fp16", "bf16") for each in table.read_text().splitlines()[1:]])
    assert refused(table, out=out).startswith(f"{table}: row 2: v100-sxm2-32gb has no engine for bf16 products")
    # what multiplies nothing too
    write(table, [*(line(shape, "fp16", "v100", 1.25) for shape in SHAPES), "add,bf16,,8,64,,1e-5"])
    assert refused(table, out=out).startswith(f"{table}: row 18: v100-sxm2-32gb has no engine for bf16 products")


def test_without_scipy_it_is_asked_for(table: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "find_spec", lambda _: None)
    assert refused(table, out=out) == "a fit needs scipy: pip install 'perfkit[calibration]'"


@pytest.mark.usefixtures("fits")
def test_a_folder_that_is_not_there_is_named(table: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "out.yaml"
    line = commands.error_line("calibrate", table, "--gpu", "v100", "--output", missing)
    assert line == f"cannot write {missing}: No such file or directory; nothing was written"


def test_files_and_gpus_are_required(table: Path, out: Path) -> None:
    for arguments in ((table, "--output", out), ("--gpu", "v100", "--output", out), (table, "--gpu", "v100")):
        assert commands.run("calibrate", *arguments).exit_code == 2
    with pytest.raises(InvalidValue, match=r"^0 GPUs for 1 files"):
        calibrate([table], [])
