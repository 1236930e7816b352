"""Write reports/validation/ from reports/measured/: a page and a chart a machine, and a page of published timings.

A folder of reports/measured/ is a machine: its measurement files, and a device file named like the folder where no
datasheet is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from perfkit import chart, validate
from perfkit.charts.validation import draw_validation
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.schema import read_measurement
from perfkit.tables import render_for_people
from perfkit.validation.judging import Validation
from perfkit.validation.published import published
from scripts.judged_prediction import judged
from scripts.pages import ROOT, WIDTH, page, text_of

MEASURED = Path("reports/measured")  # from ROOT, so that pages name files as a reader would
TARGET = Path("reports/validation")


def pages() -> Iterator[tuple[Path, str]]:
    """File and text of every page; to be called in ROOT."""
    text = page("Predictions against published timings", "perfkit validate --published", [text_of(published())])
    yield TARGET / "published.md", text
    for folder in machines():
        yield TARGET / f"{folder.name}.md", _machine_page(folder)


def machines() -> list[Path]:
    """Folders of machines on which a model was measured, and not its kernels alone."""
    return sorted(path for path in MEASURED.iterdir() if path.is_dir() and _has_phases(path))


def _has_phases(folder: Path) -> bool:
    measurements = (read_measurement(file) for file in folder.glob("*.json"))
    return any(isinstance(point.case, PhaseCase) for found in measurements for point in found.points)


def judge(folder: Path) -> Validation:
    """All measurement files of a machine, judged."""
    return validate(sorted(folder.glob("*.json")), gpu=_device(folder))


def _device(folder: Path) -> str | None:
    file = folder / f"{folder.name}.yaml"
    return file.as_posix() if file.exists() else None


def _machine_page(folder: Path) -> str:
    validation, device = judge(folder), _device(folder)
    command = f"perfkit validate {folder.as_posix()}/*.json" + (f" --gpu {device}" if device else "")
    parts = [
        f"![mean errors, and every phase measured against predicted]({folder.name}-accuracy.svg)",
        text_of(validation),
        f"![every phase: measured over predicted, and where its time goes]({folder.name}.svg)",
    ]
    before = TARGET / f"{folder.name}-prediction.json"
    if before.exists():
        parts.append(f"```text\n{render_for_people([judged(validation, before)], width=WIDTH)}\n```")
    if validation.warnings:
        parts.append("\n".join(["Warnings:", "", *(f"- {warning}" for warning in validation.warnings)]))
    return page(f"Predictions against {validation.machine.name}", command, parts)


def main() -> None:
    """Write all pages and charts."""
    with chdir(ROOT):
        for file, text in pages():
            file.write_text(text, encoding="utf-8")
        for folder in machines():
            validation = judge(folder)
            draw_validation(validation, TARGET / f"{folder.name}.svg")
            chart(validation, "page").save(TARGET / f"{folder.name}-accuracy.svg")


if __name__ == "__main__":
    main()
