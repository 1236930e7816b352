"""Configuration files: which count, what they set, and that nothing of it goes unsaid."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from perfkit.cli import COMMANDS, load_command, main
from perfkit.cli.config import config_files, user_file
from perfkit.cli.defaults import OF_MACHINES, OWN_TABLE_ONLY, TYPED_ONLY, options_of

Write = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder below a project's, in a home of its own, where files count."""
    folder = tmp_path / "home" / "project" / "runs"
    folder.mkdir(parents=True)
    monkeypatch.delenv("PERFKIT_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.chdir(folder)
    return folder.parent


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def asked(*arguments: str) -> SimpleNamespace:
    """Workload and execution that a roofline was made for, its device, and what stderr says of defaults."""
    result = run("roofline", *arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    return SimpleNamespace(
        device=document["device"], **document["workload"], **document["execution"], notes=defaults_told(result)
    )


def defaults_told(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if "defaults from" in line]


def error(*arguments: str) -> str:
    """The one line of an error."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


# --- what is set


def test_a_file_sets_what_the_command_line_does_not_and_says_so(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = "h100"\nprecision = "bf16"\nbatch = 4\n')
    found = asked("--batch", "2")
    assert (found.device, found.activations, found.batch) == ("h100-sxm-80gb", "bf16", 2)
    assert found.notes == ["note: defaults from ../perfkit.toml: gpu = h100, precision = bf16"]  # batch was typed


def test_the_table_of_a_command_comes_before_the_top(project: Path) -> None:
    (project / "perfkit.toml").write_text("batch = 4\n[roofline]\nbatch = 8\ntext_tokens = 10\n[count]\nbatch = 16\n")
    found = asked("--gpu", "v100")
    assert (found.batch, found.text_tokens) == (8, 10)  # text_tokens is text-tokens too
    assert json.loads(run("count", "--format", "json").stdout)["workload"]["batch"] == 16


def test_several_values_go_to_options_that_take_them(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = ["v100", "h100"]\n')
    devices = [each["device"] for each in json.loads(run("roofline", "--format", "json").stdout)]
    assert devices == ["v100-sxm2-32gb", "h100-sxm-80gb"]
    assert "Missing option '--gpu'" in run("kernels", "kernels.csv").stderr  # which takes one


def test_typed_values_replace_those_of_a_file(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = ["v100", "h100"]\n')
    found = asked("--gpu", "t4")
    assert (found.device, found.notes) == ("t4", [])


def test_a_flag_is_true_or_false(project: Path) -> None:
    plain = json.loads(run("count", "--format", "json").stdout)["total"]
    (project / "perfkit.toml").write_text("[count]\nelementwise = true\n")
    result = run("count", "--format", "json")
    assert json.loads(result.stdout)["total"] > plain
    assert defaults_told(result) == ["note: defaults from ../perfkit.toml: elementwise = true"]


def test_options_of_other_commands_may_stand_at_the_top(project: Path) -> None:
    (project / "perfkit.toml").write_text('requests = 300\ngpu = "v100"\n')
    assert asked().notes == ["note: defaults from ../perfkit.toml: gpu = v100"]


@pytest.mark.parametrize(
    ("file", "typed", "tokens"),
    [("tokens = 32", ["--reduction", "prumerge+"], 144), ('reduction = "prumerge"', ["--tokens=576"], 576)],
)
def test_who_types_tokens_or_a_reduction_is_not_given_the_other(
    project: Path, file: str, typed: list[str], tokens: int
) -> None:
    (project / "perfkit.toml").write_text(file)
    found = asked("--gpu", "v100", *typed)
    assert (found.visual_tokens, found.notes) == (tokens, [])


def test_paths_start_from_the_folder_of_the_file(project: Path) -> None:
    example = (Path(__file__).parents[2] / "hardware_specs/t4.yaml").read_text()
    (project / "cards").mkdir()
    (project / "cards/mine.yaml").write_text(example)
    (project / "perfkit.toml").write_text('gpu = "cards/mine.yaml"\n')
    assert asked().notes == ["note: defaults from ../perfkit.toml: gpu = ../cards/mine.yaml"]


# --- commands that must not be bent


def test_plans_and_measured_machines_take_no_gpu_from_the_top(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = "v100"\nformat = "json"\nmodel = "llava-1.5-13b"\n')
    assert defaults_told(run("validate", "--published")) == ["note: defaults from ../perfkit.toml: format = json"]
    assert "Missing option '--gpu'" in run("calibrate", "kernels.csv", "--output", "x.yaml").stderr
    plan = run("plan", "--ttft", "1s", "--tokens", "32", "--batch", "1", "--tp", "1")
    assert defaults_told(plan) == ["note: defaults from ../perfkit.toml: format = json, model = llava-1.5-13b"]
    assert len({each["device"] for each in json.loads(plan.stdout)["plans"]}) > 1


def test_defaults_are_no_stray_options_of_a_mode_that_takes_none(project: Path) -> None:
    root = Path(__file__).parents[2]
    (project / "perfkit.toml").write_text('gpu = "v100"\ntokens = 32\nconvention = "fastv"\nelementwise = true\n')
    assert run("count", "--compare").exit_code == 0
    assert run("count", "--module", "perfkit.tracing.samples:gated_feed_forward").exit_code == 0
    assert run("table", "--from", str(root / "docs/examples/prumerge-v100.yaml")).exit_code == 0
    assert run("plot", "tokens", "--output", "tokens.svg").exit_code == 0


def test_a_default_gpu_is_not_what_a_measurement_is_held_against(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = ["v100", "h100"]\n')
    assert "name a FILE" in run("plot", "validation", "--output", "x.svg").stderr  # not: one --gpu at most


def test_what_says_how_a_result_was_made_holds_the_defaults(project: Path) -> None:
    (project / "perfkit.toml").write_text('gpu = "v100"\ntokens = [64, 32]\n')
    made = run("table", "--columns", "flops", "--format", "latex").stdout.splitlines()
    (line,) = [line for line in made if "perfkit table" in line]
    command = line.removeprefix("% ")
    assert command == "perfkit table --gpu v100 --tokens 64 --tokens 32 --columns flops --format latex"
    again = CliRunner().invoke(main, ["--no-config", *command.split()[1:]]).stdout.splitlines()
    assert [each for each in again if "perfkit" not in each] == [each for each in made if "perfkit" not in each]


def test_the_example_of_the_documentation_says_what_stands_there(project: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (project / "runs/perfkit.toml").write_text(example)
    (told,) = defaults_told(run("roofline"))
    assert f"{told}\n" in page
    assert "gpu = a100,l40s" in run("plan", "--ttft", "1s", "--tokens", "32", "--batch", "1", "--tp", "1").stderr


# --- which files


def test_the_nearer_and_more_particular_file_wins_key_by_key(project: Path) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("[roofline]\nbatch = 2\ntext-tokens = 2\nimages = 2\n")
    (project / "pyproject.toml").write_text('[tool.perfkit]\nbatch = 3\ntext-tokens = 3\ngpu = "v100"\n')
    (project.parent / "perfkit.toml").write_text("batch = 5\n")  # further up: not read
    (project / "perfkit.toml").write_text("batch = 4\n")
    found = asked("--tokens", "32")
    assert (found.batch, found.text_tokens, found.images) == (4, 3, 2)
    assert found.notes == [
        "note: defaults from ../perfkit.toml: batch = 4",
        "note: defaults from ../pyproject.toml: text-tokens = 3, gpu = v100",
        "note: defaults from ~/.config/perfkit/config.toml: images = 2",
    ]


@pytest.mark.parametrize("end", ["project/.git", "."])
def test_the_way_up_ends_at_a_repository_or_at_home(project: Path, end: str) -> None:
    home = project.parent
    (home / end).mkdir(exist_ok=True)
    beyond = home if end != "." else home.parent
    (beyond / "perfkit.toml").write_text("batch = 4\n")
    assert config_files() == []


def test_a_pyproject_without_our_table_is_passed_by(project: Path) -> None:
    (project.parent / "pyproject.toml").write_text("[tool.perfkit]\nbatch = 3\n")
    (project / "pyproject.toml").write_text('[project]\nname = "perfkit-study"\n[tool.other\n')  # and not even TOML
    assert [file.name for file in config_files()] == ["../../pyproject.toml"]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ('[project]\ndescription = "runs tool.perfkit"\n[tool.other\n', False),
        ("# tool of perfkit\nbroken", False),
        ("[tool.perfkit]\nbatch = ", True),
        ("  [ tool . 'perfkit' ]\nbatch = ", True),
        ("[tool.perfkit.roofline]\nbatch = ", True),
        ("[tool.perfkit-notes]\nbatch = ", False),
    ],
)
def test_a_broken_pyproject_is_ours_if_it_has_the_header_of_our_table(project: Path, text: str, ours: bool) -> None:
    (project / "pyproject.toml").write_text(text)
    if ours:
        assert error("models").startswith("../pyproject.toml: not TOML: ")
    else:
        assert config_files() == []
        assert run("models").exit_code == 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing"])
@pytest.mark.parametrize("users", [False, True])
def test_what_has_the_name_of_a_file_of_ours_and_is_none_is_refused(project: Path, kind: str, users: bool) -> None:
    path = user_file() if users else project / "perfkit.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere.toml")
    name = "~/.config/perfkit/config.toml" if users else "../perfkit.toml"
    assert error("models") == f"{name}: not a regular file"
    assert run("--no-config", "models").exit_code == 0


def test_a_folder_that_was_deleted_has_no_files(project: Path) -> None:
    (project / "runs").rmdir()
    assert config_files() == []
    assert run("roofline", "--gpu", "v100").exit_code == 0


@pytest.mark.parametrize("how", ["option", "empty variable", "variable"])
def test_files_can_be_left_out_or_named(project: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "perfkit.toml").write_text("batch = 4\n")
    (project / "other.toml").write_text("batch = 6\n")
    if how != "option":
        monkeypatch.setenv("PERFKIT_CONFIG", str(project / "other.toml") if how == "variable" else "")
    before = ["--no-config"] if how == "option" else []
    result = run(*before, "roofline", "--gpu", "v100", "--format", "json")
    assert json.loads(result.stdout)["workload"]["batch"] == (6 if how == "variable" else 1)
    assert len(defaults_told(result)) == (how == "variable")


def test_the_library_reads_no_file(project: Path) -> None:
    import perfkit

    (project / "perfkit.toml").write_text("batch = 4\n")
    assert perfkit.analyze("v100").workload.batch == 1


def test_tests_are_not_bent_by_the_files_of_whoever_runs_them() -> None:
    assert os.environ["PERFKIT_CONFIG"] == ""


# --- errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('gpuu = "v100"', "unknown key 'gpuu'; nearest: gpu"),
        ("[roofline]\nkw = 2", "[roofline]: unknown key 'kw'; nearest: kv; `perfkit roofline --help` lists them"),
        ("[roofline]\nrequests = 2", "[roofline]: unknown key 'requests'; `perfkit roofline --help` lists them"),
        ("[rooflin]\nbatch = 2", "unknown table 'rooflin'; nearest: roofline"),
        ("roofline = 3", "roofline must be a table, [roofline], not 3"),
        ('attention = "flash"', "unknown --attention 'flash'; allowed: eager, fused"),
        ("batch = -3", "--batch must be a whole number from 1 to 10000000, not -3"),
        ("batch = 1.5", "--batch must be a whole number from 1 to 10000000, not '1.5'"),
        ("batch = true", "batch must be text or a number, not true"),
        ("[roofline]\nbatch = [1, 2]", "batch must be text or a number, not [1, 2]"),
        ("gpu = []", "gpu must be text, a number, or a list of them, not []"),
        ("precision = []", "precision must be text or a number, not []"),
        ("[roofline]\ngpu = []", "gpu must be text, a number, or a list of them, not []"),
        ("gpu = [1979-05-27]", "gpu must be text, a number, or a list of them, not 1979-05-27"),
        ('output = "x.json"', "output is of one run, and typed: --output stands on the command line only"),
        ('[roofline]\ndask = "x"', "[roofline]: dask is of one run, and typed: --dask stands on the command line only"),
        ("text-tokens = 1\ntext_tokens = 2", "key 'text-tokens' twice"),
        ("batch = ", "not TOML: Invalid value (at line 1, column 9)"),
        ("batch = 1\nbatch = 2", "not TOML: Cannot overwrite a value (at line 2, column 10)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_names_file_and_key(project: Path, text: str, message: str) -> None:
    (project / "perfkit.toml").write_text(text + "\n")
    assert error("roofline", "--gpu", "v100") == f"../perfkit.toml: {message}"


def test_a_flag_takes_no_text(project: Path) -> None:
    (project / "perfkit.toml").write_text('elementwise = "yes"')
    assert error("count") == "../perfkit.toml: elementwise must be true or false, not 'yes'"


@pytest.mark.usefixtures("project")
def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFKIT_CONFIG", "nowhere.toml")
    assert error("roofline", "--gpu", "v100") == "PERFKIT_CONFIG: nowhere.toml: no such file"


def test_tool_perfkit_must_be_a_table(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool]\nperfkit = 3\n")
    assert error("models") == "../pyproject.toml: [tool.perfkit] must be a table, not 3"


@pytest.mark.parametrize("arguments", [["--help"], ["roofline", "--help"], ["--version"], ["completion", "bash"]])
def test_a_broken_file_stops_neither_help_nor_a_shell_that_starts(project: Path, arguments: list[str]) -> None:
    (project / "perfkit.toml").write_text("batch = ")
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")


def test_help_shows_the_defaults_of_perfkit_itself(project: Path) -> None:
    (project / "perfkit.toml").write_text('precision = "bf16"')
    assert run("roofline", "--help").stdout == run("--no-config", "roofline", "--help").stdout


# --- the lists in the code are of options that there are


def test_names_of_commands_and_of_options_differ() -> None:
    assert {key for name in COMMANDS for key in options_of(name)} & set(COMMANDS) == set()


def test_exceptions_are_of_commands_and_options_that_there_are() -> None:
    every = {key for name in COMMANDS for key in options_of(name)} | {"help"}
    assert set(COMMANDS) >= OF_MACHINES
    assert every >= TYPED_ONLY
    assert [(name, key) for name, key in OWN_TABLE_ONLY if key not in options_of(name)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_writes_a_file_is_typed(name: str) -> None:
    writers = {key for key in options_of(name) if key in ("output", "chart", "overlay")}
    assert writers <= TYPED_ONLY
    assert load_command(name).name == name
