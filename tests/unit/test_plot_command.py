"""`perfkit plot`: every kind, one line for whatever is wrong, and nothing half-written."""

import json
from functools import partial

import commands
import pytest

from perfkit.tables import FORMATS

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}
PREDICTED = ("roofline", "tokens", "breakdown")


run, error_line = partial(commands.run, "plot"), partial(commands.error_line, "plot")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def measured(tmp_path):
    from perfkit.measuring.cases import PhaseCase
    from perfkit.measuring.measurement import Machine, Point, Run
    from perfkit.measuring.protocol import Timing
    from perfkit.measuring.schema import line_of, text_of

    machine = Machine("cuda", "A card", "CUDA events", 32 * 10**9, 80, "Linux", {"torch": "2.13.0"}, "v100-sxm2-32gb")
    case = PhaseCase("llava-1.5-7b", "prefill", 576, 60, 1, "fp16", "sdpa")
    begun = Run("2025-01-01T00:00:00+00:00", "perfkit measure --output mine.json", "0.1.0")
    path = tmp_path / "mine.json"
    path.write_text(text_of(machine, [begun], [line_of(Point(case, "ok", Timing((0.2,) * 7, 3, stable=True)))]))
    return path


# --- what comes out


@pytest.mark.parametrize("ending", STARTS)
@pytest.mark.parametrize("kind", PREDICTED)
def test_every_kind_is_drawn_in_every_format(kind, ending, tmp_path):
    result = run(kind, "--gpu", "v100", "--output", tmp_path / f"a{ending}")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / f"a{ending}").read_bytes().startswith(STARTS[ending])
    assert names(tmp_path) == [f"a{ending}"]


def test_options_reach_the_picture(tmp_path):
    options = ["--tokens", "576,32", "--batch", "8", "--precision", "bf16", "--text-tokens", 100, "--width", "column"]
    run("roofline", "--gpu", "a100", *options, "--output", tmp_path / "a.svg")
    picture = (tmp_path / "a.svg").read_text()
    for text in ("a100-sxm-80gb", "100 text and 128 new tokens, batch 8, bf16", "32 visual tokens"):
        assert f"<!-- {text}" in picture or text in picture
    assert 'width="244.8pt"' in picture  # 3.4 * 72


@pytest.mark.parametrize("form", FORMATS)
def test_the_numbers_behind_the_picture_are_printed_on_demand(form, tmp_path):
    result = run("breakdown", "--gpu", "v100", "--output", tmp_path / "a.svg", "--format", form)
    assert result.exit_code == 0
    assert "linear layers" in result.stdout


def test_json_has_the_numbers_in_si_units(tmp_path):
    result = run("tokens", "--gpu", "v100", "--output", tmp_path / "a.svg", "--format", "json")
    (curve,) = json.loads(result.stdout)["curves"]
    assert curve["workload"]["visual_tokens"] == list(range(577))
    assert [(found["tokens"], found["bound"]) for found in curve["crossings"]] == [(86, "compute")]
    assert curve["room_bytes"] == 32e9 - 2**30


def test_several_models_gpus_and_reductions_stand_side_by_side(tmp_path):
    asked = ["--gpu", "v100", "--gpu", "h100", "--reduction", "none", "--reduction", "prumerge"]
    result = run("breakdown", *asked, "--output", tmp_path / "a.svg", "--format", "json")
    requests = json.loads(result.stdout)["requests"]
    assert [(request["device"], request["workload"]["reduction"]) for request in requests] == [
        ("v100-sxm2-32gb", None),
        ("v100-sxm2-32gb", "prumerge"),
        ("h100-sxm-80gb", None),
        ("h100-sxm-80gb", "prumerge"),
    ]


def test_notes_and_warnings_go_to_stderr(tmp_path):
    result = run("breakdown", "--gpu", "v100", "--model", "llama-2-70b", "--output", tmp_path / "a.svg")
    assert "note: v100 means v100-sxm2-32gb" in result.stderr
    assert "warning: does not fit" in result.stderr


