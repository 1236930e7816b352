"""A module from a factory that a user names, `package.module:factory`, built on torch's meta device.

Meta tensors have shapes and no memory, so a model of any size is built and run in moments.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue, MachineError, UnknownName
from perfkit.tracing.failures import what_it_said
from perfkit.tracing.inputs import InputSpec
from perfkit.tracing.tensors import found_tensors

FORM = "package.module:factory, such as mynet:build"
RETURNS = "a torch module, (module, args) or (module, args, kwargs)"


class Loaded(NamedTuple):
    """A module and what to call it with."""

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def load_factory(target: str, inputs: tuple[InputSpec, ...] = ()) -> Loaded:
    """Call the factory that `target` names and make `inputs`, all on the meta device, the module in eval mode.

    The current folder is searched first. What the factory prints goes to stderr.

    Raises:
        MachineError: no torch.
        InvalidValue: no such module or factory, one that raises or returns something else, inputs given twice or never.
    """
    torch = import_torch()
    module_name, _, name = target.partition(":")
    if not module_name or not name.isidentifier() or not all(map(str.isidentifier, module_name.split("."))):
        raise InvalidValue(f"--module must read {FORM}, not {target!r}")
    with redirect_stdout(sys.stderr), torch.device("meta"), torch.no_grad():
        factory = _named(_imported(module_name), name)
        made = factory if isinstance(factory, torch.nn.Module) else _called(factory, target)
        return _on_meta(_with_inputs(made, inputs, target))


def import_torch() -> Any:
    """The library itself.

    Raises:
        MachineError: it is not there.
    """
    try:
        import torch
    except ImportError:
        raise MachineError("tracing needs torch: pip install 'perfkit[torch]'") from None
    return torch


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # as Python does for a script of that folder
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            hint = f" (a module's name, not its file's: {name[:-3]})" if name.endswith(".py") else ""
            raise InvalidValue(
                f"no module {error.name!r} in the current folder or among what is installed{hint}"
            ) from None
        raise InvalidValue(f"importing {name} failed: {what_it_said(error)}") from error
    except (Exception, SystemExit) as error:
        raise InvalidValue(f"importing {name} failed: {what_it_said(error)}") from error


def _named(module: ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise UnknownName(f"factory in {module.__name__}", name, (key for key in own if not key.startswith("_")))
    return getattr(module, name)


def _called(factory: Any, target: str) -> Any:
    if not callable(factory):
        raise InvalidValue(f"{target} is a {type(factory).__name__}, not a function that returns {RETURNS}")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise InvalidValue(f"{target}() raised {what_it_said(error)}") from error


def _with_inputs(made: Any, inputs: tuple[InputSpec, ...], target: str) -> Loaded:
    import torch

    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], torch.nn.Module):
        raise InvalidValue(f"{target} must return {RETURNS}, not {_described(made)}")
    module = parts[0].eval()
    if len(parts) == 1:
        if not inputs:
            raise InvalidValue(
                f"{target} returns a module without inputs: say them, as --input 1x16:int64 (shape and dtype), or "
                "return (module, args)"
            )
        return Loaded(
            module,
            tuple(spec.tensor(module) for spec in inputs if not spec.name),
            {spec.name: spec.tensor(module) for spec in inputs if spec.name},
        )
    if inputs:
        raise InvalidValue(f"{target} returns its inputs itself: leave --input out, or return the module alone")
    args, kwargs = parts[1], parts[2] if len(parts) == 3 else {}
    if not isinstance(args, tuple | list) or not isinstance(kwargs, dict):
        raise InvalidValue(f"{target}: args must be a tuple and kwargs a dict, not {_described(parts[1:])}")
    return Loaded(module, tuple(args), kwargs)


def _described(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(item).__name__ for item in value)})"
    return type(value).__name__


def _on_meta(loaded: Loaded) -> Loaded:
    """All of it without memory, what the factory made elsewhere too (from a file, say); shared weights stay shared.

    Raises:
        InvalidValue: what was made elsewhere cannot be copied.
    """
    from copy import deepcopy

    module = loaded.module
    tensors = [*module.parameters(), *module.buffers(), *found_tensors((loaded.args, loaded.kwargs))]
    elsewhere = [tensor for tensor in tensors if not tensor.is_meta]
    if not elsewhere:
        return loaded
    try:
        return deepcopy(loaded, {id(tensor): _stand_in(tensor) for tensor in elsewhere})
    except Exception as error:
        raise InvalidValue(
            f"{type(module).__name__} cannot be put on meta: {what_it_said(error)}; make every tensor on the default "
            "device, which is meta in the factory"
        ) from error


def _stand_in(tensor: Any) -> Any:
    import torch

    meta = tensor.detach().to("meta")
    return torch.nn.Parameter(meta, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else meta
