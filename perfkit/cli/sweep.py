"""`perfkit sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.progress import Progress
from perfkit.errors import InvalidValue, MachineError
from perfkit.sweeping.ranges import Counts
from perfkit.sweeping.request import BASES, COUNTS, DEGREES, SweepRequest
from perfkit.tables import FORMATS
from perfkit.workload import ATTENTIONS, DEFAULT_MODEL, NEW_TOKENS, RUNTIMES, TEXT_TOKENS

SHOWN_ROWS = 500  # that are printed; more are a file's
TOLD = 10  # combinations without an engine that are named one by one

_SEVERAL = ("precision", "weights", "activations", "kv", "attention")  # each may be given again, with several values


@click.command("sweep")
@click.option("--gpu", multiple=True, required=True, metavar="NAME", help="Device id, alias, or a YAML. Repeatable.")
@click.option("--model", multiple=True, metavar="NAME", help=f"A preset or a config.json; default: {DEFAULT_MODEL}.")
@options.axis("--tokens", "Visual tokens a sequence; default: the model's own; 0: none.", zero=True)
@options.axis("--text-tokens", f"Text tokens a sequence; default: {TEXT_TOKENS}.")
@options.axis("--new-tokens", f"Tokens to generate; default: {NEW_TOKENS}.")
@options.axis("--batch", "Sequences; default: 1.")
@options.axis("--images", "Images a sequence; default: 1.")
@options.formats
@click.option("--attention", type=options.choices(ATTENTIONS), multiple=True, help="fused (default), eager.")
@options.axis("--tp", "GPUs that share every layer; default: 1.")
@options.axis("--pp", "Stages of such GPUs; default: 1.")
@click.option(
    "--basis",
    type=options.choice(BASES),
    default="roofline",
    show_default=True,
    help="roofline alone, or expected times beside it.",
)
@click.option("--runtime", type=options.choice(RUNTIMES), help="Of expected times; default: graph.")
@click.option("--calibration", metavar="FILE", help="Of expected times, instead of each device's own.")
@click.option("--output", type=click.Path(), metavar="FILE", help="A .csv or .parquet, written whole or not at all.")
@click.option("--dask", metavar="ADDRESS", help="Of a Dask scheduler, as tcp://HOST:8786: its workers make the rows.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--format", "form", type=options.choice(FORMATS), help="Of rows that are printed; default: table.")
@options.verbose
def command(form: str | None, output: str | None, dask: str | None, resume: bool, **asked: Any) -> None:
    """Predict a grid: GPUs x models x formats x tokens x batch ..., a row a point.

    Options take several values, by commas, by repetition, and counts as ranges start:stop:step, the stop included.
    Rows are printed, or written to FILE part by part: what interrupts a run loses little, and --resume goes on.

    \b
    Examples:
      perfkit sweep --gpu v100 --gpu h100 --tokens 0:576:144 --batch 1,8
      perfkit sweep --gpu a100 --tokens 32,144,576 --batch 1:64 --precision fp16,int8 --output grid.csv
      perfkit sweep --gpu a100 --batch 1:64 --text-tokens 1:4000 --output grid.parquet --dask tcp://head:8786
    """
    from perfkit.sweeping.running import run

    request = _request(asked)
    _check(request, form, output, dask, resume=resume)
    progress = Progress("sweeping", lines=False)
    try:
        found = run(request, None if output is None else Path(output), resume=resume, dask=dask, progress=progress)
    except KeyboardInterrupt:
        done = f"{max(0, progress.begun - 1)} of the {progress.total} parts that were left are written and kept"
        raise MachineError(f"interrupted: {done}; --resume goes on with the rest") from None
    if output is None:
        emit(found, form or "table", None)
    else:
        tell("note", [f"{found.points} points are in {output}"])
    if form != "json":  # which holds them itself
        tell("warning", found.left_out[:TOLD])
    if len(found.left_out) > TOLD:
        tell("warning", [f"and {len(found.left_out) - TOLD} more combinations are left out"])


def _request(asked: dict[str, Any]) -> SweepRequest:
    """What was not given keeps the default of `SweepRequest`."""
    several = {name: options.flat(value) for name, value in asked.items() if name in _SEVERAL}
    counts: dict[str, Counts] = {name: sum(asked[name], ()) for name in (*COUNTS, *DEGREES)}
    names = {name: tuple(dict.fromkeys(asked[name])) for name in ("gpu", "model")}
    single = {name: asked[name] for name in ("basis", "runtime", "calibration")}
    given = {**names, **several, **counts, **single}
    return SweepRequest(**{name: value for name, value in given.items() if value not in ((), None)})


def _check(request: SweepRequest, form: str | None, output: str | None, dask: str | None, *, resume: bool) -> None:
    if output is not None and form is not None:
        raise InvalidValue("--output says by its ending how rows are written: leave out --format")
    if output is None and resume:
        raise InvalidValue("--resume goes on with a file: name it by --output")
    if output is None and dask is not None:
        raise InvalidValue("--dask makes the parts of a file: name it by --output")
    if output is None and request.points > SHOWN_ROWS:
        raise InvalidValue(
            f"{request.points} rows are too many to print: at most {SHOWN_ROWS}; "
            "name a file: --output FILE.csv or FILE.parquet"
        )
