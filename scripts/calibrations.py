"""Calibrations in hardware_specs/calibrations from kernel tables that stay outside the repository.

`python -m scripts.calibrations DIR`; the tables' digests stand in what is written. Devices first, because few rows
begin at what is known of others; then families, and the cautious default of all. Of the V100 there are two tables, of
two devices: fp16 and fp32 products of the SXM2 module, and fp32 kernels of the PCIe card, whose clock is another. So
each device has a calibration of its own table, and what the one lacks it takes from the family's, made of both. No
kernel of a Turing card was at hand: that family is lent the Volta's, whose multiprocessors and tensor cores are next of
kin, with the spread that cards of a family without data have. The H100 was measured with perfkit, whose file comes with
it (reports/measured), as was one CPU, after which that family goes. All-reduces were timed on machines of A100s alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from perfkit.calibration.calibrating import calibrate
from perfkit.calibration.collectives import read_collectives, with_collectives
from perfkit.hardware import load_device
from perfkit.kernels.calibrations import CAUTIOUS, Calibration, FittedOn, calibrations_folder, write_calibration
from scripts.eager_times import without_host
from scripts.named_kernels import as_named
from scripts.pages import ROOT

TABLES = {
    "h200-sxm-141gb": "kernels_h200.csv.gz",
    "b200-sxm": "kernels_b200.csv.gz",
    "l40s": "kernels_l40s.csv.gz",
    "a100-sxm-80gb": "kernels_a100.csv.gz",
    "v100-sxm2-32gb": "kernels_v100.csv.gz",
}
EAGER = {"v100-pcie-32gb": "kernels_v100_fp32.csv.gz"}  # with the host in their times, which is taken off
MISNAMED = ("a100-sxm-80gb",)  # with kernels that are not what their rows say, which are left out
ALL = {**EAGER, **TABLES}
# Measured with perfkit itself: the kernels come with it.
MEASURED = {"h100-sxm-80gb": "reports/measured/h100-sxm-80gb/kernels.json"}
DEVICES = (*ALL, *MEASURED)
COLLECTIVES = {"a100-sxm-80gb": "collectives_a100.csv.gz"}  # all-reduces
LENT = {"turing": "volta"}
CPU = "reports/measured/xeon-2-threads"  # a machine that comes with perfkit: its kernels, and its device file


def asked() -> Iterator[tuple[list[str], str]]:
    """Devices and kind of each calibration, in the order in which they are made."""
    yield from (([gpu], "device") for gpu in DEVICES)
    yield from ((gpus, "family") for gpus in families().values())
    # Without the H100: its table is small, and full of odd sizes that say little of other families.
    yield list(ALL), CAUTIOUS


def families() -> dict[str | None, list[str]]:
    """Devices of each family."""
    found: dict[str | None, list[str]] = {}
    for gpu in DEVICES:
        found.setdefault(load_device(gpu).family, []).append(gpu)
    return found


def made(folder: Path, gpus: list[str], kind: str) -> Calibration:
    """A calibration from the tables in a folder."""
    with TemporaryDirectory() as bare:
        tables = [believable(folder, gpu, Path(bare)) for gpu in gpus]
        found = calibrate(tables, gpus, kind=kind, command=_command(gpus, kind)).calibration
    found = replace(found, fitted_on=tuple(_published(folder, each) for each in found.fitted_on))
    for gpu in COLLECTIVES.keys() & set(gpus):
        found = with_exchanges(found, folder, gpu)
    return found


def with_exchanges(calibration: Calibration, folder: Path, gpu: str) -> Calibration:
    """With exchanges between GPUs, from a machine of so many of them."""
    table = folder / COLLECTIVES[gpu]
    sets = read_collectives(table, load_device(gpu))
    rows, digest = sum(len(each.sizes) for each in sets), sha256(table.read_bytes()).hexdigest()[:16]
    return with_collectives(calibration, sets, FittedOn(table.name, rows, digest, gpu))


def believable(folder: Path, gpu: str, bare: Path) -> Path:
    """The table of a device, without what is not its kernels'; a changed copy is written to `bare`."""
    if gpu in MEASURED:
        return ROOT / MEASURED[gpu]
    table = folder / ALL[gpu]
    if gpu in EAGER:
        return without_host(table, bare)
    return as_named(table, bare) if gpu in MISNAMED else table


def _published(folder: Path, fitted_on: FittedOn) -> FittedOn:
    """With the digest of the table as it was published, and where it lies if that is here."""
    here = MEASURED.get(fitted_on.device)
    table = folder / fitted_on.table if here is None else ROOT / here
    return fitted_on._replace(table=here or fitted_on.table, sha256=sha256(table.read_bytes()).hexdigest()[:16])


def lent(family: str, lender: Calibration, cautious: Calibration) -> Calibration:
    """A family's calibration from that of the next of kin."""
    title = f"{family.capitalize()} family: no kernels of it; parameters of {lender.id}, spread of {cautious.id}"
    return replace(lender, id=family, title=title, family=family, errors=(), spread=cautious.spread)


def of_cpus() -> Calibration:
    """The family of CPUs, from the one that was measured in fp32."""
    table, gpu = f"{CPU}/kernels.json", f"{CPU}/xeon-2-threads.yaml"
    command = f"perfkit calibrate {table} --gpu {gpu} --as family"
    found = calibrate([table], [gpu], kind="family", command=command).calibration
    return replace(found, title="CPUs: cores as multiprocessors, fitted to one of two threads")


def widened(calibration: Calibration, gpu: str) -> Calibration:
    """A device's calibration as that of its family, of which no other is measured: the fit would be the same."""
    family = load_device(gpu).family or ""
    title = f"{family.capitalize()} family"
    return replace(calibration, id=family, title=title, device=None, family=family, command=_command([gpu], "family"))


def _command(gpus: list[str], kind: str) -> str:
    flags = " ".join([*(f"--gpu {gpu}" for gpu in gpus), f"--as {kind}"])
    eager = [EAGER[gpu] for gpu in gpus if gpu in EAGER]
    after = f", after scripts/eager_times.py of {', '.join(eager)}" if eager else ""
    after += "".join(f", with scripts/calibrations.py of {COLLECTIVES[gpu]}" for gpu in gpus if gpu in COLLECTIVES)
    files = {**ALL, **MEASURED}
    return f"perfkit calibrate {' '.join(files[gpu] for gpu in gpus)} {flags}{after}"


def main(folder: Path) -> None:
    """Make all of them, and say how far each is off."""
    found: dict[str, Calibration] = {}
    for gpus, kind in asked():
        alone = kind == "family" and len(gpus) == 1
        calibration = widened(found[gpus[0]], gpus[0]) if alone else made(folder, gpus, kind)
        found[calibration.id] = calibration
        write(calibration)
    for family, lender in LENT.items():
        write(lent(family, found[lender], found[CAUTIOUS]))
    write(of_cpus())


def write(calibration: Calibration) -> None:
    """Into the folder that perfkit reads, and tell its errors."""
    write_calibration(calibration, calibrations_folder() / f"{calibration.id}.yaml")
    errors = [f"{each.op}: off by {each.mape:.1%} over {each.rows} rows" for each in calibration.errors]
    click.echo(f"{calibration.id}: {', '.join(errors)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
