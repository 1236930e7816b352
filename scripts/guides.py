"""Pages of the documentation followed to the letter: their files written, their changes made, their commands run.

Fences of blocks say what they are: `title="PATH"` a file as it has to be, `diff` a change to files of perfkit,
`console` lines that are typed (`$ ...`) and what is seen then; a line `...` stands for lines left out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from perfkit.cli import main
from scripts.pages import ROOT

PARTS = ("perfkit", "hardware_specs", "cli.py", "scripts", "docs", "reports")
_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_WIDTH = {"COLUMNS": "100"}


class Block(NamedTuple):
    """A fenced block of a page: its language, the file that it is, its text."""

    language: str
    title: str
    text: str


class Typed(NamedTuple):
    """A command line of a `console` block, and the lines that are shown below it."""

    line: str
    shown: list[str]


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page."""
    return [Block(*found) for found in _FENCE.findall(page.read_text(encoding="utf-8"))]


def typed(text: str) -> list[Typed]:
    """Command lines of a `console` block; a backslash at its end continues a line."""
    joined = text.replace("\\\n", " ")
    parts = re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]
    split = [part.rstrip("\n").split("\n") for part in parts]
    return [Typed(re.sub(r"\s+", " ", line.split(" # ")[0]).strip(), shown) for line, *shown in split]


def shows(shown: list[str], printed: str) -> bool:
    """Whether lines are those printed, from the first on and to the last, but for what `...` leaves out."""
    lines = [line.rstrip() for line in printed.rstrip("\n").split("\n")]
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line.rstrip()) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


class Checkout:
    """A folder that a page is followed in: a copy of the checkout if it changes perfkit, else one that sees it."""

    def __init__(self, folder: Path, *, changed: bool) -> None:
        self.folder, self.changed = folder, changed
        for name in PARTS:
            if not changed:
                (folder / name).symlink_to(ROOT / name)
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)

    def write(self, path: str, text: str) -> None:
        """Make a file."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")

    def change(self, diff: str) -> None:
        """Make a change: below `+++ b/PATH`, lines that stand there once, some of them taken away or added."""
        for path, hunk in hunks(diff):
            file = self.folder / path
            text = file.read_text(encoding="utf-8")
            old = "".join(line[1:] for line in hunk if line[0] in " -")
            new = "".join(line[1:] for line in hunk if line[0] in " +")
            if text.count(old) != 1:
                raise ValueError(f"{path}: stands there {text.count(old)} times:\n{old}")
            file.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, line: str) -> str:
        """What a command line prints, both streams."""
        words = shlex.split(line)
        if words[0] == "perfkit" and not self.changed:
            with chdir(self.folder):
                return CliRunner(env=_WIDTH).invoke(main, words[1:], prog_name="perfkit").output
        command = {"perfkit": [sys.executable, "cli.py"], "python": [sys.executable], "python3": [sys.executable]}
        done = subprocess.run(  # noqa: S603  # lines of our own pages
            [*command[words[0]], *words[1:]],
            cwd=self.folder,
            env={**os.environ, **_WIDTH, "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout


def hunks(diff: str) -> Iterator[tuple[str, list[str]]]:
    """Path and lines of each change."""
    for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        for hunk in re.split(r"^@@.*\n", body, flags=re.MULTILINE):
            lines = [line if line.strip() else " \n" for line in hunk.splitlines(keepends=True)]
            if lines:
                yield head.removeprefix("+++ b/"), lines


def follow(page: Path, folder: Path) -> Iterator[tuple[Typed, str]]:
    """Do all that a page says, from its top; each line that is typed, and what it printed."""
    found = blocks(page)
    changed = any(block.language == "diff" or block.title.split("/")[0] in PARTS for block in found)
    checkout = Checkout(folder, changed=changed)
    for block in found:
        if block.title:
            checkout.write(block.title, block.text)
        elif block.language == "diff":
            checkout.change(block.text)
        elif block.language == "console":
            for line in typed(block.text):
                yield line, checkout.run(line.line)
