"""`perfkit simulate`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.progress import Progress
from perfkit.serving.lengths import parse_lengths
from perfkit.serving.request import ARRIVALS, BATCHINGS, MAX_BATCH, REQUESTS
from perfkit.sweeping.request import BASES
from perfkit.units import SECONDS, parse_positive, parse_quantity
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS

_RATE = options.Parsed("R", parse_positive)
_TIME = options.Parsed("S", lambda option, text: parse_quantity(option, text, SECONDS))
_LENGTHS = options.Parsed("N|A:B|FILE", parse_lengths)
_LENGTHS_OR_ZERO = options.Parsed("N|A:B|FILE", lambda option, text: parse_lengths(option, text, minimum=0))


@click.command("simulate")
@click.option(
    "--gpu", "gpus", multiple=True, required=True, metavar="NAME", help="Device id, alias, or a YAML. Repeatable."
)
@options.model
@click.option("--rate", type=_RATE, help="Requests a second.")
@click.option(
    "--arrivals", type=options.choice(ARRIVALS), default="poisson", show_default=True, help="At random, or evenly."
)
@click.option("--requests", type=options.COUNT, default=REQUESTS, show_default=True, help="That are simulated.")
@click.option("--seed", type=options.COUNT_OR_ZERO, default=0, show_default=True, help="The same seed, the same run.")
@click.option(
    "--request-file",
    metavar="FILE",
    help="A csv of text_tokens, visual_tokens, new_tokens, arrival_s: drawn from, or without --rate played as it is.",
)
@click.option(
    "--tokens",
    "several_tokens",
    type=_LENGTHS_OR_ZERO,
    multiple=True,
    help="Visual tokens; default: the model's own; FILE as `perfkit reduce --format csv` prints. Repeatable.",
)
@click.option("--text-tokens", type=_LENGTHS, default=str(TEXT_TOKENS), show_default=True, help="Of a request.")
@click.option("--new-tokens", type=_LENGTHS, default=str(NEW_TOKENS), show_default=True, help="Of a request.")
@click.option("--images", type=options.COUNT, default=1, show_default=True, help="Of a request.")
@click.option(
    "--batching",
    type=options.choice(BATCHINGS),
    default="continuous",
    show_default=True,
    help="static: a batch starts and ends together; continuous: requests join between steps.",
)
@click.option("--max-batch", type=options.COUNT, default=MAX_BATCH, show_default=True, help="Most that run together.")
@click.option("--wait", "wait_s", type=_TIME, help="Static: so long the first waits for others, 50ms; default: not.")
@click.option(
    "--chunked-prefill",
    type=options.COUNT,
    help="Continuous: prompts in chunks beside decoding, N tokens a step in all.",
)
@click.option("--ttft", "ttft_s", type=_TIME, help="Goal: most time to first token: 0.2, 200ms.")
@click.option("--tpot", "tpot_s", type=_TIME, help="Goal: most time per output token: 30ms.")
@click.option(
    "--precision", type=options.COMPUTE, default="fp16", show_default=True, help="fp32 tf32 fp16 bf16 fp8 int8."
)
@click.option("--weights", type=options.STORAGE, help="Of the language model's linear layers; also int4, fp4.")
@click.option("--activations", type=options.COMPUTE, help="Activations, and attention's products.")
@click.option("--kv", type=options.STORAGE, help="How the cache is stored; also int4, fp4.")
@options.attention
@options.parallel
@click.option("--basis", type=options.choice(BASES), default="expected", show_default=True, help="Of step times.")
@options.expected
@click.option("--chart", metavar="FILE", help="Draw it too: .png, .svg, .pdf or .html.")
@options.output
def command(
    gpus: tuple[str, ...],
    several_tokens: tuple[Any, ...],
    form: str,
    output: str | None,
    chart: str | None,
    **asked: Any,
) -> None:
    """Serving under a request rate: waiting, TTFT and TPOT in quantiles, tokens/s, memory, and the rate a goal allows.

    Requests arrive one by one at one replica, a GPU or tp x pp of them, wait for room, and run in batches whose steps
    take what perfkit predicts. Lengths are a number, an even spread A:B, or drawn from a file.

    \b
    Examples:
      perfkit simulate --gpu h100 --rate 12 --tokens 576 --tokens 32 --ttft 200ms --tpot 30ms
      perfkit simulate --gpu a100 --rate 4 --text-tokens 20:200 --new-tokens 10:400 --chunked-prefill 512
      perfkit simulate --gpu v100 --request-file docs/examples/requests.csv --batching static --wait 100ms
    """
    from perfkit.serving.simulating import simulate

    if chart:
        from perfkit.charts.rendering import check_chart

        check_chart(Path(chart))
    given = {name: value for name, value in asked.items() if value is not None}
    points = list(product(dict.fromkeys(gpus), dict.fromkeys(several_tokens or (None,))))
    progress = Progress("simulating", lines=False)
    found = [simulate(gpu, tokens=tokens, progress=progress, **given) for gpu, tokens in points]
    if chart:
        from perfkit.charts.simulated import draw_simulated

        draw_simulated(found, chart)
    emit(found if len(found) > 1 else found[0], form, output)
    if form != "json":  # which holds them itself
        tell("warning", (warning for one in found for warning in one.warnings))
