"""`perfkit validate`: files in, every format out, one line for whatever is wrong."""

import csv
import io
import json
from functools import partial

import commands
import pytest

from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.measurement import Machine, Point, Run
from perfkit.measuring.protocol import Timing
from perfkit.measuring.schema import line_of, text_of
from perfkit.tables import FORMATS

RUN = Run("2025-01-01T00:00:00+00:00", "perfkit measure --output mine.json", "0.1.0")


def text(name="A card", device="v100-sxm2-32gb", seconds=0.1):
    machine = Machine("cuda", name, "CUDA events", 32 * 10**9, 80, "Linux", {"torch": "2.13.0"}, device)
    points = [
        Point(PhaseCase("llava-1.5-7b", "prefill", n, 60, 1, "fp16", "sdpa"), "ok", Timing((s,) * 7, 3, stable=True))
        for n, s in ((576, 2 * seconds), (32, seconds))
    ]
    return text_of(machine, [RUN], map(line_of, points))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text())
    return str(path)


run, error_line = partial(commands.run, "validate"), partial(commands.error_line, "validate")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- what comes out


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_to_stdout_and_to_a_file(form, mine, tmp_path):
    printed = run(mine, "--format", form)
    written = run(mine, "--format", form, "--output", tmp_path / "out")
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert (tmp_path / "out").read_bytes() == printed.stdout_bytes
    assert printed.stderr == ""


def test_json_and_csv_tell_the_same(mine):
    document = json.loads(run(mine, "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(run(mine, "--format", "csv").stdout)))
    assert (
        [float(row["measured_s"]) for row in rows]
        == [point["measured_s"] for point in document["points"]]
        == [0.2, 0.1]
    )
    assert [float(row["mfu"]) for row in rows] == [point["mfu"] for point in document["points"]]
    assert document["speedups"][0]["got"] == 2


def test_the_device_is_the_measured_one_or_the_one_that_is_named(mine):
    assert json.loads(run(mine, "--format", "json").stdout)["device"] == "v100-sxm2-32gb"
    assert json.loads(run(mine, "--gpu", "a100", "--format", "json").stdout)["device"] == "a100-sxm-80gb"


def test_files_of_one_machine_count_together_and_repeated_cases_are_told(mine, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(text(seconds=0.3))
    result = run(mine, other, "--format", "json")
    assert [point["measured_s"] for point in json.loads(result.stdout)["points"]] == [0.6, 0.3]
    (line,) = [line for line in result.stderr.splitlines() if "the last counts" in line]
    assert line.startswith(
        "warning: llava-1.5-7b prefill, 576 + 60 tokens, batch 1, fp16, sdpa and 1 more: measured in"
    )
    assert len(json.loads(result.stdout)["warnings"]) == 1


def test_a_time_below_the_roofline_is_told_on_stderr(tmp_path):
    path = tmp_path / "fast.json"
    path.write_text(text(seconds=1e-4))
    result = run(path)
    assert result.exit_code == 0
    assert "measured below the roofline" in result.stderr


@pytest.mark.parametrize("ending", [".svg", ".html"])
def test_a_chart_is_drawn_beside_what_is_printed(ending, mine, tmp_path):
    result = run(mine, "--chart", tmp_path / f"chart{ending}")
    assert result.exit_code == 0
    assert "Where the time goes" in result.stdout
    assert "<svg" in (tmp_path / f"chart{ending}").read_text()


def test_published_timings_need_no_file():
    document = json.loads(run("--published", "--format", "json").stdout)
    assert set(document) == {"points", "errors"}


# --- what is refused


def test_something_must_be_named():
    assert error_line() == "name a FILE that `perfkit measure --output FILE` wrote, or take --published"


@pytest.mark.parametrize("more", [["mine.json"], ["--gpu", "v100"], ["--chart", "a.svg"]])
def test_published_timings_stand_alone(more):
    assert error_line("--published", *more).startswith("--published takes no FILE, no --gpu and no --chart")


WHOLE = text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[: len(WHOLE) // 2], "file.json"),
        ("", "file.json"),
        ("{}", "no measurement of perfkit"),
        ('{"schema": "another", "version": 1}', "no measurement of perfkit"),
        (WHOLE.replace('"version": 1', '"version": 99'), "written by a newer perfkit"),
        (WHOLE.replace('"machine"', '"machin"'), "machine is missing"),
        (WHOLE.replace("llava-1.5-7b", "llava-9"), "unknown model 'llava-9'"),
        (text(device=None), "pass `--gpu this.yaml`"),
        (text(device="no-such-card"), "unknown GPU 'no-such-card'"),
    ],
    ids=["truncated", "empty", "no schema", "foreign", "newer", "no machine", "model", "no device", "device"],
)
def test_a_file_that_cannot_be_judged_is_one_line_and_nothing_is_written(content, message, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(content)
    line = error_line(path, "--output", tmp_path / "out", "--chart", tmp_path / "chart.svg")
    assert message in line
    assert names(tmp_path) == ["file.json"]
    if "unknown" not in message:
        assert str(path) in line


def test_a_file_that_is_not_there_is_named():
    assert "none.json: no such file" in error_line("none.json")


def test_two_machines_are_refused(mine, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(text(name="Another card"))
    line = error_line(mine, other)
    assert f"{mine} is of A card, {other} of Another card" in line


def test_a_precision_that_the_device_lacks_is_named(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text().replace('"fp16"', '"bf16"'))
    assert "v100-sxm2-32gb has no engine for bf16 products" in error_line(path)


def test_an_unknown_ending_of_a_chart_is_refused_before_anything_is_read(tmp_path):
    line = error_line("none.json", "--chart", tmp_path / "chart.bmp")
    assert line.startswith("unknown ending of a chart '.bmp'")
    assert line.endswith("allowed: .html, .pdf, .png, .svg")
    assert names(tmp_path) == []


def test_a_chart_that_cannot_be_written_leaves_nothing(mine, tmp_path):
    line = error_line(mine, "--chart", tmp_path / "none" / "chart.svg", "--output", tmp_path / "out")
    assert line.endswith("nothing was written")
    assert names(tmp_path) == ["mine.json"]
