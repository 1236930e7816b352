"""A forward watched op by op: what each costs, and which module ran it.

The forward runs in inference mode, in which torch hands over ops before it takes them apart. Ops with a formula are
counted as they are called (attention as one kernel, whatever this device would make of it); others are taken apart if
torch can, and their parts counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from perfkit.errors import InvalidSpec, PerfkitError
from perfkit.tracing.calls import Call, TensorInfo
from perfkit.tracing.ledger import Fused, Ledger
from perfkit.tracing.registry import PRODUCTS, UNCOUNTED, Rule, Traffic, all_tensors, rule_of
from perfkit.tracing.tensors import describe, described, found_tensors, storage_of

ATTENTION = "aten.scaled_dot_product_attention"
_COMPOSITE = "CompositeImplicitAutograd"  # ops that torch defines by other ops


class OpRun(NamedTuple):
    """One call of an op in the module at the path `module`; bytes of a kernel of its own."""

    module: str
    name: str
    kind: str
    matmul_flops: int
    vector_flops: int
    bytes: int


class Recording(NamedTuple):
    """Calls of one forward in order, the share of each in the fused bound, and how often each module ran.

    `returned`: how many tensors it returned.
    """

    runs: tuple[OpRun, ...]
    fused_bytes: tuple[int, ...]
    fused: Fused
    module_calls: dict[str, int]
    returned: int


def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recording:
    """Run a torch module once and count what it does.

    Raises:
        PerfkitError: a formula failed.
        Exception: whatever the module raises.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    log = _Log(module)

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return log.run(func, args, kwargs or {}, self)

    with torch.inference_mode(), log.modules(), Recorder():  # type: ignore[no-untyped-call]
        returned = module(*args, **kwargs)
    outputs = [describe(tensor) for tensor in found_tensors(returned)]
    fused_bytes, fused = log.ledger.close(outputs)
    return Recording(tuple(log.runs), fused_bytes, fused, log.module_calls, len(outputs))


class _Log:
    """What a recorder writes down."""

    def __init__(self, module: Any) -> None:
        self._paths = {id(part): path for path, part in module.named_modules()}
        self._inside = [""]
        self.module_calls: dict[str, int] = {}
        self.runs: list[OpRun] = []
        self.ledger = Ledger(storage_of(tensor) for tensor in (*module.parameters(), *module.buffers()))

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Keep track of the module that runs; one that has no path counts as the one that calls it."""
        from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

        def enter(module: Any, _: Any) -> None:
            path = self._paths.get(id(module))
            self._inside.append(self._inside[-1] if path is None else path)
            if path is not None:
                self.module_calls[path] = self.module_calls.get(path, 0) + 1

        def leave(*_: Any) -> None:
            self._inside.pop()

        hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def run(self, func: Any, args: Any, kwargs: Any, mode: Any) -> Any:
        """Run an op, or its parts, and write it down."""
        name = str(getattr(func, "_overloadpacket", func))
        rule = rule_of(name)
        if rule is None and _has_parts(func):
            with mode:
                return func._op_dk(_composite(), *args, **kwargs)
        out = func(*args, **kwargs)
        if name == ATTENTION:
            out = _as_kernels_lay_it_out(out)
        if not getattr(func, "is_view", False):
            self._write_down(name, rule, _call(func, name, args, kwargs, out))
        return out

    def _write_down(self, name: str, rule: Rule | None, call: Call) -> None:
        kind, matmul, vector, traffic = _costs(name, rule, call)
        self.ledger.note(call, traffic, product=kind in PRODUCTS)
        self.runs.append(OpRun(self._inside[-1], name, kind, matmul, vector, traffic.bytes))


def _costs(name: str, rule: Rule | None, call: Call) -> tuple[str, int, int, Traffic]:
    if rule is None:
        return UNCOUNTED, 0, 0, all_tensors(call)
    try:
        matmul, vector, traffic = rule.matmul(call), rule.vector(call), rule.traffic(call)
    except PerfkitError:
        raise
    except Exception as error:
        raise InvalidSpec(f"the formula of {name} failed: {type(error).__name__}: {error}") from error
    if matmul is None or vector is None:
        return UNCOUNTED, 0, 0, traffic
    return rule.kind, matmul, vector, traffic


def _composite() -> Any:
    import torch

    return getattr(torch._C.DispatchKey, _COMPOSITE)


def _has_parts(func: Any) -> bool:
    """Whether torch itself defines the op by others.

    Not by `OpOverload.decompose`, which prefers definitions written for compilers: their dropout copies its input even
    where it does nothing.
    """
    import torch

    return hasattr(func, "_op_dk") and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE)


def _as_kernels_lay_it_out(out: Any) -> Any:
    """The result of attention on meta as fused kernels lay it out, (batch, tokens, heads, d).

    Otherwise turning it to (batch, tokens, heads d) would be counted as a copy, which on a GPU is none.
    """
    if out.is_meta and out.dim() == 4:
        return out.transpose(1, 2).contiguous().transpose(1, 2)
    return out


def _call(func: Any, name: str, args: Any, kwargs: Any, out: Any) -> Call:
    schema = getattr(func, "_schema", None)
    targets = [a for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write] if schema else []
    returned_in = {target.name for target in targets if target.kwarg_only}  # `out`, which is not read
    written: list[TensorInfo] = []
    for index, argument in enumerate(schema.arguments if schema else ()):
        if argument in targets:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            written += [describe(tensor) for tensor in found_tensors(value)]
    read = {key: value for key, value in kwargs.items() if key not in returned_in}
    outputs = tuple(describe(tensor) for tensor in found_tensors(out))
    return Call(name, described(args), described(read), outputs, tuple(written))
