"""FLOPs of reductions against torch's FlopCounterMode, exactly: Hugging Face's layers at their tokens, and selectors.

A language model that drops tokens is a chain of shorter ones: each group of layers is built from the preset's
configuration on the meta device, and run at its own length. Selectors are the published steps as torch products. What
a reducer leaves out of the tower is the tower less the modules that it needs, called one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from perfkit.counting import count_ops, reduced_vision_ops, workload_of
from perfkit.latency import analyze
from perfkit.models import config_of, load_model
from perfkit.ops import OpCost
from perfkit.workload import Execution

HALF = torch.float16
LLAVA = load_model("llava-1.5-7b")
WIDTH, HEADS, TOWER = 4096, 32, 1024


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=HALF, device="meta")


@torch.no_grad()
def counted(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@cache
def stack_of(layers: int) -> Any:
    """So many layers of Vicuna-7B, without embedding's work or a head."""
    config = transformers.LlamaConfig(num_hidden_layers=layers)  # the class defaults are Llama-7B's sizes
    with torch.device("meta"):
        return transformers.LlamaModel._from_config(config, dtype=HALF).eval()


@cache
def prefill_and_step(layers: int, batch: int, tokens: int) -> tuple[int, int]:
    """FLOPs of the layers over a prompt, and over the next token."""
    cached = transformers.DynamicCache()
    prompt = counted(lambda: stack_of(layers)(inputs_embeds=empty(batch, tokens, WIDTH), past_key_values=cached))
    step = counted(lambda: stack_of(layers)(inputs_embeds=empty(batch, 1, WIDTH), past_key_values=cached))
    return prompt, step


def reduced(text: str, **asked: Any) -> tuple[OpCost, ...]:
    return count_ops(LLAVA, workload_of(LLAVA, reduction=text, **asked), Execution(logits="none"))


def products(ops: tuple[OpCost, ...], phase: str, *, selection: bool) -> int:
    return sum(op.matmul_flops for op in ops if op.phase == phase and (op.kind == "selection") == selection)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("fastv:k=2,r=0.5", [(2, 576), (30, 288)]),
        ("pyramiddrop:stages=4,keep=0.5", [(8, 576), (8, 288), (8, 144), (8, 72)]),
        ("vtw:k=16", [(16, 576), (16, 0)]),
        ("sparsevlm:layers=2/6/15,tokens=309/204/113", [(3, 576), (4, 309), (9, 204), (16, 113)]),
    ],
)
@pytest.mark.parametrize(("batch", "text_tokens"), [(1, 60), (3, 17)])
def test_layers_compute_what_they_see(text: str, groups: list[tuple[int, int]], batch: int, text_tokens: int) -> None:
    ops = reduced(text, batch=batch, text_tokens=text_tokens)
    runs = [prefill_and_step(layers, batch, visual + text_tokens) for layers, visual in groups]
    assert products(ops, "prefill", selection=False) == sum(prompt for prompt, _ in runs)
    assert products(ops, "decode", selection=False) == sum(step for _, step in runs)


@pytest.mark.parametrize(("tokens", "batch"), [(32, 1), (144, 2)])
def test_prumerges_products(tokens: int, batch: int) -> None:
    queries, keys, kept = empty(batch, 577, TOWER), empty(batch, 577, TOWER), tokens - 1

    def select() -> None:
        scores = queries[:, :1] @ keys.transpose(1, 2)
        best = scores.softmax(-1)[:, 0, 1:].topk(kept).indices
        patches = torch.nn.functional.normalize(keys[:, 1:], dim=-1)
        chosen = patches.gather(1, best.unsqueeze(-1).expand(-1, -1, TOWER))
        chosen @ patches.transpose(1, 2)

    ops = reduced("prumerge", tokens=tokens, batch=batch)
    assert products(ops, "reduction", selection=True) == counted(select)


