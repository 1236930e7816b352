"""Prompts with fewer image placeholders: which tokens go on, and everything that belongs to them shortened alike.

caller's row    _ _ T I I I I T T      two of padding, four placeholders of an image that is left two tokens
shortened           T I I T T          padding goes; rows that end up shorter than others are padded on the left
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from torch import Tensor

# Fillers of what a model may be given beside its tokens, one number a token. -100 is torch's target to leave out.
FILLERS = {"position_ids": 0, "labels": -100, "token_type_ids": 0, "mm_token_type_ids": 0}


class ShortPrompts(NamedTuple):
    """Which tokens of prompts of `length` go on.

    `order` (batch, tokens): their places in the caller's prompt. `real` (batch, tokens): False where a row is padded.
    """

    length: int
    order: Tensor
    real: Tensor

    @property
    def tokens(self) -> int:
        """Tokens of a row, padding included."""
        return int(self.order.shape[1])

    @property
    def padded(self) -> bool:
        """Whether a row is padded."""
        return not bool(self.real.all())

    def of(self, tensor: Tensor, filler: int | bool = 0) -> Tensor:
        """(batch, tokens) of (batch, length), `filler` where a row is padded."""
        return tensor.gather(1, self.order).masked_fill(~self.real, filler)


def shorten(placeholders: Tensor, counts: Tensor, each: int, mask: Tensor | None = None) -> ShortPrompts:
    """Prompts in which the i-th image has its first `counts[i]` placeholders; the last one more than once if need be.

    `placeholders` (batch, length), True at image placeholders, `each` of them an image, images in their order through
    all rows. `mask` (batch, past + length): zeros before a row's first token are padding, and go too.

    >>> import torch
    >>> row = torch.tensor([[False, True, True, True, True, False]])
    >>> shorten(row, torch.tensor([2]), 4).order, shorten(row, torch.tensor([5]), 4).order
    (tensor([[0, 1, 2, 5]]), tensor([[0, 1, 2, 3, 4, 4, 5]]))
    """
    import torch

    ends = _repeats(placeholders, counts.to(placeholders.device), each, mask).cumsum(dim=1)
    tokens = int(ends[:, -1].max())
    places = torch.arange(tokens, device=ends.device) - tokens + ends[:, -1:]  # below 0 where a row is padded
    order = torch.searchsorted(ends, places.clamp(min=0), right=True)
    return ShortPrompts(ends.shape[1], order.clamp(max=ends.shape[1] - 1), places >= 0)


def _repeats(placeholders: Tensor, counts: Tensor, each: int, mask: Tensor | None) -> Tensor:
    """(batch, length): how often each token of the caller's prompt goes on."""
    number = placeholders.flatten().cumsum(0).view_as(placeholders) - 1  # of a placeholder, through all rows
    place, left = number % each, counts[(number // each).clamp(min=0)]
    # A reducer that keeps every patch and appends one token leaves more than there were.
    of_image = (place < left).long() + (place == each - 1) * (left - each).clamp(min=0)
    if mask is None:
        return of_image.where(placeholders, 1)
    begun = mask[:, mask.shape[1] - placeholders.shape[1] :].cumsum(dim=1) > 0
    return of_image.where(placeholders, begun.long())


def check_placeholders(placeholders: Tensor, images: int, each: int) -> None:
    """Refuse prompts whose placeholders are not those of so many images.

    Raises:
        InvalidValue: a row with part of an image, or placeholders of fewer or more images than there are.
    """
    rows = placeholders.sum(dim=1).tolist()
    for row, found in enumerate(rows):
        if found % each:
            raise InvalidValue(
                f"row {row} of input_ids has {found} image placeholders; the model's processor makes {each} an image"
            )
    if sum(rows) != images * each:
        raise InvalidValue(f"input_ids have placeholders of {sum(rows) // each} images, pixel_values {images} images")


def shortened_mask(mask: Tensor | None, short: ShortPrompts, past: int) -> Tensor | None:
    """(batch, past + tokens) of an attention mask (batch, past + length), in which padding is not seen.

    None where there is none and no row is padded; else one of ones over a `past` stands for it.
    """
    import torch

    if mask is None and not short.padded:
        return None
    before = short.order.new_ones((len(short.order), past)) if mask is None else mask[:, : mask.shape[1] - short.length]
    own = short.real.long() if mask is None else short.of(mask[:, mask.shape[1] - short.length :])
    return torch.cat((before, own), dim=1)


def cached_tokens(given: dict[str, Any]) -> int:
    """Tokens in the cache that a call goes on from."""
    cache = given.get("past_key_values")
    return 0 if cache is None else int(cache.get_seq_length())


def checked_ids(ids: Any) -> Tensor:
    """A batch of prompts.

    Raises:
        InvalidValue: no tensor (batch, length).
    """
    import torch

    if not isinstance(ids, torch.Tensor) or ids.dim() != 2:
        raise InvalidValue("pixel_values need input_ids (batch, length) beside them")
    return ids


def checked_mask(mask: Any, ids: Tensor) -> Tensor:
    """An attention mask of single tokens.

    Raises:
        InvalidValue: no (batch, length) of `ids`, or longer by a past.
    """
    import torch

    if not isinstance(mask, torch.Tensor) or mask.dim() != 2 or len(mask) != len(ids) or mask.shape[1] < ids.shape[1]:
        found = tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise InvalidValue(f"attention_mask must be {tuple(ids.shape)}, longer by a past at most, not {found}")
    return mask


def shortened_companions(given: dict[str, Any], short: ShortPrompts, ids: Tensor) -> dict[str, Any]:
    """What of `given` belongs to single tokens, shortened; positions may be of one row for all.

    Raises:
        InvalidValue: of another shape than `ids`.
    """
    found = {}
    for name, filler in FILLERS.items():
        value = given.get(name)
        if value is None:
            continue
        if value.shape not in (ids.shape, (1, ids.shape[1])):
            raise InvalidValue(f"{name} must be {tuple(ids.shape)} like input_ids, not {tuple(value.shape)}")
        found[name] = short.of(value.expand(ids.shape), filler)
    return found


def positions_of(mask: Tensor, tokens: int) -> Tensor:
    """(batch, tokens): places of the last tokens of a mask, counted over what is seen; 0 where nothing is.

    >>> import torch
    >>> positions_of(torch.tensor([[0, 1, 1, 1]]), 3)
    tensor([[0, 1, 2]])
    """
    places = (mask.long().cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    return places[:, mask.shape[1] - tokens :]
