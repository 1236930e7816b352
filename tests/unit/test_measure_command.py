"""`perfkit measure` as it is typed: what options become, what is printed where, exit codes, and what stops it."""

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner
from doubles import MEASUREMENT, quick_torch, write_config

from perfkit.cli import main
from perfkit.measuring import campaign
from perfkit.measuring.campaign import rules_of
from perfkit.measuring.networks import Network
from perfkit.measuring.schema import read_measurement
from perfkit.tables import FORMATS


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def run(tmp_path, folder):
    """The command with a small model on the CPU, into out.json unless it says otherwise."""
    model = write_config(tmp_path)

    def run(*arguments):
        defaults = [
            "--model",
            model,
            "--device",
            "cpu",
            "--precision",
            "fp32",
            "--text-tokens",
            "5",
            "--budget",
            "0.05",
        ]
        defaults += [] if "--output" in arguments else ["--output", str(folder / "out.json")]
        return CliRunner().invoke(main, ["measure", *defaults, *arguments], prog_name="perfkit")

    return run


@pytest.fixture
def asked(monkeypatch):
    """What `perfkit.measure` is asked for, without measuring."""
    calls = []

    def measure(output, **options):
        calls.append({"output": output, **options})
        return MEASUREMENT

    monkeypatch.setattr(campaign, "measure", measure)
    return calls


def typed(*arguments):
    result = CliRunner().invoke(main, ["measure", *arguments], prog_name="perfkit")
    assert result.exit_code == 0, result.output
    return result


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- options


def test_help_names_every_option_and_shows_examples():
    shown = typed("--help").stdout
    for option in ("--output", "--suite", "--model", "--tokens", "--text-tokens", "--batch", "--precision"):
        assert f"  {option} " in shown
    for option in ("--attention", "--runtime", "--phase", "--device", "--flush", "--resume", "--target", "--budget"):
        assert f"  {option} " in shown
    assert "--stop-after S" in shown
    assert "  perfkit measure --suite peaks --output this.yaml" in shown
    assert "[required]" in shown


def test_several_values_come_by_commas_and_by_repeats_each_once(asked):
    typed("--output", "x.json", "--tokens", "576,144", "--tokens", "32", "--tokens", "144,0", "--batch", "8,1")
    assert asked[0]["tokens"] == (576, 144, 32, 0)
    assert asked[0]["batches"] == (8, 1)


def test_names_come_by_commas_and_by_repeats_too(asked):
    options = ["--precision", "fp16,bf16", "--attention", "sdpa", "--attention", "eager", "--runtime", "graph,eager"]
    typed("--output", "x.json", *options, "--phase", "decode,prefill")
    found = {key: asked[0][key] for key in ("precisions", "attentions", "runtimes", "phases")}
    assert found == {
        "precisions": ("fp16", "bf16"),
        "attentions": ("sdpa", "eager"),
        "runtimes": ("graph", "eager"),
        "phases": ("decode", "prefill"),
    }


def test_what_is_not_given_keeps_the_defaults_of_the_library(asked):
    typed("--output", "x.json")
    given = asked[0]
    assert not {"tokens", "batches", "precisions", "attentions", "runtimes", "phases"} & set(given)
    assert (given["model"], given["suite"], given["device"]) == ("llava-1.5-7b", "model", "auto")
    assert (given["flush"], given["resume"], given["stop_after_s"]) == (False, False, None)
    assert given["rules"] == rules_of("model")


def test_percent_and_seconds_become_rules(asked):
    typed("--output", "x.json", "--target", "2.5", "--budget", "12", "--stop-after", "600", "--flush", "--resume")
    rules = asked[0]["rules"]
    assert rules.target == pytest.approx(0.025)
    assert (rules.budget_s, rules.warmup_s) == (12, 4)  # a third of it for warm-up
    assert (asked[0]["stop_after_s"], asked[0]["flush"], asked[0]["resume"]) == (600, True, True)


def test_the_command_line_is_handed_on_as_a_shell_would_take_it(asked):
    typed("--output", "my file.json", "--tokens", "576,32", "--format", "csv")
    assert asked[0]["command"] == "perfkit measure --output 'my file.json' --tokens 576,32 --format csv"


def test_the_command_line_stands_in_the_file(run, folder):
    assert run("--phase", "projector").exit_code == 0
    assert run("--phase", "vision", "--resume").exit_code == 0
    first, second = read_measurement(folder / "out.json").runs
    assert re.fullmatch(r"perfkit measure --model \S+ --device cpu .* --phase projector", first.command)
    assert second.command.endswith("--phase vision --resume")


# --- what is printed


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_point(form, run):
    result = run("--format", form)
    assert result.exit_code == 0, result.output
    for phase in ("vision", "projector", "prefill", "decode"):
        assert phase in result.stdout
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert [row["phase"] for row in rows] == ["vision", "projector", "prefill", "decode"]
        assert all(float(row["median_s"]) > 0 for row in rows)
        assert [row["visual_tokens"] for row in rows] == ["4"] * 4


