"""`perfkit count --module`: the part of the command that traces a torch module."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, TypeVar, cast

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue

Command = TypeVar("Command", bound=Callable[..., Any])
OWN = ("module", "inputs", "depth", "strict")
BESIDE = ("elementwise", "form", "output")  # options of `perfkit count` that a module takes too
CONVENTION = "torch"  # the only one that needs no model's parts


_OPTIONS = (
    click.option(
        "--module", metavar="PKG.MOD:FACTORY", help="Trace a torch module on meta instead of counting a model."
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="SPEC",
        help="With --module, where the factory returns no inputs: SHAPE[:DTYPE] or NAME=SHAPE[:DTYPE]. Repeatable.",
    ),
    click.option("--depth", type=options.COUNT_OR_ZERO, help="With --module: names of a module's path to tell apart."),
    click.option("--strict", is_flag=True, help="With --module: fail where an op has no formula."),
)


def or_module(command: Command) -> Command:
    """Add --module and what goes with it; where it is given, the module is traced and the command not run."""

    @functools.wraps(command)
    def either(*args: Any, **asked: Any) -> Any:
        own = {name: asked.pop(name) for name in OWN}
        if _traces(click.get_current_context()):
            return _emit_trace(**own, **{name: asked[name] for name in BESIDE})
        return command(*args, **asked)

    for option in reversed(_OPTIONS):
        either = option(either)
    return cast(Command, either)


def _traces(ctx: click.Context) -> bool:
    """Whether a module is to be traced.

    Raises:
        InvalidValue: options of one way to count stand beside those of the other.
    """
    given = options.given(ctx)
    if "module" not in given:
        stray = [option for name, option in given.items() if name in OWN]
        if stray:
            raise InvalidValue(f"{', '.join(stray)} goes with --module only")
        return False
    allowed = (*OWN, *BESIDE, *(["convention"] if ctx.params["convention"] == CONVENTION else []))
    stray = [option for name, option in given.items() if name not in allowed]
    if stray:
        raise InvalidValue(
            f"--module counts a torch module as it is, by the convention {CONVENTION}: leave out {', '.join(stray)}"
        )
    return True


def _emit_trace(
    module: str,
    inputs: tuple[str, ...],
    depth: int | None,
    *,
    strict: bool,
    elementwise: bool | None,
    form: str,
    output: str | None,
) -> None:
    from perfkit.tracing import load_factory, parse_input, trace

    loaded = load_factory(module, tuple(parse_input("--input", text) for text in inputs))
    with redirect_stdout(sys.stderr):  # what the module prints is no part of the result
        traced = trace(*loaded, name=module, depth=depth, elementwise=bool(elementwise), strict=strict)
    emit(traced, form, output)
    if not traced.returned:
        tell("warning", ["the forward returned no tensor that was found: its outputs are not in the fused bytes"])
    if traced.uncounted:
        names = ", ".join(op.name for op in traced.uncounted)
        tell("warning", [f"no formula, and so not in the FLOPs: {names} (--strict makes it an error)"])
