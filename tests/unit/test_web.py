"""The page's choices and their links, and the command lines that give its figures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import fields
from urllib.parse import parse_qs

import pytest
from commands import run

from perfkit.errors import InvalidValue
from perfkit.hardware import choose_device, device_ids
from perfkit.web import answers
from perfkit.web.commands import plan_command, plot_command, roofline_command, validate_command
from perfkit.web.state import LONGEST, MOST_GPUS, READERS, Asked, link_of, query_of, read_link

EVERYTHING = Asked(
    view="plan",
    model="llava-1.5-13b",
    gpu=("h100-sxm-80gb", "v100-sxm2-32gb"),
    tokens=32,
    reduction="fastv:k=2,r=0.5",
    text_tokens=100,
    new_tokens=7,
    batch=4,
    images=2,
    precision="bf16",
    weights="int4",
    kv="int8",
    attention="eager",
    runtime="eager",
    table_model=("llava-1.5-7b", "llava-1.5-13b"),
    table_reduction=("none", "prumerge"),
    table_tokens="576,32",
    columns=("flops", "energy"),
    ttft="0.3",
    tpot="",
    budget="2.5",
    rank="energy",
    candidates="listed",
    plan_tokens="576,144",
)


# --- links


def test_every_choice_has_a_reader_and_differs_from_its_default_here() -> None:
    names = [field.name for field in fields(Asked)]
    assert list(READERS) == names
    assert [name for name in names if getattr(EVERYTHING, name) == getattr(Asked(), name)] == []


def test_a_link_restores_every_choice() -> None:
    assert read_link(link_of(EVERYTHING)) == (EVERYTHING, ())
    assert read_link(parse_qs(query_of(EVERYTHING)[1:], keep_blank_values=True)) == (EVERYTHING, ())


@pytest.mark.parametrize("asked", [Asked(gpu=()), Asked(columns=()), Asked(gpu=(), columns=(), table_tokens="32")])
def test_a_link_restores_that_none_is_chosen(asked: Asked) -> None:
    assert read_link(link_of(asked)) == (asked, ())
    assert read_link(parse_qs(query_of(asked)[1:], keep_blank_values=True)) == (asked, ())
    assert query_of(Asked(gpu=())) == "?gpu="


def test_a_link_of_nothing_is_empty_and_asks_for_the_defaults() -> None:
    assert link_of(Asked()) == {}
    assert read_link({}) == (Asked(), ())


def test_the_default_gpu_is_what_the_documentation_calls_v100() -> None:
    assert Asked().gpu == (choose_device("v100").device.id,)


def test_aliases_and_the_same_gpu_twice_are_one_device() -> None:
    asked, problems = read_link({"gpu": ["V100", "v100-sxm2-32gb", "h100"]})
    assert (asked.gpu, problems) == (("v100-sxm2-32gb", "h100-sxm-80gb"), ())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"tokens": ["-1"]},
            "tokens must be a whole number from 0 to 10000000, not -1; the page shows its default, the model's own",
        ),
        ({"batch": ["0"]}, "batch must be a whole number from 1 to 10000000, not 0; the page shows its default, 1"),
        (
            {"precision": ["int4"]},
            "unknown precision 'int4'; nearest: int8; allowed: bf16, fp16, fp32, fp8, int8, tf32; it is a format to "
            "store weights (--weights) or the cache (--kv) in; the page shows its default, fp16",
        ),
        ({"view": ["tabel"]}, "unknown view 'tabel'; nearest: table; allowed: gpus, memory, phases, plan, roofline, "),
        ({"gpu": ["/etc/passwd"]}, "unknown GPU '/etc/passwd'; the page shows its default, v100-sxm2-32gb"),
        ({"model": ["../x/config.json"]}, "unknown model '../x/config.json'"),
        ({"reduction": ["fastv:k=many"]}, "; the page shows its default, none"),
        ({"ttft": ["soon"]}, "; the page shows its default, 200ms"),
        ({"columns": ["nonsense"]}, "nonsense"),
        ({"table-tokens": ["1,x"]}, "table-tokens must be a whole number from 0 to 10000000, not 'x'"),
        ({"tokns": ["3"]}, "unknown choice in the link 'tokns'; nearest: tokens"),
        ({"gpu": device_ids()[: MOST_GPUS + 1]}, f"at most {MOST_GPUS} GPUs, not {MOST_GPUS + 1}; the page shows its"),
        ({"model": ["m" * (LONGEST + 1)]}, f"model has more than {LONGEST} characters"),
    ],
)
def test_a_choice_that_cannot_be_is_said_and_its_default_stands(query: dict[str, list[str]], message: str) -> None:
    asked, (problem,) = read_link(query)
    assert asked == Asked()
    assert message in problem
    assert "\n" not in problem


def test_what_is_wrong_in_a_link_does_not_take_the_rest_with_it() -> None:
    asked, problems = read_link({"tokens": ["32"], "batch": ["x"], "model": ["nobody"]})
    assert (asked, len(problems)) == (Asked(tokens=32), 2)


# --- command lines


def arguments_of(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "perfkit"
    return words[1:]


@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked(tokens=32),
        Asked(tokens=0, batch=3, gpu=("h100-sxm-80gb",)),
        Asked(reduction="prumerge", model="llava-1.5-13b", precision="bf16", gpu=("a100-sxm-80gb",)),
        Asked(weights="int4", kv="int8", attention="eager", runtime="eager", new_tokens=5, text_tokens=9, images=2),
        Asked(model="clip-vit-l-14-336"),
    ],
)
def test_the_command_of_the_page_gives_its_figures(asked: Asked) -> None:
    printed = json.loads(run(*arguments_of(roofline_command(asked)), "--format", "json").stdout)
    (p,) = answers.predictions(asked)
    assert printed["device"] == p.device.id
    assert printed["totals"]["ttft_roofline_s"] == p.ttft_roofline_s
    assert printed["totals"]["ttft_expected_s"] == p.ttft_expected_s
    assert printed["totals"]["tpot_roofline_s"] == p.tpot_roofline_s
    assert printed["totals"]["memory_bytes"]["total"] == p.footprint.total
    assert [phase["flops"] for phase in printed["phases"]] == [phase.flops for phase in p.phases]


def test_several_gpus_stand_in_the_command_in_their_order() -> None:
    command = roofline_command(Asked(gpu=("h100-sxm-80gb", "v100-sxm2-32gb")))
    assert command == "perfkit roofline --gpu h100-sxm-80gb --gpu v100-sxm2-32gb"


@pytest.mark.parametrize("kind", ["roofline", "tokens", "breakdown"])
def test_the_command_of_each_chart_runs(kind: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    result = run(*arguments_of(plot_command(kind, Asked(tokens=32))))
    assert result.exit_code == 0, result.output


def test_the_command_of_a_plan_asks_what_the_page_asks() -> None:
    asked = Asked(gpu=("h100-sxm-80gb",), tokens=32, rank="energy", batch=9, weights="int8")
    given = answers.plan_arguments(asked)
    assert plan_command(asked, given) == (
        "perfkit plan --gpu h100-sxm-80gb --weights int8 --tokens 32 --ttft 200ms --tpot 30ms --rank energy"
    )
    printed = json.loads(run(*arguments_of(plan_command(asked, given)), "--format", "json").stdout)
    plans = answers.planned(asked).plans
    assert [one["ttft_s"] for one in printed["plans"]] == [one.figures.ttft_s for one in plans]


def test_a_plan_does_not_hang_on_what_it_does_not_ask() -> None:
    assert answers.plan_key(Asked(batch=2, view="plan", columns=("flops",))) == answers.plan_key(Asked())
    assert answers.plan_key(Asked(ttft="1s")) != answers.plan_key(Asked())


def test_a_plan_of_a_reduced_request_is_of_the_tokens_that_are_left() -> None:
    assert answers.plan_arguments(Asked(reduction="prumerge"))["tokens"] == (32,)  # as its paper prints
    assert "tokens" not in answers.plan_arguments(Asked())


def test_a_file_is_quoted_in_its_command() -> None:
    assert validate_command("my file.json", "h100") == "perfkit validate 'my file.json' --gpu h100"


# --- answers


def test_a_change_of_tokens_does_not_draw_their_curves_again() -> None:
    assert answers.tokens(Asked(tokens=32)) is answers.tokens(Asked(tokens=144))
    assert answers.tokens(Asked(batch=2)) is not answers.tokens(Asked())


def test_what_is_seen_does_not_decide_a_prediction() -> None:
    assert answers.predictions(Asked(view="plan", ttft="1s")) is answers.predictions(Asked())


@pytest.mark.parametrize(
    "ask", [answers.predictions, answers.roofline, answers.breakdown, answers.tokens, answers.table_request]
)
def test_no_gpu_is_said(ask: Callable[[Asked], object]) -> None:
    with pytest.raises(InvalidValue, match=r"^choose a GPU$"):
        ask(Asked(gpu=()))


def test_the_paper_table_takes_the_request_where_it_has_no_axes_of_its_own() -> None:
    request = answers.table_request(Asked(tokens=32, reduction="prumerge", batch=2))
    assert (request.model, request.tokens, request.reduction, request.batch) == (
        ("llava-1.5-7b",),
        (32,),
        ("prumerge",),
        2,
    )
    request = answers.table_request(EVERYTHING)
    assert (request.model, request.tokens) == (("llava-1.5-7b", "llava-1.5-13b"), (576, 32))
