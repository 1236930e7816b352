"""This machine's GPUs as NVML (the driver's library) reports them, matched to a device file where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from perfkit.documents import read_yaml
from perfkit.errors import MachineError
from perfkit.hardware import specs_folder


@dataclass(frozen=True, slots=True)
class DetectedGpu:
    """One GPU of this machine. Figures are NVML's own; None where the card does not report one.

    `device`: id of the device file that the product name belongs to.
    """

    index: int
    name: str
    device: str | None
    memory_bytes: int | None
    sm_clock_hz: int | None
    memory_clock_hz: int | None
    power_limit_w: float | None
    pcie_generation: int | None
    pcie_width: int | None
    driver: str


def detect_gpus() -> list[DetectedGpu]:
    """All NVIDIA GPUs of this machine.

    Raises:
        MachineError: no NVML library, no driver, or no GPU.
    """
    with _nvml() as nvml:
        driver = nvml.nvmlSystemGetDriverVersion()
        count = nvml.nvmlDeviceGetCount()
        if count == 0:
            raise MachineError("NVML runs but finds no GPU on this machine")
        return [_read(nvml, index, driver) for index in range(count)]


@contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml
    except ImportError:
        raise MachineError("reading this machine's GPUs needs NVML: pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MachineError(f"no NVIDIA GPU can be read on this machine: {error} (is the driver installed?)") from None
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise MachineError(f"NVML failed: {error}") from None
    finally:
        with suppress(pynvml.NVMLError):  # a driver that fails may fail again here
            pynvml.nvmlShutdown()


def _read(nvml: Any, index: int, driver: str) -> DetectedGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)

    def asked(function: str, *arguments: Any) -> Any:
        try:
            return getattr(nvml, function)(handle, *arguments)
        except nvml.NVMLError:  # not reported by this card
            return None

    def figure(function: str, *arguments: Any, scale: float = 1) -> Any:
        value = asked(function, *arguments)
        return None if value is None else value * scale

    memory = asked("nvmlDeviceGetMemoryInfo")

    return DetectedGpu(
        index=index,
        name=name,
        device=device_of_name(name),
        memory_bytes=memory and memory.total,
        sm_clock_hz=figure("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM, scale=10**6),
        memory_clock_hz=figure("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM, scale=10**6),
        power_limit_w=figure("nvmlDeviceGetEnforcedPowerLimit", scale=1e-3),
        pcie_generation=figure("nvmlDeviceGetMaxPcieLinkGeneration"),
        pcie_width=figure("nvmlDeviceGetMaxPcieLinkWidth"),
        driver=driver,
    )


def device_of_name(name: str) -> str | None:
    """Id of the device file that an NVML product name belongs to, or None.

    >>> device_of_name("Tesla V100-SXM2-32GB")
    'v100-sxm2-32gb'
    """
    names: dict[str, str] = read_yaml(specs_folder() / "nvml_names.yaml")
    return names.get(name)
