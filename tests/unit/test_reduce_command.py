"""`perfkit reduce` as it is typed: what options become, what is printed where, and one line for whatever is wrong."""

import csv
import inspect
import io
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import pytest
from doubles import quick_torch
from picture_files import PATCHES, write_home, write_pictures

from perfkit.cli.progress import Progress
from perfkit.pictures import running
from perfkit.pictures.results import MEANS_NOTHING
from perfkit.tables import FORMATS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return write_home(tmp_path_factory.mktemp("home"), 3)


@pytest.fixture(scope="module")
def typed(home):
    """A command line on the pictures of `home`, with what makes it quick."""
    start = ["reduce", home / "pictures", "--budget", "0.01", "--device", "cpu"]
    return partial(commands.run, *start, "--vision-model", home / "llava")


@pytest.fixture(scope="module")
def error_line(home):
    return partial(commands.error_line, "reduce", home / "pictures", "--budget", "0.01", "--device", "cpu")


def answer(result):
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def asked(monkeypatch):
    """What `perfkit.reduce_pictures` is asked for; nothing is run."""
    calls = []

    def reduce_pictures(pictures, **options):
        calls.append({"pictures": pictures, **options})
        raise InterruptedError

    monkeypatch.setattr(running, "reduce_pictures", reduce_pictures)
    return calls


# --- options


def test_options_reach_the_library(asked, home):
    options = ["--method", "prumerge", "--method", "spatial:n=4", "--ratio", "0.25", "--neighbours", "5"]
    options += ["--strict-reference", "--non-finite", "skip", "--unreadable", "skip", "--batch-size", "3"]
    options += ["--tower-precision", "bf16", "--gpu", "t4", "--gpu", "h100", "--text-tokens", "9", "--batch", "2"]
    options += [
        "--precision",
        "fp8",
        "--weights",
        "int4",
        "--kv",
        "int8",
        "--new-tokens",
        "7",
        "--model",
        "llava-1.5-13b",
    ]
    options += ["--device", "cpu", "--budget", "2.5", "--vision-model", "tower", "--attention", "eager"]
    commands.run("reduce", home / "pictures", *options)
    given = asked[0]
    assert given["pictures"] == (str(home / "pictures"),)
    assert (given["methods"], given["gpus"]) == (("prumerge", "spatial:n=4"), ("t4", "h100"))
    expected = {
        "ratio": 0.25,
        "neighbours": 5,
        "strict_reference": True,
        "non_finite": "skip",
        "unreadable": "skip",
        "batch_size": 3,
        "tower_precision": "bf16",
        "text_tokens": 9,
        "new_tokens": 7,
        "batch": 2,
        "precision": "fp8",
        "weights": "int4",
        "kv": "int8",
        "attention": "eager",
        "model": "llava-1.5-13b",
        "device": "cpu",
        "budget_s": 2.5,
        "vision_model": "tower",
        "random_weights": False,
    }
    assert {key: given[key] for key in expected} == expected


def test_defaults_are_those_of_the_library(home, monkeypatch):
    signature = inspect.signature(running.reduce_pictures)
    called = {}
    monkeypatch.setattr(running, "reduce_pictures", lambda *_, **given: called.update(given) or pytest.skip("called"))
    with pytest.raises(pytest.skip.Exception):
        commands.main(["reduce", str(home / "pictures"), "--random-weights"], standalone_mode=False)
    others = {
        "precision": "fp16",
        "weights": None,
        "activations": None,
        "kv": None,
        "attention": "fused",
        "logits": "last",
        "tp": 1,
        "pp": 1,
        "runtime": "graph",
        "calibration": None,
    }
    for name, given in called.items():
        if name not in ("progress", "random_weights"):
            default = others[name] if name in others else signature.parameters[name].default
            assert given == default, name


# --- what is printed


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_names_every_picture(form, typed):
    text = answer(typed("--method", "prumerge", "--method", "spatial:n=9", "--format", form))
    for name in ("00.png", "01.png", "02.png"):
        assert name in text
    for method in ("prumerge", "spatial:n=9"):
        assert method in text
    assert "\x1b" not in text


def test_csv_has_a_row_a_picture_method_and_device(typed):
    methods, gpus = ["--method", "prumerge", "--method", "spatial:n=9"], ["--gpu", "v100", "--gpu", "t4"]
    rows = list(csv.DictReader(io.StringIO(answer(typed(*methods, *gpus, "--format", "csv")), newline="")))
    assert len(rows) == 3 * 2 * 2
    assert {row["device"] for row in rows} == {"v100-sxm2-32gb", "t4"}
    for row in rows:
        assert row["status"] == "ok"
        assert int(row["patches"]) == PATCHES
        assert int(row["tokens"]) == int(row["kept_patches"]) + (row["method"] == "prumerge")
        assert int(row["kv_bytes"]) == 512 * (int(row["tokens"]) + 188)  # 2 layers * 2 * 64 * 2 bytes; 60 + 128 others
        assert float(row["request_roofline_s"]) > float(row["ttft_roofline_s"]) > 0


