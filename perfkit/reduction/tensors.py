"""What reducers see and choose as torch tensors, and the operations that several of them are made of.

No loop over tokens, and no look of the host at the device: a tensor's shape follows from shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from torch import Tensor


class Seen(NamedTuple):
    """What a reducer sees of a batch of images.

    `features` (batch, patches, hidden); of the last layer's attention, all heads side by side, `queries`
    (batch, 1, hidden) of the class token and `keys` (batch, 1 + patches, hidden), class token first. Both are None
    where a method does not need them.
    """

    features: Tensor
    queries: Tensor | None
    keys: Tensor | None

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return int(self.features.shape[1])

    @property
    def attention_inputs(self) -> tuple[Tensor, Tensor]:
        """Queries and keys, of a method that needs them."""
        if self.queries is None or self.keys is None:
            raise InvalidValue("queries and keys are missing, by which this method scores patches")
        return self.queries, self.keys


class Choice(NamedTuple):
    """Which patches are kept: the first `counts` of `order`, image by image.

    `order` (batch, most) holds patches, none of them twice in an image; `counts` (batch,) is a tensor, or one number
    where all images keep as many. What they were chosen by, where it is needed later: `scores` (batch, patches).
    """

    order: Tensor
    counts: Tensor | int
    scores: Tensor | None = None

    @property
    def most(self) -> int:
        """Width of `order`: as many as any image can keep."""
        return int(self.order.shape[1])

    def first(self, most: int) -> Choice:
        """The same choice where no image keeps more than `most`."""
        return self._replace(order=self.order[:, :most])

    def filled(self) -> Tensor:
        """(batch, most), True where `order` holds a kept patch."""
        return within(self.order, self.counts)

    def kept(self, patches: int) -> Tensor:
        """(batch, patches), True where a patch is kept."""
        nothing = self.order.new_zeros((self.order.shape[0], patches)).bool()
        return nothing.scatter(1, self.order, self.filled())


def within(rows: Tensor, counts: Tensor | int) -> Tensor:
    """(batch, most) of the shape of `rows`, True in the first `counts` of each."""
    import torch

    places = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[0], -1)
    return places < (counts if isinstance(counts, int) else counts.unsqueeze(1))


def share(patches: int, ratio: float) -> int:
    """floor(patches ratio), where a product that misses a whole number by rounding alone counts as that number.

    >>> share(576, 0.07), share(100, 0.29)  # 40.32; 28.999999999999996 in binary, 29 in decimal
    (40, 29)
    """
    return int(patches * ratio + 1e-9)


def rows_of(tensor: Tensor, order: Tensor) -> Tensor:
    """(batch, most, hidden): rows of (batch, patches, hidden) by their patches (batch, most)."""
    rows = tensor.flatten(0, 1).index_select(0, places_of(order, tensor.shape[1]).flatten())
    return rows.view(*order.shape, tensor.shape[2])


def places_of(patches: Tensor, of: int) -> Tensor:
    """Places of `patches` (batch, ...) where the images' `of` patches each stand one image behind the other."""
    import torch

    images = torch.arange(len(patches), device=patches.device).view(-1, *[1] * (patches.dim() - 1))
    return patches + images * of


def cleared(tokens: Tensor, filled: Tensor) -> Tensor:
    """Tokens (batch, most, hidden) with zeros where `filled` (batch, most) is False, whatever stands there."""
    return tokens.masked_fill(~filled.unsqueeze(-1), 0)


