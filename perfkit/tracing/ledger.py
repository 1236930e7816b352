"""The fused bound: what passes through memory if all work between matrix products happens on the way into the next one.

Products, convolutions and attention are the only kernels then, and what is element-wise is computed as they read. There
pass through memory, each once:

- weights, when they are first read (rows of a table: those that are taken, at most the table);
- inputs: whatever is read that is no weight and that no op of the forward made (a cache, too);
- what a product makes: written, and read back when something first reads it;
- outputs of the module that no product made, and what is written into memory that outlives the forward.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from perfkit.tracing.calls import Call, TensorInfo, once
from perfkit.tracing.registry import Part, Traffic


class Fused(NamedTuple):
    """Parts of the fused bound, in bytes; `products` is what they make, written and read back."""

    weights: int = 0
    inputs: int = 0
    products: int = 0
    outputs: int = 0

    @property
    def bytes(self) -> int:
        """The bound."""
        return sum(self)


class _Made(NamedTuple):
    """Memory that the forward made: the op that last wrote it, if one did, and whether a product passed it through."""

    by: int | None = None
    product: bool = False


class Ledger:
    """Accounts of memory, op by op; `weights` are the storages of parameters and buffers."""

    def __init__(self, weights: Iterable[Hashable]) -> None:
        self._weights = frozenset(weights)
        self._made: dict[Hashable, _Made] = {}
        self._places: set[tuple[Hashable, int, int]] = set()  # what is accounted for
        self._gathers: dict[Hashable, frozenset[Hashable]] = {}  # rows that are, and the memory they were chosen by
        self._taken: dict[Hashable, int] = {}  # bytes of a storage that are accounted for
        self._parts = dict.fromkeys(Fused._fields, 0)
        self._bytes: list[int] = []

    def note(self, call: Call, traffic: Traffic, *, product: bool) -> None:
        """Account for a call: what it adds to the bound."""
        self._bytes.append(0)
        for part in traffic.reads:
            if not self._gathered(part, call):
                self._read(part)
        given = {info.storage for info in (*call.inputs, *call.written)}
        for info, size in traffic.writes:
            outlives = info.storage in given and info.storage not in self._made
            if outlives or product:
                self._add("outputs" if outlives else "products", len(self._bytes) - 1, size)
        for info in call.outputs:
            if info.storage not in given:
                self._made[info.storage] = _Made()
        for info, _ in traffic.writes:
            self._gathers = {rows: by for rows, by in self._gathers.items() if info.storage not in by}
            if info.storage in self._made:
                by_product = product or self._made[info.storage].product
                self._made[info.storage] = _Made(len(self._bytes) - 1, by_product)

    def close(self, outputs: Iterable[TensorInfo]) -> tuple[tuple[int, ...], Fused]:
        """Write what the module returned; bytes of each noted call in order, and the parts of their sum.

        The op that last wrote an output is charged with it; memory that none wrote (`torch.empty`) moves nothing.
        """
        for info in once(outputs):
            made = self._made.get(info.storage)
            if made is not None and made.by is not None and not made.product:
                self._add("outputs", made.by, self._new((info, info.footprint)))
        return tuple(self._bytes), Fused(**self._parts)

    def _read(self, part: Part) -> None:
        storage = part[0].storage
        made = self._made.get(storage)
        if made is not None and not made.product:
            return  # computed on the way in
        name = "products" if made is not None else "weights" if storage in self._weights else "inputs"
        self._add(name, len(self._bytes) - 1, self._new(part))

    def _gathered(self, part: Part, call: Call) -> bool:
        """Whether the same rows, chosen by the same indices, were read before."""
        info, size = part
        if size == info.footprint:
            return False
        rows = (info.place, size, call.name, call.args)
        known = rows in self._gathers
        self._gathers[rows] = frozenset(given.storage for given in call.inputs)
        return known

    def _new(self, part: Part) -> int:
        """Bytes of a part that are not accounted for yet, at most what its memory still has."""
        info, size = part
        if size == info.footprint:  # otherwise it is some rows, the next time others
            if info.place in self._places:
                return 0
            self._places.add(info.place)
        taken = self._taken.get(info.storage, 0)
        new = max(0, min(size, info.storage_bytes - taken))
        self._taken[info.storage] = taken + new
        return new

    def _add(self, name: str, call: int, size: int) -> None:
        self._bytes[call] += size
        self._parts[name] += size
