"""What one GPU of a tensor-parallel group holds of a model: a smaller model, counted by the same formulas."""

from __future__ import annotations

from dataclasses import replace

from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec, StackSpec, TextSpec
from perfkit.workload import Execution


def part_of(spec: ModelSpec, execution: Execution) -> ModelSpec:
    """Slice of `spec` on one of `execution.tp` GPUs, all its layers; `spec` itself where there is one.

    Heads, feed-forward (of every expert) and vocabulary are 1 / tp of the whole's; hidden width, norms, position
    tables, router, vision tower and projector stay whole. A key and value head that several GPUs need lies on each of
    them. A vocabulary that does not split evenly is padded: each GPU holds ceil(vocab / tp) rows. A bias behind o and
    down is added on every GPU, after the sum.

    Source: Shoeybi et al., Megatron-LM (arXiv 1909.08053), section 3.

    Raises:
        InvalidValue: a degree that does not split the heads or the feed-forward evenly, or no language model to split.

    >>> from perfkit.models import load_model
    >>> part = part_of(load_model("llava-1.5-13b"), Execution(tp=8))
    >>> stack = part.text.stack
    >>> stack.attention.heads, stack.feed_forward.width, part.text.vocab  # 40 / 8, 13824 / 8, 32064 / 8
    (5, 1728, 4008)
    """
    tp = execution.tp
    if tp == 1:
        return spec
    if spec.text is None:
        raise InvalidValue(f"tp {tp}: {spec.name} is a bare vision tower, which every GPU runs whole; tp must be 1")
    if not _splits(spec.text.stack, tp):
        raise InvalidValue(f"tp {tp} does not split {spec.name} evenly: {_sizes(spec.text.stack)}")
    return replace(spec, text=_text_part(spec.text, tp))


def tensor_degrees(stack: StackSpec) -> tuple[int, ...]:
    """Degrees that split a stack evenly.

    Query heads and the feed-forward must be multiples of the degree; key and value heads too, or the degree one of
    theirs: then they are replicated.

    >>> from perfkit.models import load_model
    >>> tensor_degrees(load_model("llava-1.5-13b").text.stack)  # 40 heads; 13824 = 2^9 3^3 is no multiple of 5
    (1, 2, 4, 8)
    """
    return tuple(tp for tp in range(1, stack.attention.heads + 1) if _splits(stack, tp))


def _splits(stack: StackSpec, tp: int) -> bool:
    heads, kv_heads = stack.attention.heads, stack.attention.kv_heads
    shared = kv_heads % tp == 0 or tp % kv_heads == 0
    return heads % tp == 0 and shared and stack.feed_forward.width % tp == 0


def _sizes(stack: StackSpec) -> str:
    a, width = stack.attention, stack.feed_forward.width
    grouped = f" and {a.kv_heads} of keys and values" if a.kv_heads != a.heads else ""
    allowed = ", ".join(map(str, tensor_degrees(stack)))
    return f"it has {a.heads} heads{grouped}, and a feed-forward of width {width}; allowed: {allowed}"


def _text_part(text: TextSpec, tp: int) -> TextSpec:
    a, f = text.stack.attention, text.stack.feed_forward
    stack = text.stack._replace(
        attention=a._replace(heads=a.heads // tp, kv_heads=max(a.kv_heads // tp, 1)),
        feed_forward=f._replace(width=f.width // tp),
    )
    return text._replace(stack=stack, vocab=-(-text.vocab // tp))
