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
    rows = tuple((name, show(value, "n") if isinstance(value, int) else value) for name, value in _figures(spec))
    defaults = tuple(f"class default: {default}" for default in spec.defaults)
    return [Table(columns, rows, title=f"{spec.name}: {spec.source}", notes=spec.notes + defaults)]


def _figures(spec: ModelSpec) -> Iterator[tuple[str, Any]]:
    yield "family", spec.family
    yield "parameters", spec.parameters
    if spec.vision:
        yield "vision parameters", spec.vision.parameters
        yield "visual tokens an image", spec.visual_tokens
        yield "of these learned row ends", spec.newline_tokens
        yield "tower passes an image", spec.tiles
        yield "tower positions", spec.vision.positions
        yield "image side, patch side", f"{spec.vision.image_size}, {spec.vision.patch_size}"
        yield from _stack_figures("vision", spec.vision.stack)
    if spec.projector:
        yield "projector parameters", spec.projector.parameters
        yield "projector", f"{spec.projector.inputs} -> {spec.projector.outputs} -> {spec.projector.outputs}"
    if spec.text:
        yield "text model parameters", spec.text.parameters
        yield "vocabulary", spec.text.vocab
        yield "context", spec.text.context
        yield "lm_head", ("tied to the embedding" if spec.text.tied else "own matrix") if spec.text.lm_head else "none"
        yield from _stack_figures("text model", spec.text.stack)


def _stack_figures(part: str, stack: StackSpec) -> Iterator[tuple[str, Any]]:
    a, f = stack.attention, stack.feed_forward
    yield f"{part} layers x hidden", f"{stack.layers} x {stack.hidden}"
    yield f"{part} heads, KV heads, head dim", f"{a.heads}, {a.kv_heads}, {a.head_dim}"
    experts = f", {f.experts} experts, {f.experts_per_token} a token" if f.experts > 1 else ""
    yield f"{part} FFN", f"{f.width}, {f.matrices} matrices, {f.activation}{experts}"
    yield f"{part} parameters of a layer", stack.linear_parameters + stack.other_parameters


def document(spec: ModelSpec) -> dict[str, Any]:
    """Shapes and parameters of a model, with source, class defaults used and notes."""
    listed = dict(zip((column.key for column in _LISTED), _listed(spec), strict=True))
    parts = {"vision": spec.vision, "projector": spec.projector, "language_model": spec.text}
    return {
        **listed,
        "source": spec.source,
        "parameters_by_part": {name: part.parameters for name, part in parts.items() if part},
        "tiles": spec.tiles,
        "newline_tokens": spec.newline_tokens,
        "tied_embeddings": bool(spec.text and spec.text.tied),
        "defaults": list(spec.defaults),
        "notes": list(spec.notes),
    }
