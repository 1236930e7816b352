"""A single kernel in torch: its operands, and a step that launches it as often as one sample needs.

What a model would find in memory (weights, the cache, rows that another kernel wrote) is kept in several copies that
are taken in turn, more of them than the last cache level holds; what it would find warm (the few rows that enter a
product) is kept once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from math import prod
from typing import Any

from perfkit.kernel_shapes import LAUNCH
from perfkit.measuring.backend import UNKNOWN_CACHE, Backend, Step, dtype_of
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.kernel_costs import check_timed, cost_of
from perfkit.measuring.kernel_forms import Form, Size, form_of
from perfkit.units import Precision, format_quantity

COLD_CACHES = 4  # times the last cache level: the copies together are larger
MEMORY_SHARE = 0.5  # of the free memory that the copies may take
# Copies beyond these are not made. Rows so small that a thousand copies fit the cache are found there in a model too,
# since the kernel before has just written them; and no graph has to hold more launches.
MOST_COPIES = 1000
MOST_CALLS = 1000
LAUNCHES = 1000  # of the tiny operation in one sample: a few milliseconds on any host
SAMPLE_S = 2e-3  # aimed at, on a device as fast as below; a slow one takes up to a hundred times as long
# FLOP/s, B/s and seconds a launch that the fastest of a kind reach, to tell how many calls make a sample.
FASTEST = {"cuda": (1e15, 4e12, 2e-6), "cpu": (1e12, 1e11, 5e-6)}


def kernel_step(backend: Backend, case: KernelCase) -> tuple[Step, int]:
    """Step that runs the kernel of `case`, and how many times it does.

    Where the device has graphs the calls are captured into one, so that launches of the host do not count; `launch`
    is a thousand tiny operations issued one by one, which is what the host takes for them. A gated activation is two
    launches, as eager torch has no kernel for it. A flushed case is one call on one copy: all that it reads was
    emptied from the cache before, and on a GPU the launch of one graph counts.

    Raises:
        InvalidValue: an op that has no form in torch here.
        MemoryError: its operands do not fit, on a device where trying would end the process.
    """
    if check_timed(case.shape.op) == LAUNCH:
        return _launches(backend), LAUNCHES
    form, captured = form_of(case.shape), "graph" in backend.runtimes
    copies = count_copies(backend, case, form)
    # A graph repeats itself, so each copy has to be in it; calls one by one go on where the last sample ended.
    calls = _count_calls(backend, case, least=copies if captured else 1)
    step = Step(_calling(form.run, _operands(backend, case, form, copies), calls))
    return (backend.capture(step) if captured else step), calls


def _launches(backend: Backend) -> Step:
    import torch

    one = torch.ones(1, device=backend.device)

    def call() -> None:
        for _ in range(LAUNCHES):
            torch.add(one, one)

    return Step(call)


def _calling(run: Callable[..., Any], operands: Sequence[tuple[Any, ...]], calls: int) -> Callable[[], Any]:
    turn = cycle(operands)

    def call() -> Any:
        for _ in range(calls - 1):
            run(*next(turn))
        return run(*next(turn))

    return call


# --- operands


def count_copies(backend: Backend, case: KernelCase, form: Form) -> int:
    """Copies of what is cold: together larger than COLD_CACHES times the last level, within the free memory.

    Raises:
        MemoryError: not even one fits, on a device where trying would end the process.
    """
    precision, free = Precision(case.precision), backend.free_bytes()
    needed = int(cost_of(case).bytes)
    if backend.must_foresee and needed > free:
        sizes = f"{format_quantity(needed, 'B')} are needed, {format_quantity(free, 'B')} free"
        raise MemoryError(f"not tried: {sizes}")
    if case.flushed:
        return 1
    one = max(1, int(precision.bytes_of(sum(map(prod, form.cold)))))
    cache = backend.machine().cache_bytes or UNKNOWN_CACHE
    wanted = min(COLD_CACHES * cache // one + 1, MOST_COPIES)
    return max(1, min(wanted, int(MEMORY_SHARE * free) // one))


def _count_calls(backend: Backend, case: KernelCase, least: int) -> int:
    """Calls that take about SAMPLE_S together on the fastest devices of the kind; one of a flushed case."""
    if case.flushed:
        return 1
    flops_per_s, bytes_per_s, launch_s = FASTEST[backend.device.type]
    cost = cost_of(case)
    one_s: float = max(cost.flops / flops_per_s, cost.bytes / bytes_per_s, launch_s)
    return max(least, min(MOST_CALLS, round(SAMPLE_S / one_s)))


def _operands(backend: Backend, case: KernelCase, form: Form, copies: int) -> list[tuple[Any, ...]]:
    """Arguments of each call in turn: the warm ones every time, a copy of the cold ones each."""
    warm = [_filled(backend, case.precision, size) for size in form.warm]
    first = [_filled(backend, case.precision, size) for size in form.cold]
    others = [[tensor.clone() for tensor in first] for _ in range(copies - 1)]
    return [(*warm, *cold) for cold in (first, *others)]


def _filled(backend: Backend, precision: str, size: Size) -> Any:
    """Random numbers: zeros would take less power, and on a CPU no memory at all."""
    import torch

    return torch.empty(size, dtype=dtype_of(precision), device=backend.device).uniform_(-1, 1)
