"""`perfkit plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.progress import Progress
from perfkit.planning.request import BATCHES, DEGREES, RANKS
from perfkit.sweeping.request import BASES
from perfkit.units import BYTES, SECONDS, parse_positive, parse_quantity
from perfkit.workload import ATTENTIONS, NEW_TOKENS, RUNTIMES, TEXT_TOKENS

_TIME = options.Parsed("S", lambda option, text: parse_quantity(option, text, SECONDS))
_SIZE = options.Parsed("SIZE", lambda option, text: parse_quantity(option, text, BYTES))
_DOLLARS = options.Parsed("$", parse_positive)
_RATE = options.Parsed("R", parse_positive)
_AXES = ("tokens", "batch", "tp", "pp")


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


@click.command("plan")
@click.option(
    "--gpu", multiple=True, metavar="NAME", help="Device id, alias, or a YAML. Repeatable; default: all with a price."
)
@options.model
@click.option("--ttft", "ttft_s", type=_TIME, help="Most time to first token: 0.2, 200ms.")
@click.option("--tpot", "tpot_s", type=_TIME, help="Most time per output token: 30ms.")
@click.option("--memory", "memory_bytes", type=_SIZE, help="Most memory of a GPU, below what it has: 24GB.")
@click.option("--budget", "usd_per_hour", type=_DOLLARS, help="Most dollars an hour, all GPUs together.")
@options.axis("--tokens", "Visual tokens a sequence; default: the model's own; 0: none.", zero=True)
@options.axis("--batch", f"Sequences that run together; default: {_listed(BATCHES)}.")
@options.axis("--tp", f"GPUs that share every layer; default: {_listed(DEGREES)}.")
@options.axis("--pp", "Stages of such GPUs; default: 1.")
@click.option("--text-tokens", type=options.COUNT, default=TEXT_TOKENS, show_default=True, help="Of a sequence.")
@click.option("--new-tokens", type=options.COUNT, default=NEW_TOKENS, show_default=True, help="Of a sequence.")
@click.option("--images", type=options.COUNT, default=1, show_default=True, help="Of a sequence.")
@options.formats
@click.option("--attention", type=options.choice(ATTENTIONS), default="fused", show_default=True, help="Kernel.")
@click.option(
    "--basis",
    type=options.choice(BASES),
    default="expected",
    show_default=True,
    help="Times that are held against goals: roofline, or what is to be expected.",
)
@click.option("--runtime", type=options.choice(RUNTIMES), help="Of expected times; default: graph.")
@click.option("--calibration", metavar="FILE", help="Of expected times, instead of each device's own.")
@click.option(
    "--rank",
    type=options.choice(RANKS),
    default="usd",
    show_default=True,
    help="usd: $/Mtoken; energy: J/token; latency: of a request.",
)
@click.option("--rate", type=_RATE, help="Requests a second that replicas share: simulated, and ranked by that.")
@click.option("--prices", metavar="FILE", help="A YAML of listings, instead of perfkit's own.")
@click.option("--top", type=options.COUNT, default=10, show_default=True, help="Plans that are shown.")
@click.option("--chart", metavar="FILE", help="Draw it too: .png, .svg, .pdf or .html.")
@options.output
def command(form: str, output: str | None, chart: str | None, **asked: Any) -> None:
    """GPUs, degrees, formats, tokens and batch that meet a goal, the best first; and why the others do not.

    Options take several values, by commas, by repetition, and counts as ranges start:stop:step.

    \b
    Examples:
      perfkit plan --ttft 200ms --tpot 30ms
      perfkit plan --gpu v100 --model llava-1.5-13b --weights fp16,int8,int4 --ttft 0.5 --tpot 50ms --rank latency
      perfkit plan --gpu h100 --gpu l40s --tokens 576,144,32 --ttft 100ms --rank energy --format json
      perfkit plan --gpu h100-sxm --tokens 576,32 --tp 1 --ttft 200ms --tpot 30ms --rate 50
    """
    from perfkit.planning.planner import plan

    if chart:
        from perfkit.charts.rendering import check_chart

        check_chart(Path(chart))
    progress = Progress("planning", lines=False)
    given = {name: value for name, value in _given(asked).items() if value not in ((), None)}
    found = plan(**given, progress=progress)
    if chart:
        from perfkit.charts.planned import draw_planned

        draw_planned(found, chart)
    emit(found, form, output)
    if form != "json":  # which holds them itself
        tell("warning", (*found.warnings, *found.left_out[:5]))
        if len(found.left_out) > 5:
            tell("warning", [f"and {len(found.left_out) - 5} more combinations are left out: --format json has them"])


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """Several values of an axis as one list; what was not given is empty."""
    several = {name: options.flat(asked[name]) for name in ("precision", "weights", "activations", "kv")}
    axes = {name: tuple(count for one in asked[name] for counts in one for count in counts) for name in _AXES}
    return {**asked, **several, **axes, "gpu": tuple(dict.fromkeys(asked["gpu"]))}
