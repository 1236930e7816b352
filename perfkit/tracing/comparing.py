"""The same forward under other counters: torch's FlopCounterMode, and fvcore where it is there and can trace it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from perfkit.tracing.failures import what_it_said
from perfkit.tracing.registry import rule_of
from perfkit.tracing.tensors import found_tensors

# fvcore's names of matrix products; what else it counts (norms, pools) follows conventions of its own.
_FVCORE_PRODUCTS = ("addmm", "baddbmm", "bmm", "conv", "einsum", "linear", "matmul", "mv")
_FVCORE_NAMES = {"aten::_convolution_mode": "aten.convolution"}  # a product that it passes over under another name
# Ops that FlopCounterMode counts as the products that they are made of.
_TAKEN_APART = ("aten.scaled_dot_product_attention", "aten._scaled_dot_product_attention_math")


class Compared(NamedTuple):
    """Another counter's FLOPs (multiply-add = 2), None where it could not count, and ours of the ops that it knows.

    `partial`: perfkit ran ops without a formula, so that neither count may be whole.
    """

    counter: str
    flops: int | None
    ours: int | None
    note: str
    partial: bool = False

    @property
    def equal(self) -> bool | None:
        """Whether both say the same; None where that would say nothing: no count, no product, or not of all ops."""
        if self.flops is None or self.partial or self.flops == self.ours == 0:
            return None
        return self.flops == self.ours

    def qualified(self, uncounted: Iterable[str], *, copied: bool) -> Compared:
        """With what must be known to read it: ops without a formula, and a module that had run before."""
        names = ", ".join(uncounted)
        notes = [self.note] if self.note else []
        if self.flops is not None and names:
            notes.append(f"not compared: no formula for {names}")
        elif self.flops == self.ours == 0:
            notes.append("nothing to compare")
        elif self.equal is False and not copied:
            notes.append("the module cannot be copied: if it keeps state, a second forward may differ")
        return self._replace(note="; ".join(notes), partial=bool(names))


def with_flop_counter(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], products: Mapping[str, int]
) -> Compared:
    """FlopCounterMode over a forward; `products` are our FLOPs by op."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            module(*args, **kwargs)
    except (Exception, SystemExit) as error:
        return Compared("FlopCounterMode", None, None, f"cannot count it: {what_it_said(error)}")
    known = {str(op) for op in counter.flop_registry}
    skipped = [op for op, flops in products.items() if flops and op not in known and op not in _TAKEN_APART]
    ours = sum(flops for op, flops in products.items() if op not in skipped)
    return Compared("FlopCounterMode", counter.get_total_flops(), ours, _passed_over(skipped))


def with_fvcore(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], products: Mapping[str, int]) -> Compared:
    """fvcore's multiply-adds of matrix products, twice; `products` are our FLOPs by op."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of imports, and of every Python value that its tracing freezes
            counted, passed_over = _fvcore_counts(module, args, kwargs)
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and str(error.name).startswith("fvcore")
        note = "not installed" if absent else f"cannot trace it: {what_it_said(error)}"
        return Compared("fvcore", None, None, note)
    names = [_FVCORE_NAMES.get(name, name.replace("::", ".")) for name in passed_over]
    skipped = [name for name in names if products.get(name)]
    ours = sum(flops for op, flops in products.items() if op not in skipped)
    twice = 2 * int(sum(macs for op, macs in counted.items() if op in _FVCORE_PRODUCTS))
    # Where the difference is unexplained, whatever has no formula here either may hold products (aten::lstm does).
    unknown = [] if twice == ours else [name for name in names if rule_of(name) is None]
    return Compared("fvcore", twice, ours, _passed_over(skipped + unknown))


def _fvcore_counts(module: Any, args: Any, kwargs: Any) -> tuple[Mapping[str, float], Mapping[str, int]]:
    """Multiply-adds by op, and how often it met each op that it does not know."""
    import torch
    from fvcore.nn import FlopCountAnalysis  # type: ignore[import-untyped]

    analysis = FlopCountAnalysis(*_by_tensors(module, args, kwargs))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        return analysis.by_operator(), analysis.unsupported_ops()


def _passed_over(ops: list[str]) -> str:
    return f"passes over {', '.join(ops)}" if ops else ""


def _by_tensors(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    """A module that takes the tensors among the inputs and returns tensors only, as fvcore's tracing asks for."""
    import torch
    from torch.utils._pytree import tree_flatten, tree_unflatten

    leaves, form = tree_flatten((args, kwargs))
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    class Tensors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            filled = list(leaves)
            for i, tensor in zip(where, tensors, strict=True):
                filled[i] = tensor
            args, kwargs = tree_unflatten(filled, form)
            return tuple(found_tensors(self.module(*args, **kwargs)))

    return Tensors().train(module.training), tuple(leaves[i] for i in where)
