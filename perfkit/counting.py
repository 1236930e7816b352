"""A model and a workload counted into op costs, kernel by kernel, phase by phase.

    ModelSpec + Workload + Execution --count--> (OpCost, ...)

Phases: `vision` (the whole tower, as it runs in practice), `projector`, `prefill`, and `decode`: the first new
token, whose cache holds the prompt. The equations stand in docs/model.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from perfkit import ops
from perfkit.errors import InvalidValue
from perfkit.models import load_model
from perfkit.models.spec import FeedForwardSpec, ModelSpec, StackSpec, TextSpec, VisionSpec
from perfkit.ops import AttentionShape, OpCost, Place
from perfkit.units import Amount, check_count, parse_choice
from perfkit.workload import LOGITS, WEIGHT_GROUP, Execution, LayerGroup, Workload


def workload_of(
    spec: ModelSpec,
    *,
    tokens: Amount | None = None,
    text_tokens: Amount = 60,
    new_tokens: Amount = 128,
    batch: Amount = 1,
    images: Amount = 1,
    schedule: tuple[LayerGroup, ...] = (),
) -> Workload:
    """Workload that `spec` can take: `tokens` visual tokens a sequence, by default all that its images make.

    A model without a tower takes 0; a bare tower has neither text nor new tokens; an encoder makes none.

    Raises:
        InvalidValue: counts out of range, more visual tokens than the model makes, a schedule that does not fit.
    """
    check_count("text tokens", text_tokens)
    check_count("new tokens", new_tokens)
    check_count("images", images)
    most = images * spec.visual_tokens
    workload = Workload(
        visual_tokens=most if tokens is None else tokens,
        text_tokens=text_tokens if spec.text else 0,
        new_tokens=new_tokens if spec.has_decoder else 0,
        batch=batch,
        images=images,
        schedule=schedule,
    )
    _check_tokens(spec, workload, most)
    _check_schedule(spec, workload)
    return workload


def _check_tokens(spec: ModelSpec, workload: Workload, most: Amount) -> None:
    excess = workload.visual_tokens - most
    if _anywhere(excess > 0):
        makes = f"makes at most {most} of {workload.images} image(s)" if spec.vision else "sees no images: use 0"
        raise InvalidValue(f"{workload.visual_tokens} visual tokens: {spec.name} {makes}")
    if spec.text is None and _anywhere(excess != 0):
        raise InvalidValue(
            f"{workload.visual_tokens} visual tokens: {spec.name} is a bare vision tower, "
            f"which makes {most} of {workload.images} image(s), no fewer"
        )


def _check_schedule(spec: ModelSpec, workload: Workload) -> None:
    if not workload.schedule:
        return
    for group in workload.schedule:
        check_count("layers of a group", group.layers)
        check_count("visual tokens of a group", group.visual_tokens, 0)
    layers = sum(group.layers for group in workload.schedule)
    if spec.text is None or layers != spec.text.stack.layers:
        raise InvalidValue(f"the schedule lists {layers} layers, which are not those of {spec.name}")
    tokens = [workload.visual_tokens, *(group.visual_tokens for group in workload.schedule)]
    if any(_anywhere(later > earlier) for earlier, later in pairwise(tokens)):
        raise InvalidValue(f"visual tokens cannot grow from layer to layer: {tokens}")


def _anywhere(condition: Any) -> bool:
    """Whether a condition holds, at any point of a sweep."""
    return bool(condition.any()) if hasattr(condition, "dtype") else bool(condition)


def execution_of(spec: ModelSpec, execution: Execution) -> Execution:
    """`execution` as `spec` can run it: a model without a decoder makes no logits."""
    return execution if spec.has_decoder else replace(execution, logits="none")


def count_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> tuple[OpCost, ...]:
    """All ops of one forward: vision, projector, prefill, and the first decode step.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> forward = count_ops(llava, workload_of(llava, tokens=32), Execution())
    >>> sum(op.matmul_flops for op in forward if op.phase == "prefill")
    1196285231104
    """
    return (
        *vision_ops(spec, workload, execution),
        *projector_ops(spec, workload, execution),
        *prefill_ops(spec, workload, execution),
        *decode_ops(spec, workload, execution),
    )


def _place(phase: str, execution: Execution, repeat: Amount = 1) -> Place:
    """Everything that is not a linear layer of the language model stands at the activations' precision."""
    a = execution.activations
    return Place(phase, repeat, a, a, execution.kv, a)


