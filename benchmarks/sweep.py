"""How many points a second are swept on one core, against a loop over the single analysis in the same run.

First roofline predictions alone, of a grid of four axes and of the hardest, one whose two axes leave nothing to share;
time of the process, so that others on the machine do not count. Then ten million points to Parquet: wall time and peak
memory. The reference predicts rooflines point by point; `perfkit.analyze` adds names looked up and expected times.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import perfkit
from perfkit.counting import workload_of
from perfkit.latency import Prediction, predict
from perfkit.sweeping.columns import Columns, columns_of, fields_of
from perfkit.sweeping.grid import Grid, grid_of
from perfkit.sweeping.request import SweepRequest

TARGET = 1e6  # predictions a second
SECONDS, GIGABYTES = 60, 2.0  # targets of ten million points
SAMPLE, ROUNDS = 200, 3
COUNTS = {"tokens": "visual_tokens", **{name: name for name in ("text_tokens", "new_tokens", "batch", "images")}}

FOUR_AXES = SweepRequest(
    ("v100",),
    tokens=(range(32, 577, 32),),
    text_tokens=(range(32, 1025, 32),),
    new_tokens=(range(4, 140, 4),),
    batch=(range(1, 65),),
)
TWO_AXES = SweepRequest(("v100",), tokens=(range(1, 577),), batch=(range(1, 513),))
# 2 x 73 x 32 x 34 x 64 = 10,166,272 points.
LARGE = """
    --gpu v100 --gpu h100 --tokens 0:576:8 --text-tokens 32:1024:32 --new-tokens 4:136:4 --batch 1:64
"""


def rate(grid: Grid) -> float:
    """Points a second of the process, in the quickest of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for box in grid.boxes(0, grid.points):
            grid.predict(box)
        best = min(best, time.process_time() - start)
    return grid.points / best


def seconds(function: Callable[[dict[str, int]], Prediction], points: list[dict[str, int]]) -> float:
    """Of a point, in a loop."""
    start = time.process_time()
    for counts in points:
        function(counts)
    return (time.process_time() - start) / len(points)


def single(grid: Grid, counts: dict[str, int]) -> Prediction:
    """Roofline of one point."""
    spec, choice, execution = grid.cells[0]
    return predict(spec, choice, workload_of(spec, **counts), execution, expected=False)


def analyzed(counts: dict[str, int]) -> Prediction:
    """The analysis of one point, as a user asks for it."""
    return perfkit.analyze("v100", **counts)


def sample(grid: Grid, columns: Columns) -> tuple[list[dict[str, int]], float]:
    """Points from all over a grid, and the largest relative difference of any figure of theirs to their analysis."""
    points, worst = [], 0.0
    for row in range(0, grid.points, grid.points // SAMPLE):
        points.append({name: int(columns[key][row]) for name, key in COUNTS.items()})
        one = analyzed(points[-1])
        for field in fields_of("roofline"):
            if field.kind == "number":
                worst = max(worst, abs(columns[field.key][row] / field.figure(one) - 1))
    return points, worst


def large() -> tuple[float, float, int]:
    """Seconds, gigabytes of peak memory, and size of the file of a sweep in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "grid.parquet"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "perfkit", "sweep", *LARGE.split(), "--output", output], check=True)
        seconds = time.perf_counter() - start
        return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, output.stat().st_size


def main() -> None:
    """Print all, targets beside them."""
    grid = grid_of(FOUR_AXES)
    points, worst = sample(grid, columns_of(grid, 0, grid.points))
    reference = 1 / seconds(lambda counts: single(grid, counts), points)
    print(f"loop over perfkit.analyze         {1 / seconds(analyzed, points):12.0f} points/s")
    print(f"loop over single rooflines        {reference:12.0f} points/s   (reference)")
    for name, one in (("four axes", grid), ("two axes", grid_of(TWO_AXES))):
        found = rate(one)
        goal = f"   target {TARGET:.0e}: {'reached' if found >= TARGET else 'MISSED'}" if one is grid else ""
        print(f"sweep, {name:26} {found:12.0f} points/s   {found / reference:.0f} x reference{goal}")
    print(f"largest relative difference of {len(points)} points to their analysis: {worst:.0e}   target 1e-12")
    wall, gigabytes, size = large()
    print(f"10 166 272 points to Parquet: {wall:.1f} s (target {SECONDS} s), peak memory {gigabytes:.2f} GB", end=" ")
    print(f"(target {GIGABYTES} GB), {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
