"""SparseVLM: at given layers the visual tokens that the relevant text attends to least are dropped, some recycled.

A layer of the list sees all the tokens that it is given; its scores choose which of them later layers see. So it runs
eager attention. Which text tokens are relevant ("raters") is found once, before layer 0, from the embeddings; it
depends on the text, and all of them are counted here. Three tenths of what is dropped are clustered, about ten of them
to one new token, which joins those that are kept: `tokens` is what later layers see, these recycled ones included.

Source: Zhang et al., SparseVLM (arXiv 2410.04417, ICML 2025); Gumpest/SparseVLMs at 14cb5a9,
llava/model/language_model/modelling_sparse_llama.py (`layer_idx in self.pruning_loc`), score.py and utils.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from perfkit.errors import InvalidValue
from perfkit.ops import OpCost, minimum
from perfkit.reduction import costs
from perfkit.reduction.method import Drop, Entry, Pruner
from perfkit.reduction.parameters import Parameters, listed
from perfkit.units import Amount

# Its code keeps 300/200/110 for 192 tokens on average over the layers (score.py), and 9, 4 and 3 recycled ones join
# them. Seen for 128: 312/117/39 (303/110/36 kept), for 64: 82/32/18 (66/30/17).
LAYERS, TOKENS = "2/6/15", "309/204/113"


@dataclass(frozen=True, slots=True)
class SparseVLM(Pruner):
    """Layers after `layers[i]` (from 0) see `tokens[i]` visual tokens.

    >>> [group.layers for group in SparseVLM((2, 6, 15), (309, 204, 113)).schedule(32, 576)]
    [3, 4, 9, 16]
    """

    name: ClassVar[str] = "sparsevlm"
    title: ClassVar[str] = "SparseVLM"
    reads_scores: ClassVar[bool] = True
    layers: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """The two lists."""
        return {"layers": listed(self.layers), "tokens": listed(self.tokens)}

    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """Behind each layer of the list."""
        none = 0 * entry.visual_tokens  # makes an array of a count where a sweep has one
        return tuple((layer + 1, left + none) for layer, left in zip(self.layers, self.tokens, strict=True))

    def allowed_layers(self, layers: int) -> str:
        """Any layer but the last."""
        return f"layers are from 0 to {layers - 2}, because a later one must see what is left"

    def entry_ops(self, drop: Drop) -> Iterator[OpCost]:
        """Raters: similarity of each visual token with each text token, softmax over text, mean over vision."""
        text, batch = drop.text_tokens, drop.batch
        scores = batch * drop.before * text
        yield costs.product(drop.place, "rater_scores", batch, drop.before, text, drop.stack.hidden)
        yield costs.softmax(drop.place, "rater_softmax", scores)
        yield costs.mean(drop.place, "mean_over_visual", drop.before, batch * text)
        yield costs.pick(drop.place, "pick_raters", batch * text, batch * text)

    def selection_ops(self, drop: Drop) -> Iterator[OpCost]:
        """Mean of the text tokens' scores over heads and raters, the best tokens, clusters of what is dropped."""
        raters, dropped = drop.stack.attention.heads * drop.text_tokens, _dropped(drop)
        yield costs.mean(drop.place, "mean_over_raters", raters, drop.batch * drop.before)
        yield costs.pick(drop.place, "pick_tokens", drop.batch * drop.before, drop.batch * (drop.before - dropped))
        yield from _recycling(drop, dropped)
        yield drop.gather()

    @property
    def note(self) -> str:
        """Which layers are not fused, and who judges."""
        layers = ", ".join(map(str, self.layers))
        return (
            f"{self.name}: layers {layers} (from 0) run eager attention, because their scores choose the tokens; "
            "all text tokens are taken to judge them"
        )


def _dropped(drop: Drop) -> Amount:
    """Tokens that are not kept: those that later layers do not see, and the ones that recycled tokens stand for again.

    D dropped tokens bring floor((floor(3 D / 10) + 1) / 10) + 1 recycled ones, so that E = before - after is
    ceil((97 D - 10) / 100) - 1. Its largest solution is floor((100 E + 110) / 97); no more are there than `before`.
    """
    return minimum((100 * (drop.before - drop.after) + 110) // 97, drop.before)


def _recycling(drop: Drop, dropped: Amount) -> Iterator[OpCost]:
    """Distances among three tenths of the dropped tokens, and one token for each ten of these, their mean."""
    batch, width = drop.batch, drop.stack.hidden
    recycled = dropped * 3 // 10 + 1
    clusters = recycled // 10 + 1
    distances = costs.product(drop.place, "recycle_distances", batch, recycled, recycled, width)
    yield distances._replace(kernel=None)
    # Sum of the norms, twice the product off it, root: three an entry. Then density, parents and nearest centre look
    # at each of them once.
    entries = batch * recycled * recycled
    yield drop.place.cost("recycle_clusters", costs.SELECTION, vector=6 * entries, read=entries, write=batch * recycled)
    yield drop.place.cost(
        "recycle_means",
        costs.SELECTION,
        vector=batch * recycled * width,
        read=batch * recycled * width,
        write=batch * clusters * width,
    )


def read(given: Parameters) -> SparseVLM:
    """Method of its lists; by default the paper's for 192 tokens on average.

    Raises:
        InvalidValue: lists of different lengths, layers that do not increase, 0 tokens.
    """
    given.only("layers", "tokens")
    layers, tokens = given.counts("layers", LAYERS, minimum=0), given.counts("tokens", TOKENS, minimum=0)
    if len(layers) != len(tokens):
        raise InvalidValue(f"sparsevlm: {len(layers)} layers and {len(tokens)} tokens: each layer needs its count")
    for earlier, later in pairwise(layers):
        if later <= earlier:
            raise InvalidValue(f"sparsevlm: layers must increase, not {earlier} before {later}")
    if 0 in tokens:
        raise InvalidValue("sparsevlm: 0 leaves no tokens; vtw drops all of them after a layer")
    return SparseVLM(layers, tokens)
