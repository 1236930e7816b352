"""PruMerge vectorised against loops over its tokens: time and peak memory, and its share of the vision tower's time.

Two loops are the reference, both in this file: one with the steps of the published code (attention of all positions,
everything laid together anew for each token), and a lean one, which makes one row of the attention and normalises keys
once. `python -m benchmarks.reducers`; on a machine with a GPU it runs there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from perfkit.models import config_of
from perfkit.reduction import reduce

PATCHES, WIDTH, NEIGHBOURS = 576, 1024, 32
KEPT = (40, 144, 320)
BATCHES = (1, 8)
ROUNDS = 15
Run = Callable[[], object]


class Seen(NamedTuple):
    """Features (batch, patches, hidden), queries and keys (batch, 1 + patches, hidden); here 576 and 1024."""

    features: Tensor
    queries: Tensor
    keys: Tensor


def published_loop(seen: Seen, kept: int) -> Tensor:
    """Whole attention; for each kept token, all others are put side by side and compared with it."""
    attention = ((seen.queries @ seen.keys.mT) * seen.keys.shape[-1] ** -0.5).softmax(dim=-1)[:, 0, 1:]
    images = []
    for image in range(len(attention)):
        features, scores, keys = seen.features[image], attention[image], seen.keys[image, 1:]
        chosen = scores.topk(kept).indices
        others = torch.ones_like(scores, dtype=torch.bool).index_fill_(0, chosen, False)
        units, rest_units = normalize(keys[chosen], dim=-1), normalize(keys[others], dim=-1)
        mine, rest, own, rest_scores = features[chosen], features[others], scores[chosen], scores[others]
        tokens = []
        for i in range(kept):
            around = torch.cat([units[:i], units[i + 1 :], rest_units])
            pool = torch.cat([mine[:i], mine[i + 1 :], rest])
            weights = torch.cat([own[:i], own[i + 1 :], rest_scores])
            near = (around @ units[i]).topk(NEIGHBOURS).indices
            tokens.append(mine[i] + (pool[near] * weights[near, None]).sum(dim=0))
        tokens.append((rest * rest_scores[:, None]).sum(dim=0))
        images.append(torch.stack(tokens))
    return torch.stack(images)


def lean_loop(seen: Seen, kept: int) -> Tensor:
    """One row of the attention, keys normalised once; then one token after the other."""
    attention = ((seen.queries[:, :1] @ seen.keys.mT) * seen.keys.shape[-1] ** -0.5).softmax(dim=-1)[:, 0, 1:]
    images = []
    for features, scores, keys in zip(seen.features, attention, normalize(seen.keys[:, 1:], dim=-1), strict=True):
        chosen = scores.topk(kept).indices
        tokens = []
        for patch in chosen:
            cosines = keys @ keys[patch]
            cosines[patch] = -2
            near = cosines.topk(NEIGHBOURS).indices
            tokens.append(features[patch] + (scores[near, None] * features[near]).sum(dim=0))
        rest = scores.index_fill(0, chosen, 0)
        images.append(torch.stack([*tokens, rest @ features]))
    return torch.stack(images)


def vectorised(seen: Seen, kept: int) -> Tensor:
    """perfkit's; `skip` looks for numbers that are not finite too, without a look of the host."""
    return reduce("prumerge", *seen, ratio=kept / seen.features.shape[1], non_finite="skip").tokens


def seconds(runs: list[Run], device: torch.device, rounds: int = ROUNDS) -> list[float]:
    """Best time of each, one after the other in every round, so that what else the machine does falls on all."""
    best = [float("inf")] * len(runs)
    for run in runs:
        run()
    for _ in range(rounds):
        for number, run in enumerate(runs):
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(run: Run, device: torch.device) -> int:
    """Most memory that a run holds beside its inputs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = run()
        del kept
        return int(torch.cuda.max_memory_allocated() - before)
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        run()
    held = most = 0
    for change in allocations(profile):
        held += change
        most = max(most, held)
    return most


def allocations(profile: torch.profiler.profile) -> Iterator[int]:
    """Bytes that torch's allocator gave out, and took back as negative numbers, in their order."""
    found = profile.profiler.kineto_results.events() if profile.profiler else []
    events = [event for event in found if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        yield event.nbytes()


def compare(device: torch.device, dtype: torch.dtype) -> None:
    """Print one line a batch and count of kept patches."""
    draw = torch.Generator(device).manual_seed(0)
    print(f"{device.type}, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads")
    print("batch  kept   published loop        lean loop       vectorised    faster than   peak memory, MB")
    for batch in BATCHES:
        rows = [torch.randn(batch, PATCHES + one, WIDTH, generator=draw, device=device) for one in (0, 1, 1)]
        seen = Seen(*(tensor.to(dtype) for tensor in rows))
        for kept in KEPT:
            runs = [partial(function, seen, kept) for function in (published_loop, lean_loop, vectorised)]
            published, lean, ours = seconds(runs, device, ROUNDS if batch == 1 else 3)
            memory = " ".join(f"{peak_bytes(run, device) / 1e6:6.1f}" for run in runs)
            print(
                f"{batch:5d}  {kept:4d}  {published * 1e3:12.2f} ms  {lean * 1e3:12.2f} ms  {ours * 1e3:12.2f} ms"
                f"   {published / ours:4.1f} x {lean / ours:4.1f} x   {memory}"
            )


def compare_with_tower(device: torch.device, dtype: torch.dtype) -> None:
    """Print the reducer's time as a share of that of LLaVA-1.5's vision tower, with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig.from_dict(config_of("llava-1.5-7b")["vision_config"])
    with torch.device(device):
        tower = CLIPVisionModel(config).to(dtype).eval()
        pixels = torch.randn(1, 3, config.image_size, config.image_size, dtype=dtype)
        seen = Seen(*(torch.randn(1, PATCHES + one, WIDTH, dtype=dtype) for one in (0, 1, 1)))
    runs = [partial(vectorised, seen, kept) for kept in KEPT]
    whole, *reducers = seconds([lambda: tower(pixels).last_hidden_state, *runs], device)
    print(f"\nvision tower, one picture        {whole * 1e3:9.2f} ms   (reference, in turn with the reducers)")
    for kept, ours in zip(KEPT, reducers, strict=True):
        print(f"reducer, {kept:3d} kept                {ours * 1e3:9.2f} ms   {ours / whole:.2%} of the tower")


def main() -> None:
    """The CPU, and a GPU where there is one."""
    machines = [(torch.device("cpu"), torch.float32)]
    if torch.cuda.is_available():
        machines.append((torch.device("cuda"), torch.float16))
    with torch.inference_mode():
        for device, dtype in machines:
            compare(device, dtype)
            compare_with_tower(device, dtype)


if __name__ == "__main__":
    main()
