"""What shells complete beside click's own commands and options: names (`names.py`), words of a metavar, and files."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import copy
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from perfkit.cli.names import Names, names_of

_WORDS = re.compile(r"[a-z0-9+_-]+(\|[a-z0-9+_-]+)+")  # a metavar that lists what may be given: table|json|csv
_FILE, _FOLDER = re.compile(r"\[?(FILE|IMAGE)"), "DIR"


def script(shell: str, command: click.Command, variable: str) -> str:
    """The script that teaches a shell to complete `perfkit`."""
    return _SHELLS[shell](command, {}, "perfkit", variable).source()


def register() -> None:
    """Answer shells by the classes below."""
    for kind in _SHELLS.values():
        add_completion_class(kind)


def completed(command: click.Command) -> click.Command:
    """A copy of a command, to be asked what its parameters take."""
    asked = copy(command)
    asked.params = [_completed(command, parameter) for parameter in command.params]
    return asked


def _completed(command: click.Command, parameter: click.Parameter) -> click.Parameter:
    if getattr(parameter, "is_flag", False):
        return parameter
    metavar = parameter.make_metavar(click.Context(command))
    asked = copy(parameter)
    asked.type = _Taken(names_of(str(command.name), parameter), metavar, parameter.type)
    return asked


class _Taken(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """What a parameter takes, for completing it only."""

    name = "taken"

    def __init__(self, find: Callable[[], Names] | None, metavar: str, kind: Any) -> None:
        self._find, self._metavar, self._kind = find, metavar, kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Names that begin so; a path where none does and one may stand there."""
        names = self._find() if self._find else self._words()
        if names:
            found = _matching(names, incomplete, several=self._metavar.endswith(",..."))
            return found or [CompletionItem(incomplete, type="file")] * names.or_file
        if _FILE.match(self._metavar):
            return [CompletionItem(incomplete, type="file")]
        folder = [CompletionItem(incomplete, type="dir")] * (self._metavar == _FOLDER)
        return folder or self._kind.shell_complete(ctx, param, incomplete)

    def _words(self) -> Names | None:
        listed = _WORDS.fullmatch(self._metavar.strip("[]"))
        return Names(dict.fromkeys(listed[0].split("|"), "")) if listed else None


def _matching(names: Names, incomplete: str, *, several: bool) -> list[CompletionItem[str]]:
    """Names that begin as the text does, or as its last part where several stand in one text."""
    before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
    taken = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{name}", help=said or None)
        for name, said in names.of.items()
        if name.startswith(last.lower()) and name not in taken
    ]


class _Quiet(ShellComplete):
    """Nothing that goes wrong while a line is typed is shown on it."""

    def complete(self) -> str:
        """The answer to the shell; none where the line cannot be read."""
        try:
            return super().complete()
        except Exception:
            return ""


class _Bash(_Quiet, BashComplete):
    """Bash hands `--gpu=v100` over as three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Complete words, and the one that is typed."""
        words, incomplete = super().get_completion_args()
        joined = [word for before, word in zip(["", *words], words, strict=False) if not _is_equals(before, word)]
        return joined, incomplete


def _is_equals(before: str, word: str) -> bool:
    return word == "=" and before.startswith("--")


class _WholeWord(_Quiet):
    """Zsh and fish take `--gpu=v100` for one word, and put in its place what is answered."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """What may stand there, the option before it."""
        option, equals, _ = incomplete.partition("=")
        found = super().get_completions(args, incomplete)
        if not (equals and option.startswith("--")):
            return found
        return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in found]


class _Zsh(_WholeWord, ZshComplete):
    """As click has it."""


class _Fish(_WholeWord, FishComplete):
    """Names may hold commas, at which click's script would cut them."""

    source_template = FishComplete.source_template.replace('split ","', 'split --max 1 ","')


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}
