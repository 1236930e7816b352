"""Every line for a shell that the documentation shows is run, or is among those that are only read, with the reason."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from glob import glob
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_docs import LONG, QUICK, parse
from test_docs import PAGES as DOCUMENTED

from perfkit.cli import COMMANDS, load_command, main
from scripts.pages import ROOT

PAGES = [*DOCUMENTED, *ROOT.glob("notebooks/*.md")]
SHELLS = ("bash", "shell", "sh", "zsh", "fish", "console")
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
MADE = {"ridge"}  # the command that docs/adding-a-command.md adds
# What is only read, and why; the pattern of a line.
READ = {
    r"(python3 -m venv .venv && .venv/bin/)?pip install ": "needs the package index; CI runs the README's",
    r"perfkit measure ": "times this machine, most of them a model of 7B parameters",
    r"perfkit reduce .*--vision-model ": "needs a model's weights",
    r"perfkit .*--dask ": "needs a cluster",
    r"perfkit gpus --detect": "needs an NVIDIA GPU",
    r"perfkit serve\b": "runs until it is stopped",
    r"make mutation": "runs the tests of the formulas two thousand times",
    r"dask (scheduler|worker) ": "run until they are stopped; test_sweep_cluster.py has a cluster of its own",
}
MEASURED = ROOT / "reports/measured"
# Files that lines name as written by lines before them, and kept measurements that stand in for them.
H100 = {
    "llava.json": ROOT / "tests/golden/measurement-v1.json",
    "kernels.json": MEASURED / "h100-sxm-80gb/kernels.json",
}
CPU = {
    "llava.json": MEASURED / "epyc-2-threads/llava-1.5-7b.json",
    "kernels.json": MEASURED / "epyc-2-threads/epyc-2-threads.json",
    "this.yaml": MEASURED / "epyc-2-threads/epyc-2-threads.yaml",
}


def reason(line: str) -> str | None:
    """Why a line is only read."""
    return next((why for pattern, why in READ.items() if re.match(pattern, line)), None)


def fenced() -> Iterator[tuple[Path, str, str]]:
    """Page, language and line of every block for a shell, a line that goes on below it whole."""
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in SHELLS:
                lines = text.replace("\\\n", " ").splitlines()
                yield from ((page, language, line) for line in lines if line.strip())


# --- lines in blocks


def test_every_line_is_run_somewhere_or_read_for_a_reason() -> None:
    left = []
    for page, language, line in fenced():
        command = line.split(" #")[0].strip()
        run = command in QUICK or command in RUN or reason(command)
        # What is typed in `console` runs in test_guides.py, the lines of that page in test_adding_a_reducer.py
        elsewhere = language == "console" or (language == "shell" and page.stem == "adding-a-reducer")
        if not (run or elsewhere or command.startswith("#")):
            left.append(f"{page.name}: {line}")
    assert left == []


def test_lines_that_are_read_could_not_be_run() -> None:
    assert [line for line in LONG if line not in RUN and reason(line) is None] == []


def test_lines_of_bash_stand_whole_and_without_a_prompt() -> None:
    lines = [line for _, language, line in fenced() if language == "bash"]
    assert len(lines) > 60
    assert [line for line in lines if line.startswith(("$", ">", " "))] == []


RUN = [line for line in LONG if re.match(r"perfkit (validate|plot validation|calibrate|report) ", line)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of kernels that an A100 would have measured, had it done what was expected of it."""
    shapes = [(m, n, 4096) for m in (1, 64, 636, 2048) for n in (4096, 11008, 32064)]
    asked = tmp_path / "asked.csv"
    with asked.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("op", "precision", "m", "n", "k"), *(("gemm", "fp16", *shape) for shape in shapes)]
        )
    result = CliRunner().invoke(main, ["kernels", str(asked), "--gpu", "a100", "--output", str(tmp_path / "k.csv")])
    assert result.exit_code == 0, result.output
    with (tmp_path / "k.csv").open(newline="") as file:
        rows = [{**row, "measured_s": row["expected_s"]} for row in csv.DictReader(file)]
    columns = ["op", "precision", "m", "n", "k", "measured_s"]
    with (tmp_path / "kernels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "kernels.csv"


@pytest.mark.slow
@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("line", RUN)
def test_lines_that_read_a_measurement_run_on_one_that_is_kept(line: str, tmp_path: Path) -> None:
    for name, kept in (CPU if "this.yaml" in line else H100).items():
        (tmp_path / name).symlink_to(kept)
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    with chdir(tmp_path):
        words = [found for word in shlex.split(line)[1:] for found in (glob(word) if "*" in word else [word])]
        result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    written = re.findall(r"--(?:output|chart) (\S+)", line)
    assert [name for name in written if not wrote_something(tmp_path / name)] == []


def wrote_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0


def test_the_launcher_does_what_the_command_does() -> None:
    # `python3 cli.py ...` of the README; tests/unit/test_packaging.py runs it
    assert "python3 cli.py" in (ROOT / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "tests/unit/test_packaging.py").read_text(encoding="utf-8")
    assert '["cli.py"]' in text


# --- lines within sentences, and indented ones


def inline() -> Iterator[tuple[str, str]]:
    """Page and text of what stands between backticks, outside of blocks."""
    for page in PAGES:
        for span in re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text(encoding="utf-8"))):
            yield page.name, " ".join(span.split())