@pytest.mark.parametrize(
    ("options", "ratio", "strict"),
    [([], "", "False"), (["--ratio", "0.25"], "0.25", "False"), (["--strict-reference"], "", "True")],
)
def test_csv_says_how_methods_were_asked_to_work(options, ratio, strict, typed):
    rows = list(csv.DictReader(io.StringIO(answer(typed(*options, "--format", "csv")), newline="")))
    assert {(row["ratio"], row["strict_reference"]) for row in rows} == {(ratio, strict)}


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html", "json"])
def test_every_other_format_says_it_too(form, typed):
    text = answer(typed("--ratio", "0.25", "--strict-reference", "--format", form))
    assert ("prumerge, ratio 0.25, as published" if form == "table" else "0.25") in text
    if form != "table":
        assert "strict" in text


def test_notes_go_to_stderr_where_json_does_not_hold_them(typed, tmp_path):
    # A ratio of 1 keeps all patches, and PruMerge appends one token.
    said = "note: prumerge: 3 of 3 pictures keep all patches and one token more"
    assert said in typed("--ratio", "1", "--format", "csv").stderr
    held = typed("--ratio", "1", "--format", "json")
    assert "note" not in held.stderr
    assert said.removeprefix("note: ") in json.loads(held.stdout)["warnings"][0]
    methods = [option for n in range(13) for option in ("--method", f"spatial:n={1 + n}")]
    drawn = typed(*methods, "--overlay", tmp_path / "kept.svg", "--format", "json")
    assert drawn.stderr.startswith("note: the overlay shows 24 tiles at most; not on it: /")
    assert drawn.stderr.endswith("01.png, " + drawn.stderr.rpartition(", ")[2])


def test_one_text_token_is_one(typed):
    assert "\n1 text token, 128 new" in answer(typed("--text-tokens", "1"))


def test_json_holds_everything(typed, home):
    document = json.loads(answer(typed("--method", "prumerge", "--method", "spatial:n=9", "--format", "json")))
    assert document.keys() == {"perfkit", "tower", "machine", "methods", "unreduced", "unreadable", "warnings"}
    tower = document["tower"]
    assert (tower["weights"], tower["random_weights"]) == (str(home / "llava"), False)
    assert (tower["grid"], tower["patches"], tower["feature_layer"], tower["batch"]) == (8, 64, -2, 3)
    assert tower["timing"]["samples_s"]
    prumerge, spatial = document["methods"]
    assert [found["tokens"] for found in spatial["pictures"]] == [9, 9, 9]
    counts = [found["tokens"] for found in prumerge["pictures"]]
    assert prumerge["tokens"]["mean"] == pytest.approx(sum(counts) / 3)
    assert prumerge["tokens"]["quantiles"]["50%"] == sorted(counts)[1]
    assert sum(found["pictures"] for found in prumerge["histogram"]) == 3
    assert 0 < prumerge["share_of_time"] < 1
    (cost,) = prumerge["costs"]
    assert cost["device"] == "v100-sxm2-32gb"
    assert cost["kv_bytes"]["mean"] == pytest.approx(512 * (sum(counts) / 3 + 188))
    (whole,) = document["unreduced"]
    assert whole["kv_bytes"] == 512 * (64 + 188)
    assert whole["model"] == str(home / "llava")
    assert document["warnings"] == []


def test_people_see_counts_histogram_times_and_costs(typed):
    text = answer(typed("--method", "prumerge", "--gpu", "v100", "--gpu", "t4"))
    for part in (
        "Tokens kept of 3 pictures",
        "median",
        "pictures by tokens",
        "Time of 3 pictures at once, fp32, measured",
    ):
        assert part in text
    for part in (
        "of tower and reducer",
        "Measured by monotonic clock",
        "what these tokens cost, predicted",
        "unreduced",
    ):
        assert part in text
    assert re.search(r"on v100-sxm2-32gb: .*on t4: ", text, re.DOTALL)
    assert "prumerge, on average, of the unreduced: prefill FLOPs " in text


def test_a_single_picture_has_one_row_a_method(home):
    text = answer(
        commands.run(
            "reduce",
            home / "pictures/00.png",
            "--random-weights",
            "--model",
            home / "llava.json",
            "--budget",
            "0.01",
            "--device",
            "cpu",
        )
    )
    assert re.match(r"Tokens kept of \S*00\.png\n", text)
    assert "Picture by picture" not in text
    assert "the one" in text


