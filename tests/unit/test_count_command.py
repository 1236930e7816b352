"""`perfkit count`: its switches, its explanation and its comparison, for people and for machines."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import commands
import pytest
from click.testing import CliRunner, Result

import perfkit
from perfkit import reports
from perfkit.cli import main
from perfkit.conventions import convention_names, load_convention
from perfkit.formulas import Formula
from perfkit.totals.comparing import compare
from perfkit.totals.explaining import explain


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["count", *arguments])


def answer(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def answer_json(*arguments: str) -> Any:
    return json.loads(answer(*arguments, "--format", "json"))


def error_line(*arguments: str) -> str:
    return commands.error_line("count", *arguments)


# --- switches


@pytest.mark.parametrize("name", convention_names())
def test_a_named_convention_counts_and_adds_up(name: str) -> None:
    document = answer_json("--convention", name)
    key = {"flop": "flops", "mac": "macs"}[document["convention"]["unit"]]
    assert document["convention"]["name"] == name
    assert document["total"] == sum(document["by_phase"].values()) == sum(op[key] for op in document["by_op"])
    assert document["uncounted"] == []


@pytest.mark.parametrize(
    ("arguments", "switched"),
    [
        (["--unit", "mac"], {"unit": "mac", "multiply_add": 1}),
        (["--causal", "half"], {"causal": "half"}),
        (["--logits", "all"], {"logits": "all"}),
        (["--ffn-matrices", "2"], {"ffn_matrices": 2}),
        (["--include", "llm,vision"], {"include": ["vision", "llm"]}),
        (["--tokens-counted", "visual"], {"tokens_counted": "visual"}),
        (["--elementwise"], {"elementwise": True}),
    ],
)
def test_each_switch_reaches_the_count(arguments: list[str], switched: dict[str, object]) -> None:
    plain, changed = answer_json(), answer_json(*arguments)
    assert {key: changed["convention"][key] for key in switched} == switched
    assert len(changed["convention"]["overrides"]) == 1
    assert changed["total"] != plain["total"]


def test_tokens_that_do_not_count_are_said() -> None:
    document = answer_json("--convention", "pyramiddrop")
    assert document["workload"]["tokens_counted"] == 576
    assert document["workload"]["text_tokens"] == 60
    assert "576 visual tokens (60 text tokens not counted)" in answer("--convention", "pyramiddrop")


def test_formats_of_storage_are_taken() -> None:
    document = answer_json("--convention", "prumerge", "--precision", "int4")
    assert document["total"] == 2_331_900_071_936  # 9 327 600 287 744 / 4
    formats = ["--weights", "int4", "--activations", "int8", "--kv", "fp4"]
    assert answer_json(*formats)["bytes"] < answer_json("--precision", "int8")["bytes"] < answer_json()["bytes"]
    assert "W int4 A int8, KV fp4" in " ".join(answer(*formats).split())


def test_a_reduction_is_counted_and_its_assumption_said() -> None:
    result = run("--reduction", "prumerge", "--format", "json")
    document = json.loads(result.stdout)
    assert document["workload"]["visual_tokens"] == 32
    assert document["workload"]["reduction"] == "prumerge"
    assert "reduction" in document["by_phase"]
    assert "note: prumerge: assumed to leave 32 visual tokens" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--convention", "pyramydrop"], ["unknown convention", "nearest: pyramiddrop"]),
        (["--unit", "flops"], ["unknown --unit 'flops'", "nearest: flop"]),
        (["--causal", "hafl"], ["unknown --causal 'hafl'", "half"]),
        (["--tokens-counted", "text"], ["unknown --tokens-counted 'text'", "all, visual"]),
        (["--include", "vison,llm"], ["unknown --include 'vison'", "nearest: vision"]),
        (["--include", ""], ["unknown --include ''"]),
        (["--ffn-matrices", "4"], ["--ffn-matrices must be 2 or 3, not 4"]),
        (["--ffn-matrices", "two"], ["--ffn-matrices", "'two'"]),
        (["--convention", "prumerge", "--causal", "half"], ["own table of ops", "--causal cannot be set"]),
        (["--convention", "vscan", "--tokens", "0"], ["visual tokens only", "there are none", "calflops, fastv"]),
        (["--convention", "vscan", "--model", "vicuna-7b"], ["visual tokens only", "vicuna-7b sees no images"]),
        (["--unit", "mac", "--elementwise"], ["element-wise work has no multiply-adds", "--unit flop"]),
        (["--precision", "int3"], ["unknown --precision 'int3'", "nearest: int8, int4"]),
        (["--compare", "--convention", "torch"], ["--compare", "leave out --convention"]),
        (["--compare", "--ffn-matrices", "2"], ["--compare", "leave out --ffn-matrices"]),
        (["--compare", "--explain"], ["--compare", "leave out --explain"]),
    ],
)
def test_what_is_refused(arguments: list[str], parts: list[str]) -> None:
    line = error_line(*arguments)
    assert [part for part in parts if part not in line] == []


# --- what people see


@pytest.mark.parametrize("name", convention_names())
def test_macs_are_not_called_flops(name: str) -> None:
    text = answer("--convention", name)
    unit = answer_json("--convention", name)["convention"]["unit"]
    shown, other = {"flop": ("FLOPs", "MAC"), "mac": ("MACs", "FLOP")}[unit]
    assert f"{shown}, exact" in text
    assert f"{shown} of one forward" in text
    assert other not in text.replace("calls MACs FLOPs", "")


@pytest.mark.parametrize("arguments", [[], ["--explain"], ["--compare"], ["--convention", "prumerge", "--explain"]])
def test_tables_keep_to_the_terminal(arguments: list[str]) -> None:
    assert max(map(len, answer(*arguments).splitlines())) <= 100


def test_the_notes_say_what_was_switched_and_what_is_left_out() -> None:
    text = " ".join(answer("--causal", "half").split())
    assert "convention torch, but causal half: multiply-add = 2 FLOPs, half of a causal mask" in text
    assert "torch itself leaves out norms" in text
    assert "gives what PyramidDrop (CVPR 2025) prints: 3.82 T (Table 1, vanilla)" in " ".join(
        answer("--convention", "pyramiddrop").split()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vscan", "--tokens", "64"], "0.415 T (header, 64 tokens), 0.4155 T here: cut off"),
        (["sparsevlm", "--tokens", "128"], "1.62 T (Table 1, ToMe, 128 tokens), 1.609 T here"),
        (["fastv", "--reduction", "fastv"], "54.6 B a layer (Table 1, K=2 R=50%), 54.79 B here"),
    ],
)
def test_a_figure_that_is_missed_is_shown_as_such(arguments: list[str], words: str) -> None:
    compared = ["--compare", *arguments[1:]]
    text = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["count", "--convention", *arguments]).stdout
    assert f"prints: {words}\n" in text
    assert "misses what" in text
    assert f"prints {words}\n" in CliRunner(env={"COLUMNS": "200"}).invoke(main, ["count", *compared]).stdout
    assert answer_json("--convention", *arguments)["convention"]["misses"] == [words]
    assert [row["misses"] for row in answer_json(*compared)["rows"] if row["misses"]] == [[words]]


def test_a_figure_that_is_not_the_count_rounded_is_shown_with_what_comes_out() -> None:
    # 13B, INT4, 700 tokens: 18.171 T / 4 = 4.543 T, where 4.6 is printed
    (words,) = answer_json("--convention", "prumerge", "--model", "llava-1.5-13b", "--precision", "int4")["convention"][
        "gives"
    ]
    assert words == (
        "4.6 T (cost table, INT4, LLaVA-1.5), 4.54 T here, within one unit of the last significant printed digit"
    )


@pytest.mark.parametrize("name", [name for name in convention_names() if load_convention(name).notes])
def test_the_notes_of_a_convention_are_shown(name: str) -> None:
    notes = load_convention(name).notes
    for arguments in (["--convention", name], ["--convention", name, "--explain"]):
        text = " ".join(answer(*arguments).split())
        assert [note for note in notes if " ".join(note.split()) not in text] == []
        assert answer_json(*arguments)["convention"]["notes"] == list(notes)


def test_an_explanation_shows_the_formula_with_the_numbers() -> None:
    text = answer("--convention", "pyramiddrop", "--explain")
    assert "L * (4*n*d**2 + 2*n**2*d + 3*n*d*m)" in text
    assert "= 32 * (4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008)" in text
    assert "= 3 817 152 184 320" in text
    assert "This is the count, to the integer." in text
    assert "32 x 576*4096*11008" in text


def test_an_explanation_says_why_formula_and_count_differ() -> None:
    text = " ".join(answer("--model", "llama-3-8b", "--explain").split())
    assert "less than the formula:" in text
    assert "32 query heads share 8 key and value heads" in text


def test_a_comparison_names_what_each_leaves_out() -> None:
    text = answer("--compare")
    assert [name for name in convention_names() if f"\n{name} " not in text.split("What each leaves out")[1]] == []
    assert "causal" in text
    assert "not shown at this width" not in text


# --- what machines read


def test_the_json_of_an_explanation_can_be_reckoned_again() -> None:
    document = answer_json("--explain", "--convention", "sparsevlm")
    assert document["formula_value"] == document["total"]
    assert document["differences"] == []
    (piece,) = document["formula"]
    assert Formula(piece["filled"]).evaluate({}) == piece["value"] == document["total"]
    arithmetic = [Formula(line["arithmetic"].replace(" x ", " * ")).evaluate({}) for line in document["arithmetic"]]
    assert arithmetic == [line["value"] for line in document["arithmetic"]]


def test_the_json_of_a_comparison() -> None:
    document = answer_json("--compare")
    rows = {row["convention"]: row for row in document["rows"]}
    assert rows["pyramiddrop"]["total"] == 3_817_152_184_320
    assert rows["pyramiddrop"]["gives"] == ["3.82 T (Table 1, vanilla)"]
    assert rows["torch"]["language_model"] == 8_449_813_905_408
    assert rows["torch"]["include"] == ["vision", "reducer", "projector", "llm"]
    assert document["workload"]["visual_tokens"] == 576


@pytest.mark.parametrize("arguments", [[], ["--explain"], ["--compare"], ["--convention", "prumerge", "--explain"]])
@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "html"])
def test_every_format_names_the_model(arguments: list[str], form: str) -> None:
    assert "llava-1.5-7b" in answer(*arguments, "--format", form)


def test_a_csv_of_macs_has_macs() -> None:
    rows = list(csv.DictReader(io.StringIO(answer("--convention", "fastv", "--format", "csv"))))
    assert sum(int(row["macs"]) for row in rows) == 3_178_481_319_936
    assert "flops" not in rows[0]


def test_flops_and_macs_side_by_side_keep_their_columns() -> None:
    both = [perfkit.count(unit="flop"), perfkit.count(unit="mac")]
    table = reports.report(both)
    keys = [column.key for column in table.columns]
    assert {"flops", "macs"} <= set(keys)
    flops, macs = ([row[keys.index(key)] for row in table.rows] for key in ("flops", "macs"))
    assert sum(one for one in flops if one is not None) == 2 * sum(one for one in macs if one is not None)
    assert all((one is None) != (other is None) for one, other in zip(flops, macs, strict=True))


def test_values_have_reports() -> None:
    explained, compared = explain(perfkit.count()), compare()
    assert len(reports.report(explained).rows) == len(explained.lines)
    assert len(reports.report([compared, compared]).rows) == 2 * len(convention_names())
    assert reports.document(compared)["model"] == "llava-1.5-7b"
