"""`perfkit report`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.cli import options
from perfkit.cli.emit import tell
from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from perfkit.latency import Prediction
    from perfkit.pages.page import Page

BESIDE_FILES = ("files", "gpus", "output", "only")  # what a report of a validation takes


@click.command("report")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="NAME",
    help="Device id, alias, or path to a YAML. Repeat to compare, up to four. Beside FILEs: the one to predict for.",
)
@options.model
@options.forward
@options.execution
@click.option("--output", required=True, type=click.Path(), metavar="DIR", help="Folder, made where it is missing.")
@click.option("--only", type=options.choice(("html", "pdf")), help="One of the two files; default: both.")
@options.verbose
@click.pass_context
def command(
    ctx: click.Context, /, files: tuple[str, ...], gpus: tuple[str, ...], output: str, only: str | None, **asked: Any
) -> None:
    """A report to send to a colleague: DIR/report.html and DIR/report.pdf.

    With --gpu, of an analysis: key figures, pictures, every phase and op, sources and conventions. With FILEs of
    `perfkit measure`, of a validation: what was measured where, and how far predictions are off. Each file holds all of
    it and loads nothing; the same command gives the same bytes, and replaces what stands there.

    \b
    Examples:
      perfkit report --gpu v100 --tokens 32 --output report
      perfkit report --gpu v100 --gpu h100 --batch 8 --only html --output comparison
      perfkit report llava.json kernels.json --output validation
    """
    from perfkit.pages.writing import FORMS, check_report, write_report

    if files and "gpus" not in options.given(ctx):
        gpus = ()  # a configuration file's are to predict for, not to hold measurements against
    _check(ctx, files, gpus)
    forms = (only,) if only else FORMS
    check_report(output, forms)
    page, warnings = _validated(ctx, files, gpus) if files else _analysed(ctx, gpus, asked)
    written = write_report(page, output, forms)
    tell("warning", warnings)
    tell("note", [f"written: {', '.join(map(str, written))}"])


def _check(ctx: click.Context, files: Sequence[str], gpus: Sequence[str]) -> None:
    if not (files or gpus):
        raise InvalidValue("name a --gpu to analyse, or a FILE that `perfkit measure --output FILE` wrote to validate")
    if not files:
        return
    given = options.given_beside(ctx, BESIDE_FILES)
    if given:
        raise InvalidValue(f"a report of FILEs takes no {', '.join(given)}: its cases are those that were measured")
    if len(gpus) > 1:
        raise InvalidValue("a report of FILEs takes one --gpu at most: the device to predict for")


def _analysed(ctx: click.Context, gpus: Sequence[str], asked: dict[str, Any]) -> tuple[Page, list[str]]:
    from perfkit import remarks
    from perfkit.latency import analyze
    from perfkit.pages.analysis import analysis_page

    found: dict[tuple[str, str | None], Prediction] = {}  # two names of a device count once
    for gpu in gpus:
        p = analyze(gpu, **asked)
        found.setdefault((p.device.id, p.device.file), p)
    predictions = list(found.values())
    return analysis_page(predictions, _again(ctx)), [text for p in predictions for text in remarks.warnings(p)]


def _validated(ctx: click.Context, files: Sequence[str], gpus: Sequence[str]) -> tuple[Page, list[str]]:
    from perfkit.measuring.schema import read_measurement
    from perfkit.pages.validated import validation_page
    from perfkit.validation.judging import validate

    measurements = [read_measurement(Path(file)) for file in files]
    validation = validate(measurements, *gpus)
    return validation_page(validation, measurements, _again(ctx)), list(validation.warnings)


def _again(ctx: click.Context) -> str:
    """The command line, its folder left open: the same report in two folders has the same bytes."""
    return f"{shlex.join(['perfkit', 'report', *_given(ctx)])} --output DIR"


def _given(ctx: click.Context) -> Iterator[str]:
    yield from ctx.params["files"]
    of_files = bool(ctx.params["files"])  # which take nothing from a configuration file
    for name, option in (options.given(ctx) if of_files else options.settled(ctx)).items():
        values = ctx.params[name]
        if name not in ("files", "output", "only"):
            for value in values if isinstance(values, tuple) else (values,):
                yield from (option, str(value))
