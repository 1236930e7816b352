"""`perfkit reduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.progress import Progress
from perfkit.errors import InvalidValue, MachineError
from perfkit.workload import TEXT_TOKENS


@click.command("reduce")
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("prumerge",),
    show_default=True,
    metavar="M",
    help="prumerge, prumerge+, spatial:n=64, sequential:n=64, random:n=64. Repeat to compare.",
)
@click.option(
    "--vision-model", metavar="DIR", help="Folder of a CLIP or LLaVA with its weights; nothing is downloaded."
)
@click.option("--random-weights", is_flag=True, help="A dry run, whose counts mean nothing.")
@click.option(
    "--model",
    metavar="NAME",
    help="Whose language model is costed, and whose tower has random weights: a preset or a path; "
    "default: the LLaVA in --vision-model, else llava-1.5-7b.",
)
@click.option(
    "--ratio",
    type=options.RATIO,
    help="Share of patches to keep, up to 1; prumerge+ adds its grid to them; default: as many as it finds.",
)
@click.option("--neighbours", type=options.COUNT, default=32, show_default=True, help="Patches merged into each kept.")
@click.option("--strict-reference", is_flag=True, help="As the published code does it, its oddities included.")
@click.option(
    "--unreadable",
    type=options.choice(("raise", "skip")),
    default="raise",
    show_default=True,
    help="Pictures that cannot be read.",
)
@click.option(
    "--non-finite",
    type=options.choice(("raise", "skip")),
    default="raise",
    show_default=True,
    help="Pictures whose features are NaN or infinite.",
)
@click.option("--batch-size", type=options.COUNT, help="Pictures at once; default: 8; with --strict-reference 1.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cuda|cpu", help="Where the tower runs.")
@click.option("--tower-precision", metavar="fp32|fp16|bf16", help="Of the tower; default: fp16, on a CPU fp32.")
@click.option(
    "--budget",
    "budget_s",
    type=options.SECONDS,
    default="5",
    show_default=True,
    help="Time the tower, and each reducer, so long at most.",
)
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    default=("v100",),
    show_default=True,
    metavar="NAME",
    help="Device to cost the tokens for. Repeatable.",
)
@click.option("--text-tokens", type=options.COUNT, default=TEXT_TOKENS, show_default=True, help="Text tokens costed.")
@click.option("--batch", type=options.COUNT, default=1, show_default=True, help="Sequences costed, a picture in each.")
@options.logits
@options.execution
@click.option("--overlay", metavar="FILE", help="Draw the kept patches on the pictures: .png, .svg, .pdf or .html.")
@options.output
def command(pictures: tuple[str, ...], overlay: str | None, form: str, output: str | None, **asked: Any) -> None:
    """Token reducers on pictures: tokens kept, the time that takes, and what these tokens cost.

    IMAGE is a picture or a folder of them. Pictures are prepared as CLIP does and seen by its vision tower. Kept tokens
    are shown picture by picture and as a distribution, the reducer's time beside the tower's, and what these tokens
    cost, as `perfkit roofline` predicts it.

    \b
    Examples:
      perfkit reduce photos/ --vision-model llava-1.5-7b-hf --method prumerge --method prumerge+ --overlay kept.png
      perfkit reduce cat.jpg --vision-model clip-vit-large-patch14-336 --gpu h100 --gpu v100 --format json

    \b
    Example of a dry run, in a checkout of perfkit:
      perfkit reduce docs/examples/harbour.png --random-weights --model docs/examples/small-llava.json --budget 1
    """
    from perfkit.pictures.overlaying import check_methods
    from perfkit.pictures.running import reduce_pictures

    _check_written(pictures, overlay, output)
    if overlay:
        check_methods(len(set(asked["methods"])))
    run = reduce_pictures(pictures, progress=Progress("reducing", lines=False), **asked)
    if overlay:
        from perfkit.charts.overlay import draw_overlay
        from perfkit.pictures.overlaying import overlay_view

        view = overlay_view(run)
        draw_overlay(view, overlay)
        tell("note", view.notes)
    emit(run, form, output)
    if form != "json":  # which holds these
        tell("note", run.notes)
    tell("warning", run.warnings)


def _check_written(pictures: tuple[str, ...], overlay: str | None, output: str | None) -> None:
    """Refuse to write over what is read, and what cannot be drawn."""
    from perfkit.pictures.finding import find_pictures

    read = {path.resolve() for path in find_pictures(pictures)}
    for option, file in (("--overlay", overlay), ("--output", output)):
        if file == "":
            raise InvalidValue(f"{option} must name a file, not ''")
        if file and Path(file).resolve() in read:
            raise InvalidValue(f"{option} {file} is one of the pictures: name another file")
        if file and not Path(file).resolve().parent.is_dir():
            raise MachineError(f"{option} {file}: there is no folder {Path(file).parent}; nothing was written")
    if overlay and output and Path(overlay).resolve() == Path(output).resolve():
        raise InvalidValue(f"--overlay and --output are both {output}: name two files")
    if overlay:
        from perfkit.charts.rendering import check_chart

        check_chart(Path(overlay))
