"""What a row is of: the axes that vary are columns, the others go to the caption."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from perfkit.cost_tables.building import CostTable
from perfkit.cost_tables.columns import Point
from perfkit.cost_tables.naming import format_title, method_title, model_title
from perfkit.cost_tables.request import NO_REDUCTION

PREPOSITIONS = ("of", "with", "on", "in", "at")  # before model, method, GPU, formats, tokens


class Key(NamedTuple):
    """An axis: its header, what tells its values apart, what a row shows of it, and what a sentence says.

    `text`: whether what is shown is text.
    """

    header: str
    identity: Callable[[Point], object]
    shown: Callable[[Point], str]
    said: Callable[[Point], str]
    text: bool = True


class Keys(NamedTuple):
    """All axes of a table in their order, those among them that vary, and those that are columns."""

    axes: tuple[Key, ...]
    varying: tuple[Key, ...]
    columns: tuple[Key, ...]

    def starts(self, above: Point, below: Point) -> int:
        """First column that is new in a row, given the row above; the last one always is."""
        differing = next((i for i, axis in enumerate(self.axes) if axis.identity(above) != axis.identity(below)), 0)
        same = [axis for axis in self.axes[:differing] if axis in self.columns]
        return min(len(same), len(self.columns) - 1)

    def name_of(self, point: Point) -> str:
        """A row in words, which say all that tells it from others, whether a column shows it or not."""
        return ", ".join(key.said(point) for key in self.varying)


def keys_of(table: CostTable) -> Keys:
    """Axes of a table.

    Where rows without and with reductions stand below each other, the first bear the model's name, and the model needs
    no column of its own.
    """
    among_methods = NO_REDUCTION in table.request.reduction and len(table.request.reduction) > 1
    titles = _gpu_titles(table)
    model = _key("Model", lambda p: p.prediction.model.name, lambda p: model_title(p.prediction.model.name))
    gpu = _key("GPU", lambda p: p.prediction.choice.name, lambda p: titles[p.prediction.choice.name])
    formats = _key("Precision", _formats, lambda p: format_title(p.prediction.execution))
    method = Key("Method", _reduction, lambda p: _method(p, among_methods), lambda p: _method(p, False))
    tokens = Key("Tokens", _tokens, lambda p: str(_tokens(p)), lambda p: f"{_tokens(p)} visual tokens", text=False)
    axes = (model, gpu, formats, method, tokens)
    varying = tuple(axis for axis in axes if len({axis.identity(point) for point in table.points}) > 1)
    hidden = {id(model)} if among_methods else set()
    hidden |= {id(tokens)} if "tokens" in table.request.columns else set()
    columns = tuple(axis for axis in varying if id(axis) not in hidden)
    return Keys(axes, varying, columns or (model,))


def _key(header: str, identity: Callable[[Point], object], shown: Callable[[Point], str]) -> Key:
    """An axis that a sentence names as a row does."""
    return Key(header, identity, shown, shown)


def constants_of(table: CostTable) -> str:
    """What all rows share of the axes, in words.

    >>> from perfkit.cost_tables.building import build_table
    >>> from perfkit.cost_tables.request import TableRequest
    >>> constants_of(build_table(TableRequest(("v100",), tokens=(576, 32))))
    'LLaVA-1.5-7B on V100-SXM2-32GB in FP16'
    """
    model, gpu, formats, method, tokens = keys_of(table).axes
    first, words = table.points[0], []
    for axis, before in zip((model, method, gpu, formats, tokens), PREPOSITIONS, strict=True):
        if len({axis.identity(point) for point in table.points}) == 1 and axis.identity(first) != "":
            words.append(f"{before} {axis.shown(first)}")
    if words and words[-1].startswith("at "):
        # Models that see no images have no visual tokens to speak of.
        words = [*words, "visual tokens"] if first.prediction.model.vision else words[:-1]
    return " ".join(words).removeprefix("of ")


def _gpu_titles(table: CostTable) -> dict[str, str]:
    """Names of the devices; where two bear the same, what was typed stands behind it."""
    devices = {point.prediction.choice.name: point.prediction.device.name for point in table.points}
    names = list(devices.values())
    return {typed: f"{name} ({typed})" if names.count(name) > 1 else name for typed, name in devices.items()}


def _formats(point: Point) -> tuple[str, str, str]:
    execution = point.prediction.execution
    return execution.weights, execution.activations, execution.kv


def _reduction(point: Point) -> str:
    return point.prediction.workload.reduction


def _tokens(point: Point) -> int:
    return int(point.prediction.workload.visual_tokens)


def _method(point: Point, among_methods: bool) -> str:
    reduction = _reduction(point)
    if not reduction:
        return model_title(point.prediction.model.name) if among_methods else "no reduction"
    return f"+ {method_title(reduction)}" if among_methods else method_title(reduction)
