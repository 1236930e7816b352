"""Write docs/cli.md from the commands' own help, so that the reference cannot lag behind them."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli import COMMANDS, load_command, main

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"


def reference() -> str:
    """The text of docs/cli.md."""
    root = click.Context(main, info_name="perfkit", max_content_width=100, terminal_width=100)
    pages = [_page("perfkit", main.get_help(root))]
    for name in COMMANDS:
        command = load_command(name)
        context = click.Context(command, info_name=name, parent=root, max_content_width=100, terminal_width=100)
        pages.append(_page(f"perfkit {name}", command.get_help(context)))
    head = "# Command line\n\nMade from the commands' own help by `make reports`; do not edit.\n"
    return "\n".join([head, *pages])


def _page(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
