"""PruMerge: keep the patches that the class token attends to most, merge the others into them.

Queries and keys are those that the last layer of the tower makes anyway. The tower sees one tile of an image, or one
frame of a video, at a time, and all that happens here stays within it. How many patches are outliers depends on the
picture, so the count of tokens is an assumption: the paper's average.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025); 42Shawn/LLaVA-PruMerge at 1ca8b2b,
llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from perfkit import ops
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction import costs
from perfkit.reduction.method import Reducer, TowerOutput
from perfkit.reduction.parameters import Parameters
from perfkit.reduction.tensors import (
    Choice,
    Seen,
    class_attention,
    falling,
    nearest,
    outliers,
    rows_of,
    share,
    weighted_sums,
)
from perfkit.units import Amount
from perfkit.workload import anywhere

if TYPE_CHECKING:
    from torch import Tensor

# Of a tile. 5.5 % of LLaVA-1.5's 576, the appended token included: 40 on TextVQA and MME, 35 on POPE, 16 on ScienceQA.
# On Video-LLaVA the paper has 256 tokens of 8 frames: 32 of each.
AVERAGE_TOKENS = 32
NEIGHBOURS = 32  # patches merged into each kept one
NORMALISE_FLOPS = 3  # an element: square, sum, divide


@dataclass(frozen=True, slots=True)
class PruMerge(Reducer):
    """Keeps outlying patches of a tile, each with its `k` nearest merged in, and appends one token of all the rest.

    >>> PruMerge(k=16).text, PruMerge().text
    ('prumerge:k=16', 'prumerge')
    """

    name: ClassVar[str] = "prumerge"
    title: ClassVar[str] = "PruMerge"
    needs_class_token: ClassVar[bool] = True
    by_tile: ClassVar[bool] = True
    appends: ClassVar[int] = 1
    assumed: ClassVar[str] = f"{AVERAGE_TOKENS} visual tokens"
    k: int = NEIGHBOURS

    @property
    def parameters(self) -> dict[str, str]:
        """`k`, where it is not the paper's."""
        return {} if self.k == NEIGHBOURS else {"k": str(self.k)}

    def image_tokens(self, spec: ModelSpec) -> int:
        """Its paper's average, of each tile."""
        return spec.tiles * AVERAGE_TOKENS

    @property
    def note(self) -> str:
        """That its count of tokens is an assumption."""
        return (
            f"{self.name}: assumed to leave {self.assumed} of each image (tile, frame), its paper's average; "
            "the count depends on the picture"
        )

    def reduction_ops(self, place: Place, tower: TowerOutput) -> Iterator[OpCost]:
        """Score, select, find neighbours by the cosine of keys, merge, append: n kept of a tile make n + 1 tokens."""
        kept = tower.kept - tower.tiles
        yield from _class_scores(place, tower)
        yield from self._selection(place, tower, kept)
        if anywhere(kept > 0):  # else all patches go into the appended tokens, and nothing has neighbours
            present = place._replace(repeat=ops.minimum(kept, 1))  # in a sweep, where a patch is kept
            yield from _neighbours(present, tower, kept, self._merged_patches(tower.tokens))
            yield _merged(present, tower, kept, self._merged_patches(tower.tokens))
        yield _appended(place, tower, kept)

    def _selection(self, place: Place, tower: TowerOutput, kept: Amount) -> Iterator[OpCost]:
        yield costs.pick(place, "pick_outliers", tower.tiles * tower.tokens, kept)

    def _merged_patches(self, patches: int) -> int:
        return min(self.k, patches - 1)

    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """The patches that the class token attends to most: the outliers, or the share `ratio`; equal ones by place."""
        queries, keys = seen.attention_inputs
        scores = class_attention(queries, keys)
        choice = Choice(falling(scores), seen.patches, scores)
        if ratio is None:
            return choice._replace(counts=outliers(scores))
        count = share(seen.patches, ratio)
        return choice.first(count)._replace(counts=count)

    def combine(self, seen: Seen, choice: Choice) -> Tensor:
        """(batch, choice.most + 1, hidden) in float32: x_i + the sum of a_j x_j over its neighbours, then the rest."""
        scores, (_, keys) = choice.scores, seen.attention_inputs
        assert scores is not None  # noqa: S101  # `choose` gives them
        features = seen.features.float()
        merged = rows_of(features, choice.order)
        if (count := self._merged_patches(seen.patches)) > 0:
            merged += weighted_sums(features, scores, nearest(keys[:, 1:], choice.order, count))
        rest = scores.masked_fill(choice.kept(seen.patches), 0).unsqueeze(1) @ features
        return _put_behind(merged, choice.counts, rest)

    def as_published(self) -> Reducer:
        """As the authors' code runs it."""
        from perfkit.reduction.published import PublishedPruMerge

        return PublishedPruMerge(self.k)

    @classmethod
    def read(cls, given: Parameters) -> Self:
        """Method of its parameters; --tokens says how many tokens it leaves."""
        return cls(given.only("k").count("k", str(NEIGHBOURS)))


def _class_scores(place: Place, tower: TowerOutput) -> Iterator[OpCost]:
    """Attention of the class token alone, one head as wide as the tower, over all positions of its tile."""
    yield costs.product(place, "class_scores", tower.tiles, 1, tower.positions, tower.width)
    yield costs.softmax(place, "class_softmax", tower.tiles * tower.positions)


def _put_behind(tokens: Tensor, counts: Tensor | int, last: Tensor) -> Tensor:
    """(batch, most + 1, hidden): `last` (batch, 1, hidden) behind the first `counts` tokens of each image."""
    import torch

    longer = torch.cat([tokens, last], dim=1)
    if isinstance(counts, int):
        return longer
    return longer.scatter(1, counts.view(-1, 1, 1).expand_as(last), last)


def _neighbours(place: Place, tower: TowerOutput, kept: Amount, each: int) -> Iterator[OpCost]:
    """Cosine of each kept key with all keys of its tile, and the nearest of them."""
    keys = tower.tiles * tower.tokens
    elements = keys * tower.width
    yield place.cost(
        "normalise_keys", costs.SELECTION, vector=NORMALISE_FLOPS * elements, read=elements, write=elements
    )
    # Kept keys of all tiles lie in one tensor, so the product over tiles is one over kept keys.
    yield place.cost(
        "key_similarity",
        costs.SELECTION,
        matmul=2 * kept * tower.tokens * tower.width,
        read=(kept + keys) * tower.width,
        write=kept * tower.tokens,
    )
    yield costs.pick(place, "pick_neighbours", kept * tower.tokens, kept * each)


def _merged(place: Place, tower: TowerOutput, kept: Amount, each: int) -> OpCost:
    """y_i = x_i + sum of a_j x_j over its neighbours."""
    patches, width, terms = tower.tiles * tower.tokens, tower.features, kept * each
    return place.cost(
        "merge_neighbours",
        "merging",
        vector=(2 * terms + kept) * width,
        # Features are read once, however many neighbourhoods they stand in; their weights once for each.
        read=ops.minimum(terms + kept, patches) * width + terms,
        write=kept * width,
    )


def _appended(place: Place, tower: TowerOutput, kept: Amount) -> OpCost:
    """One more token of each tile: the sum of a_j x_j over what is not kept."""
    width, rest = tower.features, tower.tiles * tower.tokens - kept
    return place.cost(
        "append_rest", "merging", vector=2 * rest * width, read=rest * (width + 1), write=tower.tiles * width
    )


read = PruMerge.read
