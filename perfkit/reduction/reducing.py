"""Reducers at work on tensors: from features, queries and keys of a vision tower to fewer tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import isqrt
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.reduction import parse_reduction
from perfkit.reduction.method import Method, Reducer
from perfkit.reduction.parameters import check_whole
from perfkit.reduction.prumerge import NEIGHBOURS, PruMerge
from perfkit.reduction.tensors import Choice, Seen, cleared, within
from perfkit.units import parse_choice

if TYPE_CHECKING:
    from torch import Tensor

NonFinite = Literal["raise", "skip"]
NON_FINITE: tuple[NonFinite, ...] = ("raise", "skip")
FLOATS = "floats of 16, 32 or 64 bits"


class ReducedTokens(NamedTuple):
    """What a reducer leaves of a batch of images, padded on the right.

    `tokens` (batch, most, hidden) in the features' format, zero where padded; `mask` (batch, most), True where a token
    is real; `kept` (batch, patches), True where a patch is kept. PruMerge's tokens stand by falling attention, those of
    PruMerge+'s grid behind them by place, the token of the rest last; samplers' tokens stand by place.
    """

    tokens: Tensor
    mask: Tensor
    kept: Tensor

    @property
    def counts(self) -> Tensor:
        """(batch,): tokens of each image; 0 where an image was skipped."""
        return self.mask.sum(dim=1)

    @property
    def skipped(self) -> Tensor:
        """(batch,), True where an image was left out because of numbers that are not finite."""
        return ~self.mask.any(dim=1)


def reduce(
    method: str | Reducer,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    ratio: float | None = None,
    neighbours: int = NEIGHBOURS,
    strict_reference: bool = False,
    *,
    non_finite: str = "raise",
    grid: int | None = None,
) -> ReducedTokens:
    """Tokens that `method` leaves of features (batch, patches, hidden), image by image.

    `queries` (batch, 1 + patches, hidden), or their first row alone, and `keys` (batch, 1 + patches, hidden) are those
    of the tower's last self-attention, class token first, heads side by side, as its q_proj and k_proj give them,
    not scaled; None for methods that do not need them.
    `ratio`: the share of the patches that is kept, for PruMerge+ the share chosen by attention, to which its grid comes
    (above 1/2 that keeps everything); None: as many as the image calls for (PruMerge), or the method's own n.
    `neighbours`: patches merged into each kept one; where this is left at 32, a k that the method says stands.
    `strict_reference`: the published code's behaviour, its oddities included.
    `non_finite`: refuse images with NaN or infinite numbers, or skip them (no token of them is real).
    `grid`: patches of a side; default: the square root of the patches.

    Scores and sums are made in float32, of float64 features too; only what is compared is made in float64 before.

    The host looks at the device once where the counts depend on the image, and once where `non_finite` is "raise" (both
    in one look); with a fixed ratio and "skip" never, so that a CUDA graph can be captured. Without a ratio
    `strict_reference` takes a look more: its counts come of all images together, those that are skipped left out.

    Raises:
        UnknownName: no such method.
        InvalidValue: a method inside the language model, tensors whose shapes, formats or devices do not fit, a grid
            that is not square, a ratio outside (0, 1], neighbours below 1, numbers that are not finite or, on the meta
            device, not there, or what the published code cannot do.

    >>> import torch
    >>> features = torch.arange(8.0).view(1, 4, 2)
    >>> reduce("spatial:n=2", features, None, None).tokens  # patches floor(0 * 4 / 2) = 0 and floor(1 * 4 / 2) = 2
    tensor([[[0., 1.],
             [4., 5.]]])
    """
    reducer = reducer_of(method, neighbours, strict_reference=strict_reference)
    ratio = as_ratio(ratio)
    parse_choice("non_finite", non_finite, NON_FINITE)
    seen = seen_by(reducer, features, queries, keys, grid)
    with _without_autocast(features.device.type):
        return _reduced(reducer, seen, ratio, refuse=non_finite == "raise")


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Products and sums in the formats that reducers ask for, where a model around them runs in torch's autocast."""
    import torch

    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _reduced(reducer: Reducer, seen: Seen, ratio: float | None, *, refuse: bool) -> ReducedTokens:
    finite = _finite(seen)
    if reducer.pools and ratio is None:  # before one image's numbers enter the choice for another
        _check_numbers(seen)
        if not bool(finite.all()):
            if refuse:
                raise InvalidValue(_where_not_finite(seen, finite))
            return _of_the_others(reducer, seen, finite.all(dim=0))
    choice = _settled(reducer.choose(seen, ratio), seen, finite, ratio, refuse=refuse)
    counts = choice.counts + reducer.appends
    tokens = reducer.combine(seen, choice)
    mask = within(tokens[:, :, 0], counts) & finite.all(dim=0).unsqueeze(1)
    return ReducedTokens(
        tokens=cleared(tokens, mask).to(seen.features.dtype),
        mask=mask,
        kept=choice.kept(seen.patches) & finite.all(dim=0).unsqueeze(1),
    )


