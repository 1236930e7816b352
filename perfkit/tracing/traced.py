"""Tracing a module: what one forward costs, op by op and module by module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from perfkit.errors import InvalidValue, PerfkitError
from perfkit.tracing.comparing import Compared, with_flop_counter, with_fvcore
from perfkit.tracing.failures import advice, of_devices, what_it_said
from perfkit.tracing.ledger import Fused
from perfkit.tracing.loading import import_torch
from perfkit.tracing.recording import Recording, record
from perfkit.tracing.registry import UNCOUNTED
from perfkit.tracing.tensors import found_tensors
from perfkit.tracing.totals import Costs, ModuleTotal, OpTotal, by_module, by_module_and_op, by_op
from perfkit.units import check_count, format_quantity

Place = Callable[[], AbstractContextManager[Any]]  # what a forward runs in


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward of a torch module, counted.

    `ops` are by module and op, modules that lie deeper than `depth` names counting as what contains them; `modules`
    are their sums up the tree, the whole first. `elementwise`: whether element-wise work is in the total beside matrix
    products. `returned`: tensors found in what it returned; without one its outputs are missing from the fused bytes.
    """

    name: str
    parameters: int
    ops: tuple[OpTotal, ...]
    modules: tuple[ModuleTotal, ...]
    fused: Fused
    compared: tuple[Compared, ...]
    elementwise: bool = False
    depth: int | None = None
    returned: int = 1

    def flops_of(self, costs: Costs) -> int:
        """What is counted of them."""
        return costs.matmul_flops + (costs.vector_flops if self.elementwise else 0)

    @property
    def costs(self) -> Costs:
        """Of the whole forward."""
        return self.modules[0].costs

    @property
    def total(self) -> int:
        """FLOPs of the forward."""
        return self.flops_of(self.costs)

    @property
    def macs(self) -> int:
        """Multiply-adds of its matrix products."""
        return self.costs.matmul_flops // 2

    @property
    def by_op(self) -> tuple[OpTotal, ...]:
        """Ops of the whole forward, the costliest first."""
        return by_op(self.ops)

    @property
    def uncounted(self) -> tuple[OpTotal, ...]:
        """Ops without a formula: their bytes are counted, their FLOPs are not known."""
        return _uncounted(self.ops)


def trace(
    module: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    name: str | None = None,
    depth: int | None = None,
    elementwise: bool = False,
    strict: bool = False,
) -> Trace:
    """Count one forward of a torch module, `module(*args, **kwargs)`, in inference mode, on the device that it is on.

    On meta it takes no memory. FLOPs are those of matrix products (multiply-add = 2, masks in full), unless
    `elementwise`. Bytes have two bounds: every op a kernel of its own (unfused), and all work between matrix products
    within their kernels (fused).

    Raises:
        MachineError: no torch.
        InvalidValue: the module fails, or `strict` and an op has no formula; a depth out of range.
        InvalidSpec: a formula failed.

    >>> import torch
    >>> trace(torch.nn.Linear(3, 5, device="meta"), (torch.empty(2, 3, device="meta"),)).total  # 2 * 2 * 3 * 5
    60
    """
    import_torch()
    if depth is not None:
        check_count("--depth", depth, minimum=0)
    called = type(module).__name__ if name is None else name
    inputs = (tuple(args), kwargs or {})
    kept = _copied(module)
    recording, place = _recorded(module, inputs, called)
    ops = by_module_and_op(recording, depth)
    if strict:
        _check_counted(_uncounted(ops), called)
    return Trace(
        called,
        sum(parameter.numel() for parameter in module.parameters()),
        ops,
        by_module(module, ops, recording, depth),
        recording.fused,
        _compared(module, kept, inputs, ops, place),
        elementwise,
        depth,
        recording.returned,
    )


def _recorded(module: Any, inputs: tuple[Any, Any], name: str) -> tuple[Recording, Place]:
    """The forward, and where it could run: as it is called, or with meta as torch's default device."""
    try:
        try:
            return record(module, *_afresh(inputs)), nullcontext
        except Exception as error:
            if not of_devices(error) or not _all_on_meta(module, inputs):
                raise
            return _on_meta_default(module, inputs, error), _meta
    except PerfkitError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidValue(f"running {name} failed: {what_it_said(error)}{advice(error)}") from error


def _on_meta_default(module: Any, inputs: tuple[Any, Any], first: Exception) -> Recording:
    """The forward with meta as torch's default device; where that fails too, what `first` said stands."""
    try:
        with _meta():
            return record(module, *_afresh(inputs))
    except (Exception, SystemExit):
        raise first from None


def _meta() -> Any:
    import torch

    return torch.device("meta")


def _all_on_meta(module: Any, inputs: tuple[Any, Any]) -> bool:
    tensors = (*module.parameters(), *module.buffers(), *found_tensors(inputs))
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def _compared(
    module: Any, kept: Any, inputs: tuple[Any, Any], ops: tuple[OpTotal, ...], place: Place
) -> tuple[Compared, ...]:
    """Other counters, each over a copy of the module as it was before its forward, where it can be copied."""
    products = {op.name: op.costs.matmul_flops for op in by_op(ops) if op.kind != UNCOUNTED}
    uncounted = [op.name for op in _uncounted(ops)]
    found = []
    for counter in (with_flop_counter, with_fvcore):
        own = module if kept is None else _copied(kept)
        with place():
            other = counter(own, *_afresh(inputs), products)
        found.append(other.qualified(uncounted, copied=kept is not None))
    return tuple(found)


def _copied(module: Any) -> Any:
    """A module of its own state, and the same parameters; None where it cannot be copied."""
    try:
        return deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
    except Exception:
        return None


def _afresh(inputs: tuple[Any, Any]) -> tuple[Any, Any]:
    """The inputs as they were given: a forward may add to a cache among them."""
    return deepcopy(inputs, {id(tensor): tensor.detach() for tensor in found_tensors(inputs)})


def _uncounted(ops: tuple[OpTotal, ...]) -> tuple[OpTotal, ...]:
    return tuple(op for op in by_op(ops) if op.kind == UNCOUNTED)


def _check_counted(uncounted: tuple[OpTotal, ...], name: str) -> None:
    if uncounted:
        listed = ", ".join(
            f"{op.name} ({op.calls} call{'s'[: op.calls > 1]}, {format_quantity(op.costs.unfused_bytes, 'B')})"
            for op in uncounted
        )
        raise InvalidValue(
            f"{name} runs ops without a formula: {listed}; perfkit.tracing.formula gives one (docs/tracing.md)"
        )
