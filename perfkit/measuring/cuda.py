"""An NVIDIA GPU as a device to time: CUDA events, CUDA graphs, counters from NVML."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

from perfkit.measuring.backend import FLUSH_CACHES, UNKNOWN_CACHE, Step, library_versions
from perfkit.measuring.counters import Watch, watch_gpu
from perfkit.measuring.measurement import Machine
from perfkit.measuring.nvml import device_of_name, driver_version

HOST_CALLS = 5  # whose median is what the host takes to launch a step
WARM_CALLS = 3  # before a capture, so that libraries have made their handles and workspaces


class CudaBackend:
    """The current CUDA device."""

    runtimes = ("eager", "graph")
    must_foresee = False

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cuda", torch.cuda.current_device())
        self._torch = torch
        self._properties: Any = torch.cuda.get_device_properties(self.device)
        self._scratch: Any = None
        # One for all captures: cuBLAS keeps a workspace for every stream that it saw.
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @property
    def precisions(self) -> tuple[str, ...]:
        """tf32 and bf16 from compute capability 8.0 on."""
        return ("fp32", "tf32", "fp16", "bf16") if self._properties.major >= 8 else ("fp32", "fp16")

    def machine(self) -> Machine:
        """Product, SMs, memory, L2, driver, CUDA and cuDNN."""
        torch = self._torch
        libraries = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        return Machine(
            kind="cuda",
            name=self._properties.name,
            clock="CUDA events",
            memory_bytes=self._properties.total_memory,
            cores=self._properties.multi_processor_count,
            platform=platform.platform(),
            libraries={**library_versions(), **libraries},
            device=device_of_name(self._properties.name),
            cache_bytes=getattr(self._properties, "L2_cache_size", None),
            driver=driver_version(),
        )

    def free_bytes(self) -> int:
        """Memory of the card that nobody holds, and what torch holds unused."""
        free, _ = self._torch.cuda.mem_get_info(self.device)
        held = self._torch.cuda.memory_reserved(self.device) - self._torch.cuda.memory_allocated(self.device)
        return int(free + held)

    def sampler(self, step: Step, *, flush: bool, meanwhile: Callable[[], object] | None = None) -> Callable[[], float]:
        """One call between two events on an idle device, so that launches of the host count where they are slower."""
        torch = self._torch
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

        def sample() -> float:
            if step.before:
                step.before()
            if flush:
                self._flush()
            torch.cuda.synchronize(self.device)
            start.record()
            step.call()
            end.record()
            if meanwhile:
                meanwhile()
            end.synchronize()
            return float(start.elapsed_time(end)) * 1e-3  # milliseconds

        return sample

    def host_s(self, step: Step) -> float | None:
        """Median of a few calls, each on an idle device and not waited for."""
        taken = []
        for _ in range(HOST_CALLS):
            if step.before:
                step.before()
            self.synchronize()
            start = time.perf_counter()
            step.call()
            taken.append(time.perf_counter() - start)
        self.synchronize()
        return median(taken)

    def capture(self, step: Step) -> Step:
        """The step captured into a CUDA graph, after warm calls on a side stream as torch asks for it."""
        torch, stream, current = self._torch, self._side, self._torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_CALLS):
                if step.before:
                    step.before()
                step.call()
        current.wait_stream(stream)
        if step.before:
            step.before()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                kept = step.call()  # its tensors live in the graph's memory, and must not be freed before it
        except BaseException:
            torch.cuda.set_stream(current)  # a capture that fails leaves its own stream behind
            raise

        def replay() -> object:
            graph.replay()
            return kept

        return Step(replay, step.before)

    def watch(self) -> AbstractContextManager[Watch | None]:
        """NVML's counters of this very card, whatever number CUDA gives it."""
        uuid = getattr(self._properties, "uuid", None)
        return watch_gpu(None if uuid is None else str(uuid))

    def synchronize(self) -> None:
        """Wait for the device."""
        self._torch.cuda.synchronize(self.device)

    def peak_bytes(self) -> int | None:
        """Most that tensors held, by torch's allocator."""
        return int(self._torch.cuda.max_memory_allocated(self.device))

    def release(self) -> None:
        """Free what nobody holds, and start the peak anew."""
        gc.collect()
        self._torch.cuda.empty_cache()
        self._torch.cuda.reset_peak_memory_stats(self.device)

    def ran_out(self, error: BaseException) -> bool:
        """Torch's own error, or CUDA's, cuBLAS's or cuDNN's; also beneath the one that a broken capture ends in."""
        if isinstance(error, self._torch.cuda.OutOfMemoryError):
            return True
        told = str(error)
        if isinstance(error, RuntimeError) and ("ALLOC_FAILED" in told or "CUDA error: out of memory" in told):
            return True
        return error.__context__ is not None and self.ran_out(error.__context__)

    def _flush(self) -> None:
        if self._scratch is None:
            size = FLUSH_CACHES * (getattr(self._properties, "L2_cache_size", None) or UNKNOWN_CACHE)
            self._scratch = self._torch.empty(size, dtype=self._torch.uint8, device=self.device)
        self._scratch.zero_()