def indented() -> Iterator[tuple[str, str]]:
    """Page and text of indented lines, outside of blocks."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        yield from ((page.name, line) for line in re.findall(r"^ {4}(\S.*)$", text, flags=re.MULTILINE))


def options_of(name: str) -> set[str]:
    parameters = load_command(name).params
    return {"--help", *(option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts))}


def wrong_with(span: str) -> str | None:
    """What does not exist of a command line that a sentence names."""
    words = span.split()
    if words[0] == "perfkit" and len(words) > 1 and not words[1].startswith("-"):
        if words[1] not in {*COMMANDS, *MADE} and not words[1].isupper():
            return words[1]
        known = options_of(words[1]) if words[1] in COMMANDS else set()
        return next(
            (word for word in words if word.startswith("--") and known and word.split("=")[0] not in known), None
        )
    if words[0] == "make" and len(words) > 1:
        return None if f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8") else words[1]
    if words[:2] == ["python", "-m"]:
        return _missing_module(words[2:])
    return None


def _missing_module(words: list[str]) -> str | None:
    if words[0] in ("scripts", "benchmarks") or "." in words[0]:
        return None if (ROOT / f"{words[0].replace('.', '/')}.py").exists() else words[0]
    return next((word for word in words[1:] if "/" in word and not (ROOT / word).exists()), None)


def test_what_sentences_name_is_there() -> None:
    spans = [*inline(), *indented()]
    assert sum(span.startswith("perfkit ") for _, span in spans) > 150
    assert [f"{page}: `{span}`: {wrong}" for page, span in spans if (wrong := wrong_with(span))] == []


@pytest.mark.parametrize(
    ("span", "wrong"),
    [
        ("perfkit rooflin --gpu v100", "rooflin"),
        ("perfkit roofline --gpus v100", "--gpus"),
        ("make everything", "everything"),
        ("python -m scripts.nothing", "scripts.nothing"),
        ("python -m pytest tests/unit/test_nothing.py", "tests/unit/test_nothing.py"),
        ("perfkit roofline --gpu v100", None),
        ("make reports", None),
    ],
)
def test_what_is_not_there_is_found(span: str, wrong: str | None) -> None:
    assert wrong_with(span) == wrong


def test_extras_that_sentences_name_are_there() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = [
        extra
        for page in PAGES
        for group in re.findall(r"(?:perfkit|['\"`]\.|\s\.)\[([\w,]+)\]'?", page.read_text(encoding="utf-8"))
        for extra in group.split(",")
    ]
    assert len(named) > 10
    assert [extra for extra in named if extra not in extras] == []


def test_indented_lines_of_commands_can_be_read() -> None:
    lines = sorted({line for _, line in indented() if line.startswith("perfkit ")})
    assert len(lines) >= 20
    with chdir(ROOT):
        for line in lines:
            words = [found for word in shlex.split(line) for found in (glob(word) if "*" in word else [word])]
            assert parse(shlex.join(words)) == words[1]
