"""`perfkit count`."""

from __future__ import annotations

from typing import Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit
from perfkit.totals.counted import TORCH, count


@click.command("count")
@options.model
@options.forward
@click.option(
    "--convention",
    default=TORCH.name,
    show_default=True,
    metavar="NAME",
    help="Counting convention. torch: FlopCounterMode's, multiply-add = 2, causal mask in full.",
)
@click.option("--elementwise", is_flag=True, help="Count element-wise work beside matrix products.")
@options.output
def command(form: str, output: str | None, **asked: Any) -> None:
    """FLOPs, MACs, parameters and bytes of one forward (vision, projector, prefill).

    \b
    Examples:
      perfkit count --tokens 32
      perfkit count --model llama-3-8b --text-tokens 2048 --logits all --format json
    """
    emit(count(**asked), form, output)
