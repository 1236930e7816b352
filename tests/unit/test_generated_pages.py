"""Pages that scripts write into docs/ are current, and say what they are there to say."""

from __future__ import annotations

import re
from contextlib import chdir

import pytest

from perfkit import reproduce
from perfkit.conventions import convention_names, load_convention
from perfkit.hardware import device_ids, load_device
from perfkit.kernels.calibrations import calibration_ids, read_bundled
from perfkit.models import load_model, preset_names
from perfkit.papers.reading import load_paper, paper_names
from perfkit.papers.timings import timings
from perfkit.prices import read_prices
from scripts.accuracy_page import accuracy
from scripts.json_forms import COMMANDS, forms, outline
from scripts.pages import ROOT
from scripts.source_pages import SOURCE, sources


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Markdown without its escapes."""
    return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def words(text: str) -> str:
    return " ".join(text.split())


# --- sources of every figure


def test_the_page_of_sources_is_current() -> None:
    assert page("sources") == sources(), "run `make reports`"


@pytest.mark.parametrize("name", device_ids())
def test_every_document_of_a_device_is_named(name: str) -> None:
    device, text = load_device(name), plain(page("sources"))
    (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    figures = [device.capacity, device.bandwidth, *(peak.rate for peak in device.peaks if peak.known)]
    for figure in figures:
        assert figure.printed in section
        assert words(device.sources.get(figure.source, figure.source)) in section


def test_every_other_document_is_named() -> None:
    text = plain(page("sources"))
    papers = {timing.paper for timing in timings()}
    named = [
        *(price.source for price in read_prices()),
        *(load_model(preset).source for preset in preset_names()),
        *(load_convention(name).source for name in convention_names()),
        *(load_paper(name).source for name in paper_names()),
        *(text for paper in papers for text in (paper.source, paper.measured)),
        *(table.table for name in calibration_ids() for table in read_bundled(name).fitted_on),
    ]
    assert len(named) > 100
    assert [document for document in named if words(document) not in text] == []


def test_a_source_is_a_paragraph_of_a_docstring() -> None:
    assert SOURCE.findall("One.\n\nSource: A paper,\nsection 2.\n\nMore.\n") == ["A paper,\nsection 2.\n"]
    assert "Williams, Waterman, Patterson: Roofline (CACM 52(4), 2009)" in page("sources")


# --- how accurate it is


@pytest.mark.slow
def test_the_page_of_accuracy_is_current() -> None:
    with chdir(ROOT):
        assert page("accuracy") == accuracy(), "run `make reports`"


def test_the_page_of_accuracy_holds_what_the_reports_hold() -> None:
    text, published = page("accuracy"), (ROOT / "reports/validation/published.md").read_text(encoding="utf-8")
    # "neusight  a100-pcie-40gb  10  27 %  4 %" there, "| neusight | a100-pcie-40gb | 10 | 27 % | 4 % |" here
    found = re.findall(r"^(neusight|sparsevlm) +(\S+) +(\d+) +(\d+ %) +(\d+ %)", published, flags=re.MULTILINE)
    assert len(found) == 3
    for row in found:
        assert f"| {' | '.join(row)} |" in text
    for reproduction in reproduce():
        if reproduction.printed:
            row = f"| `{reproduction.paper.name}` | {len(reproduction.printed)} | {len(reproduction.matched)} |"
            assert row in text


# --- the forms of JSON


@pytest.mark.slow
def test_the_page_of_json_is_current() -> None:
    with chdir(ROOT):
        assert page("json") == forms(), "run `make reports`"


def test_the_contract_s_keys_are_there() -> None:
    text = page("json")
    (roofline,) = re.findall(r"^## roofline\n(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    for key in ("matmul_flops: integer", "kv_write_bytes: integer", "roofline_s: number", "fits: true or false"):
        assert f"  {key}" in roofline
    assert len(re.findall(r"^## ", text, flags=re.MULTILINE)) == len(COMMANDS)


def test_an_outline_joins_what_lists_hold() -> None:
    value = {"a": 1, "b": True, "rows": [{"c": 0.5}, {"c": None, "d": "x"}], "names": ["x"], "none": []}
    assert outline(value) == [
        "a: integer",
        "b: true or false",
        "rows: list",
        "  c: null, number",
        "  d: text",
        "names: list of text",
        "none: list",
    ]
