"""A reducer inside a Hugging Face LLaVA-1.5, between vision tower and projector, for the length of a `with` block.

    pixels -> tower -> reducer -> projector -> embeddings of a prompt with fewer placeholders -> language model

The model is handed as `inputs_embeds` what it would have made by itself of fewer tokens, so that its own `forward` and
`generate` do all the rest: caches, masks, beams, sampling. For the length of the block a function stands before each.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from perfkit.errors import InvalidValue
from perfkit.reduction.llava.generation import check_cache, for_generation, limits, setting, with_own_prompt
from perfkit.reduction.llava.model_inputs import ModelInputs, check_model, reduced_inputs
from perfkit.reduction.llava.prompts import cached_tokens
from perfkit.reduction.method import Reducer
from perfkit.reduction.prumerge import NEIGHBOURS
from perfkit.reduction.reducing import ReducedTokens

if TYPE_CHECKING:
    from torch import Tensor

_REDUCED: WeakSet[Any] = WeakSet()  # models inside a block


@dataclass(slots=True)
class LastPrompts:
    """The last prompts with images that a model was given in a block; the one value here that later calls change.

    `images`: what the reducer left of each image; None before the first call. `attention_mask` (batch, past + tokens):
    what the language model was given, 0 where a row is padded, None where all is seen; a loop of one's own over
    `forward` goes on from it.
    """

    images: ReducedTokens | None = None
    attention_mask: Tensor | None = None


@contextmanager
def reduced(
    model: Any,
    method: str | Reducer,
    ratio: float | None = None,
    neighbours: int = NEIGHBOURS,
    strict_reference: bool = False,
    *,
    non_finite: str = "raise",
) -> Iterator[LastPrompts]:
    """Let a `LlavaForConditionalGeneration` work on fewer visual tokens; settings as in `perfkit.reduction.reduce`.

    In the block `model(...)` and `model.generate(...)` with `pixel_values` run the tower once, as far as the method
    needs it, project what the reducer leaves, and drop the placeholders of the rest from `input_ids` and from what
    belongs to them. What `generate` returns starts with the caller's own `input_ids` all the same. Calls without
    `pixel_values` are the model's own. After the block the model is what it was.

    Raises:
        UnknownName: no such method.
        InvalidValue: a method inside the language model; another model than LLaVA-1.5, or one in such a block already.
            From calls in the block: placeholders that are not those of the images, what does not go together, and a
            copy of the model.
    """
    from perfkit.reduction.modules import TokenReducer

    reducer = TokenReducer(method, ratio, neighbours, strict_reference, non_finite=non_finite)
    check_model(model)
    if model in _REDUCED:
        raise InvalidValue("the model is reduced already: blocks of reduced() cannot stand in each other")
    last = LastPrompts()
    with _standing_before(model, _overrides(model, reducer, last)):
        yield last


@contextmanager
def _standing_before(model: Any, overrides: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Functions of the instance before those of its class; what the instance had of its own comes back."""
    own = {name: vars(model)[name] for name in overrides if name in vars(model)}
    _REDUCED.add(model)
    vars(model).update(overrides)
    try:
        yield
    finally:
        for name in overrides:
            del vars(model)[name]
        vars(model).update(own)
        _REDUCED.discard(model)


def _overrides(model: Any, reducer: Any, last: LastPrompts) -> dict[str, Callable[..., Any]]:
    """`forward` and `generate` on fewer tokens, and no copy of them.

    They are wrapped, as `generate` looks at the signature of `forward`.
    """
    import torch

    forward, generate = model.forward, model.generate

    def shortened(given: dict[str, Any], **settings: int) -> ModelInputs:
        inputs = reduced_inputs(model, reducer, given, **settings)
        last.images, last.attention_mask = inputs.images, inputs.mask
        return inputs

    @wraps(forward)
    def reduced_forward(*args: Any, **kwargs: Any) -> Any:
        given = _named(forward, args, kwargs)
        if given.get("pixel_values") is None:
            return forward(*args, **kwargs)
        inputs = shortened(given, past=cached_tokens(given))
        output = forward(**inputs.for_forward())
        if hasattr(output, "image_hidden_states"):  # the model's own are those that it projected itself
            output.image_hidden_states = inputs.projected
        return output

    @wraps(generate)
    def reduced_generate(*args: Any, **kwargs: Any) -> Any:
        given = _named(generate, args, kwargs)
        if given.get("pixel_values") is None:
            check_cache(model, given)
            return generate(*args, **kwargs)
        given = for_generation(model, given)
        with torch.no_grad():
            inputs = shortened(given, filler=setting(model, given, "pad_token_id") or 0)
        made = generate(**(inputs.for_generate() | limits(model, given, inputs.dropped)))
        return with_own_prompt(made, given["input_ids"], inputs.tokens)

    return {"forward": reduced_forward, "generate": reduced_generate, "__deepcopy__": _refuse_copy}


def _refuse_copy(_: Any) -> Any:
    raise InvalidValue("a copy made inside reduced() would run this model instead of itself: copy it before the block")


def _named(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by their names."""
    names = inspect.signature(function).parameters if args else ()
    return dict(zip(names, args, strict=False), **kwargs)
