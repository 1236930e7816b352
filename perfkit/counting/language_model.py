"""Ops of the language model (or text encoder): prefill, and one decode step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from perfkit import ops
from perfkit.counting.layer import attention_shape, layer_ops, linear_place, norm_op, place_of
from perfkit.counting.vision import runs, sees_nothing
from perfkit.models.spec import ModelSpec, TextSpec
from perfkit.ops import OpCost, Place
from perfkit.units import Amount
from perfkit.workload import Execution, Workload

if TYPE_CHECKING:
    from perfkit.reduction import Drop, Pruner


def prefill_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """The prompt through the language model (or the text through an encoder)."""
    if spec.text is None:
        return
    place = place_of("prefill", execution)
    width = spec.text.stack.hidden
    # Placeholders of visual tokens are embedded like text, and then overwritten by the projector's output.
    yield from _embeddings(spec.text, place, workload.batch, workload.prompt_tokens)
    if spec.vision is not None and not sees_nothing(workload):
        present = place._replace(repeat=runs(workload))
        yield ops.copy(present, "merge_visual", workload.batch * workload.visual_tokens, width)
    pruner, groups = _pruner_of(workload), workload.layer_groups(spec.text.stack.layers)
    tokens = [(group.layers, group.visual_tokens + workload.text_tokens) for group in groups]
    if pruner is None:
        yield from _layers(spec.text, "prefill", execution, workload.batch, [(n, q, q) for n, q in tokens])
    else:
        yield from _pruned_layers(spec.text, workload, execution, pruner)
    yield from _head(spec.text, place, workload.batch, tokens[-1][1], execution)


def _pruner_of(workload: Workload) -> Pruner | None:
    """The method that drops tokens between layers, if there is one."""
    if not workload.reduction or not workload.schedule:
        return None
    from perfkit.reduction import Pruner, parse_reduction  # not on the way of whoever reduces nothing

    method = parse_reduction(workload.reduction)
    return method if isinstance(method, Pruner) else None


def _pruned_layers(text: TextSpec, workload: Workload, execution: Execution, pruner: Pruner) -> Iterator[OpCost]:
    """Layers group by group, with what the pruner computes where it drops tokens."""
    groups, batch = workload.layer_groups(text.stack.layers), workload.batch
    yield from pruner.entry_ops(_drop(text, workload, execution, groups[0].visual_tokens, groups[0].visual_tokens))
    for group, later in pairwise(groups):
        tokens = group.visual_tokens + workload.text_tokens
        # A fused kernel does not give its scores, so the layer that they are read from runs the eager ones.
        exposed = int(pruner.reads_scores and execution.attention == "fused")
        for layers, how in ((group.layers - exposed, execution), (exposed, replace(execution, attention="eager"))):
            if layers:
                yield from _layers(text, "prefill", how, batch, [(layers, tokens, tokens)])
        yield from pruner.selection_ops(_drop(text, workload, execution, group.visual_tokens, later.visual_tokens))
    layers, tokens = groups[-1].layers, groups[-1].visual_tokens + workload.text_tokens
    yield from _layers(text, "prefill", execution, batch, [(layers, tokens, tokens)])


def _drop(text: TextSpec, workload: Workload, execution: Execution, before: Amount, after: Amount) -> Drop:
    from perfkit.reduction import Drop

    place, weights = place_of("prefill", execution), linear_place("prefill", execution)
    return Drop(text.stack, place, weights, workload.batch, before, after, workload.text_tokens)


def decode_ops(
    spec: ModelSpec, workload: Workload, execution: Execution, *, extra_tokens: Amount = 0
) -> Iterator[OpCost]:
    """One new token of each sequence; the cache holds the prompt and `extra_tokens` earlier new tokens."""
    if spec.text is None or not spec.has_decoder:
        return
    place = place_of("decode", execution)
    before = workload.text_tokens + extra_tokens
    groups = [(g.layers, 1, g.visual_tokens + before + 1) for g in workload.layer_groups(spec.text.stack.layers)]
    yield from _embeddings(spec.text, place, workload.batch, 1)
    yield from _layers(spec.text, "decode", execution, workload.batch, groups)
    yield from _head(spec.text, place, workload.batch, 1, execution)


def _embeddings(text: TextSpec, place: Place, batch: Amount, tokens: Amount) -> Iterator[OpCost]:
    rows, width = batch * tokens, text.stack.hidden
    yield ops.embedding(place, "embed_tokens", rows, text.embedding_width)
    if text.bridged:
        yield ops.linear(place, "project_in", rows, text.embedding_width, width)
    tables = int(text.position_rows > 0) + int(text.token_types > 0)
    if tables:
        yield ops.position_rows(place, "embed_positions", rows, tokens, width, tables)
    if text.embedding_norm:
        yield norm_op(place, "embedding_norm", rows, text.stack)


def _layers(
    text: TextSpec, phase: str, execution: Execution, batch: Amount, groups: list[tuple[int, Amount, Amount]]
) -> Iterator[OpCost]:
    for layers, queries, keys in groups:
        place = place_of(phase, execution, layers)
        weights = linear_place(phase, execution, layers)
        shape = attention_shape(text.stack, batch, queries, keys, cached=text.lm_head)
        yield from layer_ops(text.stack, place, weights, shape, execution)


def _head(text: TextSpec, place: Place, batch: Amount, tokens: Amount, execution: Execution) -> Iterator[OpCost]:
    width = text.stack.hidden
    if text.final_norm:
        yield norm_op(place, "final_norm", batch * tokens, text.stack)
    if text.bridged:
        yield ops.linear(place, "project_out", batch * tokens, width, text.embedding_width)
    if text.pooler:
        yield ops.linear(place, "pooler", batch, width, width, bias=True)
        yield ops.activation(place, "pooler_act", batch, width, "tanh")
    if text.lm_head and execution.logits != "none":
        rows = batch * tokens if execution.logits == "all" else batch
        yield ops.linear(place, "lm_head", rows, text.embedding_width, text.vocab)
