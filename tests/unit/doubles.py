"""Stand-ins that several tests share: a machine, points of every kind, a GPU that keeps a list of what it is asked."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from perfkit.kernel_shapes import KernelShape, gemm
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.protocol import Timing

MACHINE = Machine(
    kind="cuda",
    name="NVIDIA H100 80GB HBM3",
    clock="CUDA events",
    memory_bytes=85_045_084_160,
    cores=132,
    platform="Linux-6.8.0-x86_64-with-glibc2.39",
    libraries={"python": "3.12.3", "torch": "2.11.0+cu130", "cuda": "13.0"},
    device="h100-sxm-80gb",
    cache_bytes=50 * 2**20,
    driver="580.65.06",
)
RUN = Run("2026-11-22T13:14:15+00:00", "perfkit measure --tokens 576,32 --output llava.json", "0.1.0")
AGAIN = Run("2026-11-23T08:00:00+00:00", "perfkit measure --resume", "0.1.0")

COUNTERS = Counters(
    readings=12,
    sm_clock_hz=(1_755_000_000, 1_980_000_000, 1_980_000_000),
    memory_clock_hz=(2_619_000_000,) * 3,
    power_w=(310.5, 421.25, 433.0),
    temperature_c=(41, 47, 49),
    throttle_reasons=("sw power cap",),
    energy_j=1.875,
)
NOTHING_KNOWN = Counters(0, None, None, None, None, None, None)

DECODE = PhaseCase("llava-1.5-7b", "decode", 576, 60, 1, "fp16", "sdpa", "graph")
VISION = PhaseCase("llava-1.5-7b", "vision", 576, 0, 8, "bf16", "eager", flushed=True)
PROJECTOR = PhaseCase("llava-1.5-7b", "projector", 32, 0, 1, "tf32")
GEMM = KernelCase(gemm(1, 4096, 11008), "bf16")
ATTENTION = KernelCase(KernelShape("attention_prefill", None, None, None, 2, 636, 636, 32, 8, 128, 1), "fp16", True)

POINTS = (
    Point(DECODE, "ok", Timing((0.0078125, 0.0081, 0.0079, 0.008, 0.0078, 0.0082), 6, False), COUNTERS, 1, 15 * 10**9),
    Point(VISION, "ok", Timing((0.02,) * 7, 8, True), NOTHING_KNOWN, 431, 14_000_000_001),
    Point(PROJECTOR, "out of memory", note="CUDA out of memory. Tried to allocate 2.00 GiB."),
    Point(GEMM, "ok", Timing((2.5e-05, 2.75e-05), 6, False)),
    Point(ATTENTION, "ok", Timing((11.0,), 0, False), peak_memory_bytes=0, launches=0),
)
MEASUREMENT = Measurement(MACHINE, (RUN, AGAIN), POINTS)


class Gpu:
    """torch.cuda with one card in made-up time, which does nothing before somebody waits for it.

    It takes what torch takes and refuses what torch refuses: times of events that have not happened, waiting while a
    graph is captured, replaying what was never captured. `log` lists what was called, in order; `launch` is a kernel.
    """

    def __init__(self, *, tick_ms: float = 0.0, major: int = 9, free: int = 60 * 10**9) -> None:
        self.log: list[str] = []
        self.tick_ms = tick_ms  # from one event to the next, beside what is launched
        self.end_ms = 0.0  # when all that was launched will be done
        self.done_ms = 0.0  # what somebody waited for
        self.capturing: Graph | None = None
        self.streams = ["default"]
        self.free, self.reserved, self.allocated, self.peak = free, 3 * 10**9, 10**9, 2 * 10**9
        self.properties = SimpleNamespace(
            name="NVIDIA H100 80GB HBM3",
            major=major,
            minor=0,
            total_memory=85_045_084_160,
            multi_processor_count=132,
            L2_cache_size=50 * 2**20,
            uuid="ffc79498-8ff3-c2dc-3b0d-fafd804516ae",
        )

    def install(self, monkeypatch: Any) -> Gpu:
        """Put it in the place of torch.cuda's own functions."""
        import torch

        gpu = self
        doubles = {
            "Event": lambda **options: Event(gpu, **options),
            "CUDAGraph": lambda: Graph(gpu),
            "Stream": lambda: Stream(gpu, "side"),
            **{name: getattr(gpu, name) for name in FUNCTIONS},
        }
        for name, double in doubles.items():
            monkeypatch.setattr(torch.cuda, name, double)
        return self

    def launch(self, milliseconds: float = 1.0, name: str = "kernel") -> None:
        """A kernel: queued, or while a graph is captured kept in it."""
        self.log.append(f"{name} on {self.streams[-1]}" if len(self.streams) > 1 else name)
        if self.capturing is not None:
            self.capturing.milliseconds += milliseconds
        else:
            self.end_ms += milliseconds

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def get_device_properties(self, device: Any) -> Any:
        assert device.type == "cuda", "torch refuses another device"
        return self.properties

    def synchronize(self, _device: Any = None) -> None:
        if self.capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.log.append("synchronize")
        self.done_ms = self.end_ms

    @contextmanager
    def graph(self, graph: Graph, stream: Stream | None = None) -> Iterator[None]:
        self.capturing = graph
        self.log.append("capture")
        self.streams.append(stream.name if stream else "torch's own")
        try:
            yield
            graph.captured = True
            self.streams.pop()  # not after an error: torch leaves its stream behind then
        finally:
            self.capturing = None
            self.log.append("captured")

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self.streams.append(stream.name)
        try:
            yield
        finally:
            self.streams.pop()

    def set_stream(self, stream: Stream) -> None:
        self.streams[:] = [stream.name]

    def current_stream(self) -> Stream:
        return Stream(self, self.streams[-1])

    def mem_get_info(self, _device: Any = None) -> tuple[int, int]:
        return self.free, self.properties.total_memory

    def memory_reserved(self, _device: Any = None) -> int:
        return self.reserved

    def memory_allocated(self, _device: Any = None) -> int:
        return self.allocated

    def max_memory_allocated(self, _device: Any = None) -> int:
        return self.peak

    def reset_peak_memory_stats(self, _device: Any = None) -> None:
        self.log.append("reset peak")

    def empty_cache(self) -> None:
        if self.capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.log.append("empty cache")