def test_a_validation_is_the_chart_of_validate(measured, tmp_path):
    drawn = run("validation", measured, "--output", tmp_path / "a.svg")
    beside = commands.run("validate", measured, "--chart", tmp_path / "b.svg")
    assert (drawn.exit_code, drawn.stdout, beside.exit_code) == (0, "", 0)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_validation_may_be_of_another_device_and_prints_its_numbers(measured, tmp_path):
    result = run("validation", measured, "--gpu", "a100", "--output", tmp_path / "a.png", "--format", "json")
    assert json.loads(result.stdout)["device"] == "a100-sxm-80gb"


# --- what is refused, before anything is drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rofline", "--gpu", "v100"], "unknown kind of chart 'rofline'; nearest: roofline"),
        (["roofline", "mine.json", "--gpu", "v100"], "plot roofline takes no FILE"),
        (["roofline", "--gpu", "v10"], "unknown GPU 'v10'; nearest: v100"),
        (["roofline", "--gpu", "v100", "--model", "llava-1.5"], "unknown model 'llava-1.5'; nearest: llava-1.5-"),
        (["roofline", "--gpu", "v100", "--model", "llava-1.5-7b", "--model", "llava-1.5-13b"], "one model at a time"),
        (["roofline", "--gpu", "v100", "--tokens", "577"], "577 visual tokens: llava-1.5-7b makes at most 576"),
        (["roofline", "--gpu", "v100", "--tokens", "32,x"], "--tokens must be a whole number"),
        (["roofline", "--gpu", "v100", "--precision", "bf16"], "v100-sxm2-32gb has no engine for bf16 products"),
        (["roofline", "--gpu", "v100", "--width", "wide"], "unknown --width 'wide'; allowed: column, page"),
        (["roofline", "--gpu", "v100", "--format", "xml"], "unknown --format 'xml'"),
        (["tokens", "--gpu", "v100", "--tokens", "32"], "plot tokens draws all counts of visual tokens: leave out"),
        (["tokens", "--gpu", "v100", "--model", "llama-2-7b"], "llama-2-7b: there are no visual tokens to vary"),
        (["breakdown", "--gpu", "v100", "--reduction", "prumrge"], "unknown reduction 'prumrge'; nearest: prumerge"),
        (["validation"], "name a FILE that `perfkit measure --output FILE` wrote"),
        (["validation", "none.json"], "none.json: no such file"),
        (["validation", "a.json", "--gpu", "v100", "--gpu", "a100"], "takes one --gpu at most"),
        (["validation", "a.json", "--tokens", "32", "--width", "page"], "plot validation takes no --tokens, --width"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_nothing_is_written(arguments, message, tmp_path):
    assert message in error_line(*arguments, "--output", tmp_path / "a.svg")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [*PREDICTED, "validation"])
def test_an_unknown_ending_is_refused_first(kind, tmp_path):
    line = error_line(kind, "none.json", "--output", tmp_path / "a.jpg")
    assert line.startswith("unknown ending of a chart '.jpg'")
    assert line.endswith("allowed: .html, .pdf, .png, .svg")


@pytest.mark.parametrize("missing", ["--gpu", "--output"])
def test_a_missing_option_is_named(missing, tmp_path):
    given = {"--gpu": "v100", "--output": str(tmp_path / "a.svg")}
    del given[missing]
    result = run("roofline", *(part for pair in given.items() for part in pair))
    assert result.exit_code == 2
    assert f"Missing option '{missing}'" in result.stderr
    assert names(tmp_path) == []


def test_a_picture_that_cannot_be_written_leaves_what_stood_there(tmp_path):
    assert "nothing was written" in error_line("roofline", "--gpu", "v100", "--output", tmp_path / "none" / "a.svg")
    (tmp_path / "a.svg").write_text("old")
    assert "has no engine" in error_line(
        "roofline", "--gpu", "v100", "--precision", "bf16", "--output", tmp_path / "a.svg"
    )
    assert (tmp_path / "a.svg").read_text() == "old"
