"""Requests to a small LLaVA that reduces its visual tokens, phase by phase, against the same with all 576 of them.

A real tower of 336 x 336 pixels, reducer, projector and language model, in fp32 on this CPU; the weights are random, so
what it says means nothing, and what it costs is what a trained one costs. Beside each time stands what perfkit expects
of the same config.json at the rates that this machine reached in the same run. All on one thread: several that share
their cores with other processes wait for each other, in small products the longest.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from perfkit import analyze, measure
from perfkit.measuring.cpu import CpuBackend
from perfkit.measuring.networks import Network
from perfkit.measuring.protocol import Rules
from perfkit.models import load_model
from perfkit.phases import PhaseTime
from perfkit.reduction import reduced

ALL, FEWER = 576, (288, 144, 64, 32)  # visual tokens; PruMerge appends the last of fewer
TEXT, NEW, ROUNDS = 60, 9, 5
PHASES = ("vision", "reduction", "projector", "prefill", "TTFT", "decode")
RULES = Rules(budget_s=1.5, minimum_s=0.5, warmup_s=0.5)


def config(*, tower: int, words: int) -> dict[str, Any]:
    """config.json of a LLaVA of 336 pixels, 1024 wide, with so many layers in its tower and its language model."""
    text = {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": words,
        "num_attention_heads": 8,
        "vocab_size": 2048,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": tower,
        "patch_size": 14,
    }
    return {"model_type": "llava", "image_token_index": 1, "text_config": text, "vision_config": vision}


@contextmanager
def marking(module: Any) -> Iterator[dict[str, list[float]]]:
    """Moments at which parts of a model begin or end."""
    marks: dict[str, list[float]] = {name: [] for name in ("begin", "tower", "reducer", "projector", "words")}

    def mark(name: str) -> Any:
        return lambda *_: marks[name].append(time.perf_counter())

    tower, projector = module.model.vision_tower, module.model.multi_modal_projector
    handles = [
        tower.embeddings.register_forward_pre_hook(mark("begin")),
        tower.encoder.layers[-1].self_attn.k_proj.register_forward_hook(mark("tower")),  # all that a reducer reads
        tower.register_forward_hook(mark("tower")),  # where none stands
        projector.register_forward_pre_hook(mark("reducer")),
        projector.register_forward_hook(mark("projector")),
        module.lm_head.register_forward_hook(mark("words")),
    ]
    try:
        yield marks
    finally:
        for handle in handles:
            handle.remove()


def request(module: Any, tokens: int, new: int = NEW) -> tuple[dict[str, float], Any]:
    """Seconds of each phase of one request with so many visual tokens, and what it generated.

    `decode` is the mean of the `new` tokens after the first.
    """
    import torch

    ids = torch.tensor([[1] * ALL + [2] * TEXT])
    pixels, lengths = torch.randn(1, 3, 336, 336), {"max_new_tokens": new, "min_new_tokens": new}
    inside = nullcontext() if tokens == ALL else reduced(module, "prumerge", (tokens - 1) / ALL)
    with torch.inference_mode(), inside, marking(module) as marks:
        start = time.perf_counter()
        generated = module.generate(ids, pixel_values=pixels, return_dict_in_generate=True, **lengths)
    first, last = marks["words"][0], marks["words"][-1]
    moments = [*(marks[name][-1] for name in ("begin", "tower", "reducer", "projector")), first]
    vision, reduction, projector, prefill = (after - before for before, after in pairwise(moments))
    ttft, decode = first - start, (last - first) / (new - 1)
    return dict(zip(PHASES, (vision, reduction, projector, prefill, ttft, decode), strict=True)), generated


def predicted(device: str, model: str, tokens: int) -> dict[str, float]:
    """The same seconds as perfkit expects them."""
    prediction = analyze(
        device,
        model,
        tokens=tokens,
        text_tokens=TEXT,
        new_tokens=NEW,
        reduction=None if tokens == ALL else "prumerge",
        precision="fp32",
    )
    spans = {phase.phase: seconds(phase) for phase in prediction.phases}
    spans["vision"] -= seconds(prediction.skipped)
    spans["TTFT"] = sum(span for phase, span in spans.items() if phase != "decode")
    return spans | {"decode": seconds(prediction.mean_decode)}


def seconds(phase: PhaseTime | None) -> float:
    """Expected where rates were measured, else by roofline; 0 of what is not there."""
    if phase is None:
        return 0.0
    return float(phase.roofline_s if phase.expected_s is None else phase.expected_s)


def measured(module: Any) -> dict[int, dict[str, float]]:
    """The least of rounds in which the counts of tokens alternate, so that what else the machine does falls on all."""
    request(module, ALL)
    rounds = [{tokens: request(module, tokens)[0] for tokens in (ALL, *FEWER)} for _ in range(ROUNDS)]
    return {
        tokens: {phase: min(each[tokens][phase] for each in rounds) for phase in PHASES} for tokens in (ALL, *FEWER)
    }


def main() -> None:
    """Print the reference, then each smaller count against it: seconds and speed-ups, measured and predicted."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model, device = str(Path(folder) / "config.json"), str(Path(folder) / "this.yaml")
        Path(model).write_text(json.dumps(config(tower=4, words=4)))
        found = measured(Network(load_model(model), CpuBackend(), "fp32").module)
        measure(device, suite="peaks", precisions=("fp32",), device="cpu", rules=RULES)
        expected = {tokens: predicted(device, model, tokens) for tokens in (ALL, *FEWER)}
    print("visual tokens   phase         measured    predicted   measured/predicted   speed-up (predicted)")
    for tokens in (ALL, *FEWER):
        for phase in PHASES:
            if phase in expected[tokens]:
                print(line(tokens, phase, found, expected))


def line(tokens: int, phase: str, found: dict[int, dict[str, float]], expected: dict[int, dict[str, float]]) -> str:
    """One phase at one count of tokens."""
    got, promised = found[tokens][phase], expected[tokens][phase]
    text = f"{tokens:13}   {phase:10} {got * 1e3:8.2f} ms  {promised * 1e3:8.2f} ms   {got / promised:18.2f}"
    if tokens == ALL:
        return f"{text}   (reference)"
    if phase == "reduction":
        return text
    return f"{text}   {found[ALL][phase] / got:8.2f} x ({expected[ALL][phase] / promised:.2f} x)"


if __name__ == "__main__":
    main()
