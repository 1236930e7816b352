"""Kernels that are launched for an op: one under a graph of fused kernels, several where Hugging Face's code runs it.

Eager code is Hugging Face's (transformers 5, torch's eager mode), as its modules dispatch it: RMSNorm in 6 kernels, or
8 in 16-bit formats, which it leaves and comes back to; rotary embedding in 10; a gated activation in 2; the cache
concatenated anew at every step; scores scaled and masked in passes of their own. `tests/unit/test_launching.py` holds
the counts against the modules themselves. Captured in a CUDA graph they are the same kernels, over a static cache that
is written in place. Left out is what runs once a forward beside its layers: positions, rotary
tables, the mask, some 10 to 20 tiny kernels.

torch moves 16 bytes at a time where all tensors of a kernel lie alike. Where one is broadcast, transposed or of another
format it finds the place of each element by itself, and that arithmetic, not memory, bounds the kernel, in or out of
the L2. `Launch.clocks` counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.ops import OpCost, maximum
from perfkit.units import Amount
from perfkit.workload import Runtime, anywhere

WIDE_BYTES = 4  # of the fp32 that norms and softmax compute in

# Clocks of a multiprocessor an element that is addressed by itself. Medians over four prefills of LLaVA-1.5-7B that
# were profiled on an H100 (reports/measured/h100-sxm-80gb/checks/layer-kernels.csv), a launch taken off; on other
# devices taken to be the same. The least and largest of each: 0.57-0.92, 0.73-1.01, 1.11-1.25, 1.56-1.92.
INDEXED = 0.67  # one tensor broadcast along rows, strided, or of another format
TRANSPOSED = 0.95  # heads before tokens in one tensor and behind them in another
JOINED = 1.2  # torch.cat of two halves of heads
CACHED = 1.75  # torch.cat of new keys or values with an empty cache


class Launch(NamedTuple):
    """One kernel, once: its shape, None where it has no one shape, the bytes that it moves, whether it multiplies.

    `clocks`: multiprocessor clocks of addressing, summed over its elements; 0 where it moves vectors.
    """

    kernel: KernelShape | None
    bytes: Amount
    multiplies: bool = False
    clocks: Amount = 0.0


def launches_of(op: OpCost, runtime: Runtime) -> tuple[Launch, ...]:
    """Kernels of one of the op's `repeat` runs.

    >>> from perfkit.ops import Place, norm
    >>> from perfkit.units import Precision
    >>> op = norm(Place("prefill", 1, *[Precision.FP16] * 4), "input_norm", 100, 4096, "rmsnorm")
    >>> len(launches_of(op, "graph")), len(launches_of(op, "eager"))
    (1, 8)
    >>> # widened 2 + 4, squared 8, averaged 4, multiplied 8, narrowed 6, scaled 4 bytes an element; 2 * 8 a row
    >>> sum(launch.bytes for launch in launches_of(op, "eager")) == 100 * 4096 * 36 + 100 * 16
    True
    """
    if runtime == "graph":
        return (_whole(op),)
    kernels = tuple(_KERNELS.get(op.kind, _alone)(op))
    if runtime == "captured":
        return kernels
    # A growing cache is written where it is concatenated, before it is read.
    return () if op.kind == "kv_write" else (*_concatenated(op), *kernels)


def _once(op: OpCost, amount: Amount) -> Amount:
    """Of one run; an op that does not run, as at points of a sweep without an image, moves nothing."""
    return amount / maximum(op.repeat, 1)


def _whole(op: OpCost) -> Launch:
    return Launch(op.kernel, _once(op, op.bytes), anywhere(op.matmul_flops > 0))


def _alone(op: OpCost) -> Iterator[Launch]:
    yield _whole(op)


def _pass(size: Amount, clocks: Amount = 0.0) -> Launch:
    return Launch(None, size, clocks=clocks)


# --- the kernels of eager code, kind by kind of op


def _norm(op: OpCost) -> Iterator[Launch]:
    kernel: Any = op.kernel  # a norm has rows and a width
    if kernel.op != "rmsnorm":
        yield _whole(op)
        return
    elements, size = kernel.m * kernel.n, op.engine.bits / 8
    narrow, indexed = size < WIDE_BYTES, INDEXED * elements
    yield from [_pass(elements * (size + WIDE_BYTES), indexed)] * narrow
    yield _pass(elements * 2 * WIDE_BYTES)  # square
    yield _pass(elements * WIDE_BYTES)  # mean
    yield from [_pass(kernel.m * 2 * WIDE_BYTES)] * 2  # epsilon, reciprocal root: a number a row
    yield _pass(elements * 2 * WIDE_BYTES, indexed)  # times the root
    yield from [_pass(elements * (size + WIDE_BYTES))] * narrow
    yield _pass(elements * 2 * size, indexed)  # times the weights


def _rotary(op: OpCost) -> Iterator[Launch]:
    """x cos + rotated(x) sin, of queries and of keys: multiply, negate half, join, multiply, add."""
    written = _once(op, op.write_bytes) / 2
    elements = written / (op.engine.bits / 8)
    for _ in ("queries", "keys"):
        yield _pass(written * 2, TRANSPOSED * elements)
        yield _pass(written, INDEXED * elements / 2)
        yield _pass(written * 2, JOINED * elements)
        yield _pass(written * 2, INDEXED * elements)
        yield _pass(written * 3, TRANSPOSED * elements)


def _gated(op: OpCost) -> Iterator[Launch]:
    written = _once(op, op.write_bytes)
    yield from (_pass(written * tensors) for tensors in (2, 3))


# Tensors that each kernel of an activation reads and writes, where it is not one kernel.
_ACTIVATIONS = {
    "gelu_new": (2, 2, 2, 3, 2, 2, 2, 3),  # 0.5 x, x^3, times c, plus x, times sqrt(2 / pi), tanh, plus 1, product
    "gelu_fast": (2, 2, 2, 3, 2, 2, 2, 3),
    "gelu_python": (2, 2, 2, 2, 3),
    "quick_gelu": (2, 2, 3),  # 1.702 x, sigmoid, product
}


def _activation(op: OpCost) -> Iterator[Launch]:
    kernel: Any = op.kernel
    if kernel.op.endswith("_mul"):
        yield from _gated(op)
    elif kernel.op in _ACTIVATIONS:
        yield from (_pass(_once(op, op.write_bytes) * tensors) for tensors in _ACTIVATIONS[kernel.op])
    else:
        yield _whole(op)


def _embedding(op: OpCost) -> Iterator[Launch]:
    """Rows gathered; of learned positions each table gathered and added, in a vision tower behind the class token."""
    written = _once(op, op.write_bytes)
    if not anywhere(op.vector_flops > 0):
        yield _whole(op)
        return
    if op.phase == "vision":
        yield _pass(written * 2)  # joined with the class token
    tables = 1 if op.phase == "vision" else round(_tables(op))
    for _ in range(tables):
        yield _pass(0.0)
        yield _pass(written * 3)


def _tables(op: OpCost) -> float:
    ratio: Any = op.vector_flops * (op.engine.bits / 8) / op.write_bytes  # the same at every point of a sweep
    return float(ratio.flat[0]) if hasattr(ratio, "flat") else float(ratio)


def _concatenated(op: OpCost) -> Iterator[Launch]:
    """Keys, values or both with the new ones behind them: all of the cache read and written.

    A prompt's own are transposed, and its cache is empty; a cache that stands is moved in vectors.
    """
    if not _loose(op):
        tensors = 1 if _is_product(op) else 2
        size = _once(op, op.kv_read_bytes) / tensors
        clocks = CACHED * size / (op.engine.bits / 8) if op.phase == "prefill" else 0.0
        yield from [_pass(2 * size, clocks)] * tensors


def _written(op: OpCost) -> Iterator[Launch]:
    """New keys, and new values, put into their places of a static cache; these are numbered, and its length raised."""
    yield from [_pass(0.0)] * 3
    yield from [_pass(_once(op, op.bytes) / 2)] * 2


def _attention(op: OpCost) -> Iterator[Launch]:
    kernel: Any = op.kernel
    if _is_product(op):
        yield from _scores(op, kernel) if op.name.endswith("_qk") else _values(op, kernel)
        return
    yield _whole(op)


def _is_product(op: OpCost) -> bool:
    """Whether it is one of the two products of eager attention."""
    return op.kind == "attention" and op.kernel is not None and op.kernel.op == "bmm"


def _scores(op: OpCost, s: Any) -> Iterator[Launch]:
    """Queries, and keys that come from no cache, laid out; the product; its scores scaled, and masked in text."""
    size = op.engine.bits / 8
    queries, keys, scores = (size * s.batch * rows for rows in (s.m * s.k, s.n * s.k, s.m * s.n))
    yield _pass(2 * queries)
    yield from [_pass(2 * keys)] * _loose(op)
    yield _whole(op)
    yield from [_pass(2 * scores)] * (1 if op.phase == "vision" else 2)


def _values(op: OpCost, s: Any) -> Iterator[Launch]:
    size = op.engine.bits / 8
    yield from [_pass(2 * size * s.batch * s.k * s.n)] * _loose(op)
    yield _whole(op)
    yield _pass(2 * size * s.batch * s.m * s.n)  # heads side by side again


def _loose(op: OpCost) -> bool:
    """Whether keys and values come from no cache, and are laid out anew."""
    return not anywhere(op.kv_read_bytes > 0)


def _softmax(op: OpCost) -> Iterator[Launch]:
    """In 16-bit formats it is written in fp32 and narrowed."""
    kernel: Any = op.kernel
    size, elements = op.engine.bits / 8, kernel.m * kernel.n
    if size >= WIDE_BYTES or not op.name.endswith("attention_softmax"):
        yield _whole(op)
        return
    yield Launch(over_rows("softmax", kernel.m, kernel.n), elements * (size + WIDE_BYTES))
    yield _pass(elements * (size + WIDE_BYTES))


def _copy(op: OpCost) -> Iterator[Launch]:
    """Keys and values copied out to every query head, one by one, behind their cache."""
    if not op.name.endswith("_repeat_kv"):
        yield _whole(op)
        return
    yield from [_pass(_once(op, op.bytes) / 2)] * 2


_KERNELS: dict[str, Callable[[OpCost], Iterator[Launch]]] = {
    "norm": _norm,
    "rotary": _rotary,
    "activation": _activation,
    "embedding": _embedding,
    "attention": _attention,
    "softmax": _softmax,
    "copy": _copy,
    "kv_write": _written,
}
