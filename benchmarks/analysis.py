"""How long one analysis takes through Python, against parsing its device file once in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable

import perfkit
from perfkit.hardware import read_device, specs_folder

ROUNDS, CALLS = 20, 50


def seconds(function: Callable[[], object]) -> float:
    """Best mean time of a call."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            function()
        best = min(best, (time.perf_counter() - start) / CALLS)
    return best


def main() -> None:
    """Print both and their ratio."""
    perfkit.analyze("v100", tokens=32)  # reads the device and the preset; later calls find them
    reference = seconds(lambda: read_device(specs_folder() / "v100-sxm2-32gb.yaml"))
    analysis = seconds(lambda: perfkit.analyze("v100", tokens=32))
    print(f"read one device YAML                        {reference * 1e3:6.3f} ms   (reference)")
    ratio = analysis / reference
    print(f'perfkit.analyze("v100", tokens=32)          {analysis * 1e3:6.3f} ms   {ratio:.2f} x reference')


if __name__ == "__main__":
    main()
