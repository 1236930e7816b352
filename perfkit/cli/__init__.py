"""The command line: one file a command, imported when it is called."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from perfkit.errors import PerfkitError, UnknownName

COMMANDS = (
    "calibrate",
    "completion",
    "count",
    "gpus",
    "kernels",
    "measure",
    "models",
    "plan",
    "plot",
    "reduce",
    "report",
    "reproduce",
    "roofline",
    "serve",
    "simulate",
    "sweep",
    "table",
    "validate",
)
# Of libraries that a command may lack without saying so itself, the extra that brings them.
EXTRAS = {"numpy": "arrays", "pandas": "frames", "filelock": "sweep", "transformers": "torch"}
DEFAULTS = "perfkit.defaults"  # in a context's meta: what configuration files say of the command that runs
COMPLETE = "_PERFKIT_COMPLETE"  # set by a shell's script while a line is being completed


class CommandContext(click.Context):
    """A command's context: what configuration files set is said before it runs, and counts as typed in provenance."""

    def invoke(self, callback: Any, /, *args: Any, **asked: Any) -> Any:
        """Run the command."""
        found = self.meta.pop(DEFAULTS, {})
        used = {
            name: each for name, each in found.items() if self.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        }
        if used:
            from perfkit.cli import defaults

            for line in defaults.notes(used):
                click.echo(f"note: {line}", err=True)
            typed = self.meta["perfkit.typed"]
            after = typed.index(self.info_name) + 1
            self.meta["perfkit.typed"] = [*typed[:after], *defaults.arguments(used), *typed[after:]]
        return super().invoke(callback, *args, **asked)


def load_command(name: str) -> click.Command:
    """Command of one of COMMANDS."""
    command: click.Command = import_module(f"perfkit.cli.{name}").command
    command.context_class = CommandContext
    return command


class _Commands(click.Group):
    """Group whose commands are found by name, and whose errors are one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        if ctx.resilient_parsing:  # a line is being completed
            from perfkit.cli.completing import completed

            return completed(load_command(name))
        return load_command(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if args[0].startswith("-"):
                raise
            raise click.UsageError(str(UnknownName("command", args[0], COMMANDS)), ctx) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        if COMPLETE in os.environ:
            from perfkit.cli.completing import register

            register()
        return super().main(*args, **extra)

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
        except Exception as error:
            _fail(ctx, _missing_library(error) or _defect(error))


def _missing_library(error: Exception) -> str | None:
    library = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"this needs {library}: pip install 'perfkit[{EXTRAS[library]}]'" if library in EXTRAS else None


def _defect(error: Exception) -> str:
    """Still one line, and how to see more."""
    return f"unexpected {type(error).__name__}: {error} (-v shows the traceback; please report it)"


def _fail(ctx: click.Context, message: str) -> None:
    if ctx.find_root().meta.get("perfkit.verbose"):
        import traceback

        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    ctx.exit(1)


def _tell_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from perfkit.cli.version import version_lines

        click.echo("\n".join(version_lines()))
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version, and what a bug report needs.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-config", is_flag=True, help="Take no defaults from perfkit.toml and its kin.")
@click.pass_context
def main(ctx: click.Context, verbose: bool, no_config: bool) -> None:
    """What vision-language models cost, layer by layer, on any GPU.

    Defaults of options may stand in a perfkit.toml; docs/configuration.md says how.

    \b
    Example:
      perfkit roofline --gpu v100 --tokens 32
    """
    if verbose:
        ctx.find_root().meta["perfkit.verbose"] = True
    if not no_config:
        _read_defaults(ctx)


def _read_defaults(ctx: click.Context) -> None:
    """Let configuration files set what the command line does not; help shows perfkit's own defaults."""
    name, typed = ctx.invoked_subcommand, ctx.meta["perfkit.typed"]
    if name not in COMMANDS or name == "completion" or set(typed) & set(ctx.help_option_names):
        return
    from perfkit.cli.config import config_files

    files = config_files()
    if files:
        from perfkit.cli.defaults import defaults_of

        ctx.meta[DEFAULTS] = defaults_of(name, typed, files)
        ctx.default_map = {name: {parameter: each.value for parameter, each in ctx.meta[DEFAULTS].items()}}
