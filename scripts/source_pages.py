"""Write docs/sources.md: which document each figure that comes with perfkit was taken from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from perfkit import reports
from perfkit.conventions import convention_names, load_convention
from perfkit.hardware import Device, device_ids, load_device
from perfkit.kernels.calibrations import calibration_ids, read_bundled
from perfkit.models import load_model, preset_names
from perfkit.papers.reading import load_paper, paper_names
from perfkit.papers.timings import timings
from perfkit.prices import read_prices
from scripts.markdown import table
from scripts.pages import HEAD, ROOT

TARGET = ROOT / "docs" / "sources.md"
PACKAGE = ROOT / "perfkit"
SOURCE = re.compile(r"\bSource: ((?:.+\n?)+)")  # to the end of the paragraph
COMMENTS = re.compile(r"(?:^[ ]*# .*\n)+", flags=re.MULTILINE)
INTRODUCTION = """\
Every figure that comes with perfkit names the document that it was taken from; here are all of them. `perfkit gpus
NAME` shows a device with the doubts and notes of each figure, `perfkit models NAME` a model. What is *derived* has its
arithmetic in a note there. [How accurate it is](accuracy.md) says what predictions made of them come to."""


def sources() -> str:
    """The text of docs/sources.md."""
    parts = [
        f"# Sources of every figure\n\n{HEAD}\n\n{INTRODUCTION}",
        "## Devices\n\nOne file a device in `hardware_specs/`.",
        *(_device(load_device(device)) for device in device_ids()),
        "## Prices\n\n`hardware_specs/prices.yaml`: list prices of one GPU-hour, as they stood on a day.\n\n"
        + _prices(),
        "## Models\n\nPublished configurations, in `perfkit/models/presets/`.\n\n" + _models(),
        "## Conventions\n\nHow others count, in `perfkit/conventions/`.\n\n" + _conventions(),
        "## Published tables\n\nMade again by `perfkit reproduce`, from `perfkit/papers/tables/`.\n\n" + _tables(),
        "## Published timings\n\nPredicted by `perfkit validate --published`, from `perfkit/papers/timings/`.\n\n"
        + _timings(),
        "## Calibrations\n\nWhat the kernel model was fitted to, in `hardware_specs/calibrations/`.\n\n"
        + _calibrations(),
        "## Formulas and constants\n\nAs the code names them.\n\n" + _formulas(),
    ]
    return "\n\n".join(parts) + "\n"


def _device(device: Device) -> str:
    """A row a document, with the figures that were taken from it."""
    records = list(reports.report(device).records())
    of = {text: [r for r in records if r["source"] == text] for text in dict.fromkeys(r["source"] for r in records)}
    rows = [(text, "; ".join(f"{r['figure']} {r['printed']}" for r in found)) for text, found in of.items()]
    return f"### {device.id}\n\n{table(('document', 'figures'), rows)}"


def _prices() -> str:
    prices = sorted(read_prices(), key=lambda price: price.source)
    grouped = ((source, list(found)) for source, found in groupby(prices, key=lambda price: price.source))
    rows = [
        (source, len(found), ", ".join(sorted({p.gpu for p in found})), max(p.date for p in found))
        for source, found in grouped
    ]
    return table(("document", "listings", "GPUs", "newest"), rows, right=(1, 3))


def _models() -> str:
    return table(("preset", "document"), [(name, load_model(name).source) for name in preset_names()])


def _conventions() -> str:
    found = [load_convention(name) for name in convention_names()]
    return table(("name", "whose", "document"), [(c.name, c.paper, c.source) for c in found])


def _tables() -> str:
    return table(("name", "document"), [(name, load_paper(name).source) for name in paper_names()])


def _timings() -> str:
    papers = {timing.paper.name: timing.paper for timing in timings()}
    return table(("name", "document", "how it was timed"), [(p.name, p.source, p.measured) for p in papers.values()])


def _calibrations() -> str:
    rows = []
    for calibration in map(read_bundled, calibration_ids()):
        tables = "; ".join(f"{t.table} ({t.rows} rows)" for t in calibration.fitted_on)
        rows.append((calibration.id, calibration.title, tables))
    return table(("calibration", "of", "tables"), rows)


# --- formulas


def _formulas() -> str:
    """A row a document that a docstring or a comment names; read, not imported."""
    files = sorted(PACKAGE.rglob("*.py"))
    return table(("where", "document"), [row for file in files for row in _of_file(file)])


def _of_file(file: Path) -> Iterator[tuple[str, str]]:
    text = file.read_text(encoding="utf-8")
    where = f"`{file.relative_to(ROOT).as_posix()}`"
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    comments = ["\n".join(line.strip("# ") for line in block.splitlines()) for block in COMMENTS.findall(text)]
    for found in (found for part in (*docstrings, *comments) for found in SOURCE.findall(part)):
        yield where, found


def main() -> None:
    """Write the page."""
    TARGET.write_text(sources(), encoding="utf-8")


if __name__ == "__main__":
    main()