@pytest.mark.parametrize("batch", [1, 2])
def test_pyramiddrops_products(batch: int) -> None:
    attention = stack_of(1).layers[0].self_attn

    def rank(tokens: int) -> None:
        hidden = empty(batch, tokens, WIDTH)
        keys = attention.k_proj(hidden).view(batch, tokens, HEADS, -1).transpose(1, 2)
        query = attention.q_proj(hidden[:, -1:]).view(batch, 1, HEADS, -1).transpose(1, 2)
        query @ keys.transpose(2, 3)

    ops = reduced("pyramiddrop", batch=batch)
    assert products(ops, "prefill", selection=True) == sum(counted(lambda n=n: rank(n)) for n in (636, 348, 204))


def test_sparsevlms_products() -> None:
    def recycle(dropped: int) -> None:
        some = empty(1, int(dropped * 0.3) + 1, WIDTH)
        some @ some.transpose(1, 2)

    raters = counted(lambda: empty(1, 576, WIDTH) @ empty(1, 60, WIDTH).transpose(1, 2))
    # 576 - 300, 309 - 200 and 204 - 110: what is kept of what a layer sees
    recycled = sum(counted(lambda dropped=dropped: recycle(dropped)) for dropped in (276, 109, 94))
    assert products(reduced("sparsevlm"), "prefill", selection=True) == raters + recycled


# --- what a reducer leaves out of the tower

TOWERS = [("llava-1.5-7b", 1, 1), ("llava-1.5-13b", 3, 1), ("llava-next-7b", 1, 5), ("video-llava-7b", 2, 8)]


@cache
def tower_of(model: str) -> Any:
    config = transformers.CLIPVisionConfig.from_dict(config_of(model)["vision_config"])
    with torch.device("meta"):
        return transformers.CLIPVisionModel._from_config(config, dtype=HALF).eval()


def pixels_of(model: str, pictures: int) -> torch.Tensor:
    side = tower_of(model).config.image_size
    return empty(pictures, 3, side, side)


@cache
def walked(model: str, pictures: int, *, scored: bool) -> int:
    """FLOPs of the tower up to its features, and where patches are `scored` of the last layer's keys and one query."""
    tower = tower_of(model)

    def walk() -> None:
        hidden = tower.pre_layrnorm(tower.embeddings(pixels_of(model, pictures)))
        for layer in tower.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        if scored:
            last = tower.encoder.layers[-1]
            normed = last.layer_norm1(hidden)
            last.self_attn.k_proj(normed)
            last.self_attn.q_proj(normed[:, :1])

    return counted(walk)


@pytest.mark.parametrize(("text", "scored"), [("prumerge", True), ("prumerge+", True), ("spatial:n=64", False)])
@pytest.mark.parametrize(("model", "batch", "tiles"), TOWERS)
def test_what_a_reducer_needs_of_the_tower(model: str, batch: int, tiles: int, text: str, *, scored: bool) -> None:
    spec = load_model(model)
    needed = reduced_vision_ops(spec, workload_of(spec, reduction=text, batch=batch), Execution())
    assert sum(op.matmul_flops for op in needed) == walked(model, batch * tiles, scored=scored)


@cache
def run_whole(model: str, pictures: int) -> int:
    """FLOPs of the tower as LLaVA calls it."""
    tower, pixels = tower_of(model), pixels_of(model, pictures)
    return counted(lambda: tower(pixels, output_hidden_states=True).hidden_states[-2])


@pytest.mark.parametrize(("text", "scored"), [("prumerge", True), ("sequential:n=64", False)])
@pytest.mark.parametrize(("model", "batch", "tiles"), TOWERS)
def test_what_it_skips_is_the_rest_of_what_runs(model: str, batch: int, tiles: int, text: str, *, scored: bool) -> None:
    skipped = analyze("h100", model, reduction=text, batch=batch).skipped
    assert skipped is not None
    assert skipped.matmul_flops == run_whole(model, batch * tiles) - walked(model, batch * tiles, scored=scored)
