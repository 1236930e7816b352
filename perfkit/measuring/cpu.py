"""The CPU as a device to time: a monotonic clock, memory and caches as Linux reports them."""

from __future__ import annotations

import gc
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from perfkit.errors import MachineError
from perfkit.measuring.backend import FLUSH_CACHES, UNKNOWN_CACHE, Step, library_versions
from perfkit.measuring.counters import Watch
from perfkit.measuring.measurement import Machine

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
MEMORY = Path("/proc/meminfo")
PROCESSOR = Path("/proc/cpuinfo")
LIMITS = (  # of a container: what it may use, and what it does use
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


class CpuBackend:
    """All threads that torch uses by itself."""

    precisions = ("fp32", "bf16")
    runtimes = ("eager",)
    must_foresee = True  # Linux promises more memory than there is, and kills who takes it

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")
        self._torch = torch
        self._scratch: Any = None

    def machine(self) -> Machine:
        """Product, threads, memory, last-level cache."""
        return Machine(
            kind="cpu",
            name=_processor(),
            clock="monotonic clock",
            memory_bytes=_meminfo("MemTotal"),
            cores=self._torch.get_num_threads(),
            platform=platform.platform(),
            libraries=library_versions(),
            cache_bytes=last_level_cache_bytes(),
        )

    def free_bytes(self) -> int:
        """Memory that Linux can give without swapping, within the container's limit."""
        room = [limit for paths in LIMITS if (limit := _room(*paths)) is not None]
        return min(_meminfo("MemAvailable"), *room) if room else _meminfo("MemAvailable")

    def sampler(
        self,
        step: Step,
        *,
        flush: bool,
        meanwhile: Callable[[], object] | None = None,  # noqa: ARG002  # the interface's: here nothing works beside the call
    ) -> Callable[[], float]:
        """One call between two readings of the clock."""

        def sample() -> float:
            if step.before:
                step.before()
            if flush:
                self._flush()
            start = time.perf_counter_ns()
            step.call()
            return (time.perf_counter_ns() - start) * 1e-9

        return sample

    def host_s(self, step: Step) -> float | None:  # noqa: ARG002  # the interface's
        """The CPU is the device."""
        return None

    def capture(self, step: Step) -> Step:  # noqa: ARG002  # the interface's
        """No CPU has graphs."""
        raise MachineError("a CPU has no CUDA graphs: use --runtime eager")

    def watch(self) -> AbstractContextManager[Watch | None]:
        """No counters."""
        return nullcontext(None)

    def synchronize(self) -> None:
        """Calls return when their work is done."""

    def peak_bytes(self) -> int | None:
        """Not known: torch keeps no such count on the CPU."""
        return None

    def release(self) -> None:
        """Collect garbage; freed tensors go back by themselves."""
        gc.collect()

    def ran_out(self, error: BaseException) -> bool:
        """MemoryError, or torch's own words for it."""
        return isinstance(error, MemoryError) or "can't allocate memory" in str(error)

    def _flush(self) -> None:
        if self._scratch is None:
            size = FLUSH_CACHES * (last_level_cache_bytes() or UNKNOWN_CACHE)
            self._scratch = self._torch.empty(size, dtype=self._torch.uint8)
        self._scratch.add_(1)


def last_level_cache_bytes() -> int | None:
    """Size of the last cache level that one core sees, or None where Linux does not say.

    Raises nothing: a container may hide it.
    """
    sizes = []
    for index in sorted(CACHES.glob("index*")):
        try:
            text = (index / "size").read_text().strip()
        except OSError:
            continue
        if match := re.fullmatch(r"(\d+)([KM])", text):
            sizes.append(int(match[1]) * {"K": 2**10, "M": 2**20}[match[2]])
    return max(sizes, default=None)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", PROCESSOR.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _meminfo(key: str) -> int:
    try:
        found = re.search(rf"^{key}:\s*(\d+) kB$", MEMORY.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 2**10
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all that there is


def _room(limit: Path, usage: Path) -> int | None:
    try:
        allowed, used = limit.read_text().strip(), usage.read_text().strip()
    except OSError:
        return None
    return max(0, int(allowed) - int(used)) if allowed.isdigit() else None
