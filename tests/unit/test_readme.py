"""What the README claims beside its commands: figures that are those of generated pages, and how to cite."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import perfkit

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n ").split("|")]


def rows(page: str) -> list[list[str]]:
    return [cells(line) for line in page.splitlines() if line.startswith("| ")]


def test_its_accuracy_is_that_of_the_generated_page() -> None:
    section = README.split("## How accurate is it?")[1].split("\n## ")[0]
    claimed = [row[:4] for row in rows(section)[2:]]
    # There phase and machine, or who timed on which GPU, are two columns, in the other order.
    made = [row for row in rows((ROOT / "docs/accuracy.md").read_text(encoding="utf-8")) if len(row) >= 5]
    named = {f"{first}, {second}": figures[:3] for first, second, *figures in made}
    named |= {f"{second}, {first}": figures[:3] for first, second, *figures in made}
    assert len(claimed) == 8
    assert [(name, *figures) for name, *figures in claimed] == [
        (name, *named.get(name, ["?"])) for name, *_ in claimed
    ], "take them from docs/accuracy.md"


def test_its_counts_of_devices_and_its_version_are_current() -> None:
    from perfkit.hardware import device_ids

    assert f"any of {len(device_ids())} devices" in README
    assert f"version = {{{perfkit.__version__}}}" in README
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == perfkit.__version__
    assert re.search(rf"title   = {{{re.escape(citation['title'])}}}", README)


def test_its_picture_is_one_that_is_made_by_a_command() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\((.+?)\)", README)
    assert Path(picture).name in (ROOT / "reports/figures/README.md").read_text(encoding="utf-8")
