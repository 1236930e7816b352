"""Write reports/figures/: charts of LLaVA-1.5-7B, each by a command line, and a page that shows both."""

from __future__ import annotations

import shlex
from pathlib import Path

from perfkit.cli import main as perfkit

ROOT = Path(__file__).parent.parent
TARGET = Path("reports/figures")  # from ROOT, so that command lines name files as a reader would
METHODS = "--reduction none --reduction prumerge --reduction prumerge+ --reduction fastv:k=2,r=0.5"

# Name of a figure: what `perfkit plot` is asked for.
FIGURES = {
    "roofline-v100": "roofline --gpu v100",
    "roofline-v100-column": "roofline --gpu v100 --width column",
    "roofline-gpus": "roofline --gpu v100 --gpu h100 --tokens 576,32",
    "tokens-v100": "tokens --gpu v100",
    "tokens-gpus": "tokens --gpu v100 --gpu a100 --gpu h100",
    "breakdown-v100": f"breakdown --gpu v100 {METHODS}",
    "breakdown-gpus-column": "breakdown --gpu v100 --gpu h100 --tokens 576,32 --width column",
}


def command_of(name: str, folder: Path = TARGET) -> str:
    """Command line that draws a figure."""
    return f"perfkit plot {FIGURES[name]} --output {(folder / name).as_posix()}.svg"


def draw(name: str, folder: Path) -> None:
    """Draw a figure into a folder."""
    perfkit(shlex.split(command_of(name, folder))[1:], standalone_mode=False)


def page() -> str:
    """The page of all figures."""
    made = "Made by `make reports`; do not edit. [How to read them](../../docs/plotting.md)."
    shown = (f"    {command_of(name)}\n\n![{name}]({name}.svg)" for name in FIGURES)
    return "\n\n".join(["# Charts of LLaVA-1.5-7B", made, *shown]) + "\n"


def main() -> None:
    """Write all figures and the page."""
    folder = ROOT / TARGET
    folder.mkdir(exist_ok=True)
    for name in FIGURES:
        draw(name, folder)
    (folder / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
