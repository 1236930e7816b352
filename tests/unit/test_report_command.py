"""`perfkit report`: both files of an analysis and a validation, or one line for what is wrong and neither of them."""

import builtins
import html
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import pytest
from test_validate_command import text as measured_text

from perfkit.errors import InvalidValue
from perfkit.pages import writing
from perfkit.pages.page import Page

ROOT = Path(__file__).parents[2]
STARTS = {"report.html": b"<!doctype html>", "report.pdf": b"%PDF"}
ANALYSIS = ("--gpu", "v100", "--tokens", "32")

run, error_line = partial(commands.run, "report"), partial(commands.error_line, "report")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def typed_in(page):
    """The command line that a page says it is made by."""
    (command,) = re.findall(r"<pre><code>(.*?)</code></pre>", page)
    return html.unescape(command)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(measured_text())
    return str(path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def quick(monkeypatch):
    """Without the pictures, which take most of the time."""
    monkeypatch.setattr("perfkit.pages.html.figure_bytes", lambda *_: b"<svg/>")


# --- what comes out


@pytest.mark.slow
def test_both_files_are_written_and_the_same_command_gives_the_same_bytes(out):
    result = run(*ANALYSIS, "--output", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"note: written: {out / 'report.html'}, {out / 'report.pdf'}\n"
    assert names(out) == sorted(STARTS)
    for name, start in STARTS.items():
        assert (out / name).read_bytes().startswith(start)
    # In another process, in which sets have another order, and in a folder below one that is not there.
    again = out.parent / "some" / "where"
    command = [sys.executable, "-m", "perfkit", "report", *ANALYSIS, "--output", str(again)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    for name in STARTS:
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_a_validation_is_written_too(mine, out):
    result = run(mine, "--output", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert names(out) == sorted(STARTS)
    page = (out / "report.html").read_text()
    assert "A card (measured) against v100-sxm2-32gb (predicted)" in page
    assert typed_in(page) == f"perfkit report {mine} --output DIR"


@pytest.mark.usefixtures("quick")
def test_a_validation_may_be_of_another_device(mine, out):
    run(mine, "--gpu", "a100", "--only", "html", "--output", out)
    page = (out / "report.html").read_text()
    assert "against a100-sxm-80gb (predicted)" in page
    assert typed_in(page).endswith("--gpu a100 --output DIR")


@pytest.mark.usefixtures("quick")
def test_the_command_on_the_page_gives_the_page_again(out, tmp_path):
    options = ["--batch", "8", "--weights", "int4", "--reduction", "fastv:k=2,r=0.5", "--new-tokens", "16"]
    run("--gpu", "v100", "--gpu", "h100", *options, "--only", "html", "--output", out)
    page = (out / "report.html").read_text()
    command = typed_in(page)
    assert command.startswith("perfkit report --gpu v100 --gpu h100 ")
    assert command.endswith(" --output DIR")
    assert str(tmp_path) not in page
    _, _, *arguments, _ = shlex.split(command)
    run(*arguments, tmp_path / "again", "--only", "html")
    assert (tmp_path / "again" / "report.html").read_text() == page


@pytest.mark.usefixtures("quick")
def test_two_names_of_a_device_count_once(out):
    run("--gpu", "v100", "--gpu", "v100-sxm2-32gb", "--only", "html", "--output", out)
    assert "<h1>llava-1.5-7b on v100-sxm2-32gb</h1>" in (out / "report.html").read_text()


@pytest.mark.parametrize("only", ["html", "pdf"])
def test_one_of_the_two_leaves_the_other_as_it_is(only, out):
    out.mkdir()
    for name in STARTS:
        (out / name).write_text("old")
    run("--gpu", "v100", "--model", "bert-base", "--only", only, "--output", out)
    replaced = {name for name in STARTS if (out / name).read_bytes() != b"old"}
    assert replaced == {f"report.{only}"}


@pytest.mark.usefixtures("quick")
def test_warnings_are_on_stderr_and_on_the_page(out):
    result = run("--gpu", "v100", "--model", "llama-2-70b", "--only", "html", "--output", out)
    assert result.stderr.startswith("warning: does not fit: ")
    assert "does not fit: " in (out / "report.html").read_text()


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a --gpu to analyse, or a FILE that `perfkit measure --output FILE` wrote to validate"),
        (["--gpu", "v10"], "unknown GPU 'v10'; nearest: v100"),
        (["--gpu", "v100", "--model", "llava-1.5"], "unknown model 'llava-1.5'; nearest: llava-1.5-"),
        (["--gpu", "v100", "--tokens", "577"], "577 visual tokens: llava-1.5-7b makes at most 576"),
        (["--gpu", "v100", "--precision", "bf16"], "v100-sxm2-32gb has no engine for bf16 products"),
        (["--gpu", "v100", "--only", "docx"], "unknown --only 'docx'; allowed: html, pdf"),
        (
            [part for gpu in ("v100", "a100", "h100", "l4", "t4") for part in ("--gpu", gpu)],
            "a report compares at most 4 devices, not 5",
        ),
        (["none.json"], "none.json: no such file"),
        (["a.json", "--gpu", "v100", "--gpu", "a100"], "a report of FILEs takes one --gpu at most"),
        (["a.json", "--tokens", "32", "--batch", "8"], "a report of FILEs takes no --tokens, --batch"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_nothing_is_written(arguments, message, tmp_path, out):
    assert message in error_line(*arguments, "--output", out)
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", ["", "{}", measured_text()[:200]], ids=["empty", "foreign", "truncated"])
def test_a_broken_measurement_is_named(content, tmp_path, out):
    path = tmp_path / "broken.json"
    path.write_text(content)
    assert "broken.json" in error_line(path, "--output", out)
    assert names(tmp_path) == ["broken.json"]


def test_an_output_is_asked_for(tmp_path):
    result = run(*ANALYSIS)
    assert result.exit_code == 2
    assert "Missing option '--output'" in result.stderr
    assert names(tmp_path) == []


# --- folders


def test_an_empty_name_is_no_folder_and_what_stands_in_the_working_one_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("old")
    line = error_line("--gpu", "no-such", "--output", "")
    assert line == "--output must name a folder, not '' (. is the working folder); nothing was written"
    with pytest.raises(InvalidValue, match="--output must name a folder"):
        writing.write_report(Page("t", "k", "s", ()), "", ("html",))
    assert names(tmp_path) == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_file_where_the_folder_should_be_stays(tmp_path):
    (tmp_path / "file").write_text("old")
    line = error_line(*ANALYSIS, "--output", tmp_path / "file")
    assert line.startswith("--output names a folder, and ")
    below = error_line("--gpu", "v100", "--model", "bert-base", "--output", tmp_path / "file" / "below")
    assert below.startswith("cannot make the folder ")
    assert below.endswith("nothing was written")
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_without_the_right_to_write_is_told_at_once(out, monkeypatch):
    out.mkdir()
    monkeypatch.setattr("os.access", lambda _, mode, **__: mode != os.W_OK)
    assert error_line("--gpu", "no-such", "--output", out).startswith(f"cannot write to {out}: Permission denied")


@pytest.mark.parametrize("taken", STARTS)
def test_both_files_are_written_or_none(taken, out):
    (out / taken).mkdir(parents=True)
    (other,) = set(STARTS) - {taken}
    (out / other).write_text("old")
    line = error_line("--gpu", "v100", "--model", "bert-base", "--output", out)
    assert line == f"cannot write {out / taken}: is a folder; nothing was written"
    assert (out / other).read_text() == "old"
    assert names(out) == sorted(STARTS)


@pytest.mark.usefixtures("quick")
def test_what_goes_wrong_while_it_is_laid_out_leaves_what_stood_there(out, monkeypatch):
    def broken(_):
        raise RuntimeError("a defect")

    out.mkdir()
    (out / "report.html").write_text("old")
    monkeypatch.setattr("perfkit.pages.pdf.pdf_of", broken)
    assert "unexpected RuntimeError" in error_line("--gpu", "v100", "--model", "bert-base", "--output", out)
    assert names(out) == ["report.html"]
    assert (out / "report.html").read_text() == "old"


# --- libraries that are not there


@pytest.fixture
def without(monkeypatch):
    """Make libraries absent."""
    real_import, real_find = builtins.__import__, importlib.util.find_spec

    def take_away(*libraries):
        def absent(name, *arguments, **keywords):
            if name.split(".")[0] in libraries:
                raise ImportError(name)
            return real_import(name, *arguments, **keywords)

        monkeypatch.setattr(builtins, "__import__", absent)
        monkeypatch.setattr(writing, "find_spec", lambda name: None if name in libraries else real_find(name))

    return take_away


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("reportlab",), "reports need reportlab: pip install 'perfkit[pdf]'; --only html does without it"),
        (("matplotlib",), "reports need matplotlib: pip install 'perfkit[pdf]'"),
        (("matplotlib", "reportlab"), "reports need matplotlib and reportlab: pip install 'perfkit[pdf]'"),
    ],
)
def test_missing_libraries_are_named_before_any_work(missing, said, without, tmp_path, out):
    without(*missing)
    assert error_line("--gpu", "no-such", "--output", out) == said
    assert names(tmp_path) == []


@pytest.mark.usefixtures("quick")
def test_html_does_without_reportlab(without, out):
    without("reportlab")
    assert run("--gpu", "v100", "--model", "bert-base", "--only", "html", "--output", out).exit_code == 0
    assert names(out) == ["report.html"]
