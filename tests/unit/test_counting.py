"""Counting: which phases and ops a workload has, what scales with what, schedules, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfkit.counting import count_ops, decode_ops, execution_of, workload_of
from perfkit.errors import InvalidValue, UnknownName
from perfkit.models import load_model
from perfkit.ops import OpCost
from perfkit.totals.counted import count
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup

BASE = Execution()
LLAVA = "llava-1.5-7b"


def forward(model: str = LLAVA, execution: Execution = BASE, **workload: Any) -> tuple[OpCost, ...]:
    spec = load_model(model)
    return count_ops(spec, workload_of(spec, **workload), execution_of(spec, execution))


def phases(ops: tuple[OpCost, ...]) -> list[str]:
    return list(dict.fromkeys(op.phase for op in ops))


def names(ops: tuple[OpCost, ...], phase: str) -> list[str]:
    return [op.name for op in ops if op.phase == phase]


def flops(ops: tuple[OpCost, ...], phase: str) -> int:
    return sum(op.matmul_flops for op in ops if op.phase == phase)


def op_of(ops: tuple[OpCost, ...], phase: str, name: str) -> OpCost:
    (found,) = [op for op in ops if (op.phase, op.name) == (phase, name)]
    return found


# --- phases and ops

LLAMA_LAYER = [
    "input_norm",
    "q_proj",
    "k_proj",
    "v_proj",
    "rotary",
    "kv_write",
    "attention",
    "o_proj",
    "attention_residual",
    "post_attention_norm",
    "gate_proj",
    "up_proj",
    "gated_act",
    "down_proj",
    "ffn_residual",
]


def test_phases_in_the_order_of_a_request() -> None:
    assert phases(forward()) == ["vision", "projector", "prefill", "decode"]


def test_ops_of_llava() -> None:
    ops = forward(tokens=32)
    tower = ["input_norm", "q_proj", "k_proj", "v_proj", "attention", "o_proj", "attention_residual"]
    tower += ["post_attention_norm", "fc1", "act", "fc2", "ffn_residual"]
    assert names(ops, "vision") == ["patch_embedding", "position_embedding", "pre_norm", *tower, "post_norm"]
    assert names(ops, "projector") == ["linear_1", "act", "linear_2"]
    assert names(ops, "prefill") == ["embed_tokens", "merge_visual", *LLAMA_LAYER, "final_norm", "lm_head"]
    assert names(ops, "decode") == ["embed_tokens", *LLAMA_LAYER, "final_norm", "lm_head"]
    assert {op.repeat for op in ops if op.name in LLAMA_LAYER and op.phase != "vision"} == {32}
    assert {op.repeat for op in ops if op.name in tower and op.phase == "vision"} == {24}


def test_no_visual_tokens_no_vision_no_projector() -> None:
    ops = forward(tokens=0)
    assert phases(ops) == ["prefill", "decode"]
    assert "merge_visual" not in names(ops, "prefill")


def test_ops_of_gpt2_and_qwen3(tmp_path: Path) -> None:
    gpt2 = {"model_type": "gpt2", "n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": 99, "n_positions": 64}
    qwen3 = {
        "model_type": "qwen3",
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 99,
    }
    for values in (gpt2, qwen3):
        (tmp_path / f"{values['model_type']}.json").write_text(json.dumps(values))
    found = names(forward(str(tmp_path / "gpt2.json")), "decode")
    assert "qkv_proj" in found
    assert not {"q_proj", "rotary", "gate_proj", "q_norm"} & set(found)
    assert found[:2] == ["embed_tokens", "embed_positions"]
    found = names(forward(str(tmp_path / "qwen3.json")), "decode")
    assert found.index("v_proj") < found.index("q_norm") < found.index("k_norm") < found.index("rotary")
    # Over each head of 128: 4 query heads and 2 key heads a token, 2 layers, 4 an element, one scale of 128
    q_norm, k_norm = (op_of(forward(str(tmp_path / "qwen3.json")), "decode", name) for name in ("q_norm", "k_norm"))
    assert (q_norm.vector_flops, k_norm.vector_flops) == (2 * 4 * 4 * 128, 2 * 4 * 2 * 128)
    assert q_norm.weight_bytes == k_norm.weight_bytes == 2 * 128 * 2


def test_ops_of_mixtral() -> None:
    found = names(forward("mixtral-8x7b"), "decode")
    start = found.index("post_attention_norm") + 1
    mixture = ["router", "router_softmax", "gate_proj", "up_proj", "gated_act", "down_proj", "combine"]
    assert found[start : start + 7] == mixture


def test_bert_has_no_decode_and_no_logits() -> None:
    ops = forward("bert-base")
    assert phases(ops) == ["prefill"]
    found = names(ops, "prefill")
    assert {"embedding_norm", "pooler", "pooler_act"} <= set(found)
    assert not {"lm_head", "kv_write", "final_norm", "rotary"} & set(found)
    assert sum(op.kv_read_bytes + op.kv_write_bytes for op in ops) == 0
    # One position table and one of token types: 2 adds an element of 60 * 768
    assert op_of(ops, "prefill", "embed_positions").vector_flops == 92_160


def test_a_model_without_decoder_makes_no_logits() -> None:
    for model in ("bert-base", "clip-vit-l-14-336"):
        assert execution_of(load_model(model), replace(BASE, logits="all")).logits == "none"
    assert execution_of(load_model(LLAVA), replace(BASE, logits="all")).logits == "all"


@pytest.mark.parametrize("model", ["clip-vit-l-14-336", "siglip-so400m"])
def test_bare_tower(model: str) -> None:
    spec = load_model(model)
    workload = workload_of(spec)
    assert (workload.text_tokens, workload.new_tokens) == (0, 0)
    assert phases(forward(model)) == ["vision"]
    assert ("head_attention" in names(forward(model), "vision")) == (model == "siglip-so400m")
    with pytest.raises(InvalidValue, match="bare vision tower"):
        workload_of(spec, tokens=1)


def test_logits() -> None:
    # 2 * 4096 * 32064 a row
    last, every, none = (forward(tokens=32, execution=replace(BASE, logits=x)) for x in ("last", "all", "none"))
    assert op_of(last, "prefill", "lm_head").matmul_flops == 262_668_288
    assert op_of(every, "prefill", "lm_head").matmul_flops == 92 * 262_668_288
    assert "lm_head" not in names(none, "prefill") + names(none, "decode")
    assert op_of(every, "decode", "lm_head").matmul_flops == 262_668_288


# --- batch and images


@pytest.mark.parametrize("batch", [2, 7])
@pytest.mark.parametrize("model", [LLAVA, "mixtral-8x7b", "llama-3-8b"])
def test_flops_and_activations_are_in_proportion_to_the_batch(model: str, batch: int) -> None:
    for one, many in zip(forward(model), forward(model, batch=batch), strict=True):
        assert many.flops == batch * one.flops
        assert many.write_bytes == batch * one.write_bytes
        assert many.kv_read_bytes == batch * one.kv_read_bytes
        if one.kind != "rotary":  # which reads the cosines of a position once
            assert many.read_bytes == batch * one.read_bytes


def test_two_images_are_two_passes_of_the_tower() -> None:
    ops = forward(images=2)
    assert flops(ops, "vision") == 2 * 381_918_216_192
    assert flops(ops, "projector") == 2 * 24_159_191_040
    assert workload_of(load_model(LLAVA), images=2).visual_tokens == 1152
    # Attention of the tower stays within an image: 4 * 577^2 * 1024 a layer and image
    assert op_of(ops, "vision", "attention").matmul_flops == 2 * 24 * 1_363_677_184


def test_visual_tokens_are_those_of_all_images_together() -> None:
    ops = forward(images=2, tokens=600)
    assert flops(ops, "vision") == 2 * 381_918_216_192
    assert flops(ops, "projector") == 25_165_824_000  # 2 * 600 * (1024 * 4096 + 4096^2)


def test_llava_next_projects_no_row_ends() -> None:
    spec = load_model("llava-next-7b")
    # 24 * 24 of the whole picture, 48 rows of 48 patches and a learned end
    assert workload_of(spec).visual_tokens == 2928
    assert (spec.visual_tokens, spec.newline_tokens, spec.projected_tokens) == (2928, 48, 2880)
    ops = forward("llava-next-7b")
    assert flops(ops, "vision") == 5 * 381_918_216_192
    assert flops(ops, "projector") == 120_795_955_200  # 2 * 2880 * (1024 * 4096 + 4096^2)
    # All 2928 and 60 of text enter the language model: 32 (8 n h^2 + 6 n h i + 4 n^2 h) + 2 h V, n = 2988
    assert flops(ops, "prefill") == 43_381_789_556_736
    assert flops(forward("llava-next-7b", tokens=100), "projector") == 4_194_304_000  # 2 * 100 * ...


# --- decode


def test_decode_looks_back_at_the_prompt_and_itself() -> None:
    ops = forward(tokens=32, text_tokens=60)
    attention = op_of(ops, "decode", "attention")
    assert attention.matmul_flops == 32 * 4 * 93 * 4096
    assert attention.kv_read_bytes == 32 * 2 * 93 * 4096 * 2
    # In prefill all 92 look at 92.
    assert op_of(ops, "prefill", "attention").matmul_flops == 32 * 4 * 92 * 92 * 4096


def test_later_steps_look_back_at_earlier_ones() -> None:
    spec = load_model(LLAVA)
    workload = workload_of(spec, tokens=32, text_tokens=60)
    later = tuple(decode_ops(spec, workload, BASE, extra_tokens=10))
    assert op_of(later, "decode", "attention").matmul_flops == 32 * 4 * 103 * 4096
    # Step 10 after 32 + 60 is step 0 after 32 + 70.
    longer = workload_of(spec, tokens=32, text_tokens=70)
    assert later == tuple(decode_ops(spec, longer, BASE))


def test_shared_heads_are_rotated_and_written_as_often_as_they_are_kept() -> None:
    # Llama-3-8B: 32 layers, queries 4096 wide, keys 1024; one token of each of 3 sequences
    ops = forward("llama-3-8b", batch=3)
    assert op_of(ops, "decode", "rotary").vector_flops == 32 * 3 * 3 * (4096 + 1024)
    assert op_of(ops, "decode", "kv_write").kv_write_bytes == 32 * 3 * 2 * 1024 * 2
    assert op_of(ops, "decode", "attention").kv_read_bytes == 32 * 3 * 2 * 61 * 1024 * 2


def test_element_wise_work_of_a_mixture() -> None:
    # Mixtral, one token: SiLU and the product with the other half, 5 an element of two experts 14336 wide
    ops = forward("mixtral-8x7b")
    assert op_of(ops, "decode", "gated_act").vector_flops == 32 * 5 * 2 * 14336
    assert op_of(ops, "decode", "router_softmax").vector_flops == 32 * 5 * 8
    assert op_of(ops, "decode", "combine").vector_flops == 32 * 2 * 2 * 4096


def test_element_wise_work_of_a_decode_step() -> None:
    # LLaVA-1.5-7B, cache 636: a layer has two norms of 4 an element, rotary 3 on queries and keys, softmax 5 on 32
    # rows of 637 scores, SiLU and product 5 on 11008, two residuals; then the final norm
    layer = 2 * 4 * 4096 + 3 * 2 * 4096 + 5 * 32 * 637 + 5 * 11008 + 2 * 4096
    assert sum(op.vector_flops for op in forward() if op.phase == "decode") == 32 * layer + 4 * 4096


def test_eager_attention_copies_llamas_shared_heads_only() -> None:
    eager = replace(BASE, attention="eager")
    assert "attention_repeat_kv" in names(forward("llama-3-8b", eager), "prefill")
    assert "attention_repeat_kv" not in names(forward(LLAVA, eager), "prefill")
    assert {"attention_qk", "attention_softmax", "attention_pv"} <= set(names(forward(LLAVA, eager), "vision"))


@pytest.mark.parametrize("model", [LLAVA, "llama-3-8b", "mixtral-8x7b", "bert-base", "siglip-so400m"])
def test_attention_kernels_differ_in_traffic_alone(model: str) -> None:
    fused, eager = forward(model), forward(model, replace(BASE, attention="eager"))
    for phase in phases(fused):
        assert flops(eager, phase) == flops(fused, phase)
        assert sum(o.vector_flops for o in eager if o.phase == phase) == sum(
            o.vector_flops for o in fused if o.phase == phase
        )
        extra = sum(o.bytes for o in eager if o.phase == phase) - sum(o.bytes for o in fused if o.phase == phase)
        assert extra == 0 if phase == "projector" else extra > 0


def test_products_run_in_the_formats_that_were_asked_for() -> None:
    ops = forward(execution=Execution(weights=Precision.FP32, activations=Precision.FP16))
    assert op_of(ops, "decode", "gate_proj").engine is Precision.FP32  # the wider of the two
    for phase, name in (("decode", "attention"), ("decode", "lm_head"), ("projector", "linear_1"), ("vision", "fc1")):
        assert op_of(ops, phase, name).engine is Precision.FP16


# --- schedules

H, FFN, V = 4096, 11008, 32064  # widths of the 7B language model and its feed-forward, vocabulary


def layers_flops(layers: int, tokens: int) -> int:
    return layers * (8 * tokens * H**2 + 6 * tokens * H * FFN + 4 * tokens**2 * H)


def scheduled(*groups: tuple[int, int], text_tokens: int = 60, tokens: int = 576) -> tuple[OpCost, ...]:
    schedule = tuple(LayerGroup(layers, visual) for layers, visual in groups)
    return forward(tokens=tokens, text_tokens=text_tokens, schedule=schedule)


@pytest.mark.parametrize(
    "groups",
    [
        ((2, 576), (30, 288)),  # half dropped after layer 2, as FastV
        ((8, 576), (8, 288), (8, 144), (8, 72)),  # halved at four stages, as PyramidDrop
        ((16, 576), (16, 0)),  # none after layer 16, as VTW
    ],
)
def test_each_group_of_layers_sees_its_own_tokens(groups: tuple[tuple[int, int], ...]) -> None:
    ops = scheduled(*groups)
    assert flops(ops, "prefill") == sum(layers_flops(n, visual + 60) for n, visual in groups) + 2 * H * V
    # The new token's products are those of one token; each layer's cache holds what that layer saw.
    one = 8 * H**2 + 6 * H * FFN
    decode = sum(layers * (one + 4 * (visual + 60 + 1) * H) for layers, visual in groups) + 2 * H * V
    assert flops(ops, "decode") == decode
    keys = sum(layers * 2 * (visual + 61) * H * 2 for layers, visual in groups)
    assert sum(op.kv_read_bytes for op in ops if op.phase == "decode") == keys


def test_fastv_in_figures() -> None:
    # 2 layers at 576 + 60 tokens, 30 at 288 + 60, one row of logits:
    # 2 * 264_048_476_160 + 30 * 142_837_284_864 + 262_668_288
    assert flops(scheduled((2, 576), (30, 288)), "prefill") == 4_813_478_166_528


def test_a_schedule_leaves_tower_and_projector_alone() -> None:
    ops, plain = scheduled((2, 576), (30, 288)), forward(tokens=576)
    for phase in ("vision", "projector"):
        assert [o for o in ops if o.phase == phase] == [o for o in plain if o.phase == phase]


def test_a_schedule_that_drops_nothing_changes_nothing() -> None:
    plain, groups = forward(tokens=576), scheduled((2, 576), (30, 576))
    for phase in ("prefill", "decode"):
        for figure in ("matmul_flops", "vector_flops", "bytes"):
            assert sum(getattr(o, figure) for o in plain if o.phase == phase) == sum(
                getattr(o, figure) for o in groups if o.phase == phase
            )


def test_logits_of_a_schedule_are_those_of_its_last_layer() -> None:
    schedule = (LayerGroup(16, 576), LayerGroup(16, 0))
    ops = forward(execution=replace(BASE, logits="all"), schedule=schedule)
    assert op_of(ops, "prefill", "lm_head").matmul_flops == 60 * 262_668_288


@pytest.mark.parametrize("groups", [((2, 288), (30, 576)), ((2, 577), (30, 288))])
def test_growing_schedules_are_refused(groups: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InvalidValue, match="cannot grow"):
        scheduled(*groups)


@pytest.mark.parametrize("groups", [((2, 576),), ((2, 576), (31, 288))])
def test_schedules_of_other_depths_are_refused(groups: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InvalidValue, match="layers"):
        scheduled(*groups)


@pytest.mark.parametrize("groups", [((2, 576), (30, -1)), ((33, 576), (-1, 288))])
def test_negative_counts_in_schedules_are_refused(groups: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InvalidValue, match="whole number"):
        scheduled(*groups)


def test_a_bare_tower_takes_no_schedule() -> None:
    with pytest.raises(InvalidValue, match="layers"):
        workload_of(load_model("clip-vit-l-14-336"), schedule=(LayerGroup(24, 577),))


# --- what is refused


@pytest.mark.parametrize(("model", "images", "tokens"), [(LLAVA, 1, 577), (LLAVA, 2, 1153), ("llama-3-8b", 1, 1)])
def test_more_visual_tokens_than_the_model_makes(model: str, images: int, tokens: int) -> None:
    spec = load_model(model)
    with pytest.raises(InvalidValue, match=f"{tokens} visual tokens"):
        workload_of(spec, tokens=tokens, images=images)
    workload_of(spec, tokens=tokens - 1, images=images)


@pytest.mark.parametrize("wrong", [{"text_tokens": 0}, {"new_tokens": 0}, {"images": 0}, {"batch": 0}, {"tokens": -1}])
def test_counts_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidValue):
        workload_of(load_model(LLAVA), **wrong)


# --- count


def test_count_of_matrix_products_and_of_everything() -> None:
    products, everything = count(LLAVA, tokens=32), count(LLAVA, tokens=32, elementwise=True)
    ops = forward(tokens=32)
    assert products.total == sum(flops(ops, phase) for phase in ("vision", "projector", "prefill"))
    elementwise = sum(op.vector_flops for op in ops if op.phase != "decode")
    assert elementwise > 0
    assert everything.total == products.total + elementwise
    assert everything.macs == products.macs == products.total // 2
    assert "decode" not in products.by_phase
    assert sum(products.by_phase.values()) == products.total
    assert products.bytes == sum(op.bytes for op in ops if op.phase != "decode")


def test_count_takes_the_options_of_the_command_line() -> None:
    counted = count(LLAVA, tokens=600, text_tokens=7, batch=3, images=2, logits="all")
    assert counted.by_phase["vision"] == 6 * 381_918_216_192
    assert counted.by_phase["projector"] == 3 * 25_165_824_000
    assert counted.by_phase["prefill"] == 3 * (layers_flops(32, 607) + 607 * 262_668_288)


@pytest.mark.parametrize("wrong", [{"logits": "some"}, {"convention": "mine"}, {"model": "llava-1.5-8b"}])
def test_count_names_what_is_unknown(wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownName):
        count(**wrong)


def test_placeholders_of_visual_tokens_are_embedded_and_then_overwritten() -> None:
    prefill = [op for op in forward(tokens=32, text_tokens=60, batch=2) if op.phase == "prefill"]
    embedded, merged = prefill[0], prefill[1]
    assert (embedded.name, merged.name) == ("embed_tokens", "merge_visual")
    assert embedded.read_bytes == 2 * 92 * 4096 * 2  # batch, prompt, width, bytes of fp16
    assert merged.write_bytes == 2 * 32 * 4096 * 2
