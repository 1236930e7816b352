"""Write reports/papers/: a page a paper with a published cost table, made again and corrected, and an index of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfkit import reproduce
from perfkit.papers.reproducing import Reproduction
from scripts.pages import ROOT, page, text_of

TARGET = Path("reports/papers")  # from ROOT


def pages() -> Iterator[tuple[Path, str]]:
    """File and text of every page."""
    reproductions = reproduce()
    index = "\n".join(f"- [{r.paper.name}]({r.paper.name}.md): {r.paper.source}" for r in reproductions)
    yield TARGET / "README.md", page("Published cost tables", "perfkit reproduce", [text_of(reproductions), index])
    for reproduction in reproductions:
        yield TARGET / f"{reproduction.paper.name}.md", _paper_page(reproduction)


def _paper_page(reproduction: Reproduction) -> str:
    name = reproduction.paper.name
    return page(f"{name}: what was printed, and what it comes to", f"perfkit reproduce {name}", [text_of(reproduction)])


def main() -> None:
    """Write all pages."""
    for file, text in pages():
        (ROOT / file).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
