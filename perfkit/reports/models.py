"""Reports of a `ModelSpec`: a list, or one with every figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.errors import InvalidSpec
from perfkit.models.spec import ModelSpec, StackSpec
from perfkit.tables import Column, Table, show

_LISTED = (
    Column("name", "model"),
    Column("family", "family", "", 5),
    Column("parameters", "parameters", "n"),
    Column("visual_tokens", "visual tokens", "n"),
    Column("layers", "layers", "n", 6),
    Column("hidden", "hidden", "n", 6),
    Column("heads", "heads", "n", 4),
    Column("kv_heads", "KV heads", "n", 4),
    Column("ffn", "FFN", "n", 6),
    Column("vocabulary", "vocabulary", "n", 3),
    Column("context", "context", "n", 3),
)


def table(models: Sequence[ModelSpec]) -> Table:
    """A row a model; layers to FFN are those of the language model, or of the tower where there is no other.

    Of a single model: a row a figure.
    """
    if len(models) > 1:
        return Table(_LISTED, tuple(_listed(spec) for spec in models))
    (spec,) = models
    return Table((Column("figure", "figure"), Column("value", "value")), (("source", spec.source), *_figures(spec)))


def _listed(spec: ModelSpec) -> tuple[Any, ...]:
    stack = _main_stack(spec)
    vocabulary, context = (spec.text.vocab, spec.text.context) if spec.text else (None, None)
    shape = (stack.layers, stack.hidden, stack.attention.heads, stack.attention.kv_heads, stack.feed_forward.width)
    return (spec.name, spec.family, spec.parameters, spec.visual_tokens, *shape, vocabulary, context)


def _main_stack(spec: ModelSpec) -> StackSpec:
    part = spec.text or spec.vision
    if part is None:
        raise InvalidSpec(f"{spec.name} has neither a language model nor a tower")
    return part.stack


def overview(models: Sequence[ModelSpec]) -> list[Table]:
    """The list, or every figure of one model."""
    if len(models) > 1:
        notes = ("Counted from the configurations; perfkit models NAME shows one whole.",)
        return [Table(_LISTED, table(models).rows, title=f"{len(models)} models", notes=notes)]
    spec = models[0]
    columns = (Column("figure", "figure"), Column("value", "value"))
    rows = tuple(
        (name.replace("_", " "), show(value, "n") if isinstance(value, int) else value)
        for name, value in _figures(spec)
    )
    defaults = tuple(f"class default: {default}" for default in spec.defaults)
    return [Table(columns, rows, title=f"{spec.name}: {spec.source}", notes=spec.notes + defaults)]


def _figures(spec: ModelSpec) -> Iterator[tuple[str, Any]]:
    """Key and value of every figure; people read the keys with blanks."""
    yield "family", spec.family
    yield "parameters", spec.parameters
    if spec.vision:
        v = spec.vision
        yield "visual_tokens_an_image", spec.visual_tokens
        yield "of_these_learned_row_ends", spec.newline_tokens
        yield "tower_passes_an_image", spec.tiles
        yield "vision_parameters", v.parameters
        yield "vision_positions", v.positions
        yield "vision_image_side", v.image_size
        yield "vision_patch_side", v.patch_size
        yield "vision_unread_layers", v.unread_layers
        yield from _stack_figures("vision", v.stack)
    if spec.projector:
        yield "projector_parameters", spec.projector.parameters
        yield "projector_inputs", spec.projector.inputs
        yield "projector_outputs", spec.projector.outputs
        yield "projector_activation", spec.projector.activation
    if spec.text:
        yield "text_parameters", spec.text.parameters
        yield "text_vocabulary", spec.text.vocab
        yield "text_context", spec.text.context
        yield (
            "text_lm_head",
            ("tied to the embedding" if spec.text.tied else "own matrix") if spec.text.lm_head else "none",
        )
        yield from _stack_figures("text", spec.text.stack)


def _stack_figures(part: str, stack: StackSpec) -> Iterator[tuple[str, Any]]:
    a, f = stack.attention, stack.feed_forward
    yield f"{part}_layers", stack.layers
    yield f"{part}_hidden", stack.hidden
    yield f"{part}_heads", a.heads
    yield f"{part}_kv_heads", a.kv_heads
    yield f"{part}_head_dim", a.head_dim
    yield f"{part}_ffn_width", f.width
    yield f"{part}_ffn_matrices", f.matrices
    yield f"{part}_activation", f.activation
    yield f"{part}_norm", stack.norm
    if f.experts > 1:
        yield f"{part}_experts", f.experts
        yield f"{part}_experts_a_token", f.experts_per_token
    yield f"{part}_layer_parameters", stack.linear_parameters + stack.other_parameters


def document(spec: ModelSpec) -> dict[str, Any]:
    """Shapes and parameters of a model, with source, class defaults used and notes."""
    listed = dict(zip((column.key for column in _LISTED), _listed(spec), strict=True))
    parts = {"vision": spec.vision, "projector": spec.projector, "language_model": spec.text}
    return {
        **listed,
        "source": spec.source,
        "parameters_by_part": {name: part.parameters for name, part in parts.items() if part},
        "figures": dict(_figures(spec)),
        "defaults": list(spec.defaults),
        "notes": list(spec.notes),
    }
