"""FLOPs against torch's FlopCounterMode on Hugging Face's own modules (meta device), and against fvcore, exactly.

The modules are built from the presets' configurations, whole; only their tensors have no storage. Token counts are
drawn at random from the seed in each test's id. FlopCounterMode counts a multiply-add as 2 FLOPs and the causal mask
in full; fvcore counts a multiply-add as 1.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.models import PRESETS, load_model, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.totals.counted import count
from perfkit.workload import Execution

HALF = torch.float16
LLAVAS = ("llava-1.5-7b", "llava-1.5-13b")

# Models that no preset holds, in the sizes of their published config.json.
OTHERS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
    "opt-125m": {
        "model_type": "opt",
        "hidden_size": 768,
        "ffn_dim": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
        "vocab_size": 50272,
    },
    # Its token table is narrower than its layers, so two more products stand around them.
    "opt-350m": {
        "model_type": "opt",
        "hidden_size": 1024,
        "ffn_dim": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "word_embed_proj_dim": 512,
        "do_layer_norm_before": False,
        "max_position_embeddings": 2048,
        "vocab_size": 50272,
    },
    # 16 heads of 128 make 2048, twice the hidden width.
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
}

DECODERS = {
    "llama-3-8b": "LlamaForCausalLM",  # grouped-query attention
    "mistral-7b": "MistralForCausalLM",
    "mixtral-8x7b": "MixtralForCausalLM",  # mixture of experts
    "qwen2-7b": "Qwen2ForCausalLM",  # biases on q, k and v
    "qwen3-0.6b": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "opt-125m": "OPTForCausalLM",
    "opt-350m": "OPTForCausalLM",
}
CLASSES = {
    **DECODERS,
    "llava-1.5-7b": "LlavaForConditionalGeneration",
    "llava-1.5-13b": "LlavaForConditionalGeneration",
    "llava-next-7b": "LlavaNextForConditionalGeneration",
    "llava-onevision-7b": "LlavaOnevisionForConditionalGeneration",
    "video-llava-7b": "VideoLlavaForConditionalGeneration",
    "bert-base": "BertModel",
    "clip-vit-l-14-336": "CLIPVisionModel",
    "siglip-so400m": "SiglipVisionModel",
}


def config_of(model: str) -> dict[str, Any]:
    if model in OTHERS:
        return OTHERS[model]
    values: dict[str, Any] = json.loads((PRESETS / f"{model}.json").read_text())["config"]
    # Of a whole CLIP or SigLIP perfkit takes the vision tower.
    return values["vision_config"] if values["model_type"] in ("clip", "siglip") else values


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelSpec]:
    folder = tmp_path_factory.mktemp("configs")

    def spec(model: str) -> ModelSpec:
        if model not in OTHERS:
            return load_model(model)
        path = folder / f"{model}.json"
        path.write_text(json.dumps(OTHERS[model]))
        return load_model(str(path))

    return spec


def module_of_config(class_name: str, values: dict[str, Any], **options: Any) -> nn.Module:
    config = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    return getattr(transformers, class_name)._from_config(config, **options).eval()


@cache
def module_of(model: str) -> Any:
    with torch.device("meta"):
        module: Any = module_of_config(CLASSES[model], config_of(model), dtype=HALF)
    if model == "mixtral-8x7b":
        # The only implementation whose kernels FlopCounterMode knows and the meta device can run.
        module.set_experts_implementation("batched_mm")
    return module


@torch.no_grad()
def counted(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def phase_flops(spec: ModelSpec, phase: str, logits: str = "last", **workload: Any) -> int:
    execution = execution_of(spec, replace(Execution(), logits=logits))
    forward = count_ops(spec, workload_of(spec, **workload), execution)
    total = sum(op.matmul_flops for op in forward if op.phase == phase)
    assert type(total) is int
    return total


class Draw(NamedTuple):
    seed: int
    visual: int
    text: int
    batch: int
    logits: str

    @property
    def tokens(self) -> int:
        return self.visual + self.text

    @property
    def logits_to_keep(self) -> int:
        """Hugging Face's option: 0 keeps the logits of every token."""
        return {"all": 0, "last": 1}[self.logits]

    def __str__(self) -> str:
        return f"seed{self.seed}-{self.visual}+{self.text}tokens-batch{self.batch}-{self.logits}"


def draws(first_seed: int, how_many: int, most_visual: int = 0, most_text: int = 700) -> list[Draw]:
    drawn = []
    for seed in range(first_seed, first_seed + how_many):
        chance = random.Random(seed)
        visual, text = chance.randint(0, most_visual), chance.randint(1, most_text)
        drawn.append(Draw(seed, visual, text, chance.choice((1, 1, 2, 5)), ("all", "last")[seed % 2]))
    return drawn


