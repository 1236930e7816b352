"""`perfkit table`: its files, its golden texts, LaTeX that compiles, and what it refuses."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main
from perfkit.cost_tables.reading import read_request
from perfkit.cost_tables.request import TableRequest
from perfkit.errors import InvalidSpec
from perfkit.tables.paper_latex import PACKAGES

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
EXAMPLE = "docs/examples/prumerge-v100.yaml"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)  # what a table says of its own making names the example from there


def run(*arguments):
    return CliRunner().invoke(main, ["table", *arguments])


def printed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- golden texts. After a change that is meant, write one again from the checkout's root:
#     perfkit table --from docs/examples/prumerge-v100.yaml --format latex > tests/golden/prumerge-v100.tex


@pytest.mark.parametrize(("form", "ending"), [("latex", "tex"), ("html", "html"), ("markdown", "md")])
def test_the_example_is_printed_as_ever(form, ending):
    golden = (GOLDEN / f"prumerge-v100.{ending}").read_text(encoding="utf-8")
    golden = re.sub(r"perfkit [0-9]+\.[0-9]+\.[0-9]+\.", f"perfkit {perfkit.__version__}.", golden)
    assert printed("--from", EXAMPLE, "--format", form) == golden


# --- LaTeX that compiles

NASTY = r"""50% of a_b & c #1 {x} ~^ \end{tabular} $y$ <z> "q" [1ex] *n* `b` it's -- --- |"""
TABLES = {
    "example": ["--from", EXAMPLE],
    "wide": shlex.split(
        "--gpu v100 --gpu t4 --model llava-1.5-7b --model llava-1.5-13b --weights fp16 --weights int4 "
        "--reduction none --reduction fastv:k=2,r=0.5 --columns flops,ttft_ms,decode_ms,memory,kv,speedup,energy,fits"
    ),
    "nasty": ["--gpu", "nasty.yaml", "--gpu", "h100", "--tokens", "576,32", "--caption", NASTY, "--label", "tab:n_1"],
    "narrow": shlex.split("--gpu h100 --tokens 576,32 --columns ttft_ms,speedup,ttft_expected_ms"),
}


def lacking():
    """What this machine lacks to compile a table; empty where nothing."""
    if not shutil.which("pdflatex"):
        return "pdflatex is not installed"
    found = subprocess.run(["kpsewhich", *(f"{name}.sty" for name in PACKAGES)], capture_output=True, text=True)
    return "" if len(found.stdout.split()) == len(PACKAGES) else "LaTeX packages are missing"


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_latex_compiles(options, tmp_path, monkeypatch):
    if lack := lacking():
        pytest.skip(lack)
    device = (ROOT / "hardware_specs/v100-sxm2-32gb.yaml").read_text()
    name = json.dumps(f"Card {NASTY}")
    (tmp_path / "nasty.yaml").write_text(re.sub("^name:.*", lambda _: f"name: {name}", device, flags=re.MULTILINE))
    for table, arguments in TABLES.items():
        monkeypatch.chdir(ROOT if "--from" in arguments else tmp_path)
        (tmp_path / f"{table}.tex").write_text(printed(*arguments, "--format", "latex"))
    body = "\n".join(rf"\input{{{table}.tex}}" for table in TABLES)
    packages = f"\\usepackage{{{','.join(PACKAGES)}}}"
    document = f"\\documentclass{options}{{article}}{packages}\\begin{{document}}Text.\n{body}\n\\end{{document}}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    log = done.stdout.decode("latin-1")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull \\hbox" not in log
    assert len(re.findall(r"^! ", log, flags=re.MULTILINE)) == 0


# --- the command line that made it


def commands_of(text):
    return [line.removeprefix("% ") for line in text.splitlines() if line.startswith("% perfkit")]


