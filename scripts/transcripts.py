"""Bring what pages show below `$` lines up to date: figures, where the lines are still the same ones."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.guides import Typed, blocks, follow
from scripts.pages import ROOT

_FIGURES = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?|[─█▏▎▍▌▋▊▉]+")


def refreshed(shown: list[str], printed: str) -> list[str] | None:
    """The shown lines as they are printed now, or None where one of them is no longer there.

    >>> refreshed(["TTFT  19.7 ms", "..."], "TTFT  19.9 ms\\nTPOT  14.8 ms\\n")
    ['TTFT  19.9 ms', '...']
    """
    lines = [line.rstrip() for line in printed.rstrip("\n").split("\n")]
    found: list[str] = []
    place = 0
    for i, line in enumerate(shown):
        if line == "...":
            found.append(line)
            continue
        last = len(lines) if i and shown[i - 1] == "..." else place + 1
        place = next((j for j in range(place, min(last, len(lines))) if _form(lines[j]) == _form(line)), len(lines))
        if place == len(lines):
            return None
        found.append(lines[place])
        place += 1
    return found


def _form(line: str) -> str:
    """A line without its figures."""
    return " ".join(_FIGURES.sub(" ", line).split())


def renewed(page: Path) -> str:
    """The text of a page with what its lines print now."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for line, printed in follow(page, Path(folder)):
            text = _replaced(text, line, printed)
    return text


def _replaced(text: str, line: Typed, printed: str) -> str:
    now = refreshed(line.shown, printed)
    if now is None:
        sys.stderr.write(f"by hand: $ {line.line}\n{printed}\n")
        return text
    return text.replace(_joined(line.shown), _joined(now))


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def pages() -> Iterator[Path]:
    """Pages with lines that are typed."""
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]):
        if any(block.language == "console" for block in blocks(page)):
            yield page


def main() -> None:
    """Rewrite the pages."""
    for page in pages():
        page.write_text(renewed(page), encoding="utf-8")


if __name__ == "__main__":
    main()
