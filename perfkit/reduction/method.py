"""What a reduction is: a `Reducer` before the language model, or a `Pruner` inside it.

    Reducer   tower -> fewer tokens -> projector -> language model       its ops are a phase of their own
    Pruner    layer, layer | drop | layer, layer, ...                    its ops stand in prefill, where it drops

A method gives whole counts from whole counts, with // alone, so that Python ints stay exact and a float64 array of
token counts (a sweep) goes the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from perfkit import ops
from perfkit.errors import InvalidValue
from perfkit.models.spec import ModelSpec, StackSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction.tensors import Choice, Seen, cleared, rows_of
from perfkit.units import Amount
from perfkit.workload import LayerGroup, anywhere

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Method(ABC):
    """A way to leave visual tokens out, with its parameters; `title`: its name in print, empty where that is `name`."""

    name: ClassVar[str]
    title: ClassVar[str] = ""

    @property
    def parameters(self) -> dict[str, str]:
        """Canonical texts of all parameters, defaults included, in their order."""
        return {}

    @property
    def text(self) -> str:
        """Canonical text, from which `parse_reduction` makes an equal method."""
        pairs = ",".join(f"{key}={value}" for key, value in self.parameters.items())
        return f"{self.name}:{pairs}" if pairs else self.name

    def __str__(self) -> str:
        return self.text

    @property
    def note(self) -> str:
        """What a reader must know of its cost; empty where nothing."""
        return ""


class TowerOutput(NamedTuple):
    """What a vision tower hands to a reducer.

    `tiles` of all images of all sequences (video frames are tiles too); `positions` of a tile in the tower, `tokens` of
    a tile after it; `width` of the tower, `features` of a token on its way to the projector; `kept`: tokens of all
    tiles that go on.
    """

    tiles: Amount
    positions: int
    tokens: int
    width: int
    features: int
    kept: Amount


@dataclass(frozen=True, slots=True)
class Reducer(Method):
    """A method that works on what the tower makes of an image.

    `needs_class_token`: whether it scores patches by the attention of the tower's class token. `by_tile`: whether it
    works on each tile of an image by itself, so that at least one token of each goes on. `appends`: tokens that
    `combine` puts behind those of the kept patches. `pools`: whether what it keeps of an image depends on the others.
    """

    needs_class_token: ClassVar[bool] = False
    by_tile: ClassVar[bool] = False
    appends: ClassVar[int] = 0
    pools: ClassVar[bool] = False

    @property
    def says_tokens(self) -> bool:
        """Whether it says by itself how many tokens it leaves."""
        return True

    @abstractmethod
    def image_tokens(self, spec: ModelSpec) -> int:
        """Tokens that it leaves of an image of `spec` where --tokens does not say it."""

    @abstractmethod
    def reduction_ops(self, place: Place, tower: TowerOutput) -> Iterator[OpCost]:
        """What it computes."""

    @abstractmethod
    def choose(self, seen: Seen, ratio: float | None) -> Choice:
        """Which patches it keeps: the share `ratio`, or as many as it finds right where that is None."""

    def combine(self, seen: Seen, choice: Choice) -> Tensor:
        """Tokens (batch, choice.most + appends, hidden), those of an image first; here the kept patches as they are.

        What stands behind an image's last token does not matter.
        """
        return cleared(rows_of(seen.features, choice.order), choice.filled())

    def as_published(self) -> Reducer:
        """The method as its authors' code runs it; here no other."""
        return self


class Entry(NamedTuple):
    """What a pruner starts from: a language model of so many layers, and what enters its layer 0."""

    layers: int
    visual_tokens: Amount


class Drop(NamedTuple):
    """A place between two layers where a pruner drops visual tokens: `before` -> `after`, of each sequence.

    `weights` is the place of a layer's linear ops, `place` that of all else.
    """

    stack: StackSpec
    place: Place
    weights: Place
    batch: Amount
    before: Amount
    after: Amount
    text_tokens: Amount

    @property
    def tokens(self) -> Amount:
        """Visual and text tokens before the drop."""
        return self.before + self.text_tokens

    def gather(self) -> OpCost:
        """The hidden states that go on, copied together."""
        return ops.copy(self.place, "gather_kept", self.batch * (self.after + self.text_tokens), self.stack.hidden)


@dataclass(frozen=True, slots=True)
class Pruner(Method):
    """A method that drops visual tokens between layers of the language model.

    `reads_scores`: whether it reads the attention scores of the layer before a drop, which a fused kernel does
    not give, so that this layer runs eager attention. `may_drop_all`: whether no visual token may be left.
    """

    reads_scores: ClassVar[bool] = False
    may_drop_all: ClassVar[bool] = False

    @abstractmethod
    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """(layer, visual tokens that it and later layers see) of each drop; layers count from 0."""

    def schedule(self, layers: int, entering: Amount) -> tuple[LayerGroup, ...]:
        """Groups of `layers` layers that see equally many of the `entering` visual tokens.

        Raises:
            InvalidValue: no tokens to drop, layers that are not there, tokens that grow, or none left.
        """
        if anywhere(entering == 0):
            raise InvalidValue(f"{self}: there are no visual tokens to reduce (--tokens 0)")
        drops = self.drops(Entry(layers, entering))
        starts = [0, *(layer for layer, _ in drops), layers]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise InvalidValue(f"{self}: the language model has {layers} layers: {self.allowed_layers(layers)}")
        tokens = [entering, *(left for _, left in drops)]
        self._check(tokens)
        spans = [later - earlier for earlier, later in pairwise(starts)]
        return tuple(LayerGroup(span, left) for span, left in zip(spans, tokens, strict=True))

    @abstractmethod
    def allowed_layers(self, layers: int) -> str:
        """Which values of its layers a model of `layers` layers allows, as a message says it."""

    def _check(self, tokens: list[Amount]) -> None:
        for before, after in pairwise(tokens):
            if anywhere(after > before):
                raise InvalidValue(f"{self}: visual tokens cannot grow from {before} to {after}")
            if anywhere(after < 1) and not self.may_drop_all:
                raise InvalidValue(f"{self}: leaves no tokens of {before}; vtw drops all of them after a layer")

    def entry_ops(self, drop: Drop) -> Iterator[OpCost]:  # noqa: ARG002  # the interface's
        """What it computes once, before layer 0, where `drop` drops nothing yet."""
        yield from ()

    def selection_ops(self, drop: Drop) -> Iterator[OpCost]:
        """What it computes at a drop, the copy of what it keeps included."""
        yield drop.gather()