def test_the_comment_makes_the_table_again():
    arguments = ["--gpu", "v100", "--tokens", "576,32", "--caption", "it's\n50 %", "--format", "latex"]
    text = printed(*arguments)
    (command,) = commands_of(text)
    done = subprocess.run(
        ["bash", "-c", f'perfkit() {{ "{sys.executable}" -m perfkit "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == text


def test_a_file_is_repeated_as_options():
    text = printed("--from", EXAMPLE, "--format", "latex")
    typed, options = commands_of(text)
    assert typed == f"perfkit table --from {EXAMPLE} --format latex"
    again = printed(*shlex.split(options)[2:], "--format", "latex")
    assert [line for line in again.splitlines() if line[0] != "%"] == [
        line for line in text.splitlines() if line[0] != "%"
    ]


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_does_not_leave_the_comment(break_):
    caption = rf"x{break_}\input{{/etc/passwd}}{break_}% y"
    lines = printed("--gpu", "v100", "--caption", caption, "--format", "latex").splitlines()
    assert [line for line in lines if r"\input" in line] == [lines[0]]
    assert lines[0].startswith("% perfkit table")


# --- formats


class Tags(html.parser.HTMLParser):
    """Names of the tags of a page, in their order."""

    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, _):
        self.tags.append(tag)


def test_html_holds_no_tag_of_the_users():
    page = Tags()
    page.feed(printed("--gpu", "v100", "--caption", "<script>alert(1)</script><img src=x>", "--format", "html"))
    assert set(page.tags) <= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "br", "code", "sup"}


def test_csv_is_plain_si_and_its_notes_go_to_stderr():
    result = run("--gpu", "v100", "--tokens", "576,32", "--columns", "prefill_ms,memory", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["visual_tokens"] for row in rows] == ["576", "32"]
    prefill = perfkit.analyze("v100", tokens=32).phases[2]
    assert float(rows[1]["prefill_roofline_s"]) == prefill.roofline_s
    assert "note: 60 text tokens" in result.stderr


def test_csv_neutralises_names_that_are_formulas(tmp_path):
    path = tmp_path / "=1+1.yaml"
    path.write_text((ROOT / "hardware_specs/v100-sxm2-32gb.yaml").read_text())
    (row,) = csv.DictReader(io.StringIO(printed("--gpu", str(path), "--format", "csv")))
    assert row["device"] == "'=1+1"


def test_json_says_what_every_column_is():
    document = json.loads(printed("--from", EXAMPLE, "--format", "json"))
    assert document["perfkit"] == perfkit.__version__
    assert document["request"]["reduction"] == ["none", "prumerge+", "prumerge"]
    flops = document["columns"][0]
    assert flops == {
        "column": "flops",
        "key": "flops",
        "basis": "counted",
        "what": "one forward",
        "header": "FLOPs",
        "unit": "T",
    }
    assert len(document["rows"]) == 6
    assert all(column["key"] in document["rows"][0] for column in document["columns"])


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "latex", "html"])
def test_a_file_gets_what_stdout_would(form, tmp_path):
    target = tmp_path / "out"
    written = run("--gpu", "v100", "--format", form, "--output", str(target))
    assert (written.exit_code, written.stdout) == (0, "")
    shown = printed("--gpu", "v100", "--format", form)
    # Both say how they were made, and --output is a part of it.
    assert target.read_text().replace(f" --output {target}", "") == shown


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "latex", "html"])
def test_no_format_needs_more_than_the_plain_installation(form):
    code = f"import sys; from perfkit.cli import main; main(['table', '--gpu', 'v100', '--format', '{form}'], standalone_mode=False); print(*sys.modules, file=sys.stderr)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"pandas", "numpy", "jinja2", "matplotlib", "torch", "tabulate"}


# --- what it refuses


def refused(*arguments, code=1):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--gpu v100 --columns flop", "Error: unknown column 'flop'; nearest: flops; there are flops, macs, vision_ms"),
        ("--gpu v100 --tokens 576,x", "Error: --tokens must be a whole number from 0 to 10000000, not 'x'"),
        ("--gpu v100 --batch 0", "Error: --batch must be a whole number from 1"),
        ("--gpu v100 --precision fp17", "Error: unknown --precision 'fp17'"),
        ("--gpu v100 --precision int4", "Error: unknown --precision 'int4'"),
        ("--gpu v100 --kv fp3", "Error: unknown --kv 'fp3'"),
        ("--gpu v100 --attention flash", "Error: unknown --attention 'flash'"),
        ("--gpu v100 --convention torhc", "Error: unknown convention 'torhc'; nearest: torch"),
        ("--gpu v100 --label 'a b'", "Error: label must be letters, digits and"),
        (
            "--gpu v100 --precision bf16",
            "Error: llava-1.5-7b on v100, bf16, no reduction: v100-sxm2-32gb has no engine",
        ),
        (
            "--gpu v100 --convention pyramiddrop --tokens 0",
            "0 tokens: pyramiddrop counts visual tokens only, and there are none; conventions that count text too",
        ),
        (f"--from {EXAMPLE} --gpu v100", f"Error: --from takes all from {EXAMPLE}: leave out --gpu, or write it there"),
        (f"--from {EXAMPLE} --batch 1 --label x", "leave out --batch, --label, or write it there"),
        ("--from none.yaml", "Error: none.yaml: no such file"),
    ],
)
def test_bad_options_are_one_clear_line(arguments, message, tmp_path):
    target = tmp_path / "table.tex"
    target.write_text("old")
    text = refused(*shlex.split(arguments), "--output", str(target))
    assert message in text
    assert len(text.splitlines()) == 1
    assert target.read_text() == "old"


