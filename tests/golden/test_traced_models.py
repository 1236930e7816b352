"""Tracing of architectures that Hugging Face builds from their published configurations, against FlopCounterMode.

Each is built on the meta device and traced; FlopCounterMode runs beside it, on its own. Llama, CLIP and others are
counted by perfkit's own formulas too, and Llama and CLIP by hand: these two are whole; of other deep stacks, whose
layers repeat, LAYERS are built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.tracing import Trace, trace
from perfkit.workload import Execution

HALF = torch.float16
TOKENS = 96
LAYERS = 7  # one more than the longest pattern that is repeated: every sixth of Gemma 3 sees all tokens

# Sizes of the published config.json; class defaults of transformers hold the rest.
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama 3 8B": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {"vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8},
    ),
    "Mistral 7B": (
        "MistralForCausalLM",
        "MistralConfig",
        {"num_hidden_layers": LAYERS, "num_key_value_heads": 8, "sliding_window": 64},
    ),
    "Qwen2 7B": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "Qwen3 0.6B": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        {
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
    ),
    "Gemma 2 2B": ("Gemma2ForCausalLM", "Gemma2Config", {"num_hidden_layers": LAYERS}),
    "Gemma 3 1B": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {
            "num_hidden_layers": LAYERS,
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "sliding_window": 64,
        },
    ),
    "Phi-3 mini": ("Phi3ForCausalLM", "Phi3Config", {"num_hidden_layers": LAYERS}),
    "Mixtral 8x7B": ("MixtralForCausalLM", "MixtralConfig", {"num_hidden_layers": LAYERS}),
    "BERT base": ("BertModel", "BertConfig", {}),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {}),
    "T5 base, encoder": (
        "T5EncoderModel",
        "T5Config",
        {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    ),
    "CLIP ViT-L/14-336": (
        "CLIPVisionModel",
        "CLIPVisionConfig",
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        },
    ),
    "SigLIP so400m": (
        "SiglipVisionModel",
        "SiglipVisionConfig",
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
        },
    ),
    "ViT-B/16": ("ViTModel", "ViTConfig", {}),
    "DINOv2 B/14": ("Dinov2Model", "Dinov2Config", {"image_size": 518, "patch_size": 14}),
    "Whisper small, encoder": (
        "WhisperModel",
        "WhisperConfig",
        {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072},
    ),
}


@cache
def built(name: str) -> tuple[Any, dict[str, Any]]:
    """A module on meta and the inputs of one forward."""
    class_name, config_name, sizes = ARCHITECTURES[name]
    with torch.device("meta"):
        config = getattr(transformers, config_name)(**sizes)
        module = getattr(transformers, class_name)._from_config(config, dtype=HALF).eval()
        if name.startswith("Mixtral"):
            module.set_experts_implementation("batched_mm")  # FlopCounterMode has no formula for the default's kernel
        if name.startswith("Whisper"):
            return module.encoder, {"input_features": torch.empty(1, 80, 3000, dtype=HALF)}
        if hasattr(config, "image_size"):
            side = config.image_size
            return module, {"pixel_values": torch.empty(1, 3, side, side, dtype=HALF)}
        return module, {"input_ids": torch.empty(1, TOKENS, dtype=torch.long)}


@cache
def traced(name: str) -> Trace:
    module, inputs = built(name)
    return trace(module, (), inputs, strict=True)


def torch_flops(call: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_counted_whole_and_as_torch_counts_it(name: str) -> None:
    module, inputs = built(name)
    found = traced(name)
    assert found.uncounted == ()
    assert found.total == torch_flops(lambda: module(**inputs)) > 10**9
    # What FlopCounterMode says within the trace, where attention is one op, is the same.
    assert (found.compared[0].flops, found.compared[0].equal) == (found.total, True)
    # fvcore, where it can trace a module, agrees on the products that it knows.
    assert found.compared[1].equal in (True, None)
    # Every weight that a product reads is in the bound: all parameters but tables of which only rows are read.
    assert found.fused.bytes == found.costs.fused_bytes < found.costs.unfused_bytes
    assert found.fused.weights <= 2 * found.parameters + sum(buffer.nbytes for buffer in module.buffers())


@pytest.mark.slow
def test_experts_count_the_same_by_either_implementation() -> None:
    with torch.device("meta"):
        config = transformers.MixtralConfig(num_hidden_layers=2)
        module: Any = transformers.MixtralForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
        ids = torch.empty(1, TOKENS, dtype=torch.long)
    found = {}
    for implementation in ("grouped_mm", "batched_mm"):
        module.set_experts_implementation(implementation)
        found[implementation] = trace(module, (ids,), strict=True)
    assert found["grouped_mm"].total == found["batched_mm"].total
    assert found["grouped_mm"].compared[0].note == "passes over aten._grouped_mm"
    # 96 tokens and 2 experts each: gathering copies an expert's weights for every one of 192, the bound has each once.
    assert found["grouped_mm"].fused.weights == found["batched_mm"].fused.weights


# --- perfkit's own formulas

PRESETS = {
    "Llama 3 8B": "llama-3-8b",
    "Qwen2 7B": "qwen2-7b",
    "Mixtral 8x7B": "mixtral-8x7b",
    "BERT base": "bert-base",
    "CLIP ViT-L/14-336": "clip-vit-l-14-336",
    "SigLIP so400m": "siglip-so400m",
}


def spec_of(name: str) -> ModelSpec:
    """A preset, of as many layers as were traced."""
    spec = load_model(PRESETS[name])
    part: Any = spec.text or spec.vision
    layers = ARCHITECTURES[name][2].get("num_hidden_layers", part.stack.layers)
    shorter = part._replace(stack=part.stack._replace(layers=layers))
    return replace(spec, text=shorter) if spec.text else replace(spec, vision=shorter)


def own_ops(name: str) -> list[OpCost]:
    spec = spec_of(name)
    workload = workload_of(spec, text_tokens=TOKENS) if spec.text else workload_of(spec)
    forward = count_ops(spec, workload, execution_of(spec, Execution(logits="all")))
    return [op for op in forward if op.phase != "decode"]


def without_rotary(found: Trace) -> int:
    """FLOPs but those of angles by a product, as some versions of transformers make them."""
    return found.total - sum(module.costs.matmul_flops for module in found.modules if "rotary_emb" in module.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_traces_equal_perfkits_own_count(name: str) -> None:
    ops = own_ops(name)
    found = traced(name)
    assert without_rotary(found) == sum(op.matmul_flops for op in ops)
    if name != "Mixtral 8x7B":  # whose experts are read as expected under uniform routing there, at most all here
        assert found.fused.bytes <= sum(op.bytes for op in ops) <= found.costs.unfused_bytes


def test_clip_by_hand() -> None:
    found = traced("CLIP ViT-L/14-336")
    positions, h, i = 577, 1024, 4096
    layers = 24 * (8 * positions * h * h + 4 * positions * h * i + 4 * positions**2 * h)
    assert found.total == layers + 2 * 576 * h * 588 == 381918216192
    assert found.parameters == 303507456
    # A layer's products write q, k, v, attention, its projection and fc2 (6 h) and fc1 (i), all of which are read.
    written = 24 * 577 * (6 * h + i) * 2 + 576 * h * 2
    assert found.fused.products == 2 * written


def test_llama_by_hand() -> None:
    found = traced("Llama 3 8B")
    n, h, i, kv, vocabulary = TOKENS, 4096, 14336, 1024, 128256
    layer = 2 * n * (2 * h * h + 2 * h * kv + 3 * h * i) + 4 * n * n * h
    assert without_rotary(found) == 32 * layer + 2 * n * h * vocabulary
    weights = 32 * (2 * h * h + 2 * h * kv + 3 * h * i + 2 * h) + h + h * vocabulary
    # And the rows that were looked up, and the 64 frequencies of the angles, in fp32.
    assert found.fused.weights == 2 * (weights + n * h) + 64 * 4


# --- bytes of LLaVA-1.5-7B's language model, against what was found by other means

CACHED = 700
KV = 2 * 32 * CACHED * 4096 * 2  # 367,001,600 bytes
WEIGHTS = 13215211520  # layers, norms and lm_head in fp16


@cache
def language_model(attention: str) -> Any:
    config = transformers.LlamaConfig(vocab_size=32064, attn_implementation=attention)
    with torch.device("meta"):
        return transformers.LlamaForCausalLM._from_config(config, dtype=HALF).eval()


def embeddings(tokens: int) -> torch.Tensor:
    return torch.empty(1, tokens, 4096, dtype=HALF, device="meta")


@pytest.mark.slow
def test_prefill_as_eager_kernels_move_it() -> None:
    found = trace(language_model("eager"), (), {"inputs_embeds": embeddings(CACHED)})
    assert without_rotary(found) == 9507176448000
    moved = {op.name: op.costs.unfused_bytes / 1e9 for op in found.by_op}
    known = {"mm": 16.7, "mul": 7.2, "add": 4.2, "_to_copy": 8.3, "_softmax": 4.0, "bmm": 2.7}
    assert {name: moved[f"aten.{name}"] for name in known} == pytest.approx(known, abs=0.07)
    assert found.costs.unfused_bytes / 1e9 == pytest.approx(48.6, abs=0.1)


@pytest.mark.slow
def test_prefill_as_fused_kernels_move_it() -> None:
    found = trace(language_model("sdpa"), (), {"inputs_embeds": embeddings(CACHED)}, depth=3)
    fused, angles = found.fused, 2 * sum(m.costs.fused_bytes for m in found.modules if "rotary_emb" in m.path)
    assert fused.weights == WEIGHTS + 64 * 4
    assert fused.inputs == CACHED * 4096 * 2
    assert fused.outputs == KV
    # A layer's products write q, k, v, attention, its projection and down (6 h), gate and up; the logits are not read.
    written = 32 * CACHED * (6 * 4096 + 2 * 11008) * 2
    assert fused.products == pytest.approx(2 * written + CACHED * 32064 * 2, abs=angles)


@pytest.mark.slow
def test_a_decode_step_rewrites_its_cache() -> None:
    module, cache = language_model("eager"), transformers.DynamicCache()
    with torch.no_grad():
        module(inputs_embeds=embeddings(CACHED), past_key_values=cache)
    found = trace(module, (), {"inputs_embeds": embeddings(1), "past_key_values": cache})
    assert cache.get_seq_length() == CACHED
    assert without_rotary(found) == 13582204928
    assert found.costs.unfused_bytes / 1e9 == pytest.approx(14.37, abs=0.01)
    # No execution moves less than weights and cache; the grown cache is an output, and written anew.
    assert found.fused.weights + found.fused.inputs == pytest.approx(WEIGHTS + KV, abs=1e4)
    assert found.fused.outputs == KV // CACHED * (CACHED + 1)
