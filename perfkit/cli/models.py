"""`perfkit models`."""

from __future__ import annotations

import click

from perfkit.cli import options
from perfkit.cli.emit import emit
from perfkit.models import load_model, preset_names


@click.command("models")
@click.argument("name", required=False)
@options.output
def command(name: str | None, form: str, output: str | None) -> None:
    """List the presets, or show one model (a preset or a config.json) whole.

    \b
    Examples:
      perfkit models
      perfkit models llava-1.5-7b
    """
    emit(load_model(name) if name else [load_model(preset) for preset in preset_names()], form, output)
