"""Tracing: every formula against hand arithmetic, bytes, the fused bound, the tree of modules, other counters.

`meta(2, 3)` is a tensor without memory; fp32 unless it says otherwise, so an element is 4 bytes.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # as torch's own documentation has it
from torch.utils.flop_counter import FlopCounterMode

from perfkit.errors import InvalidSpec, InvalidValue, MachineError, UnknownName
from perfkit.tracing import Trace, formula, registry, trace
from perfkit.tracing.calls import Call, TensorInfo
from perfkit.tracing.registry import Rule, register, rule_of
from perfkit.tracing.samples import gated_feed_forward

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def ids(*shape: int) -> torch.Tensor:
    return meta(*shape, dtype=torch.long)


class Run(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def traced(function: Callable[..., Any], *args: Any, **options: Any) -> Trace:
    return trace(Run(function), args, **options)


@pytest.fixture
def own_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """A register whose additions are forgotten after the test."""
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


# --- products: multiply-add = 2

PRODUCTS = {
    "mm": (lambda: (torch.mm, meta(2, 3), meta(3, 5)), 60, 0),  # 2 * 2 * 3 * 5
    "addmm": (lambda: (torch.addmm, meta(5), meta(2, 3), meta(3, 5)), 60, 10),  # and 2 * 5 adds
    "addmm without what is added": (
        lambda: (lambda c, a, b: torch.addmm(c, a, b, beta=0), meta(5), meta(2, 3), meta(3, 5)),
        60,
        0,
    ),
    "bmm": (lambda: (torch.bmm, meta(4, 2, 3), meta(4, 3, 5)), 240, 0),  # 4 * 60
    "baddbmm": (lambda: (torch.baddbmm, meta(4, 2, 5), meta(4, 2, 3), meta(4, 3, 5)), 240, 40),
    "addbmm": (lambda: (torch.addbmm, meta(2, 5), meta(4, 2, 3), meta(4, 3, 5)), 240, 10),
    "linear with bias": (lambda: (F.linear, meta(7, 2, 3), meta(5, 3), meta(5)), 420, 70),  # 7 * 60; 7 * 2 * 5
    "matmul broadcast": (lambda: (torch.matmul, meta(7, 2, 3), meta(3, 5)), 420, 0),
    "einsum": (lambda: (lambda a, b: torch.einsum("bik,bjk->bij", a, b), meta(4, 2, 3), meta(4, 5, 3)), 240, 0),
    "matrix times vector": (lambda: (torch.mv, meta(2, 3), meta(3)), 12, 0),  # 2 * 2 * 3
    "addmv": (lambda: (torch.addmv, meta(2), meta(2, 3), meta(3)), 12, 2),
    "dot": (lambda: (torch.dot, meta(3), meta(3)), 6, 0),
    # 7 rows, 5 results, (3, 4) each: rows times weight 2 * 7 * 5 * 3 * 4, that times rows 2 * 7 * 5 * 4
    "bilinear": (lambda: (F.bilinear, meta(7, 3), meta(7, 4), meta(5, 3, 4)), 1120, 0),
    "addr": (lambda: (torch.addr, meta(2, 3), meta(2), meta(3)), 12, 0),
    "int8": (
        lambda: (torch._int_mm, meta(32, 16, dtype=torch.int8), meta(16, 8, dtype=torch.int8)),
        8192,  # 2 * 32 * 16 * 8
        0,
    ),
    # Output 4 channels, (8 - 3) + 1 = 6 a side, 2 pictures: 2 * 2 * 36 * (4 * 3 * 9)
    "convolution": (lambda: (F.conv2d, meta(2, 3, 8, 8), meta(4, 3, 3, 3)), 15552, 0),
    "convolution with bias": (lambda: (F.conv2d, meta(2, 3, 8, 8), meta(4, 3, 3, 3), meta(4)), 15552, 288),  # 2*4*36
    # Stride 2 with padding 1: (8 + 2 - 4) / 2 + 1 = 4 a side: 2 * 16 * (4 * 3 * 16)
    "strided convolution": (
        lambda: (lambda x, w: F.conv2d(x, w, stride=2, padding=1), meta(1, 3, 8, 8), meta(4, 3, 4, 4)),
        6144,
        0,
    ),
    # A weight of (6, 1, 3, 3), each channel its own: 2 * 36 * 6 * 9
    "depthwise convolution": (
        lambda: (lambda x, w: F.conv2d(x, w, groups=6), meta(1, 6, 8, 8), meta(6, 1, 3, 3)),
        3888,
        0,
    ),
    # Every input position meets the whole weight: 2 * 16 * (3 * 5 * 4)
    "transposed convolution": (
        lambda: (lambda x, w: F.conv_transpose2d(x, w, stride=2), meta(1, 3, 4, 4), meta(3, 5, 2, 2)),
        1920,
        0,
    ),
    "convolution in one dimension": (lambda: (F.conv1d, meta(1, 3, 10), meta(4, 3, 3)), 576, 0),  # 2 * 8 * 4 * 3 * 3
    "without a batch": (lambda: (F.conv1d, meta(3, 10), meta(4, 3, 3)), 576, 0),
    # Scores 2 * 3 * 5 * 7 = 210: 2 * 210 * 8 twice, and 5 an element of softmax
    "attention": (
        lambda: (F.scaled_dot_product_attention, meta(2, 3, 5, 8), meta(2, 3, 7, 8), meta(2, 3, 7, 8)),
        6720,
        1050,
    ),
    # Values of another width: 2 * 210 * (8 + 4)
    "attention, narrow values": (
        lambda: (F.scaled_dot_product_attention, meta(2, 3, 5, 8), meta(2, 3, 7, 8), meta(2, 3, 7, 4)),
        5040,
        1050,
    ),
    # 6 query heads over 2 key heads, causal in full: scores 1 * 6 * 5 * 5 = 150: 4 * 150 * 8
    "grouped-query attention": (
        lambda: (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
            meta(1, 6, 5, 8),
            meta(1, 2, 5, 8),
            meta(1, 2, 5, 8),
        ),
        4800,
        750,
    ),
    # 10 rows of any of 4 groups: 2 * 10 * 16 * 24
    "grouped product": (
        lambda: (
            lambda a, b, ends: torch._grouped_mm(a, b, offs=ends),
            meta(10, 16, dtype=torch.bfloat16),
            meta(4, 16, 24, dtype=torch.bfloat16),
            meta(4, dtype=torch.int32),
        ),
        7680,
        0,
    ),
}
# FlopCounterMode of torch 2.13 has no formula for these.
ONLY_HERE = ("matrix times vector", "addmv", "dot", "bilinear", "addr", "addbmm", "int8", "grouped product")


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    make, matmul, vector = PRODUCTS[name]
    found = traced(*make())
    assert (found.costs.matmul_flops, found.costs.vector_flops) == (matmul, vector)
    assert type(found.total) is int
    assert found.uncounted == ()


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_against_torch(name: str) -> None:
    function, *args = PRODUCTS[name][0]()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(*args)
    assert counter.get_total_flops() == (0 if name in ONLY_HERE else PRODUCTS[name][1])


HEADS_FIRST = [meta(2, 3, 5, 8, dtype=torch.bfloat16) for _ in range(3)]  # (batch, heads, tokens, d)
TOKENS_FIRST = [tensor.transpose(1, 2) for tensor in HEADS_FIRST]


@pytest.mark.parametrize(
    "attend",
    [
        lambda: F.scaled_dot_product_attention(*HEADS_FIRST),
        lambda: aten._scaled_dot_product_attention_math(*HEADS_FIRST),
        lambda: aten._scaled_dot_product_flash_attention(*HEADS_FIRST),
        lambda: aten._scaled_dot_product_flash_attention_for_cpu(*HEADS_FIRST),
        lambda: aten._scaled_dot_product_efficient_attention(*HEADS_FIRST, None, False),
        lambda: aten._scaled_dot_product_cudnn_attention(*HEADS_FIRST, None, False),
        lambda: aten._flash_attention_forward(*TOKENS_FIRST, None, None, 5, 5, 0.0, False, False),
        lambda: aten._efficient_attention_forward(*TOKENS_FIRST, None, None, None, 5, 5, 0.0, 0),
    ],
    ids=["composite", "math", "flash", "flash for CPU", "efficient", "cudnn", "flash itself", "efficient itself"],
)
def test_every_form_of_attention_counts_the_same(attend: Callable[[], Any]) -> None:
    found = traced(attend)
    # 2 * 3 heads, 5 * 5 scores of 8: 4 * 150 * 8; softmax 5 * 150. Not an op but attention is seen.
    assert (found.costs.matmul_flops, found.costs.vector_flops) == (4800, 750)
    assert [op.kind for op in found.by_op] == ["attention"]


def test_packed_sequences_are_uncounted_because_their_lengths_are_values() -> None:
    q, k, v = (meta(10, 3, 8, dtype=torch.bfloat16) for _ in range(3))
    ends = meta(3, dtype=torch.int32)
    found = traced(lambda: aten._flash_attention_forward(q, k, v, ends, ends, 5, 5, 0.0, False, False))
    assert [op.name for op in found.uncounted] == ["aten._flash_attention_forward"]


def test_attention_on_a_cpu_is_one_kernel_too() -> None:
    q, k, v = (torch.zeros(2, 3, 5, 8) for _ in range(3))
    found = traced(F.scaled_dot_product_attention, q, k, v)
    assert (found.total, found.costs.unfused_bytes) == (4800, 4 * 4 * 240)
    assert found.compared[0].flops == 0  # FlopCounterMode has no formula for what a CPU runs


def test_fused_attention_lies_as_kernels_lay_it_and_needs_no_copy() -> None:
    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 24)

    qkv = meta(2, 3, 5, 8)
    assert [op.name for op in traced(attend, qkv, qkv, qkv).by_op] == ["aten.scaled_dot_product_attention"]


# --- element-wise work, of 2 * 6 = 12 elements

ELEMENTWISE = {
    "add": (lambda x: x + x, 12),
    "in place": (lambda x: x.mul_(2), 12),
    "exp": (torch.exp, 12),
    "rsqrt": (torch.rsqrt, 12),
    "compare": (lambda x: x > 0, 12),
    "power": (lambda x: x.pow(2), 12),
    "clamp": (lambda x: x.clamp(0, 1), 24),
    "sigmoid": (torch.sigmoid, 48),  # negate, exp, add, divide
    "silu": (F.silu, 48),
    "relu": (F.relu, 12),
    "relu in place": (lambda x: F.relu(x, inplace=True), 12),
    "gelu": (F.gelu, 60),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), 108),
    "glu": (F.glu, 30),  # 5 of 6 results
    "softmax": (lambda x: x.softmax(-1), 60),
    "log softmax": (lambda x: x.log_softmax(-1), 60),
    "layer norm": (lambda x: F.layer_norm(x, (6,)), 84),  # 7
    "RMSNorm": (lambda x: F.rms_norm(x, (6,)), 48),  # 4
    "sum": (lambda x: x.sum(-1), 12),
    "mean": (lambda x: x.mean(), 12),
    "variance": (lambda x: x.var(-1), 48),
    "length": (lambda x: x.norm(dim=-1), 24),
    "argmax": (lambda x: x.argmax(-1), 12),
    "average pool": (lambda x: F.avg_pool1d(x[None], 3, 1), 24),  # 3 of each of 2 * 4 results
    "copy": (torch.clone, 0),
    "cast": (lambda x: x.half(), 0),
    "join": (lambda x: torch.cat([x, x]), 0),
    "where": (lambda x: torch.where(ids(2, 6).bool(), x, x), 0),
    "dropout that does nothing": (lambda x: F.dropout(x, 0.5, training=False), 0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_work(name: str) -> None:
    function, flops = ELEMENTWISE[name]
    found = traced(function, meta(2, 6))
    assert (found.costs.matmul_flops, found.costs.vector_flops, found.uncounted) == (0, flops, ())


def test_pools_and_kept_statistics_over_pictures() -> None:
    pictures = meta(1, 8, 32, 32)
    assert traced(lambda x: F.avg_pool2d(x, 2), pictures).costs.vector_flops == 8192  # 4 of 8 * 16 * 16
    assert traced(lambda x: F.max_pool2d(x, (2, 4)), pictures).costs.vector_flops == 8192  # 8 of 8 * 16 * 8
    assert trace(nn.BatchNorm2d(8, device="meta").eval(), (pictures,)).costs.vector_flops == 32768  # 4 * 8192
    double = traced(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), pictures)
    assert double.costs.vector_flops == 8 * 8 * 64 * 64  # 4 neighbours, multiplied and added


@pytest.mark.parametrize(
    ("norm", "flops"),
    [
        (nn.BatchNorm2d(8), 4),  # eval: subtract, multiply, scale, shift
        (nn.InstanceNorm2d(8), 7),  # mean and variance are found first, as by a LayerNorm
        (nn.InstanceNorm2d(8, track_running_stats=True), 4),
        (nn.BatchNorm2d(8, track_running_stats=False), 7),
    ],
)
def test_statistics_that_are_not_kept_are_computed(norm: nn.Module, flops: int) -> None:
    found = trace(norm.to("meta").eval(), (meta(2, 8, 4, 4),))
    assert next(op for op in found.by_op if op.kind == "norm").costs.vector_flops == flops * 2 * 8 * 16
    if isinstance(norm, nn.BatchNorm2d):
        trained = next(op for op in trace(norm.train(), (meta(2, 8, 4, 4),)).by_op if op.kind == "norm")
        assert trained.costs.vector_flops == 7 * 256


def test_integers_and_masks_cost_no_flops() -> None:
    assert traced(lambda i: (i + 1 > 3) & (i < 9), ids(4, 5)).costs.vector_flops == 0
    assert traced(lambda i: i * 0.5, ids(4, 5)).costs.vector_flops == 0  # its input is cast first, and only moved


def test_elementwise_work_is_in_the_total_where_asked_for() -> None:
    module, args = nn.Sequential(nn.Linear(3, 5, device="meta"), nn.ReLU()), (meta(2, 3),)
    assert trace(module, args).total == 60
    assert trace(module, args, elementwise=True).total == 60 + 10 + 10  # bias, ReLU
    assert trace(module, args, elementwise=True).macs == 30


# --- the register


@pytest.mark.usefixtures("own_register")
def test_the_register_refuses_duplicates() -> None:
    with pytest.raises(InvalidValue, match=r"aten\.mm has a formula already"):
        register(["aten.mm"], Rule("product"))
    formula("own.op")(lambda _: 1)
    with pytest.raises(InvalidValue, match=r"own\.op has a formula already"):
        formula("own.op")(lambda _: 2)
    with pytest.raises(UnknownName, match="unknown kind 'matmul'"):
        formula("own.other", kind="matmul")


def test_every_name_of_the_register_is_an_op_of_torch() -> None:
    ours = [name.removeprefix("aten.") for name in registry._RULES if name.startswith("aten.")]
    assert len(ours) > 300
    assert [name for name in ours if not hasattr(aten, name) and not hasattr(aten, f"{name}_")] == []


def test_an_op_in_place_has_its_siblings_formula() -> None:
    assert rule_of("aten.add_") is rule_of("aten.add")
    assert rule_of("aten.index_put_") is not rule_of("aten.index_put")
    assert rule_of("own.__and__") is None


@pytest.fixture(scope="module")
def scan() -> Any:
    """An op that no formula knows, (a, b) -> (a, b)."""

    @torch.library.custom_op("perfkit_tests::scan", mutates_args=())
    def scan(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @scan.register_fake
    def _(x: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(x)

    return scan


def test_an_op_without_a_formula_is_reported_with_its_bytes(scan: Any) -> None:
    found = traced(lambda x: scan(scan(x)) + 1, meta(2, 6))
    (unknown,) = found.uncounted
    assert (unknown.name, unknown.calls) == ("perfkit_tests.scan", 2)
    assert unknown.costs.unfused_bytes == 192  # 2 calls, 48 in, 48 out
    assert found.costs.vector_flops == 12


def test_strict_refuses_it_by_name(scan: Any) -> None:
    with pytest.raises(InvalidValue, match=r"ops without a formula: perfkit_tests\.scan \(2 calls, 192 B\)"):
        traced(lambda x: scan(scan(x)), meta(2, 6), strict=True)
    assert traced(lambda x: x + 1, meta(2, 6), strict=True).uncounted == ()


@pytest.mark.usefixtures("own_register")
def test_a_formula_of_ones_own(scan: Any) -> None:
    @formula("perfkit_tests.scan", kind="reduction")
    def scanned(call: Call) -> int:
        rows, width = call.shape(0)
        return 3 * rows * width

    found = traced(scan, meta(2, 6), strict=True)
    assert (found.costs.vector_flops, found.total) == (36, 0)
    assert rule_of("perfkit_tests.scan").vector is scanned


@pytest.mark.usefixtures("own_register")
def test_a_formula_that_fails_is_named(scan: Any) -> None:
    formula("perfkit_tests.scan")(lambda call: call.shape(3)[0])
    with pytest.raises(InvalidSpec, match=r"the formula of perfkit_tests\.scan failed: IndexError: tuple index"):
        traced(scan, meta(2, 6))


@pytest.mark.usefixtures("own_register")
def test_a_formula_that_cannot_tell_leaves_its_op_uncounted(scan: Any) -> None:
    formula("perfkit_tests.scan")(lambda _: None)
    found = traced(scan, meta(2, 6))
    assert [(op.name, op.costs.unfused_bytes) for op in found.uncounted] == [("perfkit_tests.scan", 96)]


# --- bytes if every op is a kernel of its own


@pytest.mark.parametrize(
    ("function", "args", "moved"),
    [
        (lambda x, y: x + y, (meta(2, 6), meta(2, 6)), 144),  # 3 tensors of 48
        (lambda x: x + x, (meta(2, 6),), 96),  # one tensor, read once
        (lambda x: x.half(), (meta(2, 6),), 72),  # 48 in, 24 out
        (lambda x, row: x + row.expand(2, 6), (meta(2, 6), meta(6)), 120),  # a row of 24, however often it is seen
        (lambda row: row.expand(100, 6).clone(), (meta(6),), 2424),  # 24 in, 100 * 24 out
        (lambda x: x[:1] * 2, (meta(2, 6),), 48),  # half of x in, as much out
        (lambda x: x.unfold(0, 3, 1) * 1, (meta(6),), 72),  # windows overlap: 6 elements in, 4 * 3 out
        (lambda x: x.mul_(2), (meta(2, 6),), 96),  # in place: read and written
        (lambda x, y: x.copy_(y), (meta(2, 6), meta(2, 6)), 96),  # what is overwritten is not read
        (lambda x, y: x.add_(y), (meta(2, 6), meta(2, 6)), 144),
        (lambda x: torch.add(x, 1, out=meta(2, 6)), (meta(2, 6),), 96),
        (lambda x: x.zero_(), (meta(2, 6),), 48),
        (lambda x: torch.zeros_like(x), (meta(2, 6),), 48),  # its shape is read, not x
        (lambda x: x.new_empty(9), (meta(2, 6),), 0),
        # 3 rows of 6 taken of 100: 72 in, 72 out, and 3 ids of 8
        (lambda table, i: F.embedding(i, table), (meta(100, 6), ids(3)), 168),
        (lambda table, i: table[i], (meta(100, 6), ids(3)), 168),
        (lambda table, i: table.index_select(0, i), (meta(100, 6), ids(3)), 168),
        (lambda x, i: x.gather(1, i), (meta(2, 6), ids(2, 3)), 96),  # 6 elements in and out, 6 ids of 8
        # One row of a cache written: 24 in, 24 out, an id of 8
        (lambda cache, i, row: cache.index_copy_(0, i, row), (meta(50, 6), ids(1), meta(1, 6)), 56),
        (lambda cache, i, row: cache.index_add_(0, i, row), (meta(50, 6), ids(1), meta(1, 6)), 80),  # and read
        # Rows 2 of 50, an element broadcast over them: 4 in, 2 * 6 * 4 out, 2 ids of 8
        (lambda cache, i, one: cache.index_put_((i,), one), (meta(50, 6), ids(2), meta(1)), 68),
        (lambda x, i, y: x.scatter_(1, i, y), (meta(2, 6), ids(2, 3), meta(2, 3)), 96),  # 6 in, 6 out, 6 ids
        (lambda x, i: x.index_fill_(1, i, 0.0), (meta(2, 6), ids(2)), 32),  # 2 columns of 2 out, 2 ids
        (lambda x, keep: x.masked_fill(keep, 0.0), (meta(2, 6), meta(2, 6, dtype=torch.bool)), 108),  # 48 + 12 + 48
        (lambda q: F.scaled_dot_product_attention(q, q, q), (meta(1, 1, 5, 8),), 320),  # one tensor in, one out
    ],
)
def test_bytes_of_single_ops(function: Callable[..., Any], args: tuple[Any, ...], moved: int) -> None:
    assert traced(function, *args).costs.unfused_bytes == moved


def test_views_and_descriptions_move_nothing() -> None:
    def view(x: Any) -> Any:
        y = x.t().reshape(3, 4).unsqueeze(0).expand(5, 3, 4).permute(2, 0, 1).detach()
        first, _ = y.split(2)
        return first.chunk(2)[0].select(0, 0)[..., None].squeeze(-1).narrow(0, 0, 1).view(-1), x.shape, x.unbind()

    found = traced(view, meta(4, 3).t().contiguous().t())
    assert (found.ops, found.costs.unfused_bytes) == ((), 0)


def test_indices_that_pick_by_several_dimensions() -> None:
    # (3, 1) and (4,) broadcast to 12 places of 5 elements each: 60 * 4 bytes out, 60 * 4 in, 7 ids
    taken = traced(lambda x, i, j, y: x.index_put_((i, j), y), meta(9, 9, 5), ids(3, 1), ids(4), meta(3, 4, 5))
    assert taken.costs.unfused_bytes == 240 + 240 + 56
    # A mask may choose everything: 18 elements out, 1 in, 18 of the mask
    masked = traced(lambda x, m, y: x.index_put_((m,), y), meta(9, 2), meta(9, 2, dtype=torch.bool), meta(1))
    assert masked.costs.unfused_bytes == 72 + 4 + 18


def test_a_table_of_bags_is_read_row_by_row() -> None:
    # 15 rows of 8: 480; ids 120, 3 offsets 24, result 3 * 8: 96
    bags = trace(nn.EmbeddingBag(100, 8, device="meta"), (ids(3, 5),))
    bag = next(op for op in bags.by_op if "bag" in op.name)
    assert bag.costs.unfused_bytes == 480 + 120 + 24 + 96


# --- the fused bound


def test_the_fused_bound_of_a_feed_forward_by_hand() -> None:
    found = trace(*gated_feed_forward())
    weights, tokens = 3 * 4096 * 11008 * 2, 32 * 2
    assert found.fused.weights == weights == 270532608
    assert found.fused.inputs == tokens * 4096  # x, though two products read it
    # gate and up are written and read back, down is written; silu(gate) * up is computed on the way in
    assert found.fused.products == tokens * (2 * 2 * 11008 + 4096)
    assert found.fused.outputs == 0  # the output is what a product made
    assert found.fused.bytes == found.costs.fused_bytes == 273874944
    # gate, up: weight, x, result; silu: in, out; product: two in, one out; down
    assert found.costs.unfused_bytes == weights + tokens * (3 * 4096 + 3 * 11008) + tokens * (2 + 3) * 11008


def test_a_weight_that_is_used_twice_counts_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6, bias=False, device="meta")
            self.second = nn.Linear(6, 6, bias=False, device="meta")
            self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x))

    found = trace(Twice(), (meta(2, 6),))
    assert found.parameters == 36
    assert found.fused._asdict() == {"weights": 144, "inputs": 48, "products": 144, "outputs": 0}
    assert found.costs.unfused_bytes == 2 * (144 + 48 + 48)


def test_a_tied_head_reads_the_table_once_at_most() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 6, device="meta")

        def forward(self, i: Any) -> Any:
            return F.linear(self.words(i), self.words.weight)

    assert trace(Tied(), (ids(3),)).fused.weights == 240  # 10 * 6 * 4; the 3 rows are among them


def test_rows_that_the_same_indices_choose_are_read_once() -> None:
    class Words(nn.Module):
        def __init__(self, again: Any) -> None:
            super().__init__()
            self.words, self.again = nn.Embedding(10, 6, device="meta"), again

        def forward(self, i: Any, j: Any) -> Any:
            return self.words(i) + self.words(self.again(i, j))

    same, others, changed = (
        trace(Words(again), (ids(3), ids(3))).fused.weights
        for again in (lambda i, _: i, lambda _, j: j, lambda i, _: i.add_(1))
    )
    assert (same, others, changed) == (72, 144, 144)  # 3 rows of 6 * 4; 6 rows


def test_experts_that_are_gathered_count_once_each() -> None:
    experts = nn.Parameter(meta(4, 6, 5))

    class Gathered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = experts

        def forward(self, x: Any, chosen: Any) -> Any:
            return torch.bmm(x, self.experts[chosen])

    few, many = (trace(Gathered(), (meta(n, 1, 6), ids(n))) for n in (2, 64))
    assert few.fused.weights == 2 * 120  # two rows choose at most two experts
    assert many.fused.weights == 4 * 120  # 64 rows no more than all
    assert many.costs.unfused_bytes > 64 * 3 * 120  # copied out for every row: read, written, read


def test_slices_of_a_packed_weight_count_as_what_they_are() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Parameter(meta(6, 6))

        def forward(self, x: Any) -> Any:
            q, k, _ = self.qkv.chunk(3)
            return F.linear(x, q), F.linear(x, k), F.linear(x, q)

    assert trace(Packed(), (meta(2, 6),)).fused.weights == 2 * 2 * 6 * 4


def test_outputs_and_what_outlives_the_forward_are_written() -> None:
    assert traced(lambda x: x * 2, meta(2, 6)).fused._asdict() == {
        "weights": 0,
        "inputs": 48,
        "products": 0,
        "outputs": 48,
    }
    # A step of a static cache: a row written, the cache read by attention, its output returned.
    cache, query = meta(1, 1, 50, 8), meta(1, 1, 1, 8)

    def step(cache: Any, query: Any, where: Any) -> Any:
        cache.index_copy_(2, where, query)
        return F.scaled_dot_product_attention(query, cache, cache)

    assert traced(step, cache, query, ids(1)).fused._asdict() == {
        "weights": 0,
        "inputs": 1600 + 32 + 8,  # cache, query and place
        "products": 32,  # attention's result, which nothing reads
        "outputs": 32,  # the row that stays
    }


def test_outputs_inside_containers_and_plain_objects_are_found() -> None:
    class Cache:
        def __init__(self, keys: Any) -> None:
            self.layers = [keys]
            self.itself = self

    found = traced(lambda x: {"a": (x * 2, [x * 3]), "b": Cache(x * 4), "c": None, "d": "text"}, meta(2, 6))
    assert found.fused.outputs == 3 * 48


@dataclasses.dataclass(slots=True)
class Slotted:
    x: Any
    unset: Any = dataclasses.field(init=False)


def test_outputs_in_slots_and_sets_are_found() -> None:
    found = traced(lambda x: (Slotted(x * 2), {x * 3}, frozenset([x * 4])), meta(2, 6))
    assert (found.fused.outputs, found.returned) == (3 * 48, 3)
    assert traced(lambda x: str((x * 2).shape), meta(2, 6)).returned == 0


def preallocated(x: Any, w: Any) -> Any:
    y = torch.empty_like(x)
    y[:] = F.linear(x, w) * 2
    return y


def halves(x: Any, w: Any) -> Any:
    y = x.new_empty(4, 16)
    y[:, :8] = x * 2
    y[:, 8:] = F.linear(x, w)
    return y, torch.empty_like(x)


@pytest.mark.parametrize(
    ("function", "products", "outputs"),
    [
        (preallocated, 256, 128),  # 4 * 8 * 4 written and read back; y
        (halves, 256, 256),  # y of 4 * 16; nothing is written into the other
        (lambda x, _: torch.empty_like(x), 0, 0),
        (lambda x, w: torch.mm(x, w, out=torch.empty_like(x)), 128, 0),
        (lambda x, w: F.linear(x, w).mul_(2), 256, 0),
        (lambda x, _: torch.zeros_like(x), 0, 128),
    ],
)
def test_ops_share_the_whole_fused_bound(function: Any, products: int, outputs: int) -> None:
    found = traced(function, meta(4, 8), meta(8, 8))
    assert (found.fused.products, found.fused.outputs) == (products, outputs)
    assert sum(op.costs.fused_bytes for op in found.ops) == found.fused.bytes == found.costs.fused_bytes


def test_an_output_is_charged_to_the_op_that_wrote_it() -> None:
    found = traced(preallocated, meta(4, 8), meta(8, 8))
    # Weight 256, x 128, result 128; read back 128; y 128
    assert {op.name: op.costs.fused_bytes for op in found.ops} == {"aten.mm": 512, "aten.mul": 128, "aten.copy_": 128}
    assert found.fused.bytes == 768


def test_an_output_that_is_only_passed_on_is_not_written() -> None:
    found = traced(lambda x: (x, x.t()), meta(2, 6))
    assert (found.fused.bytes, found.costs.unfused_bytes) == (0, 0)


# --- modules


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 12, bias=False)
        self.down = nn.Linear(12, 6, bias=False)

    def forward(self, x: Any) -> Any:
        return x + self.down(F.relu(self.up(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(6, 4)
        self.unused = nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def net() -> Any:
    with torch.device("meta"):
        return Net()


def test_modules_hold_what_they_contain() -> None:
    found = trace(net(), (meta(2, 6),))
    one = 2 * 2 * 6 * 12  # a product of a block
    assert {module.path: (module.kind, module.calls, found.flops_of(module.costs)) for module in found.modules} == {
        "": ("Net", 1, 4 * one + 96),
        "blocks": ("ModuleList", 0, 4 * one),
        "blocks.0": ("Block", 1, 2 * one),
        "blocks.0.up": ("Linear", 1, one),
        "blocks.0.down": ("Linear", 1, one),
        "blocks.1": ("Block", 1, 2 * one),
        "blocks.1.up": ("Linear", 1, one),
        "blocks.1.down": ("Linear", 1, one),
        "head": ("Linear", 1, 96),  # 2 * 2 * 6 * 4
    }
    relu = next(op for op in found.ops if op.name == "aten.relu")
    assert (relu.module, relu.calls, relu.costs.vector_flops) == ("blocks.0", 1, 24)


def test_sums_agree_whatever_they_are_taken_over() -> None:
    found = trace(net(), (meta(2, 6),))
    for index in range(4):
        of_ops = sum(op.costs[index] for op in found.ops)
        assert of_ops == sum(op.costs[index] for op in found.by_op) == found.costs[index]
    assert found.costs.fused_bytes == found.fused.bytes


@pytest.mark.parametrize(
    ("depth", "paths"),
    [
        (0, [""]),
        (1, ["", "blocks", "head"]),
        (2, ["", "blocks", "blocks.0", "blocks.1", "head"]),
    ],
)
def test_depth_folds_deeper_modules_into_what_contains_them(depth: int, paths: list[str]) -> None:
    found, whole = trace(net(), (meta(2, 6),), depth=depth), trace(net(), (meta(2, 6),))
    assert [module.path for module in found.modules] == paths
    assert found.costs == whole.costs
    assert {op.module for op in found.ops} <= set(paths)


def test_a_module_that_runs_twice_has_two_calls() -> None:
    found = traced(lambda x: x, meta(1))
    assert found.modules[0].calls == 1
    shared = nn.Linear(6, 6, device="meta")
    found = trace(nn.Sequential(shared, nn.ReLU(), shared), (meta(2, 6),))
    assert [(module.path, module.calls) for module in found.modules] == [("", 1), ("0", 2), ("1", 1)]


def test_a_module_without_a_path_counts_as_its_caller() -> None:
    class Maker(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.Linear(6, 5, bias=False, device="meta")(x)

    found = trace(Maker(), (meta(2, 6),))
    assert [(module.path, found.flops_of(module.costs)) for module in found.modules] == [("", 120)]


def test_recurrent_and_transformer_layers_have_no_uncounted_op() -> None:
    with torch.device("meta"):
        lstm, layer = nn.LSTM(32, 64, num_layers=2), nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval()
    # 7 steps of 2 rows; each layer's 4 gates from input and state: 2 * 2 * 256 * (32 + 64) and 2 * 2 * 256 * (64 + 64)
    found = trace(lstm, (meta(7, 2, 32),), strict=True)
    assert found.total == 7 * (2 * 2 * 256 * 96 + 2 * 2 * 256 * 128)
    # 20 rows: q, k, v, out 4 * 2 * 20 * 64 * 64, feed-forward 2 * 2 * 20 * 64 * 128; attention 4 * (2 * 10 * 10) * 64
    found = trace(layer, (meta(2, 10, 64),), strict=True)
    assert found.total == 8 * 20 * 64 * 64 + 4 * 20 * 64 * 128 + 4 * 200 * 64


# --- what tracing leaves as it was


def test_a_module_with_real_weights_is_counted_and_not_changed() -> None:
    module, x = nn.Linear(3, 5), torch.randn(2, 3)
    before = module.weight.clone()
    assert trace(module, (x,)).total == 60
    assert torch.equal(module.weight, before)
    assert module(x).requires_grad  # out of inference mode again


def test_a_cache_among_the_inputs_does_not_grow() -> None:
    class Growing(nn.Module):
        def forward(self, x: Any, seen: list[Any]) -> Any:
            seen.append(x)
            return torch.cat(seen)

    seen = [meta(2, 6)]
    found = trace(Growing(), (meta(1, 6),), {"seen": seen})
    assert len(seen) == 1
    assert found.costs.unfused_bytes == 2 * 3 * 24


def test_inputs_with_a_history_can_be_given() -> None:
    x = nn.Linear(3, 3)(torch.ones(2, 3))
    assert trace(nn.Linear(3, 5), (x,)).total == 60


def test_a_failing_forward_is_one_line_with_its_own_words() -> None:
    def by_value(x: Any) -> Any:
        return x[: int(x.sum().item())]

    with pytest.raises(
        InvalidValue, match=r"running Run failed: RuntimeError: Tensor\.item\(\) cannot be called.*"
    ) as it:
        traced(by_value, meta(2, 6))
    assert "count the parts that need none" in str(it.value)
    assert "\n" not in str(it.value)
    with pytest.raises(InvalidValue, match="running net failed: KeyError: 'weights'"):
        traced(lambda _: {}["weights"], meta(1), name="net")
    with pytest.raises(InvalidValue, match="make every tensor within the factory"):
        traced(lambda x: x + torch.zeros(2, 6, device="cpu"), meta(2, 6))
    # Hooks are gone, and the next trace starts anew.
    assert traced(lambda x: x + 1, meta(1)).costs.vector_flops == 1


def test_leaving_and_words_that_fail_are_failures_too() -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise ValueError

    def leave(_: Any) -> None:
        raise SystemExit(0)

    def wordless(_: Any) -> None:
        raise Wordless

    with pytest.raises(InvalidValue, match="running Run failed: SystemExit"):
        traced(leave, meta(1))
    with pytest.raises(InvalidValue, match=r"running Run failed: Wordless$"):
        traced(wordless, meta(1))


def test_tensors_that_a_forward_makes_are_on_meta_where_all_is() -> None:
    found = traced(lambda x, w: F.linear(x, w) + torch.zeros(2, 6), meta(2, 6), meta(6, 6))
    assert [(op.name, op.calls) for op in found.by_op if op.kind == "product"] == [("aten.mm", 1)]
    assert (found.total, found.compared[0].equal) == (144, True)  # 2 * 2 * 6 * 6
    assert all(other.flops == 144 for other in found.compared if other.note != "not installed")


class Alternating(nn.Module):
    def __init__(self, *kept: Any) -> None:
        super().__init__()
        self.linear, self.ran, self.kept = nn.Linear(6, 6, device="meta"), 0, kept

    def forward(self, x: Any) -> Any:
        self.ran += 1
        return self.linear(x) if self.ran == 1 else x


def test_a_module_that_keeps_state_is_compared_as_it_was() -> None:
    assert trace(Alternating(), (meta(2, 6),)).compared[0].equal is True
    uncopyable = trace(Alternating(threading.Lock()), (meta(2, 6),)).compared[0]
    assert (uncopyable.equal, uncopyable.flops, uncopyable.ours) == (False, 0, 144)
    assert uncopyable.note == "the module cannot be copied: if it keeps state, a second forward may differ"


def test_nothing_is_equal_where_nothing_is_compared(scan: Any) -> None:
    nothing = traced(lambda x: x + 1, meta(2, 6)).compared[0]
    assert (nothing.equal, nothing.note) == (None, "nothing to compare")
    partial = traced(lambda x: torch.mm(scan(x), x.t()), meta(2, 6)).compared[0]
    assert (partial.flops, partial.ours, partial.equal) == (48, 48, None)  # 2 * 2 * 6 * 2
    assert partial.note == "not compared: no formula for perfkit_tests.scan"


@pytest.mark.parametrize("depth", [-1, True, 0.5])
def test_depth_is_a_count(depth: Any) -> None:
    with pytest.raises(InvalidValue, match="--depth must be a whole number"):
        trace(nn.ReLU(), (meta(1),), depth=depth)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MachineError, match=r"pip install 'perfkit\[torch\]'"):
        trace(None)


# --- other counters


def test_other_counters_stand_beside_ours() -> None:
    pytest.importorskip("fvcore")
    flops, fvcore = trace(net(), (meta(2, 6),)).compared
    assert (flops.counter, flops.flops, flops.ours, flops.equal, flops.note) == (
        "FlopCounterMode",
        1248,
        1248,
        True,
        "",
    )
    assert (fvcore.counter, fvcore.flops, fvcore.ours, fvcore.equal, fvcore.note) == ("fvcore", 1248, 1248, True, "")


def test_what_another_counter_passes_over_is_named_and_left_out() -> None:
    pytest.importorskip("fvcore")

    def attend(x: Any, w: Any) -> Any:
        return F.linear(F.scaled_dot_product_attention(x, x, x), w)

    torch_counter, fvcore = traced(attend, meta(1, 2, 5, 8), meta(3, 8)).compared
    products, attention = 2 * 10 * 8 * 3, 4 * 2 * 25 * 8
    assert (torch_counter.flops, torch_counter.equal) == (products + attention, True)
    assert (fvcore.flops, fvcore.ours, fvcore.equal) == (products, products, True)
    assert fvcore.note == "passes over aten.scaled_dot_product_attention"
    assert traced(torch.mv, meta(2, 3), meta(3)).compared[0].note == "passes over aten.mv; nothing to compare"


def test_a_difference_is_shown_with_what_may_explain_it() -> None:
    pytest.importorskip("fvcore")
    fvcore = trace(nn.LSTM(4, 4, device="meta"), (meta(3, 1, 4),)).compared[1]
    assert (fvcore.flops, fvcore.equal, fvcore.note) == (0, False, "passes over aten.lstm")


def test_why_another_counter_cannot_count_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fvcore")
    fvcore = trace(nn.Conv2d(3, 4, 3, device="meta"), (meta(1, 3, 8, 8),)).compared[1]
    assert (fvcore.flops, fvcore.equal) == (None, None)
    assert fvcore.note.startswith("cannot trace it: ")
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    absent = trace(nn.ReLU(), (meta(1),)).compared[1]
    assert (absent.flops, absent.equal, absent.note) == (None, None, "not installed")


def test_a_place_in_memory_is_the_same_for_views_of_all_of_it() -> None:
    one = TensorInfo((2, 6), 4, floating=True, footprint=48, storage="a", storage_bytes=96)
    call = Call("own.op", (one, [one._replace(shape=(12,))], {"x": one._replace(offset=48)}), {}, ())
    assert [info.offset for info in call.inputs] == [0, 48]
    assert call.setting(7, "absent", "default") == "default"
