"""How long `perfkit` takes to start: the main job against `python -c "import click, yaml"`, help against Python alone.

Help is to answer within 0.2 s more than Python itself takes; references run between the others, in the same run. CPU
time stands beside it: on a machine that is busy with something else it is nearer to what a quiet one takes.
"""

from __future__ import annotations

import compileall
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import perfkit
from perfkit.cli import COMMANDS

ROUNDS = 15
HELP_ROUNDS = 5
TARGET_S = 0.2
NOTHING = [sys.executable, "-c", "pass"]
REFERENCE = [sys.executable, "-c", "import click, yaml"]
MAIN_JOB = [sys.executable, "-m", "perfkit", "roofline", "--gpu", "v100", "--tokens", "32"]


class Seconds(NamedTuple):
    """Of one run."""

    wall: float
    cpu: float


def cpu() -> float:
    """CPU time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command: list[str]) -> Seconds:
    """One run."""
    before, start = cpu(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Seconds(time.perf_counter() - start, cpu() - before)


def fastest(reference: list[str], command: list[str], rounds: int) -> tuple[Seconds, Seconds]:
    """Alternate the two, so that what else the machine does falls on both; the least of each."""
    pairs = [(timed(reference), timed(command)) for _ in range(rounds)]
    first, second = (Seconds(*map(min, zip(*runs, strict=True))) for runs in zip(*pairs, strict=True))
    return first, second


def main() -> None:
    """The main job, then the help of every command."""
    compileall.compile_dir(Path(perfkit.__file__).parent, quiet=1)  # as pip does when it installs
    reference, job = fastest(REFERENCE, MAIN_JOB, ROUNDS)
    print(f'python -c "import click, yaml"              {reference.wall * 1e3:6.1f} ms   (reference)')
    ratio = job.wall / reference.wall
    print(f"perfkit roofline --gpu v100 --tokens 32     {job.wall * 1e3:6.1f} ms   {ratio:.2f} x reference")
    print(f"\nHelp, beside python -c pass; target: {TARGET_S * 1e3:.0f} ms more at most")
    for name in ("", *COMMANDS):
        words = [*name.split(), "--help"]
        nothing, shown = fastest(NOTHING, [sys.executable, "-m", "perfkit", *words], HELP_ROUNDS)
        more = shown.wall - nothing.wall
        kept = "kept" if more <= TARGET_S else "MISSED"
        line = f"perfkit {' '.join(words)}"
        figures = f"{shown.wall * 1e3:6.1f} ms   {shown.wall / nothing.wall:5.1f} x, {more * 1e3:+6.1f} ms   {kept:<6}"
        print(f"{line:<28}{figures}   (CPU {(shown.cpu - nothing.cpu) * 1e3:+6.1f} ms)")


if __name__ == "__main__":
    main()
