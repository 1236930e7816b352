"""`perfkit count`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.cli.tracing import or_module
from perfkit.conventions import DEFAULT_CONVENTION, convention_names
from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from perfkit.models.spec import ModelSpec
    from perfkit.workload import Workload

# What a convention sets, and so a comparison of all of them does not take.
SWITCHES = ("unit", "causal", "logits", "ffn_matrices", "include", "tokens_counted", "elementwise")


@click.command("count")
@options.model
@options.counted_forward
@options.stored_formats
@click.option(
    "--convention",
    metavar="NAME",
    help=f"Whose way of counting: {', '.join(convention_names())}; default: {DEFAULT_CONVENTION}. "
    "It sets what is not given of the switches.",
)
@click.option("--unit", metavar="flop|mac", help="A multiply-add is 2 (flop) or 1 (mac).")
@click.option("--causal", metavar="full|half", help="A causal mask's square in full, or half of it.")
@click.option("--ffn-matrices", type=options.COUNT, metavar="2|3", help="2 leaves out the gate matrix.")
@click.option(
    "--include", type=options.NAMES, metavar="PART,...", help="Out of vision, reducer, projector, llm, lm_head."
)
@click.option("--tokens-counted", metavar="all|visual", help="visual leaves out text tokens.")
@click.option("--elementwise", is_flag=True, default=None, help="Norms, softmax and activations too.")
@click.option("--explain", "explained", is_flag=True, help="Show the formula with the numbers put in.")
@click.option("--compare", "compared", is_flag=True, help="Show all conventions side by side.")
@options.output
@or_module
def command(form: str, output: str | None, explained: bool, compared: bool, **asked: Any) -> None:
    """FLOPs, MACs and bytes of one forward, as torch or as papers count.

    The forward is vision, reduction, projector and prefill, without decode.

    \b
    Examples:
      perfkit count --tokens 32
      perfkit count --convention pyramiddrop --reduction pyramiddrop --explain
      perfkit count --compare
      perfkit count --module perfkit.tracing.samples:gated_feed_forward
      perfkit count --model llama-3-8b --text-tokens 2048 --causal half --format json
    """
    from perfkit.totals.comparing import compare
    from perfkit.totals.counted import count
    from perfkit.totals.explaining import explain

    if compared:
        comparison = compare(**_comparable(asked, explained))
        emit(comparison, form, output)
        _tell_of_reduction(comparison.model, comparison.workload)
        return
    counted = count(**{**asked, "convention": asked["convention"] or DEFAULT_CONVENTION})
    emit(explain(counted) if explained else counted, form, output)
    _tell_of_reduction(counted.model, counted.workload)


def _tell_of_reduction(spec: ModelSpec, workload: Workload) -> None:
    if workload.reduction:
        from perfkit.remarks import reduction_notes  # a whole prediction is imported with it

        tell("note", reduction_notes(spec, workload))


def _comparable(asked: dict[str, Any], explained: bool) -> dict[str, Any]:
    """Options of a comparison.

    Raises:
        InvalidValue: one that only a single convention can take.
    """
    typed = options.given(click.get_current_context())  # a configuration file's give way
    given = [name for name in ("convention", *SWITCHES) if name in typed] + ["explain"] * explained
    if given:
        raise InvalidValue(f"--compare shows every convention as it is: leave out --{given[0].replace('_', '-')}")
    return {name: value for name, value in asked.items() if name not in ("convention", *SWITCHES)}