def test_many_pictures_are_not_all_listed_for_people(tmp_path, home):
    write_pictures(tmp_path, 23)
    text = answer(
        commands.run("reduce", tmp_path, "--vision-model", home / "llava", "--budget", "0.01", "--device", "cpu")
    )
    assert "19.png" in text
    assert "20.png" not in text
    assert "3 pictures more; --format csv lists all." in text


def test_a_narrow_terminal_keeps_what_matters(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = answer(typed("--method", "prumerge"))
    assert max(map(len, text.splitlines())) <= 60
    for part in ("method", "tokens", "of patches", "median", "from", "to", "of both", "TTFT"):
        assert part in text


# --- random weights


@pytest.mark.parametrize("form", FORMATS)
def test_random_weights_are_told_in_every_format(form, home):
    result = commands.run(
        *("reduce", home / "pictures", "--random-weights", "--model", home / "llava.json", "--budget", "0.01"),
        *("--device", "cpu", "--format", form),
    )
    said = " ".join(answer(result).lower().split())
    assert MEANS_NOTHING in said
    assert f"warning: {MEANS_NOTHING}" in result.stderr
    if form == "json":
        assert json.loads(result.stdout)["tower"]["random_weights"] is True


# --- what is left out


def test_unreadable_pictures_are_warned_of_and_stand_in_every_format(tmp_path, home):
    write_pictures(tmp_path, 2)
    (tmp_path / "x.png").write_text("no picture")
    start = ["reduce", tmp_path, "--vision-model", home / "llava", "--budget", "0.01", "--device", "cpu"]
    assert "x.png: no picture of a known format" in commands.error_line(*start)
    for form in FORMATS:
        result = commands.run(*start, "--unreadable", "skip", "--format", form)
        assert re.search(r"warning: left out: \S*x\.png: no picture of a known format", result.stderr)
        assert "x.png" in answer(result) or form == "table"
        if form == "table":
            assert "1 picture could not be read and left out." in result.stdout


@pytest.mark.parametrize(
    "name",
    ["line\nbreak.png", "\x1b[31mred.png", "tab\t.png", "\udcff.png", 'a|b,"c.png', "=1+1.png", "$a^$b.png", "猫.png"],
)
def test_no_name_of_a_picture_breaks_a_table_a_terminal_or_a_file(name, tmp_path, home):
    (pictures := tmp_path / "pictures").mkdir()
    (path,) = write_pictures(tmp_path, 1)
    os.rename(path, pictures / name)
    start = ["reduce", pictures, "--vision-model", home / "llava", "--budget", "0.01", "--device", "cpu"]
    for form in FORMATS:
        text = answer(commands.run(*start, "--format", form))
        assert not re.search("[\x00-\x09\x0b-\x1f\ud800-\udfff]", text)
        if form == "csv":
            assert len(text.splitlines()) == 2
        answer(commands.run(*start, "--format", form, "--output", tmp_path / "out"))
    answer(commands.run(*start, "--overlay", tmp_path / "kept.svg"))
    (pictures / name).write_text("no picture")
    assert "no picture of a known format" in commands.error_line(*start)


# --- overlay


def test_an_overlay_is_drawn_beside_the_numbers(typed, tmp_path):
    result = typed("--overlay", tmp_path / "kept.png", "--format", "csv")
    assert answer(result).startswith("picture,method,ratio")
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.png"]


def test_a_page_has_the_numbers_below_the_picture(typed, tmp_path):
    answer(typed("--overlay", tmp_path / "kept.html"))
    page = (tmp_path / "kept.html").read_text()
    assert "Tokens kept of 3 pictures" in page
    assert "<svg" in page


def test_an_overlay_that_cannot_be_drawn_is_refused_before_any_work(error_line, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "reduce_pictures", lambda *_, **__: pytest.fail("work was done"))
    assert "unknown ending of a chart '.jpg'" in error_line("--random-weights", "--overlay", tmp_path / "kept.jpg")


def test_more_methods_than_an_overlay_shows_are_refused_before_any_work(error_line, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "reduce_pictures", lambda *_, **__: pytest.fail("work was done"))
    methods = [option for n in range(25) for option in ("--method", f"spatial:n={1 + n}")]
    line = error_line("--random-weights", *methods, "--overlay", tmp_path / "kept.png")
    assert line == "an overlay shows 24 methods at most beside each other, not 25"


def test_targets_that_cannot_be_written_are_refused_before_any_work(error_line, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "reduce_pictures", lambda *_, **__: pytest.fail("work was done"))
    nowhere, one = tmp_path / "no" / "kept.png", tmp_path / "kept.png"
    for option in ("--overlay", "--output"):
        assert "there is no folder" in error_line("--random-weights", option, nowhere)
    assert "name two files" in error_line("--random-weights", "--overlay", one, "--output", one)


@pytest.mark.parametrize("option", ["--overlay", "--output"])
def test_a_picture_is_never_written_over(option, error_line, home, tmp_path):
    path = home / "pictures" / "01.png"
    before = path.read_bytes()
    assert "01.png is one of the pictures: name another file" in error_line("--random-weights", option, path)
    os.symlink(path, tmp_path / "link.png")
    assert "link.png is one of the pictures" in error_line("--random-weights", option, tmp_path / "link.png")
    assert path.read_bytes() == before


# --- one line for whatever is wrong


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--vision-model DIR takes a folder's weights, --random-weights is a dry run: one of them is needed"),
        (["--random-weights", "--vision-model", "x"], "not both"),
        (["--vision-model", "nowhere"], "no folder 'nowhere'"),
        (["--random-weights", "--method", "prumerg"], "nearest: prumerge"),
        (["--random-weights", "--method", "fastv"], "inside the language model"),
        (["--random-weights", "--method", "prumerg"], "allowed: prumerge, prumerge+, random, sequential, spatial"),
        (["--random-weights", "--ratio", "0"], "--ratio must be a number above 0 and at most 1, not '0'"),
        (["--random-weights", "--ratio", "1.5"], "at most 1, not '1.5'"),
        (["--random-weights", "--ratio", "half"], "--ratio must be a number above 0 and at most 1, not 'half'"),
        (["--random-weights", "--ratio", "nan"], "at most 1, not 'nan'"),
        (["--random-weights", "--ratio", "9" * 50], f"at most 1, not '{'9' * 30}...'"),
        (["--random-weights", "--neighbours", "0"], "--neighbours must be a whole number from 1"),
        (["--random-weights", "--batch-size", "0"], "--batch-size must be a whole number from 1"),
        (["--random-weights", "--unreadable", "no"], "unknown --unreadable 'no'"),
        (["--random-weights", "--non-finite", "no"], "unknown --non-finite 'no'"),
        (["--random-weights", "--budget", "0"], "--budget must be a number above zero"),
        (["--random-weights", "--tower-precision", "fp16"], "fp16 is not timed on cpu"),
        (["--random-weights", "--tower-precision", "int3"], "unknown --tower-precision 'int3'"),
        (["--random-weights", "--gpu", "v10"], "nearest: v100"),
        (["--random-weights", "--precision", "bf16"], "v100-sxm2-32gb"),
        (["--random-weights", "--model", "llava-1.5"], "llava-1.5-7b"),
        (["--random-weights", "--model", "vicuna-7b"], "no vision-language model"),
        (["--random-weights", "--device", "tpu"], "unknown --device 'tpu'"),
        (["--random-weights", "--format", "xml"], "unknown --format 'xml'"),
        (["nowhere.png", "--random-weights"], "'nowhere.png': no such file or folder"),
        (["no\nwhere", "--random-weights"], r"'no\nwhere': no such file or folder"),
        (["", "--random-weights"], "'': name a picture, or a folder of them"),
        (["--vision-model", ""], "--vision-model must name a folder, not ''"),
        (["--random-weights", "--overlay", ""], "--overlay must name a file, not ''"),
        (["--random-weights", "--output", ""], "--output must name a file, not ''"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_value_is_one_line(arguments, part, error_line):
    line = error_line(*arguments)
    assert part in line
    assert "unexpected" not in line


def test_a_ratio_may_be_typed_with_an_exponent(asked, home):
    commands.run("reduce", home / "pictures", "--random-weights", "--ratio", "1e-3")
    assert asked[0]["ratio"] == 0.001


def test_no_picture_is_clicks_own_complaint():
    result = commands.run("reduce", "--random-weights")
    assert result.exit_code == 2
    assert "Missing argument 'IMAGE...'" in result.stderr


# --- progress


def test_progress_says_what_is_done_and_may_be_silent_off_a_terminal(capsys):
    class Item:
        label = "one"

    for progress, written in ((Progress(), "1/2 one\n2/2 one\n"), (Progress("reducing", lines=False), "")):
        with progress([Item(), Item()]) as items:
            list(items)
        assert capsys.readouterr().err == written
        assert (progress.begun, progress.total) == (2, 2)


def test_a_terminal_gets_a_bar_named_after_the_work(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("reducing")([type("Item", (), {"label": "a.png"})()]) as items:
        list(items)
    assert "reducing" in capsys.readouterr().err


# --- as a process


def test_a_dry_run_from_a_bare_checkout_warns_of_nothing_else(home):
    command = [sys.executable, "cli.py", "reduce", str(home / "pictures"), "--random-weights"]
    command += ["--model", str(home / "llava.json"), "--budget", "0.01", "--device", "cpu", "--format", "csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"warning: {MEANS_NOTHING}\n"
    assert len(done.stdout.splitlines()) == 4