def _of_the_others(reducer: Reducer, seen: Seen, whole: Tensor) -> ReducedTokens:
    """What is left of the images that are `whole` (batch,), which are pooled without the others; nothing of these."""
    batch, patches, hidden = seen.features.shape
    if not bool(whole.any()):
        mask, kept = (whole.new_zeros((batch, width)) for width in (reducer.appends, patches))
        return ReducedTokens(seen.features.new_zeros((batch, reducer.appends, hidden)), mask, kept)
    found = _reduced(reducer, Seen(*(tensor[whole] for tensor in seen if tensor is not None)), None, refuse=False)
    return ReducedTokens(*(part.new_zeros((batch, *part.shape[1:])).index_put((whole,), part) for part in found))


def reducer_of(method: str | Reducer, neighbours: int = NEIGHBOURS, *, strict_reference: bool = False) -> Reducer:
    """The reducer that is meant, with so many neighbours.

    Raises:
        UnknownName: no such method.
        InvalidValue: a method inside the language model, neighbours below 1, or other than 32 and than a k that the
            method says.

    >>> reducer_of("prumerge", 16).text
    'prumerge:k=16'
    """
    found = parse_reduction(method) if isinstance(method, str) else method
    if not isinstance(found, Reducer):
        problem = "drops tokens inside the language model" if isinstance(found, Method) else "is no reducer"
        raise InvalidValue(f"{found} {problem}; reducers before the language model are {_before()}")
    check_whole("neighbours", neighbours)
    if isinstance(found, PruMerge) and neighbours != NEIGHBOURS:
        if found.k not in (NEIGHBOURS, neighbours):
            raise InvalidValue(f"{found} says how many neighbours; {neighbours} says otherwise")
        found = replace(found, k=neighbours)
    if isinstance(found, PruMerge):
        check_whole("neighbours", found.k)  # of a value that was made, not read
    return found.as_published() if strict_reference else found


def _before() -> str:
    from perfkit.reduction import REDUCERS

    return ", ".join(REDUCERS)


def as_ratio(ratio: Any) -> float | None:
    """`ratio` as a float, whatever real number it is.

    Raises:
        InvalidValue: outside (0, 1], or no real number.
    """
    real = isinstance(ratio, Real) and not isinstance(ratio, bool)
    share: float | None = float(ratio) if real and 0 < ratio <= 1 else ratio
    check_ratio(share)
    return share


def check_ratio(ratio: float | None) -> None:
    """Refuse a share that keeps nothing or more than there is.

    Raises:
        InvalidValue: outside (0, 1], or no number.
    """
    if ratio is None:
        return
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise InvalidValue(f"ratio must be a number above 0 and at most 1, not {ratio!r}")


