"""Run as a process by test_journal.py: starts measurements and kills them; `FOLDER SEED COUNT` on the command line.

One process imports torch once and forks a child for each measurement, which is the real `measure` with kernels that
take no time. A child writes the label of a point to FOLDER/N/finished when the file with the point stands.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfkit.measuring import bench, campaign, suites
from perfkit.measuring.backend import Step
from perfkit.measuring.cpu import CpuBackend
from perfkit.measuring.kernels import kernel_cases
from perfkit.measuring.protocol import Rules

POINTS = 40
RULES = Rules(target=0.5, minimum_s=0, warmup_s=0.0, budget_s=0.1, most_samples=6)


def measure(folder: Path, *, resume: bool) -> None:
    """A measurement whose points cost their writing and little else."""

    @contextmanager
    def progress(cases: Any) -> Iterator[Any]:
        with open(folder / "finished", "a", buffering=1, encoding="utf-8") as finished:

            def told() -> Iterator[Any]:
                for case in cases:
                    yield case
                    finished.write(f"{case.label}\n")  # asked for the next: this one was added

            yield told()

    output = folder / "out.json"
    campaign.measure(output, suite="kernels", device="cpu", resume=resume, rules=RULES, progress=progress)


def fork(folder: Path, *, resume: bool) -> int:
    child = os.fork()
    if child:
        return child
    try:
        measure(folder, resume=resume)
        os._exit(0)
    finally:
        os._exit(1)


def main(folder: Path, seed: int, count: int) -> None:
    source = random.Random(seed)
    for number in range(count):
        home = folder / str(number)
        home.mkdir()
        child = fork(home, resume=False)
        wait_for(home / "finished", source.randrange(POINTS))
        time.sleep(source.uniform(0, 2e-3))  # a point takes about as long, most of it writing
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        (home / "killed").mkdir()
        for left in [path for path in home.iterdir() if path.is_file()]:
            (home / "killed" / left.name).write_bytes(left.read_bytes())
        child = fork(home, resume=True)
        assert os.waitpid(child, 0)[1] == 0, f"{home} is not resumed"


def wait_for(finished: Path, points: int) -> None:
    end = time.monotonic() + 30
    while points and time.monotonic() < end:
        if finished.exists() and finished.read_bytes().count(b"\n") >= points:
            return


if __name__ == "__main__":
    import torch  # noqa: F401  # once, and not in every child

    gc.freeze()  # or collecting torch's own garbage takes a tenth of a second a point
    suites.kernel_cases = lambda spec, **asked: kernel_cases(spec, **asked)[:POINTS]
    bench.kernel_step = lambda *_: (Step(lambda: None), 1)  # type: ignore[assignment]
    CpuBackend.sampler = lambda *_, **__: lambda: 1e-3  # type: ignore[method-assign]
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
