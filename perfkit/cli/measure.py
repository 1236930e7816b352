"""`perfkit measure`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.progress import Progress
from perfkit.errors import MachineError
from perfkit.workload import TEXT_TOKENS

Command = TypeVar("Command", bound=Callable[..., Any])
SEVERAL = ("tokens", "batches", "precisions", "attentions", "runtimes", "phases")


def _several(*names: str, text: str, kind: Any = options.NAMES) -> Callable[[Command], Command]:
    return click.option(*names, type=kind, multiple=True, help=text)


@click.command("measure")
@click.option("--output", required=True, type=click.Path(), metavar="FILE", help="Where the measurement is kept.")
@click.option("--suite", default="model", show_default=True, metavar="model|kernels|peaks", help="What to time.")
@options.model
@_several("--tokens", kind=options.COUNTS_OR_ZERO, text="Visual tokens a sequence; default: the model's own; 0: none.")
@click.option(
    "--text-tokens", type=options.COUNT, default=TEXT_TOKENS, show_default=True, help="Text tokens a sequence."
)
@_several("--batch", "batches", kind=options.COUNTS, text="Sequences; default: 1.")
@_several("--precision", "precisions", text="fp32 tf32 fp16 bf16; default: fp16, on a CPU bf16.")
@_several("--attention", "attentions", text="sdpa (default), eager.")
@_several("--runtime", "runtimes", text="Of decode: eager launches, CUDA graph; default: all that the device has.")
@_several("--phase", "phases", text="vision, projector, prefill, decode; default: all.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cuda|cpu", help="Where to run.")
@click.option("--flush", is_flag=True, help="Empty the last cache level before each repeat.")
@click.option("--resume", is_flag=True, help="Add to FILE the points that it lacks.")
@click.option(
    "--target",
    type=options.PERCENT,
    default="1",
    show_default=True,
    help="Half the median's 95 % interval, in percent.",
)
@click.option(
    "--budget", type=options.SECONDS, help="Repeat a point so long at most; default: 30 s, kernels and peaks 3 s."
)
@click.option("--stop-after", "stop_after_s", type=options.SECONDS, help="Begin no point after so many seconds.")
@options.form
@click.pass_context
def command(ctx: click.Context, /, form: str, target: float, budget: float | None, **asked: Any) -> None:
    """Time this machine: the phases of a model, kernels, or its peaks.

    A model is built as Hugging Face has it, with random weights; nothing is downloaded. Options marked N,... and
    NAME,... take several values. Every point is written to FILE as it is finished: what interrupts a run loses
    nothing, and --resume goes on with it.

    Suite model times vision, projector, prefill and one decode step. Suite kernels times the kernels of the model
    over many sizes; FILE may end in .csv for a table of them. Suite peaks times large products and copies; FILE may
    end in .yaml for a device that --gpu takes. The samples then stand beside it, ending in .json.

    \b
    Examples:
      perfkit measure --tokens 576,144,64,32 --batch 1,8 --output llava.json
      perfkit measure --suite peaks --output this.yaml
      perfkit measure --suite kernels --tokens 576,32 --output kernels.csv
    """
    from perfkit.measuring.campaign import measure
    from perfkit.measuring.suites import rules_of

    # Options that were not given keep the defaults of `perfkit.measure`.
    given: dict[str, Any] = {key: values for key in SEVERAL if (values := options.flat(asked.pop(key)))}
    rules = rules_of(asked["suite"], target, budget)
    root = ctx.find_root()
    progress, typed = Progress(), f"{root.info_name} {shlex.join(root.meta['perfkit.typed'])}"
    try:
        measured = measure(**asked, **given, rules=rules, command=typed, progress=progress)
    except KeyboardInterrupt:
        raise MachineError(_left("interrupted", max(0, progress.begun - 1), progress.total)) from None
    emit(measured, form, None)
    tell("warning", measured.warnings)
    if progress.begun < progress.total:
        tell("note", [_left("stopped", progress.begun, progress.total)])


def _left(why: str, done: int, total: int) -> str:
    return f"{why}: {done} of the {total} points that were left are measured and kept; --resume goes on with the rest"
