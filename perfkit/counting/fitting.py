"""A workload and an execution as a model can take them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec
from perfkit.units import Amount, check_count
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS, Execution, LayerGroup, Workload


def workload_of(
    spec: ModelSpec,
    *,
    tokens: Amount | None = None,
    text_tokens: Amount = TEXT_TOKENS,
    new_tokens: Amount = NEW_TOKENS,
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
    """`execution` as `spec` can run it.

    A model without a decoder makes no logits and keeps no cache; a bare tower has no linear layers that `weights` mean.
    """
    if not spec.has_decoder:
        execution = replace(execution, logits="none", kv=execution.activations)
    return execution if spec.text else replace(execution, weights=execution.activations)
