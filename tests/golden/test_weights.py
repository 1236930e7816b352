"""Weight and cache bytes against the parameters of real modules, and narrow formats by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import transformers

from perfkit.counting import count_ops, workload_of
from perfkit.memory import kv_bytes, weight_bytes
from perfkit.models import PRESETS, load_model
from perfkit.ops import OpCost, linear_weight_bytes
from perfkit.units import Precision
from perfkit.workload import Execution

SMALL = "llava-1.5-7b"
BASE = Execution()


@cache
def module_of(model: str, class_name: str) -> Any:
    values = json.loads((PRESETS / f"{model}.json").read_text())["config"]
    config = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    with torch.device("meta"):
        return getattr(transformers, class_name)._from_config(config, dtype=torch.float16)


def elements(*parts: torch.nn.Module) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def phase(name: str, execution: Execution = BASE, model: str = SMALL, **workload: int) -> list[OpCost]:
    spec = load_model(model)
    forward = count_ops(spec, workload_of(spec, **workload), execution)
    return [op for op in forward if op.phase == name]


def weights(name: str, execution: Execution = BASE, model: str = SMALL, **workload: int) -> float:
    return sum(op.weight_bytes for op in phase(name, execution, model, **workload))


def op_of(name: str, op: str, execution: Execution = BASE, model: str = SMALL, **workload: int) -> OpCost:
    (found,) = [cost for cost in phase(name, execution, model, **workload) if cost.name == op]
    return found


# --- against real modules


@pytest.mark.parametrize(
    ("model", "class_name"),
    [
        (SMALL, "LlavaForConditionalGeneration"),
        ("mixtral-8x7b", "MixtralForCausalLM"),
        ("llama-3-8b", "LlamaForCausalLM"),
        ("bert-base", "BertModel"),
    ],
)
def test_all_weights_are_two_bytes_a_parameter(model: str, class_name: str) -> None:
    assert weight_bytes(load_model(model), BASE) == 2 * elements(module_of(model, class_name))
    single = Execution(*[Precision.FP32] * 3)
    assert weight_bytes(load_model(model), single) == 4 * elements(module_of(model, class_name))


def test_vision_reads_every_weight_of_the_tower_once() -> None:
    tower = module_of(SMALL, "LlavaForConditionalGeneration").model.vision_tower
    assert weights("vision") == 2 * elements(tower)


def test_projector_reads_every_weight_once() -> None:
    projector = module_of(SMALL, "LlavaForConditionalGeneration").model.multi_modal_projector
    assert weights("projector") == 2 * elements(projector)


def test_decode_reads_layers_final_norm_and_lm_head() -> None:
    module = module_of(SMALL, "LlavaForConditionalGeneration")
    text = module.model.language_model
    assert weights("decode") == 2 * elements(text.layers, text.norm, module.lm_head)


def test_weights_are_read_once_whatever_the_batch_and_the_prompt() -> None:
    assert weights("prefill") == weights("prefill", tokens=1, text_tokens=1) == weights("decode", batch=64)
    assert weights("vision", batch=8) == weights("vision")


def test_mixtral_prefill_reads_all_experts() -> None:
    module = module_of("mixtral-8x7b", "MixtralForCausalLM")
    text = module.model
    read = weights("prefill", model="mixtral-8x7b", text_tokens=1000)
    # 1000 tokens pass an expert by with the chance 0.75^1000, which is 0 in a float.
    assert read == 2 * elements(text.layers, text.norm, module.lm_head)


# --- formats of the language model's linear layers

K, N, GROUPS = 4096, 11008, 32  # gate_proj of one layer: 4096 inputs, 11008 outputs; 4096 / 128 groups


@pytest.mark.parametrize(
    ("weight", "activation", "expected"),
    [
        ("fp16", "fp16", 90_177_536),  # 4096 * 11008 * 2
        ("int4", "fp16", 23_248_896),  # 4096 * 11008 / 2 = 22_544_384, and 32 * 11008 scales * 2 = 704_512
        ("fp4", "fp16", 23_248_896),
        ("int8", "fp16", 45_793_280),  # 4096 * 11008 = 45_088_768, and 704_512
        ("fp8", "fp16", 45_793_280),
        ("int8", "int8", 45_088_768),  # as wide as the activations, so no scales a group
        ("fp8", "fp8", 45_088_768),
        ("int4", "int8", 23_248_896),
        ("fp32", "fp16", 180_355_072),  # 4096 * 11008 * 4
    ],
)
def test_bytes_of_one_matrix(weight: str, activation: str, expected: int) -> None:
    execution = Execution(Precision(weight), Precision(activation))
    assert op_of("decode", "gate_proj", execution).weight_bytes == 32 * expected


def test_a_layer_in_four_bits() -> None:
    # q, k, v, o: 4 * (4096^2 / 2 + 32 * 4096 * 2) = 34_603_008; gate, up: 2 * 23_248_896 = 46_497_792
    # down: 11008 * 4096 / 2 + (11008 / 128 = 86) * 4096 * 2 = 22_544_384 + 704_512 = 23_248_896; sum 104_349_696
    execution = replace(BASE, weights=Precision.INT4)
    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    layers = sum(op_of("decode", name, execution).weight_bytes for name in linear)
    assert layers == 32 * 104_349_696
    # The rest of the model keeps its 2 bytes: 7_063_427_072 - 32 * 202_375_168 parameters.
    assert weight_bytes(load_model(SMALL), execution) == 32 * 104_349_696 + 2 * 587_421_696


def test_a_group_begun_is_a_scale_kept() -> None:
    # Qwen2-7B: 3584 inputs are 28 groups, 18944 inputs 148; no preset has a remainder, a width of 200 has: 2 groups.
    assert linear_weight_bytes(Precision.INT4, 200, 10, 128) == 1040  # 200 * 10 / 2 + 2 * 10 * 2


@pytest.mark.parametrize("weight", ["int8", "int4", "fp8", "fp4"])
def test_everything_else_stays_at_the_activations_precision(weight: str) -> None:
    narrow = replace(BASE, weights=Precision(weight))
    for name in ("vision", "projector"):
        assert phase(name, narrow) == phase(name, BASE)
    kept = ("embed_tokens", "merge_visual", "input_norm", "rotary", "attention", "final_norm", "lm_head")
    for name in kept:
        assert op_of("prefill", name, narrow) == op_of("prefill", name, BASE)
    # lm_head: 4096 * 32064 * 2
    assert op_of("decode", "lm_head", narrow).weight_bytes == 262_668_288


def test_activations_in_eight_bits_halve_what_stays_with_them() -> None:
    narrow = Execution(Precision.INT8, Precision.INT8, Precision.FP16)
    assert weights("vision", narrow) == weights("vision") / 2 == 303_507_456
    assert op_of("decode", "lm_head", narrow).weight_bytes == 131_334_144


def test_biases_stay_at_the_activations_precision() -> None:
    # Qwen2-7B q_proj: 3584^2 / 2 + 28 * 3584 * 2 = 6_422_528 + 200_704, and a bias of 3584 * 2 = 7_168; 28 layers
    execution = replace(BASE, weights=Precision.INT4)
    assert op_of("decode", "q_proj", execution, "qwen2-7b").weight_bytes == 28 * 6_630_400


# --- cache


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        # keys and values, 32 layers, 637 tokens, width 4096
        ("fp32", 667_942_912),  # 2 * 32 * 637 * 4096 * 4
        ("fp16", 333_971_456),
        ("bf16", 333_971_456),
        ("fp8", 166_985_728),
        ("int8", 166_985_728),
        ("int4", 83_492_864),
        ("fp4", 83_492_864),
    ],
)
def test_cache_reads_follow_its_precision(precision: str, expected: int) -> None:
    decode = phase("decode", replace(BASE, kv=Precision(precision)), tokens=576, text_tokens=60)
    assert sum(op.kv_read_bytes for op in decode) == expected
    # Everything but the cache is unmoved.
    for narrow, wide in zip(decode, phase("decode", tokens=576, text_tokens=60), strict=True):
        assert narrow._replace(kv_read_bytes=0, kv_write_bytes=0) == wide._replace(kv_read_bytes=0, kv_write_bytes=0)


@pytest.mark.parametrize(("precision", "expected"), [("fp16", 524_288), ("int8", 262_144), ("int4", 131_072)])
def test_cache_writes_follow_its_precision(precision: str, expected: int) -> None:
    decode = phase("decode", replace(BASE, kv=Precision(precision)))
    assert sum(op.kv_write_bytes for op in decode) == expected  # 2 * 32 * 4096 * 2 in fp16


def test_grouped_queries_keep_a_narrow_cache() -> None:
    # Llama-3-8B: 8 of 32 heads; 2 * 32 layers * 100 tokens * 1024 * 2 bytes
    spec = load_model("llama-3-8b")
    assert kv_bytes(spec, workload_of(spec, text_tokens=60, new_tokens=40), Precision.FP16) == 13_107_200


# --- mixture of experts

EXPERT = 117_440_512  # one matrix of one expert: 4096 * 14336 * 2


@pytest.mark.parametrize(
    ("batch", "touched"),
    [
        (1, 2.0),  # 8 (1 - 3/4)
        (2, 3.5),  # 8 (1 - 9/16)
        (4, 5.46875),  # 8 (1 - 81/256)
    ],
)
@pytest.mark.parametrize("matrix", ["gate_proj", "up_proj", "down_proj"])
def test_decode_reads_the_experts_that_its_batch_chose(matrix: str, batch: int, touched: float) -> None:
    op = op_of("decode", matrix, model="mixtral-8x7b", batch=batch)
    assert op.weight_bytes == 32 * touched * EXPERT
    # Two experts work on every token whichever they are: 2 * 2 * 4096 * 14336 FLOPs.
    assert op.matmul_flops == 32 * batch * 234_881_024


def test_router_is_read_whole() -> None:
    # 4096 * 8 * 2 a layer
    assert op_of("decode", "router", model="mixtral-8x7b").weight_bytes == 32 * 65_536


def test_all_experts_lie_on_the_card_in_four_bits_too() -> None:
    execution = replace(BASE, weights=Precision.INT4)
    # A layer: q, o 4096^2 / 2 + 32 * 4096 * 2 = 8_650_752 each; k, v 4096 * 1024 / 2 + 32 * 1024 * 2 = 2_162_688 each;
    # 8 experts of gate, up 4096 * 14336 / 2 + 32 * 14336 * 2 = 30_277_632, down 29_360_128 + 112 * 4096 * 2 the same;
    # router 4096 * 8 / 2 + 32 * 8 * 2 = 16_896.
    layer = 2 * 8_650_752 + 2 * 2_162_688 + 24 * 30_277_632 + 16_896
    # The rest: embedding and lm_head 2 * 32000 * 4096, two norms a layer and one at the end 65 * 4096.
    rest = 2 * 32_000 * 4096 + 65 * 4096
    assert weight_bytes(load_model("mixtral-8x7b"), execution) == 32 * layer + 2 * rest