def _linear_place(phase: str, execution: Execution, repeat: Amount = 1) -> Place:
    """Linear layers of the language model: the weights' precision, with group scales where they are narrower."""
    group = WEIGHT_GROUP if execution.weight_only else None
    return Place(phase, repeat, execution.weights, execution.activations, execution.kv, execution.product, group)


# --- vision and projector


def vision_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """The whole tower for every tile of every image; nothing where no visual token enters the model."""
    vision = spec.vision
    if vision is None or _none(workload.visual_tokens):
        return
    # 0 or 1: within a sweep some points may have no image.
    present = ops.minimum(workload.visual_tokens, 1)
    place = _place("vision", execution, present)
    tiles = workload.batch * workload.images * spec.tiles
    width = vision.stack.hidden
    yield ops.linear(
        place,
        "patch_embedding",
        tiles * vision.patches,
        vision.patch_elements,
        width,
        bias=vision.patch_bias,
        kind="convolution",
    )
    yield ops.patch_positions(place, "position_embedding", tiles, vision.patches, vision.positions, width)
    if vision.pre_norm:
        yield _norm(place, "pre_norm", tiles * vision.positions, vision.stack)
    layers = place._replace(repeat=present * vision.stack.layers)
    yield from _layer(vision.stack, layers, layers, tiles, vision.positions, vision.positions, execution, cached=False)
    if vision.post_norm != "none":
        rows = tiles if vision.post_norm == "pooled" else tiles * vision.positions
        yield _norm(place, "post_norm", rows, vision.stack)
    if vision.pooling_head:
        yield from _pooling_head(vision, place, tiles, execution)


def _pooling_head(vision: VisionSpec, place: Place, tiles: Amount, execution: Execution) -> Iterator[OpCost]:
    """SigLIP's head: one learned query attends to all positions, then a feed-forward with its own norm.

    Source: Zhai et al., Scaling Vision Transformers (arXiv 2106.04560), section 3.3.
    """
    stack, width = vision.stack, vision.stack.hidden
    heads, head_dim = stack.attention.heads, stack.attention.head_dim
    yield ops.linear(place, "head_q_proj", tiles, width, width, bias=True)
    yield ops.linear(place, "head_kv_proj", tiles * vision.positions, width, 2 * width, bias=True)
    shape = AttentionShape(tiles, 1, vision.positions, heads, heads, head_dim, cached=False)
    yield from _attention(place, "head_attention", shape, execution)
    yield ops.linear(place, "head_o_proj", tiles, width, width, bias=True)
    yield _norm(place, "head_norm", tiles, stack)
    yield ops.linear(place, "head_fc1", tiles, width, stack.feed_forward.width, bias=True)
    yield ops.activation(place, "head_act", tiles, stack.feed_forward.width, stack.feed_forward.activation)
    yield ops.linear(place, "head_fc2", tiles, stack.feed_forward.width, width, bias=True)
    yield ops.add(place, "head_residual", tiles, width)


def projector_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """Projector over the visual tokens that reach the language model, learned row ends excepted."""
    projector = spec.projector
    if projector is None or _none(workload.visual_tokens):
        return
    place = _place("projector", execution, ops.minimum(workload.visual_tokens, 1))
    tokens = ops.minimum(workload.visual_tokens, workload.images * spec.projected_tokens)
    rows, width = workload.batch * tokens, projector.outputs
    yield ops.linear(place, "linear_1", rows, projector.inputs, width, bias=projector.bias)
    yield ops.activation(place, "act", rows, width, projector.activation)
    yield ops.linear(place, "linear_2", rows, width, width, bias=projector.bias)


# --- language model


def prefill_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """The prompt through the language model (or the text through an encoder)."""
    if spec.text is None:
        return
    place = _place("prefill", execution)
    width = spec.text.stack.hidden
    yield from _embeddings(spec.text, place, workload.batch, workload.text_tokens)
    if spec.vision is not None and not _none(workload.visual_tokens):
        # The embeddings of image placeholders are overwritten by the projector's output.
        present = place._replace(repeat=ops.minimum(workload.visual_tokens, 1))  # in a sweep, where there is an image
        yield ops.copy(present, "merge_visual", workload.batch * workload.visual_tokens, width)
    groups = [(g.layers, g.visual_tokens + workload.text_tokens) for g in _schedule(spec.text, workload)]
    yield from _layers(spec.text, "prefill", execution, workload.batch, [(n, q, q) for n, q in groups])
    yield from _head(spec.text, place, workload.batch, groups[-1][1], execution)


