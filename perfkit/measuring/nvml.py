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
    with nvml_session() as nvml:
        driver = nvml.nvmlSystemGetDriverVersion()
        count = nvml.nvmlDeviceGetCount()
        if count == 0:
            raise MachineError("NVML runs but finds no GPU on this machine")
        return [_read(nvml, index, driver) for index in range(count)]


@contextmanager
def nvml_session() -> Iterator[Any]:
    """NVML's Python module, ready to be asked for as long as the block lasts.

    Raises:
        MachineError: no NVML library, no driver, or an NVML function that fails and is not made good in the block.
    """
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


def ask(nvml: Any, function: str, *arguments: Any, unit: float = 1) -> Any:
    """What an NVML function answers, times the SI value of its `unit`; None where it has no answer."""
    try:
        answer = getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):  # not reported by this card, or not known to this library
        return None
    return answer if unit == 1 else answer * unit


def _read(nvml: Any, index: int, driver: str) -> DetectedGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)

    return DetectedGpu(
        index=index,
        name=name,
        device=device_of_name(name),
        memory_bytes=memory and memory.total,
        sm_clock_hz=ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM, unit=10**6),
        memory_clock_hz=ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_MEM, unit=10**6),
        power_limit_w=ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle, unit=1e-3),
        pcie_generation=ask(nvml, "nvmlDeviceGetMaxPcieLinkGeneration", handle),
        pcie_width=ask(nvml, "nvmlDeviceGetMaxPcieLinkWidth", handle),
        driver=driver,
    )


def driver_version() -> str | None:
    """Version of the driver, None where NVML cannot be asked."""
    try:
        with nvml_session() as nvml:
            version: str = nvml.nvmlSystemGetDriverVersion()
            return version
    except MachineError:
        return None


def device_of_name(name: str) -> str | None:
    """Id of the device file that an NVML product name belongs to, or None.

    >>> device_of_name("Tesla V100-SXM2-32GB")
    'v100-sxm2-32gb'
    """
    names: dict[str, str] = read_yaml(specs_folder() / "nvml_names.yaml")
    return names.get(name)