def embeddings(model: str, batch: int, tokens: int) -> torch.Tensor:
    width = {"llava-1.5-7b": 4096, "llava-1.5-13b": 5120}[model]
    return torch.empty(batch, tokens, width, dtype=HALF, device="meta")


def token_ids(batch: int, tokens: int) -> torch.Tensor:
    return torch.zeros(batch, tokens, dtype=torch.long, device="meta")


# --- LLaVA-1.5: language model, tower, projector


@pytest.mark.slow
@pytest.mark.parametrize("draw", draws(20, 6, most_visual=576), ids=str)
@pytest.mark.parametrize("model", LLAVAS)
def test_llava_prefill(model: str, draw: Draw) -> None:
    inputs = embeddings(model, draw.batch, draw.tokens)
    torch_flops = counted(lambda: module_of(model)(inputs_embeds=inputs, logits_to_keep=draw.logits_to_keep))
    workload = {"tokens": draw.visual, "text_tokens": draw.text, "batch": draw.batch}
    assert phase_flops(load_model(model), "prefill", draw.logits, **workload) == torch_flops
    if draw.batch == 1:
        by_phase = count(model, tokens=draw.visual, text_tokens=draw.text, logits=draw.logits).by_phase
        assert by_phase["prefill"] == torch_flops


@pytest.mark.slow
@pytest.mark.parametrize("draw", draws(40, 3, most_visual=576), ids=str)
@pytest.mark.parametrize("model", LLAVAS)
def test_llava_decode_with_a_filled_cache(model: str, draw: Draw) -> None:
    module, cache = module_of(model), transformers.DynamicCache()
    with torch.no_grad():
        module(inputs_embeds=embeddings(model, draw.batch, draw.tokens), past_key_values=cache)
    assert cache.get_seq_length() == draw.tokens
    torch_flops = counted(lambda: module(inputs_embeds=embeddings(model, draw.batch, 1), past_key_values=cache))
    workload = {"tokens": draw.visual, "text_tokens": draw.text, "batch": draw.batch}
    assert phase_flops(load_model(model), "decode", **workload) == torch_flops


# How the tower is called in each class, its picture's side, and its passes for one image or video: the whole picture;
# that and 2 x 2 tiles (LLaVA-NeXT); that and 2 x 5 tiles (OneVision, the grid with the most tokens); 8 frames.
TOWERS = {
    "llava-1.5-7b": ("vision_tower", 336, 1),
    "llava-1.5-13b": ("vision_tower", 336, 1),
    "llava-next-7b": ("vision_tower", 336, 5),
    "llava-onevision-7b": ("vision_tower", 384, 11),
    "video-llava-7b": ("video_tower", 224, 8),
}


