"""Write reports/validation/ from reports/measured/: a page and a chart a machine, and a page of published timings.

A folder of reports/measured/ is a machine: its measurement files, and device.yaml where no datasheet is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfkit import reports, validate
from perfkit.charts.validation import draw_validation
from perfkit.tables import render_for_people
from perfkit.validation.judging import Validation
from perfkit.validation.published import published

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "reports" / "measured"
TARGET = ROOT / "reports" / "validation"
WIDTH = 120  # columns of the tables
HEAD = "Made by `make reports`; do not edit."


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of every page."""
    yield "published.md", _page("Predictions against published timings", "perfkit validate --published", [_published()])
    for folder in machines():
        yield f"{folder.name}.md", _machine_page(folder)


def machines() -> list[Path]:
    """Folders of measured machines."""
    return sorted(path for path in MEASURED.iterdir() if path.is_dir())


def judge(folder: Path) -> Validation:
    """All measurement files of a machine, judged."""
    device = folder / "device.yaml"
    return validate(_files(folder), gpu=str(device) if device.exists() else None)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _machine_page(folder: Path) -> str:
    validation = judge(folder)
    command = f"perfkit validate {_shown(folder)}/*.json"
    if (folder / "device.yaml").exists():
        command += f" --gpu {_shown(folder)}/device.yaml"
    parts = [f"![measured against predicted]({folder.name}.svg)", _text(validation)]
    parts += [f"- {warning}" for warning in validation.warnings]
    return _page(f"Predictions against {validation.machine.name}", command, parts)


def _published() -> str:
    return _text(published())


def _text(value: reports.Reportable) -> str:
    return f"```text\n{render_for_people(reports.overview(value), width=WIDTH)}\n```"


def _page(title: str, command: str, parts: list[str]) -> str:
    return "\n\n".join([f"# {title}", HEAD, f"    {command}", *parts]) + "\n"


def _shown(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix()


def main() -> None:
    """Write all pages and charts."""
    for name, text in pages():
        (TARGET / name).write_text(text, encoding="utf-8")
    for folder in machines():
        draw_validation(judge(folder), TARGET / f"{folder.name}.svg")


if __name__ == "__main__":
    main()
