"""`perfkit plot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.charts.style import WIDTHS
from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue
from perfkit.tables import FORMATS
from perfkit.units import parse_choice
from perfkit.workload import TEXT_TOKENS

if TYPE_CHECKING:
    from perfkit.latency import Prediction
    from perfkit.reports import Reportable

KINDS = ("roofline", "tokens", "breakdown", "validation")
SEVERAL = ("tokens", "batches")  # each may be given several times, with several values
OF_VALIDATION = ("kind", "files", "gpus", "output", "form")  # what a chart of a validation takes


@click.command("plot")
@click.argument("kind", metavar="roofline|tokens|breakdown|validation")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@options.compared("gpus", "models", "reductions")
@click.option(
    "--tokens", type=options.COUNTS_OR_ZERO, multiple=True, help="Visual tokens a sequence; default: the model's own."
)
@click.option("--batch", "batches", type=options.COUNTS, multiple=True, help="Sequences; default: 1.")
@click.option("--text-tokens", type=options.COUNT, default=TEXT_TOKENS, show_default=True, help="Text tokens.")
@click.option("--images", type=options.COUNT, default=1, show_default=True, help="Images a sequence.")
@options.logits
@options.execution
@click.option(
    "--width",
    type=options.choice(tuple(WIDTHS)),
    default="page",
    show_default=True,
    help="Of a paper's column (3.4 in) or page (7 in).",
)
@click.option("--output", required=True, type=click.Path(), metavar="FILE", help="Picture: .png .svg .pdf or .html.")
@click.option("--format", "form", type=options.choice(FORMATS), help="Print the numbers behind the picture too.")
@options.verbose
@click.pass_context
def command(
    ctx: click.Context, /, kind: str, files: tuple[str, ...], output: str, form: str | None, **asked: Any
) -> None:
    """Draw a chart; a page (.html) has the numbers below it.

    roofline: ops under the ceilings of devices. tokens: FLOPs, times and memory against visual tokens. breakdown: time
    by phase and sort of work. validation: FILEs of `perfkit measure` against their predictions.

    \b
    Examples:
      perfkit plot roofline --gpu v100 --output roofline.svg
      perfkit plot tokens --gpu v100 --gpu h100 --width column --output tokens.pdf
      perfkit plot breakdown --gpu v100 --tokens 576,144,32 --output breakdown.html
      perfkit plot validation llava.json --output validation.png
    """
    from perfkit.charts.rendering import check_chart

    parse_choice("kind of chart", kind, KINDS)
    check_chart(Path(output))
    typed = options.given(ctx)  # a configuration file's values are for the kinds that take them
    if kind == "validation":
        _plot_validation(ctx, files, asked["gpus"] if "gpus" in typed else (), output, form)
        return
    if kind == "tokens" and "tokens" not in typed:
        asked["tokens"] = ()
    if files:
        raise InvalidValue(f"plot {kind} takes no FILE: it predicts; plot validation takes what was measured")
    if not asked["gpus"]:
        raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == "gpus"))
    _plot_predictions(kind, output, form, **asked)


def _plot_validation(
    ctx: click.Context, files: tuple[str, ...], gpus: tuple[str, ...], output: str, form: str | None
) -> None:
    given = options.given_beside(ctx, OF_VALIDATION)
    if given:
        raise InvalidValue(
            f"plot validation takes no {', '.join(given)}: its cases and its width are those of the FILEs"
        )
    if not files:
        raise InvalidValue("name a FILE that `perfkit measure --output FILE` wrote")
    if len(gpus) > 1:
        raise InvalidValue("plot validation takes one --gpu at most: the device to predict for")
    from perfkit.charts.validation import draw_validation
    from perfkit.validation.judging import validate

    validation = validate(files, gpus[0] if gpus else None)
    draw_validation(validation, output)
    _print(validation, form)
    tell("warning", validation.warnings)


def _plot_predictions(kind: str, output: str, form: str | None, width: str, **asked: Any) -> None:
    from perfkit import remarks
    from perfkit.views.asking import predictions_of

    if kind == "tokens" and asked["tokens"]:
        raise InvalidValue("plot tokens draws all counts of visual tokens: leave out --tokens")
    predictions = predictions_of(**asked | {name: options.flat(asked[name]) for name in SEVERAL})
    view, draw = _view(kind, predictions)
    draw(view, output, width)
    _print(view, form)
    tell("note", (note for p in predictions for note in remarks.notes(p, brief=True)))
    tell("warning", (warning for p in predictions for warning in remarks.warnings(p)))


def _view(kind: str, predictions: tuple[Prediction, ...]) -> tuple[Any, Callable[[Any, str, str], None]]:
    """What a chart shows, and what draws it."""
    if kind == "roofline":
        from perfkit.charts.roofline import draw_roofline
        from perfkit.views.roofline import roofline_view

        return roofline_view(predictions), draw_roofline
    if kind == "tokens":
        from perfkit.charts.tokens import draw_tokens
        from perfkit.views.tokens import tokens_view

        return tokens_view(predictions), draw_tokens
    from perfkit.charts.breakdown import draw_breakdown
    from perfkit.views.breakdown import breakdown_view

    return breakdown_view(predictions), draw_breakdown


def _print(value: Reportable, form: str | None) -> None:
    if form:
        emit(value, form, None)
