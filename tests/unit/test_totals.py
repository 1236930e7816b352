"""Counts under a convention: what is in them, how they are explained, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from perfkit import reports
from perfkit.conventions import convention_names, load_convention
from perfkit.errors import InvalidValue, UnknownName
from perfkit.formulas import Formula
from perfkit.models import load_model, preset_names, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.totals.asked import checked_switches, stored_execution, text_tokens_of
from perfkit.totals.counted import count, part_of, tally
from perfkit.totals.explaining import Explanation, explain
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup, Workload

LLAVA = "llava-1.5-7b"
# Models that no preset holds, each with something that no formula has.
CONFIGS = {
    "opt": {"model_type": "opt", "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 64},
    "bridged": {
        "model_type": "opt",
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "vocab_size": 500,
        "do_layer_norm_before": False,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 512, "vocab_size": 701},
    "qwen3": {
        "model_type": "qwen3",
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 160,
        "vocab_size": 500,
    },
}


def spec_of(name: str) -> ModelSpec:
    if name in CONFIGS:
        values = {"max_position_embeddings": 512, "vocab_size": 500, **CONFIGS[name]}
        return replace(read_model(Config(values, name)), name=name)
    return load_model(name)


SPECS = {name: spec_of(name) for name in (*preset_names(), *CONFIGS)}


def workload_of(spec: ModelSpec) -> Workload:
    return Workload(spec.visual_tokens, 60 if spec.text else 0, images=1 if spec.vision else 0)


def explained(spec: ModelSpec, name: str) -> Explanation | None:
    try:
        return explain(tally(spec, workload_of(spec), Execution(), load_convention(name)))
    except InvalidValue:
        return None


# --- what a convention sets


def test_a_convention_brings_its_text_tokens() -> None:
    assert count(LLAVA, convention="sparsevlm").workload.text_tokens == 118
    assert count(LLAVA, convention="prumerge").workload.prompt_tokens == 700
    assert count(LLAVA, convention="torch").workload.text_tokens == 60
    assert count(LLAVA, convention="sparsevlm", text_tokens=7).workload.text_tokens == 7
    assert text_tokens_of(load_convention("fastv"), None) == 36


def test_a_convention_says_which_logits_count() -> None:
    assert count(LLAVA, convention="calflops").execution.logits == "all"
    assert count(LLAVA, convention="calflops", logits="none").execution.logits == "none"
    assert count("bert-base", convention="calflops").execution.logits == "none"  # it has no lm_head
    made = tally(load_model(LLAVA), Workload(576), Execution(logits="all"), load_convention("torch"))
    assert made.execution.logits == "last"


def test_single_switches_override() -> None:
    counted = count(LLAVA, convention="pyramiddrop", unit="flop", tokens_counted="all", include=["vision", "llm"])
    assert counted.convention.label == "pyramiddrop, but unit flop, include vision+llm, tokens counted all"
    assert set(counted.by_phase) == {"vision", "prefill"}
    assert counted.total == 381_918_216_192 + count(LLAVA, include=["llm"], logits="none").total


@pytest.mark.parametrize(
    "wrong",
    [
        {"convention": "torhc"},
        {"unit": "flops"},
        {"unit": ""},
        {"causal": "none"},
        {"logits": "first"},
        {"tokens_counted": "text"},
        {"include": ["lm"]},
        {"include": ["llm", "tower"]},
        {"precision": "int3"},
        {"weights": "fp12"},
        {"reduction": "fastw"},
    ],
)
def test_unknown_names(wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownName):
        count(LLAVA, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ffn_matrices": 4}, "--ffn-matrices must be 2 or 3, not 4"),
        ({"ffn_matrices": True}, "--ffn-matrices must be 2 or 3, not True"),
        ({"include": []}, "--include must name at least one of vision, reducer, projector, llm, lm_head"),
        ({"unit": "mac", "elementwise": True}, "element-wise work has no multiply-adds"),
        ({"include": ["lm_head"], "logits": "none"}, "nothing to count"),
        ({"include": ["reducer"]}, "has no reducer in this forward, so nothing is counted"),
        ({"include": ["vision"], "tokens": 0}, "has no vision in this forward"),
        ({"convention": "pyramiddrop", "tokens": 0}, "counts visual tokens only, and there are none"),
        ({"convention": "prumerge", "causal": "half"}, "own table of ops, so --causal cannot be set"),
        ({"tokens": 577}, "576"),
    ],
)
def test_what_cannot_be_counted(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(says)):
        count(LLAVA, **wrong)  # type: ignore[arg-type]


def test_switches_that_were_not_given_are_left_to_the_convention() -> None:
    assert checked_switches(unit=None, include=None, ffn_matrices=None, elementwise=None) == {}
    assert checked_switches(elementwise=False, ffn_matrices=2) == {"elementwise": False, "ffn_matrices": 2}


@pytest.mark.parametrize("name", ["pyramiddrop", "vscan", "visionzip"])
def test_a_text_model_has_no_visual_tokens_to_count(name: str) -> None:
    with pytest.raises(
        InvalidValue,
        match=f"^{name} counts visual tokens only, and vicuna-7b sees no images; conventions that count text too: ",
    ):
        count("vicuna-7b", convention=name)
    assert count("vicuna-7b", convention=name, tokens_counted="all").total > 0


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        ("bert-base", "no language model that makes tokens"),
        ("clip-vit-l-14-336", "no language model that makes tokens"),
        ("mixtral-8x7b", "is a mixture of experts"),
        ("gpt2", "no gated feed-forward"),
        ("qwen3", "other attention projections"),
    ],
)
def test_models_that_a_table_of_its_own_does_not_fit(model: str, lacks: str) -> None:
    with pytest.raises(InvalidValue, match=f"{model} .*{lacks}"):
        tally(SPECS[model], workload_of(SPECS[model]), Execution(), load_convention("prumerge"))


# --- a count


def test_a_count_adds_up_by_op_and_by_phase() -> None:
    counted = count(LLAVA, reduction="pyramiddrop", elementwise=True)
    assert counted.total == sum(map(counted.amount_of, counted.ops)) == sum(counted.by_phase.values())
    assert counted.elementwise
    assert {part_of(op) for op in counted.ops} == {"vision", "reducer", "projector", "llm"}


def test_multiply_adds_are_those_of_the_counted_products() -> None:
    assert count(LLAVA).macs == count(LLAVA, unit="mac").total == count(LLAVA).total // 2
    assert count(LLAVA, causal="half").macs == count(LLAVA, causal="half", unit="mac").total
    assert count(LLAVA, convention="prumerge").macs is None


def test_bytes_do_not_depend_on_unit_and_switches() -> None:
    plain = count(LLAVA)
    assert plain.bytes == count(LLAVA, unit="mac", causal="half", ffn_matrices=2).bytes
    assert plain.bytes > count(LLAVA, include=["llm"]).bytes
    assert plain.bytes > count(LLAVA, precision="int4").bytes


@pytest.mark.parametrize("precision", ["fp32", "fp8", "int4", "fp4"])
def test_formats_change_no_flops_but_under_bits_scaling(precision: str) -> None:
    bits = Precision(precision).bits
    assert count(LLAVA, precision=precision).total == count(LLAVA).total
    scaled = count(LLAVA, convention="prumerge", precision=precision).total
    assert scaled == Fraction(count(LLAVA, convention="prumerge").total * bits, 16)
    assert isinstance(scaled, int)


def test_bits_of_the_wider_of_weights_and_activations_scale() -> None:
    whole = count(LLAVA, convention="prumerge").total
    assert count(LLAVA, convention="prumerge", weights="int4").total == whole
    assert count(LLAVA, convention="prumerge", weights="int4", activations="int8").total * 2 == whole


def test_stored_formats() -> None:
    assert stored_execution("int4") == Execution(Precision.INT4, Precision.INT4, Precision.INT4)
    assert stored_execution("fp16", "int4", "int8", "fp8") == Execution(Precision.INT4, Precision.INT8, Precision.FP8)


def test_half_bytes_round_up_to_whole_ones() -> None:
    counted = count("vicuna-7b", text_tokens=1, convention="prumerge", precision="int4")
    assert all(isinstance(op.bytes, int) for op in counted.ops)
    json.dumps(reports.document(counted))


# --- an explanation


@pytest.mark.parametrize("convention", convention_names())
@pytest.mark.parametrize("model", SPECS)
def test_arithmetic_is_the_count_op_by_op(model: str, convention: str) -> None:
    made = explained(SPECS[model], convention)
    if made is None:
        return
    for line in made.lines:
        assert Formula(line.arithmetic.replace(" x ", " * ")).evaluate({}) == line.value, line
    assert sum(line.value for line in made.lines) == made.count.total


@pytest.mark.parametrize("reduction", ["fastv", "pyramiddrop", "prumerge", "prumerge+", "sparsevlm", "vtw:k=9"])
def test_arithmetic_of_everything_at_once(reduction: str) -> None:
    made = explain(count(LLAVA, reduction=reduction, elementwise=True, causal="half", batch=2, images=1))
    for line in made.lines:
        assert Formula(line.arithmetic.replace(" x ", " * ")).evaluate({}) == line.value, line
    assert sum(line.value for line in made.lines) == made.count.total


@pytest.mark.parametrize("convention", convention_names())
@pytest.mark.parametrize("model", SPECS)
def test_formula_and_count_differ_only_with_a_reason(model: str, convention: str) -> None:
    made = explained(SPECS[model], convention)
    if made is None or made.formula_value is None:
        return
    assert (made.formula_value != made.count.total) == bool(made.differences)
    for piece in made.pieces:
        assert Formula(piece.filled).evaluate({}) == piece.value


@pytest.mark.parametrize(
    ("model", "convention", "says"),
    [
        ("llama-3-8b", "torch", "32 query heads share 8 key and value heads"),
        ("mixtral-8x7b", "torch", "2 of 8 experts after a router"),
        ("opt", "sparsevlm", "two matrices, and the formula three"),
        ("bridged", "torch", "its embedding is 32 wide"),
        ("qwen3", "torch", "4 heads of 32 are 128 wide, and the formula takes 96"),
        ("bert-base", "torch", "pooler"),
        ("siglip-so400m", "torch", "attention-pooling head"),
    ],
)
def test_why_formula_and_count_differ(model: str, convention: str, says: str) -> None:
    made = explained(SPECS[model], convention)
    assert made is not None
    assert [reason for reason in made.differences if says in reason]


def test_two_matrix_models_fit_two_matrix_formulas() -> None:
    made = explained(SPECS["gpt2"], "fastv")
    assert made is not None
    assert made.formula_value == made.count.total  # 4nd^2 + 2n^2 d + 2ndm is GPT-2's layer


@pytest.mark.parametrize(
    ("switches", "says"),
    [
        ({"causal": "half"}, "the count is with causal half"),
        ({"unit": "flop"}, "unit flop"),
        ({"ffn_matrices": 2}, "ffn matrices 2"),
        ({"logits": "last"}, "the formula has no lm_head"),
        ({"include": ["llm", "vision"]}, "the formula has no vision tower"),
        ({"include": ["llm", "projector"]}, "the formula has no projector"),
    ],
)
def test_switches_that_a_formula_does_not_follow(switches: dict[str, object], says: str) -> None:
    made = explain(count(LLAVA, convention="pyramiddrop", **switches))  # type: ignore[arg-type]
    assert [reason for reason in made.differences if says in reason] == list(made.differences)


def test_switches_that_a_formula_follows() -> None:
    made = explain(count(LLAVA, convention="pyramiddrop", tokens_counted="all", batch=2))
    assert made.formula_value == made.count.total
    assert made.pieces[0].symbols == "L * B * (4*n*d**2 + 2*n**2*d + 3*n*d*m)"
    alone = explain(count(LLAVA, logits="all", include=["lm_head"]))
    assert [piece.filled for piece in alone.pieces] == ["2*636*4096*32064"]


def test_what_a_reducer_computes_is_a_reason() -> None:
    made = explain(count(LLAVA, reduction="prumerge"))
    (reason,) = made.differences
    assert "choosing the tokens to keep" in reason


def test_pieces_follow_the_layers() -> None:
    made = explain(count(LLAVA, convention="pyramiddrop", reduction="fastv:k=2,r=0.5"))
    assert [piece.what for piece in made.pieces] == ["2 layers, 576 tokens", "30 layers, 288 tokens"]
    assert made.pieces[1].filled == "30 * (4*288*4096**2 + 2*288**2*4096 + 3*288*4096*11008)"
    # 32 * 119 286 005 760 / 16 = 238 572 011 520; 30 * 58 963 525 632
    assert [piece.value for piece in made.pieces] == [238_572_011_520, 1_768_905_768_960]


def test_an_op_line_by_hand() -> None:
    made = explain(count(LLAVA))
    lines = {(line.phase, line.name): line for line in made.lines}
    q_proj = lines["prefill", "q_proj"]
    assert q_proj.arithmetic == "32 x 2*636*4096*4096"
    assert q_proj.value == 682_899_800_064  # 64 * 636 * 16 777 216
    assert lines["prefill", "attention"].arithmetic == "32 x 4*636*636*32*128"
    assert lines["prefill", "lm_head"].arithmetic == "2*4096*32064"
    half = explain(count(LLAVA, causal="half", unit="mac"))
    assert next(line for line in half.lines if line.phase == "prefill" and line.name == "attention").arithmetic == (
        "32 x 2*636*636*32*128/2"
    )


def test_an_own_tables_line_by_hand() -> None:
    made = explain(count(LLAVA, convention="prumerge", precision="int4"))
    assert made.pieces == ()
    assert made.formula_value is None
    q_proj, lm_head = made.lines[0], made.lines[-1]
    assert (q_proj.symbols, q_proj.arithmetic) == ("2*B*n*d**2", "32 x 2*700*4096**2 x 4/16")
    assert q_proj.value == 751_619_276_800 // 4
    assert lm_head.arithmetic == "4096*32064 x 4/16"  # multiply-adds, not doubled
    assert made.symbols["n"] == "tokens counted, a sequence"
    batch = explain(count(LLAVA, convention="prumerge", batch=3)).lines[0]
    assert batch.arithmetic == "32 x 2*3*700*4096**2"


def test_symbols_are_those_in_use() -> None:
    assert set(explain(count(LLAVA, convention="fastv")).symbols) == {"L", "n", "d", "m"}
    assert {"P", "t", "p", "n"} <= set(explain(count(LLAVA)).symbols)


def test_a_schedule_given_by_hand() -> None:
    schedule = (LayerGroup(16, 576), LayerGroup(16, 0))
    spec = load_model(LLAVA)
    made = explain(tally(spec, Workload(576, 60, schedule=schedule), Execution(), load_convention("pyramiddrop")))
    assert made.formula_value == made.count.total == 3_817_152_184_320 // 2
