"""`perfkit sweep`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import perfkit
from perfkit.cli import main
from perfkit.sweeping import parts as parts_room


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """The one line of a command that must fail with exit code 1 and print nothing else."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def test_options_take_lists_repetitions_and_ranges() -> None:
    result = run(
        "--gpu",
        "v100",
        "--gpu",
        "h100",
        "--batch",
        "1:3",
        "--batch",
        "8,1",
        "--tokens",
        "0:576:288",
        "--format",
        "json",
    )
    rows = json.loads(result.stdout)["rows"]
    assert [row["batch"] for row in rows][:4] == [1, 2, 3, 8]  # each once
    assert len(rows) == 2 * 3 * 4
    assert {row["visual_tokens"] for row in rows} == {0, 288, 576}


def test_a_row_is_the_analysis_of_its_point() -> None:
    asked = [
        "--gpu",
        "v100",
        "--tokens",
        "32",
        "--weights",
        "int4",
        "--kv",
        "int8",
        "--attention",
        "eager",
        "--batch",
        "3",
    ]
    row = json.loads(run(*asked, "--basis", "expected", "--runtime", "eager", "--format", "json").stdout)["rows"][0]
    one = perfkit.analyze("v100", tokens=32, weights="int4", kv="int8", attention="eager", batch=3, runtime="eager")
    assert one.ttft_range_s is not None
    assert row["ttft_roofline_s"] == one.ttft_roofline_s
    assert (row["ttft_expected_low_s"], row["ttft_expected_high_s"]) == one.ttft_range_s
    assert row["tpot_expected_s"] == one.tpot_expected_s
    assert row["memory_total_bytes"] == one.footprint.total
    assert (row["weights"], row["activations"], row["kv"]) == ("int4", "fp16", "int8")
    assert (row["runtime"], row["calibration"]) == ("eager", one.expectation.id)


def test_people_see_what_varies_and_above_it_what_does_not() -> None:
    lines = run("--gpu", "v100", "--batch", "1,8").stdout.splitlines()
    assert lines[0].startswith("model llava-1.5-7b, GPU v100-sxm2-32gb, visual 576, text 60, new 128, images 1")
    head = next(line for line in lines if line.startswith("batch"))
    assert head.split()[:3] == ["batch", "TTFT", "TPOT"]


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "html"])
def test_every_format_prints(form: str) -> None:
    result = run("--gpu", "v100", "--batch", "1,8", "--format", form)
    assert result.exit_code == 0
    assert "0.0765953" in result.stdout  # s, the time to first token


def test_a_file_gets_all_rows_and_stdout_none(tmp_path: Path) -> None:
    result = run("--gpu", "v100", "--batch", "1:600", "--output", tmp_path / "grid.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"note: 600 points are in {tmp_path / 'grid.csv'}\n"
    assert len((tmp_path / "grid.csv").read_text().splitlines()) == 601


def test_combinations_without_an_engine_are_warned_of() -> None:
    result = run("--gpu", "v100", "--precision", "fp16,fp8", "--format", "csv")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("warning: llava-1.5-7b on v100-sxm2-32gb in fp8 is left out: v100-sxm2-32gb has no")


def test_many_of_them_are_counted() -> None:
    result = run("--gpu", "v100", "--tp", "1,3,5,6,7,9:19", "--format", "csv")
    # 1 and 16 split 32 heads; of the 3, 5, 6, 7, 9 ... 19 without 16 there are 14.
    assert len(result.stdout.splitlines()) == 1 + 2
    assert len(result.stderr.splitlines()) == 11
    assert result.stderr.endswith("warning: and 4 more combinations are left out\n")


def test_an_interruption_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_room, "PART_POINTS", 100)
    asked: list[Any] = ["--gpu", "v100", "--batch", "1:600", "--output", tmp_path / "grid.csv"]
    with monkeypatch.context() as patched:
        encode, calls = parts_room.Part.encode, []

        def some(part: Any) -> bytes:
            calls.append(part)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return encode(part)

        patched.setattr(parts_room.Part, "encode", some)
        line = refused(*asked)
    assert line == "interrupted: 2 of the 6 parts that were left are written and kept; --resume goes on with the rest"
    assert refused(*asked).startswith("parts of an earlier run stand in")
    assert run(*asked, "--resume").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["grid.csv"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--batch", "5:1"], "--batch '5:1' goes down: a range is start:stop or start:stop:step, the stop included"),
        (["--batch", "a:b"], "--batch must be a whole number from 1 to 10000000, not 'a'"),
        (["--batch", "1:9:0"], "the step of --batch must be a whole number from 1 to 10000000, not 0"),
        (["--tokens", "-8:8"], "--tokens must be a whole number from 0 to 10000000, not -8"),
        (["--tokens", "580"], "580 visual tokens: llava-1.5-7b makes at most 576 of 1 image(s)"),
        (["--precision", "fp17"], "unknown --precision 'fp17'; nearest: fp16"),
        (["--precision", "fp16,"], "unknown --precision ''"),
        (["--attention", "fused,flash"], "unknown --attention 'flash'; allowed: eager, fused"),
        (["--basis", "guess"], "unknown --basis 'guess'; allowed: expected, roofline"),
        (["--runtime", "eager"], "runtime is of expected times"),
        (["--dask", "tcp://127.0.0.1:8786"], "--dask makes the parts of a file: name it by --output"),
        (["--resume"], "--resume goes on with a file: name it by --output"),
        (["--batch", "1:501"], "501 rows are too many to print: at most 500; name a file: --output FILE.csv or"),
        (["--batch", "1:1000000", "--text-tokens", "1:1000000"], "the grid has 1e+12 points, about 23 days of work"),
        (["--model", "lava"], "unknown model 'lava'"),
        (["--precision", "fp8"], "nothing is left of the grid: llava-1.5-7b on v100-sxm2-32gb in fp8 is left out"),
    ],
)
def test_what_cannot_be_is_one_line(asked: list[str], message: str) -> None:
    assert refused("--gpu", "v100", *asked).startswith(message)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--output", "grid.json"], "the output of a sweep ends in .csv or .parquet, not in '.json'"),
        (["--output", "none/grid.csv"], "cannot write none/grid.csv: no such folder none"),
        (["--output", "grid.csv", "--format", "csv"], "--output says by its ending how rows are written"),
        (["--output", "grid.csv", "--tokens", "577"], "577 visual tokens"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    asked: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("--gpu", "v100", *asked).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_must_be_named() -> None:
    assert run().exit_code == 2


def test_the_command_loads_no_heavy_library_to_be_asked_for_help() -> None:
    load = "from perfkit.cli import load_command; load_command('sweep')"
    code = f"import sys; {load}; print({{'numpy', 'pyarrow'}} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