def test_json_is_the_measurement_with_raw_samples(run, folder):
    result = run("--phase", "projector", "--format", "json")
    shown = json.loads(result.stdout)
    held = json.loads((folder / "out.json").read_text())
    assert shown["points"] == held["points"]
    assert shown["machine"] == held["machine"]
    assert shown["points"][0]["timing"]["samples_s"]


def test_progress_and_warnings_go_to_stderr(run):
    result = run("--target", "0.000001", "--phase", "projector,vision", "--format", "csv")
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"1/2 .*llava.json vision, 4 tokens, batch 1, fp32, sdpa", lines[0])
    assert re.fullmatch(r"2/2 .*llava.json projector, 4 tokens, batch 1, fp32", lines[1])
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert re.search(r"vision, .*: unstable: after \d+ repeats the median is known to ±[\d.]+%", warnings[0])
    assert "warning: " not in result.stdout
    assert result.exit_code == 0  # a warning is no error


@pytest.mark.usefixtures("asked")
def test_points_that_ran_out_of_memory_are_warned_of():
    result = typed("--output", "x.json")
    assert "projector, 32 tokens, batch 1, tf32: out of memory: CUDA out of memory. Tried to" in result.stderr
    assert "warning: 2 of 2 kernels are unstable or did not run: see their rows" in result.stderr


# --- what stops it


def interrupt(monkeypatch, phase):
    step = Network.step

    def broken(self, case):
        if case.phase == phase:
            raise KeyboardInterrupt
        return step(self, case)

    monkeypatch.setattr(Network, "step", broken)


def test_an_interruption_says_what_is_kept_and_how_to_go_on(run, folder):
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "prefill")
        result = run()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        "Error: interrupted: 2 of the 4 points that were left are measured and kept; --resume goes on with the rest"
    )
    assert len(read_measurement(folder / "out.json").points) == 2
    again = run("--resume")
    assert again.exit_code == 0, again.output
    assert again.stderr.startswith("1/2 ")
    assert [point.case.phase for point in read_measurement(folder / "out.json").points] == [
        "vision",
        "projector",
        "prefill",
        "decode",
    ]
    assert names(folder) == ["out.json"]


def test_time_that_is_up_is_told_and_no_error(run, folder):
    result = run("--stop-after", "0.000001")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == (
        "note: stopped: 1 of the 4 points that were left are measured and kept; --resume goes on with the rest"
    )
    assert len(read_measurement(folder / "out.json").points) == 1


def test_a_whole_measurement_has_no_note(run):
    assert "note:" not in run("--phase", "projector").stderr


def test_a_file_that_stands_already_is_one_line_and_stays(run, folder):
    assert run("--phase", "projector").exit_code == 0
    before = (folder / "out.json").read_bytes()
    result = run("--phase", "projector")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*out\.json stands already: --resume finishes it; .*\n", result.stderr)
    assert (folder / "out.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tokens", "many"), "--tokens must be a whole number from 0"),
        (("--tokens", "1,,2"), "--tokens must be a whole number from 0"),
        (("--tokens", "-1"), "--tokens must be a whole number from 0"),
        (("--tokens", "5"), ""),  # the model makes 4
        (("--batch", "0"), "--batch must be a whole number from 1"),
        (("--batch", "1,1.5"), "--batch must be a whole number from 1"),
        (("--text-tokens", "0"), "--text-tokens must be a whole number from 1"),
        (("--precision", "fp16"), "fp16 is not timed on cpu"),
        (("--precision", "fp32,"), "is not timed on cpu"),
        (("--attention", "flash"), "unknown --attention 'flash'"),
        (("--runtime", "graph"), "a cpu has no CUDA graphs; allowed: eager"),
        (("--phase", "training"), "unknown --phase 'training'"),
        (("--suite", "layers"), "unknown --suite 'layers'"),
        (("--device", "tpu"), "unknown --device 'tpu'"),
        (("--device", "cuda"), "finds no CUDA device"),
        (("--target", "0"), "--target"),
        (("--target", "-1"), "--target"),
        (("--budget", "nan"), "--budget"),
        (("--stop-after", "soon"), "--stop-after"),
        (("--model", "bert-base"), "bert-base is a BertModel; measured are"),
        (("--model", "none"), "unknown model 'none'"),
        (("--format", "xml"), "unknown --format 'xml'"),
        (("--output", "{folder}/none/out.json"), "no such folder"),
        (("--output", "{folder}/out.txt"), "suite model writes .json, not .txt"),
        (("--output", "{folder}"), "suite model writes .json"),
        (("--output", ""), "suite model writes .json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bad_value_is_one_line_and_no_file(arguments, message, run, folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run(*[argument.format(folder=folder) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "unexpected" not in result.stderr
    assert names(folder) == []


@pytest.mark.parametrize("arguments", [(), ("--output",), ("--output", "x.json", "--unknown")], ids=str)
def test_what_click_does_not_know_is_exit_code_2(arguments):
    assert CliRunner().invoke(main, ["measure", *arguments]).exit_code == 2
