"""`perfkit calibrate`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue


@click.command("calibrate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
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

    FILE is what `perfkit measure --suite kernels` writes: the table (.csv, or .csv.gz), which `perfkit kernels` reads
    too, or the measurement (.json), whose kernels are taken and whose phases are not. Products, attention and
    element-wise kernels are fitted, from 10 rows of 3 shapes up. The fit begins at what is known of other devices and
    stays near it where rows are few. Errors are those of rows that a fit did not see: of one family by the rows of
    other sizes, of several by the other families. The same files give the same calibration.

    \b
    Examples:
      perfkit calibrate kernels.csv --gpu a100 --output a100.yaml
      perfkit calibrate kernels.json --gpu a100 --output a100.yaml
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
