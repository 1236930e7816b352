"""`perfkit table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue
from perfkit.workload import LOGITS, NEW_TOKENS

if TYPE_CHECKING:
    from perfkit.cost_tables.request import TableRequest

BESIDE_A_FILE = ("file", "form", "output")  # options that may stand beside --from
SEVERAL = ("tokens", "columns")  # each may be given several times, with several values


@click.command("table")
@options.compared("gpu", "model", "reduction")
@click.option(
    "--tokens",
    type=options.COUNTS_OR_ZERO,
    multiple=True,
    help="Visual tokens that enter the language model; default: the model's or the reduction's own.",
)
@click.option(
    "--precision",
    type=options.COMPUTE,
    multiple=True,
    default=("fp16",),
    show_default=True,
    help="fp32 tf32 fp16 bf16 fp8 int8. Repeatable.",
)
@click.option("--weights", type=options.STORAGE, multiple=True, help="Also int4, fp4. Repeatable.")
@click.option("--activations", type=options.COMPUTE, multiple=True, help="Repeatable.")
@click.option("--kv", type=options.STORAGE, multiple=True, help="Also int4, fp4. Repeatable.")
@click.option("--columns", type=options.NAMES, multiple=True, help="What the columns show; docs/tables.md lists them.")
@click.option("--text-tokens", type=options.COUNT, help="Default: the convention's, or 60.")
@click.option("--new-tokens", type=options.COUNT, default=NEW_TOKENS, show_default=True, help="Tokens to generate.")
@click.option("--batch", type=options.COUNT, default=1, show_default=True, help="Sequences.")
@click.option("--images", type=options.COUNT, default=1, show_default=True, help="Images a sequence.")
@options.attention
@options.expected
@click.option(
    "--logits",
    type=options.choice(LOGITS),
    help="Positions with logits; default: the convention's in FLOPs, last in times and memory.",
)
@click.option("--convention", default="torch", show_default=True, metavar="NAME", help="How FLOPs and MACs count.")
@click.option("--caption", metavar="TEXT", help="Default: what all rows share.")
@click.option("--label", default="tab:cost", show_default=True, metavar="NAME", help="For LaTeX's \\ref.")
@click.option("--from", "file", metavar="FILE.yaml", help="All of this from a file with the options' names as keys.")
@options.output
@click.pass_context
def command(ctx: click.Context, /, file: str | None, form: str, output: str | None, **asked: Any) -> None:
    """Cost table for a paper: a row for each model, GPU, format, reduction and count of tokens.

    LaTeX, HTML and Markdown come with a caption, grouped rows and notes; csv and JSON hold every axis in SI units.

    \b
    Examples:
      perfkit table --gpu v100 --model llava-1.5-7b --model llava-1.5-13b --reduction none --reduction prumerge --columns flops,prefill_ms,decode_ms,memory,speedup --format latex
      perfkit table --gpu v100 --gpu a100 --tokens 576,144,32 --columns ttft_ms,decode_ms,kv

    \b
    Example of a file, in a checkout of perfkit:
      perfkit table --from docs/examples/prumerge-v100.yaml --format html
    """  # noqa: E501  # an example is one line, so that it can be copied
    from perfkit.cost_tables.building import build_table
    from perfkit.cost_tables.remarking import background_of, notes_of, told
    from perfkit.cost_tables.request import command_of, quoted

    request = _from_options(ctx, asked) if file is None else _from_file(ctx, file)
    typed = quoted(["perfkit", *ctx.find_root().meta["perfkit.typed"]])
    # A file may change after the table was made from it, so its content is kept as options.
    table = build_table(request, (typed,) if file is None else (typed, command_of(request)))
    emit(table, form, output)
    if form == "csv":  # the others hold the notes themselves
        tell("note", notes_of(table))
    if form != "json":  # which holds these too
        tell("note", background_of(table))
    tell("warning", told(table))


def _from_options(ctx: click.Context, asked: dict[str, Any]) -> TableRequest:
    from perfkit.cost_tables.request import TableRequest

    if not asked["gpu"]:
        raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == "gpu"))
    for name in SEVERAL:
        asked[name] = options.flat(asked[name])
    # What was not given keeps the default of TableRequest, and what was given twice counts once.
    given: dict[str, Any] = {name: value for name, value in asked.items() if value not in ((), None)}
    several = {name: tuple(dict.fromkeys(value)) for name, value in given.items() if isinstance(value, tuple)}
    return TableRequest(**(given | several))


def _from_file(ctx: click.Context, file: str) -> TableRequest:
    from perfkit.cost_tables.reading import read_request

    beside = options.given_beside(ctx, BESIDE_A_FILE)
    if beside:
        raise InvalidValue(f"--from takes all from {file}: leave out {', '.join(beside)}, or write it there")
    return read_request(Path(file))
