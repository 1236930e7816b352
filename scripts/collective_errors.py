"""How far predicted all-reduces are off on sizes that the fit did not see, by GPUs and size.

`python -m scripts.collective_errors TABLE.csv.gz GPU`: of the table that the calibrations' exchanges are fitted to, it
prints what docs/parallelism.md shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from perfkit.calibration.collectives import SIZE_ENDS, Reduced, judge_collectives, read_collectives
from perfkit.calibration.judging import Held
from perfkit.hardware import load_device
from perfkit.tables import Column, Table, render_for_people


def errors(table: Path, gpu: str) -> Table:
    """Mean absolute error of each group of GPUs in each range of sizes, and of all from 64 KiB; with the rows."""
    sets = read_collectives(table, load_device(gpu))
    ranges = [(first, last) for first, last in zip((0, *SIZE_ENDS[:-1]), SIZE_ENDS, strict=True)]
    columns = [Column("gpus", "GPUs"), *(Column(_name(*each), _name(*each)) for each in ranges)]
    columns.append(Column("large", "64 KiB to 64 MiB"))
    rows = [
        (_group(each), *(_error(held, *ends) for ends in ranges), _error(held, SIZE_ENDS[0], SIZE_ENDS[-1]))
        for each, held in zip(sets, judge_collectives(sets), strict=True)
    ]
    return Table(tuple(columns), tuple(rows))


def _group(each: Reduced) -> str:
    nodes = each.group.nodes
    return f"{each.group.workers}" + (f" in {nodes} nodes" if nodes > 1 else "")


def _name(first: float, last: float) -> str:
    return f"to {_size(last)}" if not first else f"{_size(first)} to {_size(last)}"


def _size(size: float) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 2**10:g} KiB"


def _error(held: Held, first: float, last: float) -> str:
    inside = (held.m > first) & (held.m <= last)
    off = abs(held.ratios[inside] - 1)
    return f"{off.mean():.1%} ({off.size})" if off.size else "-"


if __name__ == "__main__":
    click.echo(render_for_people([errors(Path(sys.argv[1]), sys.argv[2])], width=140))