@pytest.mark.parametrize(("batch", "images"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("model", TOWERS)
def test_vision_tower_of_every_image(model: str, batch: int, images: int) -> None:
    attribute, side, tiles = TOWERS[model]
    tower = getattr(module_of(model).model, attribute)
    pixels = torch.empty(batch * images * tiles, 3, side, side, dtype=HALF, device="meta")
    # A picture's visual tokens may be cut, its tower runs whole.
    assert phase_flops(load_model(model), "vision", tokens=7, batch=batch, images=images) == counted(
        lambda: tower(pixels)
    )


@pytest.mark.parametrize("seed", range(60, 64), ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("model", LLAVAS)
def test_projector_runs_on_the_tokens_that_are_kept(model: str, seed: int) -> None:
    chance = random.Random(seed)
    tokens, batch = chance.randint(1, 576), chance.choice((1, 2, 5))
    features = torch.empty(batch, tokens, 1024, dtype=HALF, device="meta")
    projector = module_of(model).model.multi_modal_projector
    assert phase_flops(load_model(model), "projector", tokens=tokens, batch=batch) == counted(
        lambda: projector(features)
    )


# All tokens but the learned row ends come out of the projector: every patch of every tile.
# 5 * 24^2 of CLIP at 336; 11 * 27^2 of SigLIP at 384; 8 * 16^2 of CLIP at 224.
@pytest.mark.parametrize(
    ("model", "positions", "width"),
    [("llava-next-7b", 2880, 1024), ("llava-onevision-7b", 8019, 1152), ("video-llava-7b", 2048, 1024)],
)
def test_projector_of_tiled_models(model: str, positions: int, width: int) -> None:
    projector = module_of(model).model.multi_modal_projector
    features = torch.empty(1, positions, width, dtype=HALF, device="meta")
    assert phase_flops(load_model(model), "projector") == counted(lambda: projector(features))


# --- other language models, and encoders


@pytest.mark.slow
@pytest.mark.parametrize("draw", draws(80, 2), ids=str)
@pytest.mark.parametrize("model", DECODERS)
def test_text_prefill(model: str, draw: Draw, spec_of: Callable[[str], ModelSpec]) -> None:
    ids = token_ids(draw.batch, draw.tokens)
    torch_flops = counted(lambda: module_of(model)(input_ids=ids, logits_to_keep=draw.logits_to_keep))
    workload = {"text_tokens": draw.tokens, "batch": draw.batch}
    assert phase_flops(spec_of(model), "prefill", draw.logits, **workload) == torch_flops


@pytest.mark.slow
@pytest.mark.parametrize("draw", draws(90, 1), ids=str)
@pytest.mark.parametrize("model", DECODERS)
def test_text_decode_with_a_filled_cache(model: str, draw: Draw, spec_of: Callable[[str], ModelSpec]) -> None:
    module = module_of(model)
    cache = transformers.DynamicCache(config=module.config)  # Mistral's keeps its window
    with torch.no_grad():
        module(input_ids=token_ids(draw.batch, draw.tokens), past_key_values=cache)
    torch_flops = counted(lambda: module(input_ids=token_ids(draw.batch, 1), past_key_values=cache))
    assert phase_flops(spec_of(model), "decode", text_tokens=draw.tokens, batch=draw.batch) == torch_flops


@pytest.mark.parametrize("draw", draws(100, 3, most_text=512), ids=str)
def test_bert_with_its_pooler(draw: Draw) -> None:
    ids = token_ids(draw.batch, draw.tokens)
    workload = {"text_tokens": draw.tokens, "batch": draw.batch}
    assert phase_flops(load_model("bert-base"), "prefill", **workload) == counted(
        lambda: module_of("bert-base")(input_ids=ids)
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("model", "side"), [("clip-vit-l-14-336", 336), ("siglip-so400m", 384)])
def test_bare_tower(model: str, side: int, batch: int) -> None:
    pixels = torch.empty(batch, 3, side, side, dtype=HALF, device="meta")
    assert phase_flops(load_model(model), "vision", batch=batch) == counted(lambda: module_of(model)(pixels))


# --- fvcore, on small models that it can trace

PRODUCTS = ("linear", "conv", "matmul", "bmm", "einsum", "addmm")
SMALL_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
SMALL_LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 500,
}


def fvcore_flops(module: nn.Module, inputs: torch.Tensor) -> int:
    """Twice fvcore's multiply-adds of matrix products; its norms, and what it cannot count, are left out."""
    analysis = pytest.importorskip("fvcore.nn").FlopCountAnalysis(module, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit warns of every Python value that tracing freezes
        return int(2 * sum(macs for op, macs in analysis.by_operator().items() if op in PRODUCTS))


class OnlyTensors(nn.Module):
    """One output of a module that returns more than a tracer can take."""

    def __init__(self, module: Any, **options: Any) -> None:
        super().__init__()
        self.module, self.options = module, options

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.module(inputs, return_dict=False, **self.options)[0]


def small_spec(values: dict[str, Any]) -> ModelSpec:
    return replace(read_model(Config(values, "small")), name="small")


@pytest.mark.parametrize("batch", [1, 2])
def test_vision_tower_against_fvcore(batch: int) -> None:
    tower = module_of_config("CLIPVisionModel", SMALL_CLIP, attn_implementation="eager")
    macs = fvcore_flops(OnlyTensors(tower), torch.zeros(batch, 3, 56, 56))
    assert macs > 0
    assert phase_flops(small_spec(SMALL_CLIP), "vision", batch=batch) == macs


@pytest.mark.parametrize(("tokens", "batch"), [(1, 1), (9, 1), (16, 3)])
def test_projector_against_fvcore(tokens: int, batch: int) -> None:
    values = {"model_type": "llava", "vision_config": SMALL_CLIP, "text_config": SMALL_LLAMA}
    projector = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, 64))
    macs = fvcore_flops(projector, torch.zeros(batch, tokens, 48))
    assert phase_flops(small_spec(values), "projector", tokens=tokens, batch=batch) == macs


@pytest.mark.parametrize(("tokens", "batch"), [(1, 1), (13, 1), (37, 2)])
def test_language_model_against_fvcore(tokens: int, batch: int) -> None:
    module = module_of_config("LlamaForCausalLM", SMALL_LLAMA, attn_implementation="eager")
    macs = fvcore_flops(OnlyTensors(module, use_cache=False), torch.zeros(batch, tokens, dtype=torch.long))
    assert macs > 0
    assert phase_flops(small_spec(SMALL_LLAMA), "prefill", "all", text_tokens=tokens, batch=batch) == macs
