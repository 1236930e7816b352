"""Times of kernels, whatever their shape: never below the peak, growing with sizes, alike as numbers and as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.calibration.parameters import (
    ATTENTION_DECODE_START,
    ATTENTION_ENCODER_START,
    ATTENTION_PREFILL_START,
    COLLECTIVE_START,
    ELEMENTWISE_START,
    STARTS,
)
from perfkit.kernel_shapes import KernelShape, over_rows
from perfkit.kernels.attention import attention_s
from perfkit.kernels.collectives import all_reduce_s
from perfkit.kernels.elementwise import over_rows_s
from perfkit.kernels.limits import Limits
from perfkit.kernels.products import Product, product_s

A100 = Limits(312e12, 2.039e12, 108, 1.41e9, 40e6)
V100 = Limits(15.7e12, 0.9e12, 80, 1.53e9, 6e6)
ROUNDING = 1 + 1e-12
START = STARTS[0]  # shares no larger than 1
FLAT = START._replace(lone=0.0)  # a block that is no longer alone is faster, so that more work can take less time

limits = st.sampled_from([A100, V100])
sizes = st.integers(1, 40000)
tokens, few = st.integers(1, 20000), st.integers(1, 64)


def element(value: Any, index: int) -> float:
    return float(value[index])


# --- products


@given(sizes, sizes, sizes, few, limits)
def test_no_product_is_faster_than_the_peak(m: int, n: int, k: int, batch: int, device: Limits) -> None:
    time = product_s(Product(m, n, k, batch), device, START)
    assert time >= START.start_s + 2 * m * n * k * batch / device.flops_per_s
    cold = product_s(Product(m, n, k, batch), device, START._replace(warm=0.0))
    assert cold >= START.start_s + Product(m, n, k, batch).bytes / device.bytes_per_s
    assert cold * ROUNDING >= time


@pytest.mark.parametrize("grown", ["m", "n", "k", "batch"])
@given(st.tuples(sizes, sizes, sizes, few), st.integers(1, 5000), limits)
def test_products_grow(grown: str, shape: tuple[int, ...], more: int, device: Limits) -> None:
    product = Product(*shape)
    larger = product._replace(**{grown: getattr(product, grown) + more})
    assert product_s(larger, device, FLAT) * ROUNDING >= product_s(product, device, FLAT)


@given(st.lists(st.tuples(sizes, sizes, sizes, few), min_size=1, max_size=5), limits)
def test_arrays_of_products(shapes: list[tuple[int, ...]], device: Limits) -> None:
    swept = product_s(Product(*np.array(shapes, dtype=np.float64).T), device, START)
    for index, shape in enumerate(shapes):
        assert element(swept, index) == pytest.approx(product_s(Product(*shape), device, START), rel=1e-12)


# --- attention

KINDS = {
    "attention_prefill": ATTENTION_PREFILL_START,
    "attention_encoder": ATTENTION_ENCODER_START,
    "attention_decode": ATTENTION_DECODE_START,
}
kinds = pytest.mark.parametrize("op", KINDS)


@st.composite
def attentions(draw: Callable[..., Any]) -> KernelShape:
    kv_heads = draw(st.sampled_from([1, 2, 8, 32]))
    count, group = draw(tokens), draw(st.sampled_from([1, 4, 7]))
    dims = draw(st.sampled_from([64, 80, 128]))
    return KernelShape(
        "",
        batch=draw(few),
        q_tokens=count,
        kv_tokens=count,
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=dims,
    )


def of_kind(shape: KernelShape, op: str) -> Any:
    """Any because it has all columns; a decode has one query."""
    return shape._replace(op=op, q_tokens=1 if op == "attention_decode" else shape.q_tokens)


def time_of(shape: KernelShape, device: Limits, **how: bool) -> Any:
    return attention_s(shape, 2, device, KINDS[shape.op], **how)


@kinds
@given(attentions(), limits)
def test_no_attention_is_faster_than_the_peak(op: str, drawn: KernelShape, device: Limits) -> None:
    s = of_kind(drawn, op)
    start = KINDS[op].start_s
    if op != "attention_decode":  # which is bytes: its products are on no engine's limit
        keys = (s.q_tokens + 1) / 2 if op == "attention_prefill" else s.kv_tokens  # each query, itself and those before
        assert time_of(s, device) >= start + 4 * s.batch * s.heads * s.q_tokens * keys * s.head_dim / device.flops_per_s
    cold, cached = time_of(s, device, warm=False), 2 * 2 * s.batch * s.kv_tokens * s.kv_heads * s.head_dim
    assert cold >= start + cached / device.bytes_per_s
    assert cold * ROUNDING >= time_of(s, device) >= time_of(s, device, writes_cache=False) > 0


@kinds
@given(attentions(), st.integers(1, 3000), st.integers(1, 64), limits)
def test_attention_grows(op: str, drawn: KernelShape, more: int, others: int, device: Limits) -> None:
    s = of_kind(drawn, op)
    longer = of_kind(s._replace(q_tokens=s.q_tokens + more, kv_tokens=s.kv_tokens + more), op)
    wider = s._replace(batch=s.batch + others)
    for larger in (longer, wider):
        assert time_of(larger, device) * ROUNDING >= time_of(s, device)


@kinds
@given(st.lists(attentions(), min_size=1, max_size=5), limits)
def test_arrays_of_attention(op: str, drawn: list[KernelShape], device: Limits) -> None:
    shapes = [of_kind(each, op) for each in drawn]
    columns = ("batch", "q_tokens", "kv_tokens", "heads", "kv_heads", "head_dim")
    arrays = {name: np.array([getattr(s, name) for s in shapes], dtype=np.float64) for name in columns}
    swept = time_of(KernelShape(op, **arrays), device)
    for index, shape in enumerate(shapes):
        assert element(swept, index) == pytest.approx(time_of(shape, device), rel=1e-12)


# --- over rows, and between workers

rowwise = pytest.mark.parametrize("op", ["add", "gelu", "silu_mul", "rmsnorm", "softmax"])


@rowwise
@given(tokens, sizes, st.integers(1, 3000), limits)
def test_kernels_over_rows_grow(op: str, rows: int, width: int, more: int, device: Limits) -> None:
    def time(m: int, n: int) -> Any:
        return over_rows_s(over_rows(op, m, n), 2, device, ELEMENTWISE_START)

    assert time(rows, width) > ELEMENTWISE_START.start_s
    assert min(time(rows + more, width), time(rows, width + more)) * ROUNDING >= time(rows, width)


@rowwise
@given(st.lists(st.tuples(tokens, sizes), min_size=1, max_size=5), limits)
def test_arrays_of_rows(op: str, shapes: list[tuple[int, int]], device: Limits) -> None:
    m, n = np.array(shapes, dtype=np.float64).T
    swept = over_rows_s(over_rows(op, m, n), 2, device, ELEMENTWISE_START)
    for index, (rows, width) in enumerate(shapes):
        single = over_rows_s(over_rows(op, rows, width), 2, device, ELEMENTWISE_START)
        assert element(swept, index) == pytest.approx(single, rel=1e-12)


@given(st.integers(1, 10**9), st.integers(2, 8), st.integers(1, 10**8))
def test_all_reduces_grow(size: int, workers: int, more: int) -> None:
    def time(size_bytes: int, n: int) -> Any:
        return all_reduce_s(size_bytes, n, 300e9, COLLECTIVE_START)

    moved = 2 * (workers - 1) / workers * size
    assert time(size, workers) >= COLLECTIVE_START.start_s + moved / 300e9
    assert min(time(size + more, workers), time(size, workers + 1)) >= time(size, workers)
