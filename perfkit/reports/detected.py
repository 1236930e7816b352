"""Reports of the GPUs that NVML finds on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from perfkit.measuring.nvml import DetectedGpu
from perfkit.tables import Column, Table

_COLUMNS = (
    Column("index", "#", "n"),
    Column("name", "product"),
    Column("device", "perfkit gpus"),
    Column("memory_bytes", "memory", "B"),
    Column("sm_clock_hz", "max SM clock", "Hz", 6),
    Column("memory_clock_hz", "max memory clock", "Hz", 4),
    Column("power_limit_w", "power limit", "W", 7),
    Column("pcie_generation", "PCIe", "n", 5),
    Column("pcie_width", "lanes", "n", 5),
    Column("driver", "driver", "", 6),
)


def document(gpu: DetectedGpu) -> dict[str, Any]:
    """All figures; null where the card does not report one."""
    return asdict(gpu)


def table(gpus: Sequence[DetectedGpu]) -> Table:
    """A row a GPU."""
    return Table(_COLUMNS, tuple(tuple(asdict(gpu).values()) for gpu in gpus))


def overview(gpus: Sequence[DetectedGpu]) -> list[Table]:
    """The table, and where its figures come from."""
    notes = ("Reported by the driver through NVML; a dash: the card does not report it, or has no device file.",)
    return [Table(_COLUMNS, table(gpus).rows, title="GPUs of this machine", notes=notes)]