@pytest.mark.parametrize("option", ["--tokens-counted", "--compare"])
def test_an_error_names_no_option_that_a_table_lacks(option):
    assert option not in refused("--gpu", "v100", "--convention", "pyramiddrop", "--tokens", "0")


def test_without_a_gpu_the_option_is_missing():
    assert "Missing option '--gpu'" in refused("--tokens", "32", code=2)


def test_verbose_may_stand_beside_a_file():
    assert run("--from", EXAMPLE, "-v", "--format", "json").exit_code == 0


# --- files


def request_of(text, tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    return read_request(path)


def test_a_file_takes_values_and_lists(tmp_path):
    text = """
gpu: v100
model: [llava-1.5-7b, llava-1.5-7b]
reduction: [none, "layers:2=288,16=144"]
tokens: [576, 0]
kv: int8
text_tokens: 12
columns: flops
caption: 5 % & more
"""
    assert request_of(text, tmp_path) == TableRequest(
        gpu=("v100",),
        model=("llava-1.5-7b",),
        reduction=("none", "layers:2=288,16=144"),
        tokens=(576, 0),
        kv=("int8",),
        text_tokens=12,
        columns=("flops",),
        caption="5 % & more",
    )


def test_the_example_of_the_documentation_reads_and_runs(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/tables.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "table.yaml"
    path.write_text(block)
    assert "FastV on two GPUs." in printed("--from", str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu: v100\ngpus: t4", "unknown key 'gpus'; nearest: gpu"),
        ("gpu: v100\nformat: latex", "unknown key 'format'"),
        ("model: llava-1.5-7b", "gpu is missing"),
        ("gpu: []", "gpu is empty: a table needs at least one"),
        ("gpu: v100\ntokens: [576, x]", "tokens must be a whole number from 0 to 10000000, not 'x'"),
        ("gpu: v100\ntokens: [1.5]", "tokens must be a whole number from 0 to 10000000, not '1.5'"),
        ("gpu: v100\ntokens: [yes]", "tokens must be text or a number, not True"),
        ("gpu: v100\nbatch: [1, 2]", "batch must be text or a number, not [1, 2]"),
        ("gpu: v100\nbatch: 0", "batch must be a whole number from 1 to 10000000, not 0"),
        ("gpu: v100\nprecision: fp17", "unknown precision 'fp17'"),
        ("gpu: v100\nattention: flash", "unknown attention 'flash'"),
        (
            "gpu: v100\nreduction: [none, fastv:k=2,r=0.5]",
            'spatial, vtw; quote a reduction with several parameters: "fastv:k=2,r=0.5"',
        ),
        ("gpu: v100\nreduction: [prumerg]", "unknown reduction 'prumerg'; nearest: prumerge"),
        ("gpu: v10", "unknown GPU 'v10'"),
        ("gpu: v100\nmodel: llava", "unknown model 'llava'"),
        ("gpu: v100\nconvention: torhc", "unknown convention 'torhc'; nearest: torch"),
        ("gpu: v100\ncolumns: [flop]", "unknown column 'flop'; nearest: flops"),
        ("gpu: v100\nreduction: null", "reduction must be text or a number, not None"),
        ("gpu: {name: v100}", "gpu must be text or a number, not {'name': 'v100'}"),
        ("gpu: v100\nlabel: a}b", "label must be letters, digits and"),
        ("gpu: v100\ngpu: t4", "key 'gpu' twice"),
        ("- v100", "must hold a mapping"),
    ],
)
def test_bad_files_are_refused_in_the_options_words(text, message, tmp_path):
    with pytest.raises(InvalidSpec) as caught:
        request_of(text, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'table.yaml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
