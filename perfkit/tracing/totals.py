"""Sums of what was recorded: by op and module, and up the tree of modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from perfkit.tracing.recording import Recording


class Costs(NamedTuple):
    """FLOPs of products, element-wise FLOPs, and bytes under both bounds."""

    matmul_flops: int = 0
    vector_flops: int = 0
    unfused_bytes: int = 0
    fused_bytes: int = 0

    def plus(self, other: Costs) -> Costs:
        """The sum of both."""
        return Costs(*(mine + its for mine, its in zip(self, other, strict=True)))


class OpTotal(NamedTuple):
    """All calls of an op within the module at a path."""

    module: str
    name: str
    kind: str
    calls: int
    costs: Costs


class ModuleTotal(NamedTuple):
    """All ops of a module and of what it contains; `calls` is how often it ran itself."""

    path: str
    kind: str
    calls: int
    costs: Costs


def by_module_and_op(recording: Recording, depth: int | None) -> tuple[OpTotal, ...]:
    """Ops in the order in which they first ran, modules below `depth` counting as what contains them; no free ones.

    A free op of one's own, whose formula moves bytes, is among them.
    """
    found: dict[tuple[str, str, str], list[Costs]] = {}
    for run, fused_bytes in zip(recording.runs, recording.fused_bytes, strict=True):
        costs = Costs(run.matmul_flops, run.vector_flops, run.bytes, fused_bytes)
        if run.kind != "free" or any(costs):
            found.setdefault((cut(run.module, depth), run.name, run.kind), []).append(costs)
    return tuple(OpTotal(*key, len(same), total(same)) for key, same in found.items())


def by_op(ops: Iterable[OpTotal]) -> tuple[OpTotal, ...]:
    """The same whatever the module: those with the most FLOPs of products first, then those with the most bytes."""
    found: dict[tuple[str, str], list[OpTotal]] = {}
    for op in ops:
        found.setdefault((op.name, op.kind), []).append(op)
    merged = [
        OpTotal("", *key, sum(op.calls for op in same), total(op.costs for op in same)) for key, same in found.items()
    ]
    return tuple(sorted(merged, key=lambda op: (-op.costs.matmul_flops, -op.costs.unfused_bytes, op.name)))


def by_module(module: Any, ops: Iterable[OpTotal], recording: Recording, depth: int | None) -> tuple[ModuleTotal, ...]:
    """The tree of modules that ran anything, the whole first, each with what it contains."""
    kinds = {path: type(part).__name__ for path, part in module.named_modules() if cut(path, depth) == path}
    costs = dict.fromkeys(kinds, Costs())
    ran = {""}
    for op in ops:
        for path in _upwards(op.module):
            costs[path] = costs[path].plus(op.costs)
            ran.add(path)
    return tuple(
        ModuleTotal(path, kind, recording.module_calls.get(path, 0), costs[path])
        for path, kind in kinds.items()
        if path in ran
    )


def total(costs: Iterable[Costs]) -> Costs:
    """Their sum."""
    whole = Costs()
    for one in costs:
        whole = whole.plus(one)
    return whole


def cut(path: str, depth: int | None) -> str:
    """The first `depth` names of a module's path.

    >>> cut("model.layers.0.mlp", 3)
    'model.layers.0'
    """
    return path if depth is None else ".".join(path.split(".")[:depth])


def _upwards(path: str) -> list[str]:
    """A path and those of all that contain it."""
    names = path.split(".") if path else []
    return [".".join(names[:end]) for end in range(len(names) + 1)]
