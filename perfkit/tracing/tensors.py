"""torch's tensors as formulas see them."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MemberDescriptorType, ModuleType
from typing import Any

from perfkit.tracing.calls import TensorInfo

_LEAVES = (str, bytes, int, float, complex, type, type(None), ModuleType)


def storage_of(tensor: Any) -> Hashable:
    """The memory of a tensor, equal for its views.

    A weak reference: it keeps the memory's number from being given to another tensor, but not the memory.
    """
    from torch.multiprocessing.reductions import StorageWeakRef

    refer: Any = StorageWeakRef  # torch gives it no types
    reference: Hashable = refer(tensor.untyped_storage())
    return reference


def describe(tensor: Any) -> TensorInfo:
    """Shape and memory of a tensor."""
    itemsize = tensor.element_size()
    return TensorInfo(
        tuple(tensor.shape),
        itemsize,
        tensor.is_floating_point() or tensor.is_complex(),
        _distinct(tensor) * itemsize,
        storage_of(tensor),
        tensor.untyped_storage().nbytes(),
        tensor.storage_offset() * itemsize,
    )


def _distinct(tensor: Any) -> int:
    """Elements that lie in places of their own: expanded dimensions count once, overlapping windows what they span."""
    if tensor.numel() == 0:
        return 0
    own, span = 1, 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        own *= size if stride else 1
        span += (size - 1) * stride
    return int(min(own, span))


def described(value: Any) -> Any:
    """Arguments with a TensorInfo for each tensor; lists and mappings keep their form."""
    if _is_tensor(value):
        return describe(value)
    if isinstance(value, list | tuple):
        return tuple(described(item) for item in value)
    if isinstance(value, Mapping):
        return {key: described(item) for key, item in value.items()}
    return value


def found_tensors(value: Any) -> Iterator[Any]:
    """Tensors within what a module takes or returns: containers and plain objects (caches) are looked into."""
    yield from _found(value, set())


def _found(value: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, _LEAVES) or id(value) in seen:
        return
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if _is_tensor(value):
        yield value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        parts = value
    elif not callable(value):  # no modules, no functions
        parts = _attributes(value)
    for part in parts:
        yield from _found(part, seen)


def _attributes(value: Any) -> list[Any]:
    """What an object holds, in its dictionary and in the slots of its classes."""
    held = list(getattr(value, "__dict__", {}).values())
    own = [vars(kind) for kind in type(value).__mro__ if "__slots__" in vars(kind)]
    for slot in (member for members in own for member in members.values()):
        if isinstance(slot, MemberDescriptorType):
            with suppress(AttributeError):  # a slot that nothing was put in
                held.append(slot.__get__(value))
    return held


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
