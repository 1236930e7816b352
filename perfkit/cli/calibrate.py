"""`perfkit calibrate`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue


@click.command("calibrate")
@click.argument("files", metavar="FILE.csv...", nargs=-1, required=True)
@click.option(
    "--gpu", "gpus", required=True, multiple=True, metavar="NAME", help="What was measured: of each FILE, or of all."
)
@click.option("--as", "kind", default="device", show_default=True, metavar="KIND", help="device, family or cautious.")
@click.option("--output", "target", required=True, metavar="FILE.yaml", help="Where the calibration is written.")
@options.form
@click.pass_context
def command(
    ctx: click.Context, files: tuple[str, ...], gpus: tuple[str, ...], kind: str, target: str, form: str
) -> None:
    """Fit the kernel model to measured kernels, and show how far it is off.

    FILE.csv (or .csv.gz) is a table of kernels with measured_s, as `perfkit measure --suite kernels` writes one and
    `perfkit kernels` reads it; products, attention and element-wise kernels are fitted, from 10 rows up. The fit begins
    at what is known of other devices and stays near it where rows are few. Errors are those of rows that a fit did not
    see: of one device by the rows of other sizes, of several by the other devices. The same files give the same
    calibration.

    \b
    Example:
      perfkit calibrate kernels.csv --gpu a100 --output a100.yaml
    """
    from perfkit.calibration.calibrating import calibrate
    from perfkit.kernels.calibrations import write_calibration

    output = Path(target)
    if output.suffix not in (".yaml", ".yml"):
        raise InvalidValue(f"--output must end in .yaml, which a calibration is, not {target!r}")
    root = ctx.find_root()
    typed = f"{root.info_name} {shlex.join(root.meta['perfkit.typed'])}"
    run = calibrate(files, gpus, kind=kind, command=typed)
    write_calibration(run.calibration, output)
    emit(run, form, None)
    tell("warning", run.warnings)
