"""A page as files of a folder: all of them whole, or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from perfkit.charts.rendering import check_matplotlib
from perfkit.errors import InvalidValue, MachineError
from perfkit.files import open_whole
from perfkit.pages.page import Page

FORMS = ("html", "pdf")
NAME = "report"  # of the files, before their endings


def check_report(folder: Path | str, forms: Iterable[str] = FORMS) -> None:
    """Refuse what cannot be written, before any work is done for it.

    Raises:
        InvalidValue: `folder` is an empty name.
        MachineError: it is no folder or not to be written to, or a library is not installed.
    """
    if folder == "":  # which Path would take for the working folder
        raise InvalidValue("--output must name a folder, not '' (. is the working folder); nothing was written")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise MachineError(f"--output names a folder, and {folder} is none: name another; nothing was written")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise MachineError(f"cannot write to {folder}: Permission denied; nothing was written")
    missing = list(_missing(forms))
    if missing:
        hint = "; --only html does without it" if missing == ["reportlab"] else ""
        raise MachineError(f"reports need {' and '.join(missing)}: pip install 'perfkit[pdf]'{hint}")


def _missing(forms: Iterable[str]) -> Iterable[str]:
    try:
        check_matplotlib()
    except MachineError:
        yield "matplotlib"
    if "pdf" in forms and find_spec("reportlab") is None:
        yield "reportlab"


def write_report(page: Page, folder: Path | str, forms: Sequence[str] = FORMS) -> tuple[Path, ...]:
    """Write the page as `report.html` and `report.pdf` of a folder, which is made where it is missing.

    Raises:
        InvalidValue, MachineError: as `check_report`; what stood there stays.
    """
    check_report(folder, forms)
    folder = Path(folder)
    contents = [_written(page, form) for form in forms]  # before anything is touched
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make the folder {folder}: {error.strerror}; nothing was written") from None
    paths = tuple(folder / f"{NAME}.{form}" for form in forms)
    with ExitStack() as stack:
        files = [stack.enter_context(open_whole(path)) for path in paths]
        for file, content in zip(files, contents, strict=True):
            file.write(content)
    return paths


def _written(page: Page, form: str) -> bytes:
    if form == "html":
        from perfkit.pages.html import html_of

        return html_of(page)
    from perfkit.pages.pdf import pdf_of

    return pdf_of(page)
