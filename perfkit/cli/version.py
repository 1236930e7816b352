"""What `perfkit --version` prints: the version, and below it what a bug report needs. No paths, no names of people."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import perfkit

REQUIRED = ("click", "PyYAML", "tabulate")
# What perfkit's parts ask for beside these, as their distributions are called.
OPTIONAL = (
    "dask",
    "distributed",
    "filelock",
    "matplotlib",
    "numpy",
    "nvidia-ml-py",
    "pandas",
    "pillow",
    "plotly",
    "pyarrow",
    "reportlab",
    "safetensors",
    "scipy",
    "simpy",
    "streamlit",
    "torch",
    "transformers",
)


def version_lines() -> Iterator[str]:
    """`perfkit 0.1.0`, for scripts; then Python, platform, libraries and GPUs, for people."""
    yield f"perfkit {perfkit.__version__}"
    yield f"Python: {platform.python_version()} ({platform.python_implementation()})"
    yield f"platform: {_platform()}"
    yield f"required: {_listed(REQUIRED)}"
    yield f"optional: {_listed(OPTIONAL)}"
    yield f"GPUs: {_gpus()}"


def _platform() -> str:
    """System and machine; the release of a kernel may bear a company's name, and is left out."""
    libc = " ".join(part for part in platform.libc_ver() if part)
    return ", ".join(part for part in (platform.system(), platform.machine(), libc) if part)


def _listed(names: tuple[str, ...]) -> str:
    found = [f"{name} {installed}" for name in names if (installed := _installed(name))]
    return ", ".join(found) or "none"


def _installed(name: str) -> str | None:
    """Version of a distribution, without importing it; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpus() -> str:
    from perfkit.errors import MachineError
    from perfkit.measuring.nvml import detect_gpus

    try:
        gpus = detect_gpus()
    except MachineError as error:
        return str(error)
    names = dict.fromkeys(gpu.name for gpu in gpus)
    counted = [f"{sum(gpu.name == name for gpu in gpus)} x {name}" for name in names]
    return ", ".join([*counted, f"driver {gpus[0].driver}"])
