"""Pages with lines that are typed are followed to the letter, and print what they show."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import error_line

import perfkit
from perfkit.cli import main
from perfkit.tables import show
from scripts.guides import blocks, follow, hunks, shows, typed
from scripts.pages import ROOT
from scripts.transcripts import pages, refreshed

GUIDES = list(pages())
LONG = {"adding-a-calibration", "adding-a-command", "adding-a-format", "adding-a-model"}  # a fit; a process a line


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in LONG)) for page in GUIDES]
)
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    followed = list(follow(page, tmp_path))
    assert followed
    wrong = [f"$ {line.line}\n{printed}" for line, printed in followed if not shows(line.shown, printed)]
    assert wrong == []


def test_every_extension_point_has_a_page() -> None:
    points = ("gpu", "model", "reducer", "convention", "paper", "calibration", "format", "command")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [point for point in points if f"docs/adding-a-{point}.md" not in contributing] == []
    assert sorted(f"adding-a-{point}" for point in points) == sorted(p.stem for p in ROOT.glob("docs/adding-*.md"))


# --- what a page says in its own words


def printed_by(page: Path, folder: Path) -> str:
    return "\n".join(f"{line.line}\n{printed}" for line, printed in follow(page, folder))


def test_figures_of_the_tutorial_s_text_are_those_that_it_shows(tmp_path: Path) -> None:
    page = ROOT / "docs/tutorial.md"
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|[A-Za-z]+[\d.-][\w.-]*|Python 3\.11", "", text)  # names and links
    stated = re.findall(r"\d+(?:\.\d+)?", text)
    shown = set(re.findall(r"(?<![\d.])\d+(?:\.\d+)?", printed_by(page, tmp_path)))
    assert len(stated) > 12
    # 92 = 32 visual + 60 text tokens
    assert [figure for figure in stated if figure not in {*shown, "92"}] == []


def test_the_python_of_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block.text for block in blocks(ROOT / "docs/tutorial.md") if block.language == "python"]
    exec(code, {})  # noqa: S102  # our own page
    assert capsys.readouterr().out.splitlines()[0] == "3.89 times"  # 76.6 ms / 19.7 ms


WHY = (ROOT / "docs/why-papers-disagree.md").read_text(encoding="utf-8")


def rows(columns: int) -> list[list[str]]:
    """Rows of the tables of so many columns."""
    lines = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in WHY.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if len(cells) == columns and not cells[0].startswith(("---", "switch", "paper"))]


def counted(command: str) -> str:
    """What a command counts, as people see it."""
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--format", "json"])
    document = json.loads(result.stdout)
    return show(document["total"], {"flop": "FLOP", "mac": "MAC"}[document["convention"]["unit"]])


@pytest.mark.parametrize(("what", "figure", "command"), rows(3))
def test_each_step_between_papers_is_what_its_command_counts(what: str, figure: str, command: str) -> None:
    assert figure == counted(command), what


def test_the_steps_between_papers_go_from_one_printed_figure_to_torch_s_count() -> None:
    figures = [figure for _, figure, _ in rows(3)]
    # 32 (4*576*4096^2 + 2*576^2*4096 + 3*576*4096*11008) = 3 817 152 184 320; then twice that
    assert figures[:2] == [show(3_817_152_184_320, "MAC"), show(7_634_304_368_640, "FLOP")]
    assert figures[-1] == counted("perfkit count")


STARTS = ("perfkit count", "perfkit count --convention pyramiddrop")


@pytest.mark.parametrize(("what", "start", "figure", "command"), [row for row in rows(4) if row[3][:7] == "perfkit"])
def test_each_other_switch_is_what_its_command_counts(what: str, start: str, figure: str, command: str) -> None:
    assert figure == counted(command), what
    switched = "--causal" in command or "--logits" in command
    assert start == counted(STARTS[0] if switched else STARTS[1])


def test_savings_that_papers_print_are_those_that_are_reproduced() -> None:
    shown = [row for row in rows(4) if row[3][:7] != "perfkit"]
    assert len(shown) == 6
    for name, what, printed, left in shown:
        (promise,) = [promise for promise in perfkit.reproduce(name).promises if promise.what == what]
        whole = promise.corrected_time if what.startswith("prefill") else promise.corrected_flops
        assert (printed, left) == (f"{promise.printed:.3g}", f"{whole:.3g}")


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("matplotlib", "plot roofline --gpu v100 --output roofline.svg"),
        ("torch", "measure --tokens 32 --output llava.json"),
        ("torch", "count --module perfkit.tracing.samples:clip_tower"),
        ("simpy", "simulate --gpu h100 --rate 4"),
        ("scipy", "calibrate reports/measured/xeon-2-threads/kernels.json --gpu a100 --output a100.yaml"),
        ("pyarrow", "sweep --gpu v100 --output grid.parquet"),
        ("pynvml", "gpus --detect"),
    ],
)
def test_a_library_that_is_not_there_is_asked_for_as_the_page_says(
    library: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    monkeypatch.chdir(tmp_path)
    line = error_line(*arguments.split())
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert f"| `{line}` |" in page


def test_messages_of_a_machine_without_a_gpu_are_those_of_the_code() -> None:
    text = (ROOT / "perfkit/measuring/nvml.py").read_text(encoding="utf-8")
    assert "no NVIDIA GPU can be read on this machine" in text
    assert "`no NVIDIA GPU can be read on this machine`" in (ROOT / "docs/troubleshooting.md").read_text(
        encoding="utf-8"
    )


# --- the reader of pages itself


def test_lines_are_typed_and_shown() -> None:
    found = typed("$ perfkit gpus \\\n    v100  # a card\nfirst\n...\n$ perfkit models\n")
    assert [(line.line, line.shown) for line in found] == [
        ("perfkit gpus v100", ["first", "..."]),
        ("perfkit models", []),
    ]


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (["a", "b", "c"], True),
        (["a", "..."], True),
        (["...", "c"], True),
        (["a", "...", "c"], True),
        (["a", "b"], False),
        (["b", "c"], False),
        (["a", "c", "..."], False),
        (["a", "b", "x"], False),
    ],
)
def test_only_what_is_left_out_may_be_missing(shown: list[str], fits: bool) -> None:
    assert shows(shown, "a\nb\nc\n") is fits


def test_lines_are_brought_up_to_date_where_figures_alone_have_changed() -> None:
    shown, printed = ["a  1.5 ms  ██", "...", "c  2 %  ▏"], "a  12 ms  █\nb  3 ms\nc  0.4 %\nd\n"
    assert refreshed(["x 1", "..."], "x 20\ny\n") == ["x 20", "..."]
    assert refreshed([*shown, "..."], printed) == ["a  12 ms  █", "...", "c  0.4 %", "..."]
    assert refreshed(["a 1", "z 2"], "a 1\nb 2\n") is None  # another line: for a person to look at


def test_a_change_names_its_file_and_lines() -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@\n one\n+two\n@@\n-three\n"
    assert list(hunks(diff)) == [("x.py", [" one\n", "+two\n"]), ("x.py", ["-three\n"])]
