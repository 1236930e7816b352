"""A workload and an execution as a model can take them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec
from perfkit.units import Amount, check_count
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS, Execution, LayerGroup, Workload, anywhere

if TYPE_CHECKING:
    from perfkit.reduction import Method, Reducer


def workload_of(
    spec: ModelSpec,
    *,
    tokens: Amount | None = None,
    text_tokens: Amount = TEXT_TOKENS,
    new_tokens: Amount = NEW_TOKENS,
    batch: Amount = 1,
    images: Amount = 1,
    schedule: tuple[LayerGroup, ...] = (),
    reduction: str | None = None,
) -> Workload:
    """Workload that `spec` can take: `tokens` visual tokens a sequence, by default all that its images make.

    A model without a tower takes 0; a bare tower has neither text nor new tokens; an encoder makes none. A `reduction`
    before the language model sets the tokens that are not given; one inside it makes the schedule.

    Raises:
        InvalidValue: counts out of range, more visual tokens than the model makes, a schedule or a reduction that does
            not fit.
        UnknownName: no such reduction, or no such parameter of it.

    >>> from perfkit.models import load_model
    >>> workload_of(load_model("llava-1.5-7b"), reduction="fastv:k=2,r=0.5").schedule[1]
    LayerGroup(layers=30, visual_tokens=288)
    """
    check_count("text tokens", text_tokens)
    check_count("new tokens", new_tokens)
    check_count("images", images)
    images = images if spec.vision else 0
    most = images * spec.visual_tokens
    workload = Workload(
        visual_tokens=most if tokens is None else tokens,
        text_tokens=text_tokens if spec.text else 0,
        new_tokens=new_tokens if spec.has_decoder else 0,
        batch=batch,
        images=images,
        schedule=schedule,
    )
    if reduction is not None:
        workload = _reduced(spec, workload, reduction, tokens_given=tokens is not None)
    _check_tokens(spec, workload, most)
    _check_schedule(spec, workload)
    return workload


def _reduced(spec: ModelSpec, workload: Workload, text: str, *, tokens_given: bool) -> Workload:
    """`workload` with fewer tokens, by the method that `text` names."""
    from perfkit.reduction import Pruner, Reducer, parse_reduction  # not on the way of whoever reduces nothing

    method = parse_reduction(text)
    workload = replace(workload, reduction=method.text)
    _check_reducible(spec, workload, method)
    if isinstance(method, Reducer):
        if not tokens_given:
            workload = replace(workload, visual_tokens=workload.images * method.image_tokens(spec))
        _check_reducer(spec, workload, method)
    elif isinstance(method, Pruner) and spec.text is not None:
        schedule = method.schedule(spec.text.stack.layers, workload.visual_tokens)
        workload = replace(workload, schedule=schedule)
    return workload


def _check_reducible(spec: ModelSpec, workload: Workload, method: Method) -> None:
    if workload.schedule:
        raise InvalidValue(f"{method}: a schedule of layers is given already; give one of the two")
    if spec.vision is None:
        raise InvalidValue(f"{method}: {spec.name} sees no images, so there are no visual tokens to reduce")
    if spec.text is None:
        raise InvalidValue(
            f"{method}: {spec.name} is a bare vision tower, without a language model to see fewer tokens"
        )
    if anywhere(workload.visual_tokens == 0):
        raise InvalidValue(f"{method}: there are no visual tokens to reduce (--tokens 0)")


def _check_reducer(spec: ModelSpec, workload: Workload, method: Reducer) -> None:
    tokens, images, vision = workload.visual_tokens, workload.images, spec.vision
    if method.needs_class_token and (vision is None or not vision.class_token):
        raise InvalidValue(f"{method}: it needs a class token, and the tower of {spec.name} has none")
    least = spec.tiles if method.by_tile else 1
    if anywhere((tokens < images * least) | (tokens > images * spec.projected_tokens)):
        each = f": one of each of its {least} tiles" if least > 1 else ""
        raise InvalidValue(
            f"{method}: {tokens} visual tokens cannot be left of {images} image(s): "
            f"the tower of {spec.name} makes {spec.projected_tokens} of an image, and at least {least} stay{each}"
        )


def _check_tokens(spec: ModelSpec, workload: Workload, most: Amount) -> None:
    excess = workload.visual_tokens - most
    if anywhere(excess > 0):
        makes = f"makes at most {most} of {workload.images} image(s)" if spec.vision else "sees no images: use 0"
        raise InvalidValue(f"{workload.visual_tokens} visual tokens: {spec.name} {makes}")
    if spec.text is None and anywhere(excess != 0):
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
    if any(anywhere(later > earlier) for earlier, later in pairwise(tokens)):
        raise InvalidValue(f"visual tokens cannot grow from layer to layer: {tokens}")


def execution_of(spec: ModelSpec, execution: Execution) -> Execution:
    """`execution` as `spec` can run it.

    A model without a decoder makes no logits and keeps no cache; a bare tower has no linear layers that `weights` mean.
    """
    if not spec.has_decoder:
        execution = replace(execution, logits="none", kv=execution.activations)
    return execution if spec.text else replace(execution, weights=execution.activations)
