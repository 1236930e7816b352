"""What a campaign asks of the machine: one interface, by CUDA events on a GPU and by a monotonic clock on a CPU."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol

from perfkit.errors import InvalidValue, MachineError
from perfkit.measuring.counters import Watch
from perfkit.measuring.measurement import Machine
from perfkit.units import parse_choice

DEVICES = ("auto", "cuda", "cpu")
FLUSH_CACHES = 4  # times the last cache level: what is written over to empty it
UNKNOWN_CACHE = 128 * 2**20  # bytes assumed where the machine does not say; few last levels are larger
LIBRARIES = ("torch", "transformers", "numpy", "nvidia-ml-py")


class Step(NamedTuple):
    """One call to time; `before` puts back, untimed, what the last call changed."""

    call: Callable[[], object]
    before: Callable[[], object] | None = None


class Backend(Protocol):
    """A device that runs torch and can time it. Sizes in bytes, times in seconds."""

    @property
    def device(self) -> Any:
        """The torch device."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that are worth timing on it."""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Ways to launch a decode step."""

    @property
    def must_foresee(self) -> bool:
        """Whether too large an allocation ends the process instead of raising an error."""

    def machine(self) -> Machine:
        """What a measurement says of it."""

    def free_bytes(self) -> int:
        """Memory that could be allocated now."""

    def sampler(self, step: Step, *, flush: bool, meanwhile: Callable[[], object] | None = None) -> Callable[[], float]:
        """Function that makes one timed call; `flush` empties the last cache level before it.

        `meanwhile` is called while the device works, where host and device are two.
        """

    def host_s(self, step: Step) -> float | None:
        """Seconds that the host takes to launch the call on an idle device, None where host and device are one."""

    def capture(self, step: Step) -> Step:
        """The step as a graph that is launched at once.

        Raises:
            MachineError: the device has no graphs.
        """

    def watch(self) -> AbstractContextManager[Watch | None]:
        """Counters of the device while it is timed, None where it has none."""

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def peak_bytes(self) -> int | None:
        """Most memory that tensors held since `release`, None where that is not known."""

    def release(self) -> None:
        """Give unused memory back, and forget the peak."""

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error means that memory did not suffice."""


def open_backend(name: str) -> Backend:
    """Backend of one of DEVICES; `auto` is CUDA where torch sees a GPU, else the CPU.

    Raises:
        MachineError: no torch, or no CUDA where it was asked for.
        UnknownName: no such device.
    """
    parse_choice("--device", name, DEVICES)
    try:
        import torch
    except ImportError:
        raise MachineError("measuring needs torch and transformers: pip install 'perfkit[torch]'") from None
    from perfkit.measuring.cpu import CpuBackend
    from perfkit.measuring.cuda import CudaBackend

    if name == "cuda" and not torch.cuda.is_available():
        raise MachineError(_without_cuda(torch))
    return CudaBackend() if name != "cpu" and torch.cuda.is_available() else CpuBackend()


def _without_cuda(torch: Any) -> str:
    looked = f"torch {torch.__version__} finds no CUDA device"
    if torch.version.cuda is None:
        return f"{looked}: it is a build without CUDA; install a CUDA build of torch, or use --device cpu"
    return f"{looked} (built for CUDA {torch.version.cuda}): check `nvidia-smi` and the driver, or use --device cpu"


def check_precision(backend: Backend, precision: str) -> None:
    """Refuse a precision that the backend should not be timed in.

    Raises:
        InvalidValue: fp16 on a CPU, say.
    """
    if precision not in backend.precisions:
        kind = backend.device.type
        why = ": a CPU emulates fp16 products, a hundred times slower than bf16" if precision == "fp16" else ""
        raise InvalidValue(f"{precision} is not timed on {kind}{why}; allowed: {', '.join(backend.precisions)}")


def dtype_of(precision: str) -> Any:
    """torch's type of a tensor in `precision`; tf32 is stored as fp32."""
    import torch

    types = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return types[precision]


def library_versions() -> dict[str, str]:
    """Versions of what the timings depend on, Python among them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
