"""What a formula knows of one call of an op: shapes, sizes and settings, without torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from math import prod
from typing import Any, NamedTuple


class TensorInfo(NamedTuple):
    """A tensor of a call.

    `footprint`: bytes that its elements occupy, those that share a place (`expand`) once. `storage` is what views of
    the same memory have in common, `storage_bytes` its size, and `offset` the bytes before the first element.
    """

    shape: tuple[int, ...]
    itemsize: int
    floating: bool
    footprint: int
    storage: Hashable
    storage_bytes: int
    offset: int = 0

    @property
    def elements(self) -> int:
        """Elements, repeated ones too."""
        return prod(self.shape)

    @property
    def place(self) -> tuple[Hashable, int, int]:
        """Where it lies: two tensors of one place are the same memory."""
        return self.storage, self.offset, self.footprint


class Call(NamedTuple):
    """One call of an op, such as aten.mm: its arguments with a TensorInfo for each tensor, and what it returned.

    `written`: arguments that it writes in place. What it was given as `out` is no argument, only written.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[TensorInfo, ...]
    written: tuple[TensorInfo, ...] = ()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """All tensors among the arguments, each place once."""
        return once(tensors_of((self.args, dict(self.kwargs))))

    @property
    def out(self) -> TensorInfo:
        """The first tensor that it returned."""
        return self.outputs[0]

    @property
    def floats(self) -> bool:
        """Whether it computes in floating point: masks and indices cost no FLOPs."""
        return any(info.floating for info in self.inputs)

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor argument."""
        info: TensorInfo = self.args[index]
        return info.shape

    def setting(self, index: int, name: str, default: Any = None) -> Any:
        """Argument at `index`, or named `name`, or the default of the op's schema."""
        return self.args[index] if index < len(self.args) else self.kwargs.get(name, default)


def tensors_of(value: Any) -> Iterator[TensorInfo]:
    """Every TensorInfo within nested lists, tuples and mappings."""
    if isinstance(value, TensorInfo):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def once(infos: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Tensors, those of one place once."""
    return tuple({info.place: info for info in infos}.values())
