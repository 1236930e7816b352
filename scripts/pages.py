"""Pages that scripts write under reports/: a title, the command that shows the same, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perfkit import reports
from perfkit.tables import render_for_people

ROOT = Path(__file__).parent.parent
WIDTH = 120  # columns of the tables
HEAD = "Made by `make reports`; do not edit."


def text_of(value: reports.Reportable | Sequence[reports.Reportable]) -> str:
    """A value as people see it, in a block of its own."""
    return f"```text\n{render_for_people(reports.overview(value), width=WIDTH)}\n```"


def page(title: str, command: str, parts: list[str]) -> str:
    """The text of a page; `command` shows the same in a terminal."""
    return "\n\n".join([f"# {title}", HEAD, f"    {command}", *parts]) + "\n"
