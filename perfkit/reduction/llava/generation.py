"""What `generate` is asked about a prompt, said of its shorter one; and its answer, said of the caller's own."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from perfkit.errors import InvalidValue
from perfkit.reduction.llava.prompts import cached_tokens, checked_ids, checked_mask

if TYPE_CHECKING:
    from torch import Tensor

# Hugging Face looks at embeddings alone in the first step, and a guess of the next words is not among them: with these
# it would go on from what it never saw, without a word.
_GUESSES = "the first step would take no guessed words"
REFUSED = {
    "prefill_chunk_size": "their prompt is taken in one piece",
    "prompt_lookup_num_tokens": _GUESSES,
    "assistant_model": _GUESSES,
    "assistant_early_exit": _GUESSES,
}
LIMITS = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}  # the second, where set, counts no prompt


def for_generation(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call: the prompt by one name, and a mask where its padding alone says what is hidden.

    Raises:
        InvalidValue: two prompts, chunks, guessed words, or a part of a conversation that goes on from a cache.
    """
    if given.get("inputs") is not None and given.get("input_ids") is not None:
        raise InvalidValue("inputs and input_ids are both given: they are two names of one thing")
    for name, why in REFUSED.items():
        if setting(model, given, name) is not None:
            raise InvalidValue(f"{name} is not possible with reduced tokens: {why}")
    ids, mask = checked_ids(_ids(given)), given.get("attention_mask")
    if mask is None:
        mask = _mask_of_padding(model, given, ids)
    elif cached_tokens(given) and checked_mask(mask, ids).shape != ids.shape:
        raise InvalidValue("to go on from past_key_values with images, input_ids are the whole conversation")
    others = {name: value for name, value in given.items() if name != "inputs"}
    return {**others, "input_ids": ids, "attention_mask": mask}


def setting(model: Any, given: dict[str, Any], name: str) -> Any:
    """A setting of generation: of the call, else of its configuration, else of the model's."""
    sources = given.get(name), getattr(given.get("generation_config"), name, None)
    own = getattr(model.generation_config, name, None)
    return next((value for value in (*sources, own) if value is not None), None)


def check_cache(model: Any, given: dict[str, Any]) -> None:
    """Refuse a conversation with images, but without their pixels, that goes on from a cache.

    Hugging Face finds what is new by the length of the cache, and the cache of a reduced prompt is shorter.

    Raises:
        InvalidValue: image placeholders beside a cache.
    """
    ids = _ids(given)
    if cached_tokens(given) and ids is not None and bool((ids == model.config.image_token_id).any()):
        raise InvalidValue(
            "input_ids with image placeholders and past_key_values of fewer tokens: give pixel_values too"
        )


def limits(model: Any, given: dict[str, Any], dropped: int) -> dict[str, Any]:
    """Arguments that limit lengths, less the tokens that are `dropped` from the prompt.

    Raises:
        InvalidValue: a maximum that the caller's prompt reaches by itself.
    """
    length = given["input_ids"].shape[1]
    found = {
        name: setting(model, given, name) for name, of_new in LIMITS.items() if setting(model, given, of_new) is None
    }
    shorter = {name: max(value - dropped, 0) for name, value in found.items() if value is not None}
    if found.get("max_length") is not None and found["max_length"] <= length:
        raise InvalidValue(f"max_length is {found['max_length']}, and input_ids alone are {length} tokens long")
    config = given.get("generation_config")
    if config is None:
        return shorter
    config = deepcopy(config)
    for name, value in shorter.items():
        setattr(config, name, value)
    return {"generation_config": config} | {name: shorter[name] for name in shorter if given.get(name) is not None}


def with_own_prompt(made: Any, ids: Tensor, tokens: int) -> Any:
    """What `generate` made behind prompts of `tokens` tokens, behind the caller's `ids` (batch, length) instead."""
    import torch

    sequences = made if isinstance(made, torch.Tensor) else made.sequences
    prompts = ids.repeat_interleave(len(sequences) // len(ids), dim=0).to(sequences.device)
    whole = torch.cat((prompts, sequences[:, tokens:]), dim=1)
    if made is sequences:
        return whole
    made.sequences = whole
    return made


def _ids(given: dict[str, Any]) -> Any:
    return given.get("input_ids") if given.get("inputs") is None else given["inputs"]


def _mask_of_padding(model: Any, given: dict[str, Any], ids: Any) -> Tensor | None:
    """A mask where `ids` hold padding that cannot be an end; `generate` would see so by itself, but not behind ours."""
    pad, end = (setting(model, given, name) for name in ("pad_token_id", "eos_token_id"))
    ends = end if isinstance(end, list) else [end]
    if pad is None or pad in ends or not bool((ids == pad).any()):
        return None
    mask: Tensor = (ids != pad).long()
    return mask