def class_attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention of the class token over the patches, (batch, patches) in float32, one head as wide as the model.

    In float64, each product summed by itself, and rounded afterwards: patches with equal keys have equal scores, in
    whatever order a device adds, and whatever else is in the batch.

    Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388), section 3.
    """
    logits: Tensor = _by_image(_class_logits, queries, keys) / keys.shape[-1] ** 0.5
    return logits.softmax(dim=-1)[:, 1:].float()


def _class_logits(queries: Tensor, keys: Tensor) -> Tensor:
    import torch

    # A copy even of float64, row by row: sums over rows that lie otherwise are added in several orders.
    rows = keys.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    return rows.mul_(queries.double()).sum(dim=-1)


def _by_image(work: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """What `work` makes of a batch; on a CPU image by image, on a GPU all at once.

    Keys in float64 of one image stay in a CPU's cache; those of a batch of 8 would be 38 MB of new memory each time.
    """
    batch = tensors[0].shape[0]
    if batch == 1 or tensors[0].device.type != "cpu":
        return work(*tensors)
    import torch

    images = zip(*(torch.split(tensor, 1) for tensor in tensors), strict=True)
    return torch.cat([work(*image) for image in images])


def falling(scores: Tensor) -> Tensor:
    """(batch, patches): patches by falling score, equal ones by their place."""
    return scores.sort(dim=1, descending=True, stable=True).indices


def outliers(scores: Tensor) -> Tensor:
    """(batch,): how many scores of an image exceed Q3 + 1.5 (Q3 - Q1), quartiles by linear interpolation.

    >>> import torch
    >>> outliers(torch.tensor([[1.0, 2, 3, 4, 20]]))  # Q1 = 2, Q3 = 4: above 4 + 1.5 * 2 = 7
    tensor([1])
    """
    ascending = scores.double().sort(dim=1).values
    low, high = _quartile(ascending, 1), _quartile(ascending, 3)
    fence = high + 1.5 * (high - low)
    return (scores.double() > fence.unsqueeze(1)).sum(dim=1)


def _quartile(ascending: Tensor, quarter: int) -> Tensor:
    """At place quarter (n - 1) / 4 of n sorted numbers."""
    place, part = divmod(quarter * (ascending.shape[1] - 1), 4)
    lower = ascending[:, place]
    upper = ascending[:, min(place + 1, ascending.shape[1] - 1)]
    return lower + (upper - lower) * (part / 4)


def nearest(keys: Tensor, order: Tensor, neighbours: int) -> Tensor:
    """(batch, most, neighbours): for each patch of `order` the others whose keys have the greatest cosine with its own.

    `keys` (batch, patches, hidden) of the patches. Equal cosines go by place; a key of length 0 has cosine 0 with all.
    Cosines are made in float64 and compared in float32, for the reason of `class_attention`.
    """
    return _by_image(partial(_nearest, neighbours=neighbours), keys, order)


def _nearest(keys: Tensor, order: Tensor, neighbours: int) -> Tensor:
    wide = keys.double()
    lengths = wide.norm(dim=-1)
    lengths = lengths.masked_fill(lengths == 0, 1)
    cosines = rows_of(wide, order) @ wide.mT
    cosines /= lengths.unsqueeze(1)
    cosines /= lengths.gather(1, order).unsqueeze(-1)
    ranks = _distinct(cosines.float())
    ranks.scatter_(2, order.unsqueeze(-1), _LAST)  # a patch is not its own neighbour
    return ranks.topk(neighbours, dim=-1, sorted=False).indices


_LAST = -(2**62)


def _distinct(values: Tensor) -> Tensor:
    """int64 numbers that fall in the order of float32 `values`, and from left to right where these are equal."""
    import torch

    bits = (values + 0.0).view(torch.int32)  # + 0.0 makes one zero of two
    bits ^= (bits >> 31) & 0x7FFFFFFF  # bits of negative numbers run the other way
    columns = values.shape[-1]
    ranks = bits.long()
    ranks *= columns
    ranks += torch.arange(columns - 1, -1, -1, device=values.device)
    return ranks


def weighted_sums(features: Tensor, scores: Tensor, near: Tensor) -> Tensor:
    """(batch, most, hidden) in float32: sum of score times features over the patches `near` (batch, most, neighbours).

    Fused: the features of neighbours are never laid side by side.
    """
    import torch

    batch, most, neighbours = near.shape
    weights = scores.unsqueeze(1).expand(-1, most, -1).gather(2, near)
    sums = torch.nn.functional.embedding_bag(
        places_of(near, features.shape[1]).view(-1, neighbours),
        features.float().flatten(0, 1),
        per_sample_weights=weights.view(-1, neighbours),
        mode="sum",
    )
    return sums.view(batch, most, features.shape[-1])
