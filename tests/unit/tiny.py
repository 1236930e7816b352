"""A model small enough that every figure of every op can be worked out by hand, and ops as such figures give them."""

from __future__ import annotations

from collections.abc import Callable

from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.models.spec import (
    AttentionSpec,
    FeedForwardSpec,
    ModelSpec,
    ProjectorSpec,
    StackSpec,
    TextSpec,
    VisionSpec,
)
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution, Workload

Cost = Callable[..., OpCost]

HALF, SINGLE = Precision.FP16, Precision.FP32
# Linear layers of the language model in fp32, a cache of 8 bits, all else in fp16: no two figures share a width
MIXED = Execution(weights=SINGLE, activations=HALF, kv=Precision.INT8)

# CLIP's kind of tower: 4 patches of 3 * 2 * 2 = 12 numbers and a class token, 2 heads of 2; LLaVA leaves the last layer
TOWER = VisionSpec(
    StackSpec(
        hidden=4,
        layers=3,
        attention=AttentionSpec(2, 2, 2, causal=False, rotary=False, qkv_bias=True, output_bias=True),
        feed_forward=FeedForwardSpec(7, gated=False, activation="quick_gelu", bias=True),
        norm="layernorm",
    ),
    image_size=4,
    patch_size=2,
    kept_positions=4,
    unread_layers=1,
)
# Llama's kind of language model: 4 query heads of 3 share 2 key heads, gated feed-forward
LLAMA = TextSpec(
    StackSpec(
        hidden=8,
        layers=3,
        attention=AttentionSpec(heads=4, kv_heads=2, head_dim=3),
        feed_forward=FeedForwardSpec(10, gated=True, activation="silu"),
        norm="rmsnorm",
    ),
    vocab=11,
    context=64,
    embedding_width=8,
)
PROMPT = Workload(visual_tokens=4, text_tokens=6, batch=2)  # 2 sequences of 10 tokens
TINY = ModelSpec("tiny", "llava", "by hand", LLAMA, TOWER, ProjectorSpec(4, 8, "gelu"), visual_tokens=4)


def costs(phase: str, repeat: int = 1) -> Cost:
    """Ops of a phase by the figures of one of their `repeat` launches: FLOPs, bytes, shape of the kernel."""

    def cost(
        name: str,
        kind: str,
        *,
        engine: Precision = HALF,
        products: int = 0,
        other: int = 0,
        weights: int = 0,
        read: int = 0,
        write: int = 0,
        kv_read: int = 0,
        kv_write: int = 0,
        kernel: KernelShape | None = None,
    ) -> OpCost:
        figures = (products, other, weights, read, write, kv_read, kv_write)
        return OpCost(phase, name, kind, repeat, engine, *(repeat * figure for figure in figures), kernel)

    return cost


def product(
    cost: Cost, name: str, rows: int, inputs: int, outputs: int, *, bias: bool = False, engine: Precision = HALF
) -> OpCost:
    """Linear layer whose weights are stored as they are multiplied; rows, and its bias, have 2 bytes."""
    return cost(
        name,
        "linear",
        engine=engine,
        products=2 * rows * inputs * outputs,
        other=rows * outputs if bias else 0,
        weights=(4 if engine is SINGLE else 2) * inputs * outputs + (2 * outputs if bias else 0),
        read=2 * rows * inputs,
        write=2 * rows * outputs,
        kernel=gemm(rows, outputs, inputs),
    )


def linear(cost: Cost, name: str, rows: int, inputs: int, outputs: int, *, bias: bool = False) -> OpCost:
    """Of the language model, under `MIXED`."""
    return product(cost, name, rows, inputs, outputs, bias=bias, engine=SINGLE)


def norm(cost: Cost, name: str, rows: int, width: int, kind: str = "rmsnorm") -> OpCost:
    """RMSNorm: 4 FLOPs an element, and a scale; layer norm: 7, and a shift too."""
    each, weights = (4, width) if kind == "rmsnorm" else (7, 2 * width)
    moved, kernel = 2 * rows * width, over_rows(kind, rows, width)
    return cost(name, "norm", other=each * rows * width, weights=2 * weights, read=moved, write=moved, kernel=kernel)


def add(cost: Cost, name: str, rows: int, width: int) -> OpCost:
    """Residual: one FLOP an element, two read, one written."""
    elements, kernel = rows * width, over_rows("add", rows, width)
    return cost(name, "add", other=elements, read=2 * 2 * elements, write=2 * elements, kernel=kernel)


def activation(cost: Cost, name: str, rows: int, width: int, function: str, each: int) -> OpCost:
    """Element-wise `function` of `each` FLOPs."""
    moved, kernel = 2 * rows * width, over_rows(function, rows, width)
    return cost(name, "activation", other=each * rows * width, read=moved, write=moved, kernel=kernel)
