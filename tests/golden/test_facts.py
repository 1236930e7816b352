"""LLaVA-1.5 figure by figure, written out: parameters, FLOPs and bytes that no change may move.

Every figure was taken from Hugging Face's modules with torch's FlopCounterMode, and the closed forms beside them give
the same integers. A multiply-add is 2 FLOPs, the causal mask counts in full, only matrix products count.

Shapes: vision tower CLIP ViT-L/14-336: width 1024, 24 layers, feed-forward 4096, 24 * 24 + 1 = 577 positions.
Language model: 7B width h 4096, feed-forward i 11008, L 32 layers; 13B 5120, 13824, 40; vocabulary V 32064.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfkit.counting import count_ops, workload_of
from perfkit.memory import kv_bytes, weight_bytes
from perfkit.models import load_model
from perfkit.ops import OpCost
from perfkit.totals.counted import count
from perfkit.units import Precision
from perfkit.workload import Execution

SMALL, LARGE = "llava-1.5-7b", "llava-1.5-13b"


def phase(model: str, name: str, logits: str = "last", **workload: int) -> list[OpCost]:
    spec = load_model(model)
    forward = count_ops(spec, workload_of(spec, **workload), replace(Execution(), logits=logits))
    return [op for op in forward if op.phase == name]


def flops(model: str, name: str, logits: str = "last", **workload: int) -> int:
    total = sum(op.matmul_flops for op in phase(model, name, logits, **workload))
    assert type(total) is int
    return total


# --- parameters


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # 303_507_456 vision + 20_979_712 projector + 6_607_605_760 + 131_334_144 language model and lm_head
        (SMALL, 7_063_427_072),
        # 303_507_456 + 31_467_520 + 12_852_352_000 + 164_167_680
        (LARGE, 13_351_494_656),
    ],
)
def test_parameters(model: str, parameters: int) -> None:
    assert load_model(model).parameters == parameters


@pytest.mark.parametrize("model", [SMALL, LARGE])
def test_vision_parameters(model: str) -> None:
    # patches 588 * 1024 = 602_112; class token 1024; positions 577 * 1024 = 590_848; two norms 2 * 2048 = 4096
    # a layer: 4 (1024^2 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024 = 12_596_224; 24 of them 302_309_376
    vision = load_model(model).vision
    assert vision is not None
    assert vision.parameters == 303_507_456


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (SMALL, 20_979_712),  # 1024 * 4096 + 4096 + 4096^2 + 4096
        (LARGE, 31_467_520),  # 1024 * 5120 + 5120 + 5120^2 + 5120
    ],
)
def test_projector_parameters(model: str, parameters: int) -> None:
    projector = load_model(model).projector
    assert projector is not None
    assert projector.parameters == parameters


@pytest.mark.parametrize(
    ("model", "layer", "lm_head", "rest"),
    [
        # layer 4 h^2 + 3 h i + 2 h = 4 * 4096^2 + 3 * 4096 * 11008 + 8192; lm_head 32064 * 4096
        # rest: embedding 131_334_144 + 32 * 202_383_360 + final norm 4096
        (SMALL, 202_383_360, 131_334_144, 6_607_605_760),
        # 4 * 5120^2 + 3 * 5120 * 13824 + 10_240; 32064 * 5120; 164_167_680 + 40 * 317_204_480 + 5120
        (LARGE, 317_204_480, 164_167_680, 12_852_352_000),
    ],
)
def test_language_model_parameters(model: str, layer: int, lm_head: int, rest: int) -> None:
    text = load_model(model).text
    assert text is not None
    assert text.stack.linear_parameters + text.stack.other_parameters == layer
    assert text.vocab * text.embedding_width == lm_head
    assert text.parameters == rest + lm_head


# --- FLOPs


@pytest.mark.parametrize("model", [SMALL, LARGE])
def test_vision_tower(model: str) -> None:
    # 2 * 576 * 1024 * 588 = 693_633_024 of the patches
    # 24 (8 * 577 * 1024^2 + 4 * 577 * 1024 * 4096 + 4 * 577^2 * 1024) = 24 * 15_884_357_632
    assert flops(model, "vision") == 381_918_216_192


@pytest.mark.parametrize("tokens", [1, 32, 575])
def test_vision_tower_runs_whole_whatever_reaches_the_language_model(tokens: int) -> None:
    assert flops(SMALL, "vision", tokens=tokens) == 381_918_216_192


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (SMALL, 24_159_191_040),  # 2 * 576 * (1024 * 4096 + 4096^2)
        (LARGE, 36_238_786_560),  # 2 * 576 * (1024 * 5120 + 5120^2)
    ],
)
def test_projector(model: str, expected: int) -> None:
    assert flops(model, "projector", tokens=576) == expected


# L (8 n h^2 + 6 n h i + 4 n^2 h) + 2 * logits * h * V, logits n (all) or 1 (last). The prompts: 10 visual tokens and
# 60 of text; 32 (as LLaVA-PruMerge keeps) and 60; 576 and 60; 576 and 124.
PREFILLS = [
    # 7B: the layers, then the logits, one row of which is 2 * 4096 * 32064 = 262_668_288
    (SMALL, 10, 60, "all", 927_596_544_000),  # 909_209_763_840 + 70 * 262_668_288
    (SMALL, 10, 60, "last", 909_472_432_128),  # 909_209_763_840 + 262_668_288
    (SMALL, 32, 60, "all", 1_220_188_045_312),  # 1_196_022_562_816 + 92 * 262_668_288
    (SMALL, 32, 60, "last", 1_196_285_231_104),
    (SMALL, 576, 60, "all", 8_616_608_268_288),  # 8_449_551_237_120 + 636 * 262_668_288
    (SMALL, 576, 60, "last", 8_449_813_905_408),
    (SMALL, 576, 124, "all", 9_507_176_448_000),  # 9_323_308_646_400 + 700 * 262_668_288
    (SMALL, 576, 124, "last", 9_323_571_314_688),
    # 13B: one row of logits is 2 * 5120 * 32064 = 328_335_360
    (LARGE, 10, 60, "all", 1_803_285_299_200),  # 1_780_301_824_000 + 70 * 328_335_360
    (LARGE, 10, 60, "last", 1_780_630_159_360),
    (LARGE, 32, 60, "all", 2_371_690_168_320),  # 2_341_483_315_200 + 92 * 328_335_360
    (LARGE, 32, 60, "last", 2_341_811_650_560),
    (LARGE, 576, 60, "all", 16_679_027_343_360),  # 16_470_206_054_400 + 636 * 328_335_360
    (LARGE, 576, 60, "last", 16_470_534_389_760),
    (LARGE, 576, 124, "all", 18_394_120_192_000),  # 18_164_285_440_000 + 700 * 328_335_360
    (LARGE, 576, 124, "last", 18_164_613_775_360),
]


@pytest.mark.parametrize(("model", "tokens", "text_tokens", "logits", "expected"), PREFILLS)
def test_prefill(model: str, tokens: int, text_tokens: int, logits: str, expected: int) -> None:
    assert flops(model, "prefill", logits, tokens=tokens, text_tokens=text_tokens) == expected
    # The command `perfkit count` says the same.
    assert count(model, tokens=tokens, text_tokens=text_tokens, logits=logits).by_phase["prefill"] == expected


def test_prefill_of_text_alone_is_that_of_as_many_tokens() -> None:
    assert flops(SMALL, "prefill", tokens=0, text_tokens=70) == 909_472_432_128


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # 32 (8 h^2 + 6 h i + 4 * 701 h) + 2 h V = 32 * 416_235_520 + 262_668_288
        (SMALL, 13_582_204_928),
        # 40 (8 h^2 + 6 h i + 4 * 701 h) + 2 h V = 40 * 648_744_960 + 328_335_360
        (LARGE, 26_278_133_760),
    ],
)
def test_decode_of_the_701st_token(model: str, expected: int) -> None:
    assert flops(model, "decode", tokens=576, text_tokens=124) == expected


def test_count_sums_its_phases() -> None:
    counted = count(SMALL, tokens=576, text_tokens=60)
    # 381_918_216_192 + 24_159_191_040 + 8_449_813_905_408
    assert counted.total == 8_855_891_312_640
    assert counted.macs == 4_427_945_656_320
    assert list(counted.by_phase) == ["vision", "projector", "prefill"]


# --- bytes, 7B in fp16


def test_weight_bytes() -> None:
    assert weight_bytes(load_model(SMALL), Execution()) == 14_126_854_144  # 7_063_427_072 * 2
    assert weight_bytes(load_model(LARGE), Execution()) == 26_702_989_312  # 13_351_494_656 * 2


def test_decode_reads_every_layer_norm_and_lm_head_once() -> None:
    # (32 * 202_383_360 + 4096 + 131_334_144) * 2; the embedding is a row, not a table
    assert sum(op.weight_bytes for op in phase(SMALL, "decode")) == 13_215_211_520


def test_cache_of_700_tokens() -> None:
    spec = load_model(SMALL)
    # keys and values, 32 layers, 700 tokens, 4096 wide, 2 bytes: 2 * 32 * 700 * 4096 * 2; prompt and new tokens alike
    assert kv_bytes(spec, workload_of(spec, tokens=576, text_tokens=96, new_tokens=28), Precision.FP16) == 367_001_600


def test_decode_reads_the_cache_and_the_new_tokens_keys_and_values() -> None:
    decode = phase(SMALL, "decode", tokens=576, text_tokens=124)
    assert sum(op.kv_read_bytes for op in decode) == 367_525_888  # 2 * 32 * 701 * 4096 * 2
    assert sum(op.kv_write_bytes for op in decode) == 524_288  # 2 * 32 * 1 * 4096 * 2


def test_decode_moves_at_least_weights_and_cache() -> None:
    moved = sum(op.bytes for op in phase(SMALL, "decode", tokens=576, text_tokens=124))
    # weights 13_215_211_520 + cache 367_001_600 = 13_582_213_120; with activations about 13.583 GB at least.
    assert moved >= 13_583_000_000
    # An eager PyTorch decode moves 14.37 GB, 0.73 GB of it a copy of the cache: a floor lies below.
    assert moved < 14_370_000_000 - 730_000_000


def test_eager_prefill_lies_between_the_floor_and_pytorch() -> None:
    fused = sum(op.bytes for op in phase(SMALL, "prefill", tokens=576, text_tokens=124))
    loose = Execution(attention="eager")
    spec = load_model(SMALL)
    forward = count_ops(spec, workload_of(spec, tokens=576, text_tokens=124), loose)
    eager = sum(op.bytes for op in forward if op.phase == "prefill")
    # Tensor inputs and outputs of eager PyTorch's kernels at 700 tokens: 48.6 GB, dtype casts included.
    assert 13_215_211_520 < fused < eager < 48_600_000_000
