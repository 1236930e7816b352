"""`perfkit roofline`."""

from __future__ import annotations

from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell


@click.command("roofline")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Device id or alias (`perfkit gpus` lists them), or a path to a YAML. Repeat to compare.",
)
@options.model
@options.forward
@options.execution
@options.output
def command(gpus: tuple[str, ...], form: str, output: str | None, **asked: Any) -> None:
    """Roofline of a model on a GPU: phases, ops, TTFT, TPOT, memory.

    \b
    Examples:
      perfkit roofline --gpu v100 --tokens 32
      perfkit roofline --gpu v100 --gpu h100 --model llava-1.5-13b --weights int4 --format json
    """
    from perfkit import remarks  # with what predicts: not to answer --help
    from perfkit.latency import analyze

    predictions = [analyze(gpu, **asked) for gpu in gpus]
    emit(predictions if len(predictions) > 1 else predictions[0], form, output)
    if form not in ("table", "json"):  # these two hold the notes themselves
        tell("note", (note for prediction in predictions for note in remarks.notes(prediction, brief=True)))
    tell("warning", (warning for prediction in predictions for warning in remarks.warnings(prediction)))
