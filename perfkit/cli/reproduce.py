"""`perfkit reproduce`."""

from __future__ import annotations

import click

from perfkit.cli import options
from perfkit.cli.emit import emit


@click.command("reproduce")
@click.argument("name", required=False)
@options.output
def command(name: str | None, form: str, output: str | None) -> None:
    """Published cost tables made again, and the whole model's cost beside them.

    Without NAME: one line a paper. With it: every figure as printed and as made again, whether they agree, the formula
    behind it, and the figures of the whole model with the command that prints each.

    \b
    Examples:
      perfkit reproduce
      perfkit reproduce prumerge
      perfkit reproduce fastv --format json
    """
    from perfkit.papers.reproducing import reproduce

    emit(reproduce(name), form, output)
