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
    return reports.report(value).render(form)


def write_whole(path: Path, text: str) -> None:
    """Write `text` to a new file beside `path`, then put it in its place; a link's target is replaced, not the link.

    A pipe or a device (`/dev/stdout`, `/dev/null`) holds nothing to keep: it is written to and stays what it is.

    Raises:
        MachineError: no such folder, or no right to write there; nothing is changed.
    """
    import tempfile

    temporary: Path | None = None
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8", newline="")
            return
        path = path.resolve()
        if path.exists() and not os.access(path, os.W_OK):  # a new file may be put in its place, but is not wanted
            raise PermissionError(13, "is read-only")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}; nothing was written") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
