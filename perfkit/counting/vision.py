"""Ops of the vision tower, of a reducer behind it, and of the projector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from perfkit import ops
from perfkit.counting.layer import attention_ops, attention_shape, layer_ops, norm_op, place_of
from perfkit.models.spec import ModelSpec, VisionSpec
from perfkit.ops import OpCost, Place
from perfkit.units import Amount
from perfkit.workload import Execution, Workload, anywhere

if TYPE_CHECKING:
    from perfkit.reduction import Reducer

# Ops of a layer that scores by the class token are made of: those of all positions, and those of that token alone.
_OF_ALL = ("input_norm", "k_proj")
_OF_CLASS = ("q_proj",)


def sees_nothing(workload: Workload) -> bool:
    """Whether no point of the workload has visual tokens."""
    tokens = workload.visual_tokens
    return not tokens.any() if hasattr(tokens, "dtype") else tokens == 0


def runs(workload: Workload) -> Amount:
    """How often what sees visual tokens runs: once, or at points of a sweep that have none not at all."""
    return ops.minimum(workload.visual_tokens, 1) if anywhere(workload.visual_tokens == 0) else 1


def vision_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """The whole tower for every tile of every image; nothing where no visual token enters the model."""
    vision = spec.vision
    if vision is None or sees_nothing(workload):
        return
    place, tiles = _place(workload, execution), _tiles(spec, workload)
    yield from _first_ops(vision, place, tiles)
    yield from _layers(vision, place, tiles, execution, vision.stack.layers)
    if vision.post_norm != "none":
        rows = tiles if vision.post_norm == "pooled" else tiles * vision.positions
        yield norm_op(place, "post_norm", rows, vision.stack)
    if vision.pooling_head:
        yield from _pooling_head(vision, place, tiles, execution)


def reduced_vision_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """What of the tower a reducer before the language model needs; none where it needs all, or where none stands there.

    All layers that its features come through; where it scores by the class token also the last layer's norm and keys,
    and the query of that token, which take all layers before it.
    """
    vision, method = spec.vision, _reducer_of(workload)
    if vision is None or method is None or not vision.unread_layers or sees_nothing(workload):
        return
    place, tiles = _place(workload, execution), _tiles(spec, workload)
    unneeded = 1 if method.needs_class_token else vision.unread_layers
    yield from _first_ops(vision, place, tiles)
    yield from _layers(vision, place, tiles, execution, vision.stack.layers - unneeded)
    if method.needs_class_token:
        yield from _class_token_ops(vision, place, tiles, execution)


def _place(workload: Workload, execution: Execution) -> Place:
    return place_of("vision", execution, runs(workload))


def _tiles(spec: ModelSpec, workload: Workload) -> Amount:
    return workload.batch * workload.images * spec.tiles


def _first_ops(vision: VisionSpec, place: Place, tiles: Amount) -> Iterator[OpCost]:
    """Patches, positions, and CLIP's norm before the layers."""
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
        yield norm_op(place, "pre_norm", tiles * vision.positions, vision.stack)


def _layers(
    vision: VisionSpec, place: Place, tiles: Amount, execution: Execution, layers: int, queries: int | None = None
) -> Iterator[OpCost]:
    """Ops of so many layers over all positions, or over the first `queries` of them that attend to all."""
    place = place._replace(repeat=place.repeat * layers)
    shape = attention_shape(vision.stack, tiles, queries or vision.positions, vision.positions, cached=False)
    yield from layer_ops(vision.stack, place, place, shape, execution)


def _class_token_ops(vision: VisionSpec, place: Place, tiles: Amount, execution: Execution) -> Iterator[OpCost]:
    """What scores by the class token need of one more layer."""
    yield from (op for op in _layers(vision, place, tiles, execution, 1) if op.name in _OF_ALL)
    yield from (op for op in _layers(vision, place, tiles, execution, 1, queries=1) if op.name in _OF_CLASS)


def _pooling_head(vision: VisionSpec, place: Place, tiles: Amount, execution: Execution) -> Iterator[OpCost]:
    """SigLIP's head: one learned query attends to all positions, then a feed-forward with its own norm.

    Source: Zhai et al., Scaling Vision Transformers (arXiv 2106.04560), section 3.3.
    """
    stack, width = vision.stack, vision.stack.hidden
    yield ops.linear(place, "head_q_proj", tiles, width, width, bias=True)
    yield ops.linear(place, "head_kv_proj", tiles * vision.positions, width, 2 * width, bias=True)
    shape = attention_shape(stack, tiles, 1, vision.positions, cached=False)
    yield from attention_ops(place, "head_attention", shape, execution)
    yield ops.linear(place, "head_o_proj", tiles, width, width, bias=True)
    yield norm_op(place, "head_norm", tiles, stack)
    yield ops.linear(place, "head_fc1", tiles, width, stack.feed_forward.width, bias=True)
    yield ops.activation(place, "head_act", tiles, stack.feed_forward.width, stack.feed_forward.activation)
    yield ops.linear(place, "head_fc2", tiles, stack.feed_forward.width, width, bias=True)
    yield ops.add(place, "head_residual", tiles, width)


def reduction_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """What a reducer before the language model computes; nothing where tokens are left out inside it, or not at all."""
    vision, projector, method = spec.vision, spec.projector, _reducer_of(workload)
    if method is None or vision is None or projector is None:
        return
    from perfkit.reduction import TowerOutput

    tower = TowerOutput(
        tiles=_tiles(spec, workload),
        positions=vision.positions,
        tokens=vision.kept_positions,
        width=vision.stack.hidden,
        features=projector.inputs,
        kept=workload.batch * workload.visual_tokens,
    )
    yield from method.reduction_ops(place_of("reduction", execution), tower)


def _reducer_of(workload: Workload) -> Reducer | None:
    """The method that leaves tokens out before the language model, if there is one."""
    if not workload.reduction:
        return None
    from perfkit.reduction import Reducer, parse_reduction  # not on the way of whoever reduces nothing

    method = parse_reduction(workload.reduction)
    return method if isinstance(method, Reducer) else None


def projector_ops(spec: ModelSpec, workload: Workload, execution: Execution) -> Iterator[OpCost]:
    """Projector over the visual tokens that reach the language model, learned row ends excepted."""
    projector = spec.projector
    if projector is None or sees_nothing(workload):
        return
    place = place_of("projector", execution, runs(workload))
    tokens = ops.minimum(workload.visual_tokens, workload.images * spec.projected_tokens)
    rows, width = workload.batch * tokens, projector.outputs
    yield ops.linear(place, "linear_1", rows, projector.inputs, width, bias=projector.bias)
    yield ops.activation(place, "act", rows, width, projector.activation)
    yield ops.linear(place, "linear_2", rows, width, width, bias=projector.bias)
