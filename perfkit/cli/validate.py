"""`perfkit validate`."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue


@click.command("validate")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--gpu", metavar="NAME", help="Device to predict for; default: the one that was measured.")
@click.option("--published", is_flag=True, help="Hold predictions against times that papers published; no FILE.")
@click.option("--chart", metavar="FILE", help="Draw it too: .png, .svg, .pdf or .html.")
@options.output
def command(
    files: tuple[str, ...], gpu: str | None, published: bool, chart: str | None, form: str, output: str | None
) -> None:
    """Predictions against what was measured: ratios, utilisation, where the time goes, speed-ups.

    FILE is what `perfkit measure` wrote; several of one machine count together, so that kernels and phases may stand
    in files of their own.

    \b
    Examples:
      perfkit validate llava.json
      perfkit validate llava.json kernels.json --gpu this.yaml --chart llava.html
      perfkit validate --published
    """
    _check(files, gpu, published, chart)
    if published:
        from perfkit.validation.published import published as compare_published

        emit(compare_published(), form, output)
        return
    from perfkit.validation.judging import validate

    validation = validate(files, gpu)
    if chart:
        from perfkit.charts.validation import draw_validation

        draw_validation(validation, chart)
    emit(validation, form, output)
    tell("warning", validation.warnings)


def _check(files: tuple[str, ...], gpu: str | None, published: bool, chart: str | None) -> None:
    if published and (files or gpu or chart):
        raise InvalidValue("--published takes no FILE, no --gpu and no --chart: its devices are those of the papers")
    if not (published or files):
        raise InvalidValue("name a FILE that `perfkit measure --output FILE` wrote, or take --published")
    if chart:
        from perfkit.charts.rendering import check_chart

        check_chart(Path(chart))