def seen_by(
    reducer: Reducer, features: Tensor, queries: Tensor | None, keys: Tensor | None, grid: int | None = None
) -> Seen:
    """What `reducer` sees of a tower's output.

    Raises:
        InvalidValue: shapes that do not fit each other or the grid, formats of other than 16, 32 or 64 bits, several
            devices, or no queries and keys where they are needed.
    """
    if not _is_floats(features) or features.dim() != 3 or 0 in features.shape:
        raise InvalidValue(f"features must be {FLOATS} (batch, patches, hidden), not {_shown(features)}")
    _check_grid(int(features.shape[1]), grid)
    if not reducer.needs_class_token:
        return Seen(features, None, None)
    batch, patches, hidden = features.shape
    for name, tensor in (("queries", queries), ("keys", keys)):
        if tensor is None:
            raise InvalidValue(f"{reducer} needs the {name} of the tower's last layer, class token first")
        rows = (1, 1 + patches) if name == "queries" else (1 + patches,)
        if not _is_floats(tensor) or tuple(tensor.shape) not in [(batch, count, hidden) for count in rows]:
            allowed = f"{FLOATS} ({batch}, {1 + patches}, {hidden}): the class token, then the patches"
            raise InvalidValue(f"{name} must be {allowed}, not {_shown(tensor)}")
        if tensor.device != features.device:
            raise InvalidValue(f"{name} are on {tensor.device} and features on {features.device}; one device has all")
    assert queries is not None  # noqa: S101  # checked above
    return Seen(features, queries[:, :1], keys)


def _is_floats(value: Any) -> bool:
    import torch

    if not isinstance(value, torch.Tensor) or value.is_nested or value.layout is not torch.strided:
        return False
    return value.is_floating_point() and value.dtype.itemsize > 1


def _shown(value: Any) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a value of type {type(value).__name__}"
    layout = "" if value.layout is torch.strided else f" ({str(value.layout).removeprefix('torch.')})"
    shape = "a nested tensor" if value.is_nested else tuple(value.shape)
    return f"{shape} of {str(value.dtype).removeprefix('torch.')}{layout}"


def _check_grid(patches: int, grid: int | None) -> None:
    if grid is not None:
        check_whole("grid (patches of a side)", grid)
    side = isqrt(patches)
    if side * side != patches:
        hint = " (is the class token left in?)" if side * side == patches - 1 else ""
        raise InvalidValue(
            f"{patches} patches are no square grid{hint}; the nearest are {side}x{side} and {side + 1}x{side + 1}"
        )
    if grid is not None and grid != side:
        raise InvalidValue(
            f"a grid of {grid}x{grid} has {grid * grid} patches; the features have {patches} ({side}x{side})"
        )


def _finite(seen: Seen) -> Tensor:
    """(tensors, batch): whether all numbers of an image are finite: the largest and the smallest tell."""
    import torch

    ends = [
        torch.stack([tensor.amax(dim=(1, 2)), tensor.amin(dim=(1, 2))]).isfinite().all(dim=0)
        for tensor in seen
        if tensor is not None
    ]
    return torch.stack(ends)


def _settled(choice: Choice, seen: Seen, finite: Tensor, ratio: float | None, *, refuse: bool) -> Choice:
    """The choice no wider than needed, after the one look that the host takes at the device, if any."""
    import torch

    looked_at = [(~finite).sum()] if refuse else []
    if ratio is None and not isinstance(choice.counts, int):
        counts = choice.counts * finite.all(dim=0)  # what is skipped needs no room
        choice = choice._replace(counts=counts)
        looked_at.append(counts.max())
    if not looked_at:
        return choice
    _check_numbers(seen)
    numbers = [int(number) for number in torch.stack(looked_at).tolist()]
    if refuse and numbers.pop(0):
        raise InvalidValue(_where_not_finite(seen, finite))
    return choice.first(numbers[0]) if numbers else choice


def _check_numbers(seen: Seen) -> None:
    """Refuse the meta device where the host has to look at numbers."""
    if seen.features.is_meta:
        raise InvalidValue("tensors on the meta device have no numbers: give a fixed count and non_finite='skip'")


def _where_not_finite(seen: Seen, finite: Tensor) -> str:
    """Which numbers are to blame: the first tensor, its images, one place."""
    names = [name for name, tensor in seen._asdict().items() if tensor is not None]
    at = next(number for number, whole in enumerate(finite.all(dim=1).tolist()) if not whole)
    images = (~finite[at]).nonzero().flatten().tolist()
    tensor = getattr(seen, names[at])
    image, row, column = (~tensor.isfinite()).nonzero()[0].tolist()
    value = tensor[image, row, column].item()
    return (
        f"{names[at]} of {len(images)} of {tensor.shape[0]} images are not finite, the first {value} "
        f"in image {image}, row {row}, column {column}; non_finite='skip' leaves such images out"
    )
