"""The command line: one file a command, imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

import perfkit
from perfkit.errors import PerfkitError

COMMANDS = (
    "calibrate",
    "count",
    "gpus",
    "kernels",
    "measure",
    "models",
    "plan",
    "plot",
    "reduce",
    "reproduce",
    "roofline",
    "simulate",
    "sweep",
    "table",
    "validate",
)


def load_command(name: str) -> click.Command:
    """Command of one of COMMANDS."""
    command: click.Command = import_module(f"perfkit.cli.{name}").command
    return command


class _Commands(click.Group):
    """Group whose commands are found by name, and whose errors are one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return load_command(name) if name in COMMANDS else None

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        typed = list(args)  # before click takes the arguments apart
        ctx = super().make_context(info_name, args, parent, **extra)
        ctx.meta["perfkit.typed"] = typed
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except PerfkitError as error:
            _fail(ctx, str(error))
        except Exception as error:  # a defect: still one line, and how to see more
            _fail(ctx, f"unexpected {type(error).__name__}: {error} (-v shows the traceback; please report it)")


def _fail(ctx: click.Context, message: str) -> None:
    if ctx.find_root().meta.get("perfkit.verbose"):
        import traceback

        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    ctx.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(perfkit.__version__, prog_name="perfkit")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """What vision-language models cost, layer by layer, on any GPU.

    \b
    Example:
      perfkit roofline --gpu v100 --tokens 32
    """
    if verbose:
        ctx.find_root().meta["perfkit.verbose"] = True
