"""`perfkit completion`."""

from __future__ import annotations

import click

from perfkit.cli import COMPLETE, options
from perfkit.units import parse_choice

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", metavar="|".join(SHELLS))
@options.verbose
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print a script that completes commands, options and names in a shell.

    To have it in every new shell, add a line to the shell's own file:

    \b
      ~/.bashrc                    eval "$(perfkit completion bash)"    (bash 4.4 or newer)
      ~/.zshrc, after compinit     eval "$(perfkit completion zsh)"
      ~/.config/fish/config.fish   perfkit completion fish | source

    \b
    Examples:
      perfkit completion bash
      perfkit completion zsh
    """
    from perfkit.cli.completing import script

    click.echo(script(parse_choice("shell", shell, SHELLS), ctx.find_root().command, COMPLETE))