FUNCTIONS = tuple(name for name in vars(Gpu) if not name.startswith("_") and name not in ("install", "launch"))


class Event:
    """A moment of the made-up device."""

    def __init__(self, gpu: Gpu, *, enable_timing: bool = False) -> None:
        self.gpu, self.enable_timing = gpu, enable_timing
        self.at_ms: float | None = None

    def record(self) -> None:
        self.gpu.log.append("record")
        self.gpu.end_ms += self.gpu.tick_ms
        self.at_ms = self.gpu.end_ms

    def synchronize(self) -> None:
        self.gpu.log.append("wait for event")
        self.gpu.done_ms = max(self.gpu.done_ms, self.at_ms or 0)

    def elapsed_time(self, end: Event) -> float:
        if not (self.enable_timing and end.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.at_ms is None or end.at_ms is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if max(self.at_ms, end.at_ms) > self.gpu.done_ms:
            raise ValueError("Both events must be completed before calculating elapsed time.")
        return end.at_ms - self.at_ms


class Graph:
    """A graph of the made-up device: as long as what was launched while it was captured."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.captured, self.milliseconds = gpu, False, 0.0

    def replay(self) -> None:
        if not self.captured:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self.gpu.launch(self.milliseconds, "replay")


class Stream:
    """A stream of the made-up device."""

    def __init__(self, gpu: Gpu, name: str) -> None:
        self.gpu, self.name = gpu, name

    def wait_stream(self, other: Stream) -> None:
        self.gpu.log.append(f"{self.name} waits for {other.name}")


# --- small models, of every architecture that is measured

_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 64,
}
_TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "image_size": 28,  # 2 x 2 patches
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 14,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llava": {
        "model_type": "llava",
        "text_config": {"model_type": "llama", **_DECODER},
        "vision_config": _TOWER,
        "image_token_index": 1,
    },
    "llama": {"model_type": "llama", **_DECODER},
    "mistral": {"model_type": "mistral", **_DECODER, "sliding_window": 32},
    "qwen2": {"model_type": "qwen2", **_DECODER},
    "qwen3": {"model_type": "qwen3", **_DECODER, "head_dim": 8},
    "gpt2": {"model_type": "gpt2", "vocab_size": 50, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4},
}


def write_config(folder: Path, family: str = "llava", **values: Any) -> str:
    """Path of a config.json of a small model."""
    path = folder / f"{family}.json"
    path.write_text(json.dumps({**CONFIGS[family], **values}))
    return str(path)


@contextmanager
def quick_torch() -> Iterator[None]:
    """One thread, since small products wait for their threads; and a garbage collector with less to do.

    Transformers is loaded before, because it looks at torch.cuda when it is.
    """
    import torch
    import transformers

    assert transformers.LlavaForConditionalGeneration
    assert transformers.StaticCache
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
