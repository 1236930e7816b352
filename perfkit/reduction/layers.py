"""Any schedule: from a layer on, so many visual tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from perfkit.errors import InvalidValue
from perfkit.reduction.method import Entry, Pruner
from perfkit.reduction.parameters import Parameters
from perfkit.units import Amount, parse_count


@dataclass(frozen=True, slots=True)
class Layers(Pruner):
    """`steps` are (layer, tokens): this layer, counted from 0, and later ones see so many visual tokens.

    >>> [group.layers for group in Layers(((2, 288), (16, 144))).schedule(32, 576)]
    [2, 14, 16]
    """

    name: ClassVar[str] = "layers"
    title: ClassVar[str] = "Layers"
    steps: tuple[tuple[int, int], ...]

    @property
    def parameters(self) -> dict[str, str]:
        """Each layer with its tokens."""
        return {str(layer): str(tokens) for layer, tokens in self.steps}

    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """As listed."""
        return tuple((layer, tokens + 0 * entry.visual_tokens) for layer, tokens in self.steps)

    def allowed_layers(self, layers: int) -> str:
        """Layer 0 sees what --tokens says."""
        return f"layers are from 1 to {layers - 1} (counted from 0)"

    @property
    def note(self) -> str:
        """That its selector is unknown."""
        return f"{self.name}: how these tokens are chosen is not known, so choosing them costs nothing but a copy here"


def read(given: Parameters) -> Layers:
    """Method of its steps, `2=288,16=144`.

    Raises:
        InvalidValue: none, layers that are no numbers or do not increase, or 0 tokens.
    """
    steps = []
    for key in given.given:
        layer = parse_count("layers: a layer", key)
        steps.append((layer, _tokens(given, key, layer)))
    if not steps:
        raise InvalidValue("layers needs a list of layers and tokens, as in layers:2=288,16=144")
    for (earlier, _), (later, _) in pairwise(steps):
        if later <= earlier:
            raise InvalidValue(f"layers: layers must increase, not {earlier} before {later}")
    return Layers(tuple(steps))


def _tokens(given: Parameters, key: str, layer: int) -> int:
    tokens = given.count(key, minimum=0)
    if tokens == 0:
        raise InvalidValue(f"layers: {key}=0 leaves no tokens; vtw:k={layer} drops all after layer {layer}")
    return tokens