def decode_ops(
    spec: ModelSpec, workload: Workload, execution: Execution, *, extra_tokens: Amount = 0
) -> Iterator[OpCost]:
    """One new token of each sequence; the cache holds the prompt and `extra_tokens` earlier new tokens."""
    if spec.text is None or not spec.has_decoder:
        return
    place = _place("decode", execution)
    before = workload.text_tokens + extra_tokens
    groups = [(g.layers, 1, g.visual_tokens + before + 1) for g in _schedule(spec.text, workload)]
    yield from _embeddings(spec.text, place, workload.batch, 1)
    yield from _layers(spec.text, "decode", execution, workload.batch, groups)
    yield from _head(spec.text, place, workload.batch, 1, execution)


def _schedule(text: TextSpec, workload: Workload) -> tuple[LayerGroup, ...]:
    return workload.schedule or (LayerGroup(text.stack.layers, workload.visual_tokens),)


def _none(tokens: Amount) -> bool:
    """Whether no point of the workload has visual tokens."""
    return not tokens.any() if hasattr(tokens, "dtype") else tokens == 0


def _embeddings(text: TextSpec, place: Place, batch: Amount, tokens: Amount) -> Iterator[OpCost]:
    rows, width = batch * tokens, text.stack.hidden
    yield ops.embedding(place, "embed_tokens", rows, text.embedding_width)
    if text.bridged:
        yield ops.linear(place, "project_in", rows, text.embedding_width, width)
    tables = int(text.position_rows > 0) + int(text.token_types > 0)
    if tables:
        yield ops.position_rows(place, "embed_positions", rows, tokens, width, tables)
    if text.embedding_norm:
        yield _norm(place, "embedding_norm", rows, text.stack)


def _layers(
    text: TextSpec, phase: str, execution: Execution, batch: Amount, groups: list[tuple[int, Amount, Amount]]
) -> Iterator[OpCost]:
    for layers, queries, keys in groups:
        place = _place(phase, execution, layers)
        weights = _linear_place(phase, execution, layers)
        yield from _layer(text.stack, place, weights, batch, queries, keys, execution, cached=text.lm_head)


def _head(text: TextSpec, place: Place, batch: Amount, tokens: Amount, execution: Execution) -> Iterator[OpCost]:
    width = text.stack.hidden
    if text.final_norm:
        yield _norm(place, "final_norm", batch * tokens, text.stack)
    if text.bridged:
        yield ops.linear(place, "project_out", batch * tokens, width, text.embedding_width)
    if text.pooler:
        yield ops.linear(place, "pooler", batch, width, width, bias=True)
        yield ops.activation(place, "pooler_act", batch, width, "tanh")
    if text.lm_head and execution.logits != "none":
        rows = batch * tokens if execution.logits == "all" else batch
        yield ops.linear(place, "lm_head", rows, text.embedding_width, text.vocab)


# --- one transformer layer


def _norm(place: Place, name: str, rows: Amount, stack: StackSpec) -> OpCost:
    return ops.norm(place, name, rows, stack.hidden, stack.norm, learned=stack.norm_weights)


def _layer(
    stack: StackSpec,
    place: Place,
    weights: Place,
    batch: Amount,
    queries: Amount,
    keys: Amount,
    execution: Execution,
    *,
    cached: bool,
) -> Iterator[OpCost]:
    """Ops of one layer; `weights` is the place of its linear layers, `place` that of all else."""
    a, width, rows = stack.attention, stack.hidden, batch * queries
    yield _norm(place, "input_norm", rows, stack)
    if a.fused_qkv:
        yield ops.linear(weights, "qkv_proj", rows, width, a.q_width + 2 * a.kv_width, bias=a.qkv_bias)
    else:
        yield ops.linear(weights, "q_proj", rows, width, a.q_width, bias=a.qkv_bias)
        yield ops.linear(weights, "k_proj", rows, width, a.kv_width, bias=a.qkv_bias)
        yield ops.linear(weights, "v_proj", rows, width, a.kv_width, bias=a.qkv_bias)
    if a.qk_norm:
        yield ops.norm(place, "q_norm", rows * a.heads, a.head_dim, stack.norm)
        yield ops.norm(place, "k_norm", rows * a.kv_heads, a.head_dim, stack.norm)
    if a.rotary:
        yield ops.rotary(place, "rotary", rows, queries, a.q_width + a.kv_width, a.head_dim)
    if cached:
        yield ops.kv_write(place, "kv_write", rows, a.kv_width)
    shape = AttentionShape(batch, queries, keys, a.heads, a.kv_heads, a.head_dim, cached)
    yield from _attention(place, "attention", shape, execution)
    yield ops.linear(weights, "o_proj", rows, a.q_width, width, bias=a.output_bias)
    yield ops.add(place, "attention_residual", rows, width)
    yield _norm(place, "post_attention_norm", rows, stack)
    yield from _feed_forward(stack.feed_forward, place, weights, rows, width)
    yield ops.add(place, "ffn_residual", rows, width)


