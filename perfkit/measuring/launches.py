"""How many operators one call sends to the device: what a host must launch one by one where no graph does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# They make tensors without work on the device, or only look at one in another way.
FREE = frozenset(("detach", "alias", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh", "_unsafe_view"))


def count_launches(call: Callable[[], object]) -> int:
    """Operators that `call` dispatches, views left out. An operator is one kernel on a GPU, or a few."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    launched: list[str] = []

    class Listing(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base untyped
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = function.overloadpacket.__name__
            if not (function.is_view or name in FREE):
                launched.append(name)
            return function(*args, **(kwargs or {}))

    # In inference mode `to`, `reshape` and `contiguous` come whole, and whether they copy is not to be seen.
    with torch.inference_mode(False), torch.no_grad(), Listing():  # type: ignore[no-untyped-call]
        call()
    return len(launched)
