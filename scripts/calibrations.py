"""Calibrations in hardware_specs/calibrations from kernel tables that stay outside the repository.

`python -m scripts.calibrations DIR`; the tables' digests stand in what is written. Devices first, because few rows
begin at what is known of others; then families, of which there is one device each, and the cautious default of all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from perfkit.calibration.calibrating import calibrate
from perfkit.kernels.calibrations import CAUTIOUS, calibrations_folder, write_calibration

TABLES = {
    "h200-sxm-141gb": "kernels_h200.csv.gz",
    "b200-sxm": "kernels_b200.csv.gz",
    "l40s": "kernels_l40s.csv.gz",
    "a100-sxm-80gb": "kernels_a100.csv.gz",
    "v100-sxm2-32gb": "kernels_v100.csv.gz",
}


def asked() -> Iterator[tuple[list[str], str]]:
    """Devices and kind of each calibration, in the order in which they are made."""
    yield from (([gpu], "device") for gpu in TABLES)
    yield from (([gpu], "family") for gpu in TABLES)
    yield list(TABLES), CAUTIOUS


def main(folder: Path) -> None:
    """Make all of them, and say how far each is off."""
    for gpus, kind in asked():
        tables = [TABLES[gpu] for gpu in gpus]
        command = " ".join(["perfkit calibrate", *tables, *(f"--gpu {gpu}" for gpu in gpus), f"--as {kind}"])
        run = calibrate([folder / table for table in tables], gpus, kind=kind, command=command)
        made = run.calibration
        write_calibration(made, calibrations_folder() / f"{made.id}.yaml")
        errors = [f"{each.op}: off by {each.mape:.1%} over {each.rows} rows" for each in made.errors]
        click.echo(f"{made.id}: {', '.join(errors)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