def _attention(place: Place, name: str, shape: AttentionShape, execution: Execution) -> tuple[OpCost, ...]:
    if execution.attention == "eager":
        return ops.eager_attention(place, name, shape)
    return (ops.fused_attention(place, name, shape),)


def _feed_forward(ffn: FeedForwardSpec, place: Place, weights: Place, rows: Amount, width: int) -> Iterator[OpCost]:
    if ffn.experts > 1:
        yield from _mixture(ffn, place, weights, rows, width)
    elif ffn.gated:
        yield ops.linear(weights, "gate_proj", rows, width, ffn.width, bias=ffn.bias)
        yield ops.linear(weights, "up_proj", rows, width, ffn.width, bias=ffn.bias)
        yield ops.gated_activation(place, "gated_act", rows, ffn.width, ffn.activation)
        yield ops.linear(weights, "down_proj", rows, ffn.width, width, bias=ffn.bias)
    else:
        yield ops.linear(weights, "fc1", rows, width, ffn.width, bias=ffn.bias)
        yield ops.activation(place, "act", rows, ffn.width, ffn.activation)
        yield ops.linear(weights, "fc2", rows, ffn.width, width, bias=ffn.bias)


def _mixture(ffn: FeedForwardSpec, place: Place, weights: Place, rows: Amount, width: int) -> Iterator[OpCost]:
    """Router, the chosen experts (gated), and the weighted sum of their outputs."""
    count, chosen = ffn.experts, ffn.experts_per_token
    yield ops.linear(weights, "router", rows, width, count)
    yield ops.softmax(place, "router_softmax", rows, count)
    for name in ("gate_proj", "up_proj"):
        yield ops.experts(weights, name, rows, width, ffn.width, count=count, chosen=chosen)
    yield ops.gated_activation(place, "gated_act", rows * chosen, ffn.width, ffn.activation)
    yield ops.experts(weights, "down_proj", rows, ffn.width, width, count=count, chosen=chosen)
    yield ops.weighted_sum(place, "combine", rows, chosen, width)


# --- what a counter reports


@dataclass(frozen=True, slots=True)
class Count:
    """FLOPs of one forward under a convention: vision, projector and prefill, no decode.

    `elementwise`: whether element-wise work is in the total beside matrix products.
    """

    model: ModelSpec
    workload: Workload
    execution: Execution
    convention: str
    elementwise: bool
    ops: tuple[OpCost, ...]

    def flops_of(self, op: OpCost) -> Amount:
        """What the convention counts of an op."""
        return op.flops if self.elementwise else op.matmul_flops

    @property
    def total(self) -> Amount:
        """FLOPs of the forward."""
        return sum(self.flops_of(op) for op in self.ops)

    @property
    def macs(self) -> Amount:
        """Multiply-adds of its matrix products."""
        return sum(op.matmul_flops for op in self.ops) // 2

    @property
    def bytes(self) -> Amount:
        """Traffic of the forward."""
        return sum(op.bytes for op in self.ops)

    @property
    def by_phase(self) -> dict[str, Amount]:
        """FLOPs of each phase."""
        phases = dict.fromkeys(op.phase for op in self.ops)
        return {phase: sum(self.flops_of(op) for op in self.ops if op.phase == phase) for phase in phases}


CONVENTIONS = ("torch",)


def count(
    model: str = "llava-1.5-7b",
    *,
    tokens: int | None = None,
    text_tokens: int = 60,
    batch: int = 1,
    images: int = 1,
    logits: str = "last",
    convention: str = "torch",
    elementwise: bool = False,
) -> Count:
    """FLOPs of one forward of `model`, as torch's FlopCounterMode counts them: the options of `perfkit count`.

    Raises:
        UnknownName: no such model, logits or convention.
        InvalidValue: counts out of range.

    >>> count("llava-1.5-7b", tokens=32).by_phase["vision"]
    381918216192
    """
    spec = load_model(model)
    workload = workload_of(spec, tokens=tokens, text_tokens=text_tokens, batch=batch, images=images)
    wanted = Execution(logits=parse_choice("logits", logits, LOGITS))
    execution = execution_of(spec, wanted)
    forward = (
        *vision_ops(spec, workload, execution),
        *projector_ops(spec, workload, execution),
        *prefill_ops(spec, workload, execution),
    )
    return Count(spec, workload, execution, parse_choice("convention", convention, CONVENTIONS), elementwise, forward)
