"""How long `perfkit roofline` takes as a whole process, against `python -c "import click, yaml"` in the same run."""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from pathlib import Path

import perfkit

ROUNDS = 15
REFERENCE = [sys.executable, "-c", "import click, yaml"]
MAIN_JOB = [sys.executable, "-m", "perfkit", "roofline", "--gpu", "v100", "--tokens", "32"]


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Alternate the two, so that what else the machine does falls on both; the minimum of each."""
    compileall.compile_dir(Path(perfkit.__file__).parent, quiet=1)  # as pip does when it installs
    pairs = [(seconds(REFERENCE), seconds(MAIN_JOB)) for _ in range(ROUNDS)]
    reference, job = (min(column) for column in zip(*pairs, strict=True))
    print(f'python -c "import click, yaml"              {reference * 1e3:6.1f} ms   (reference)')
    print(f"perfkit roofline --gpu v100 --tokens 32     {job * 1e3:6.1f} ms   {job / reference:.2f} x reference")


if __name__ == "__main__":
    main()
