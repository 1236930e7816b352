"""Hand a result over: stdout or a file, whole or not at all; warnings to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfkit import reports
from perfkit.errors import MachineError
from perfkit.files import write_whole
from perfkit.tables import render_for_people

if TYPE_CHECKING:
    from perfkit.reports import Reportable


def emit(value: Reportable | Sequence[Reportable], form: str, output: str | None) -> None:
    """Write `value` in a format to `output` or stdout.

    Raises:
        MachineError: it cannot be written; a file that stood there stays.
    """
    text = _rendered(value, form, to_terminal=output is None)
    if output is None:
        _print(text)
    else:
        write_whole(Path(output), text + "\n")


def tell(what: str, lines: Iterable[str]) -> None:
    """Lines for stderr, each once, after what they are (a note, a warning)."""
    for line in dict.fromkeys(lines):
        click.echo(f"{what}: {line}", err=True)


def _print(text: str) -> None:
    # A terminal that cannot show a bar gets a question mark, not a traceback.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        click.echo(text.encode(encoding, "replace").decode(encoding))
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as error:
        raise MachineError(f"cannot write to standard output: {error.strerror}") from None


def _rendered(value: Reportable | Sequence[Reportable], form: str, *, to_terminal: bool) -> str:
    if form == "json":
        return json.dumps(reports.document(value), indent=2, ensure_ascii=False)
    if form == "table":
        color = to_terminal and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size((100, 24)).columns
        return render_for_people(reports.overview(value), width=width, color=color)
    if form == "csv":
        return reports.report(value).render(form)
    return reports.printed(value).render(form)
