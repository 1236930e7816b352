"""The phase `reduction` wherever phases are shown: overview, JSON, csv, cost tables, and the three pictures."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main

BEFORE = ["prumerge", "prumerge+", "sequential:n=64", "spatial:n=64"]
COPIES = BEFORE[2:]  # whose phase is a copy, without any FLOP


def ran(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def reduction_s(text: str) -> float:
    (phase,) = [phase for phase in perfkit.analyze("v100", reduction=text).phases if phase.phase == "reduction"]
    assert phase.roofline_s > 0
    return float(phase.roofline_s)


@pytest.mark.parametrize("text", BEFORE)
def test_roofline_has_it_for_people_and_machines(text: str) -> None:
    asked = ("roofline", "--gpu", "v100", "--reduction", text)
    assert [line.split()[0] for line in ran(*asked).splitlines()[6:10]] == [
        "vision",
        "reduction",
        "projector",
        "prefill",
    ]
    document = json.loads(ran(*asked, "--format", "json"))
    (phase,) = [phase for phase in document["phases"] if phase["phase"] == "reduction"]
    assert phase["roofline_s"] == reduction_s(text)
    assert sum(op["roofline_s"] for op in document["ops"] if op["phase"] == "reduction") == pytest.approx(
        reduction_s(text)
    )
    assert "reduction" in ran("roofline", "--gpu", "h100", *asked[1:]).splitlines()[3].split()  # a column of devices


def test_cost_tables_have_it() -> None:
    methods = [option for text in BEFORE for option in ("--reduction", text)]
    columns = "vision_ms,reduction_ms,prefill_ms,ttft_ms"
    text = ran("table", "--gpu", "v100", "--reduction", "none", *methods, "--columns", columns, "--format", "csv")
    found = {row["reduction"]: row["reduction_roofline_s"] for row in csv.DictReader(io.StringIO(text))}
    assert found.pop("") == ""
    assert {name: float(seconds) for name, seconds in found.items()} == {text: reduction_s(text) for text in BEFORE}


@pytest.mark.parametrize("text", BEFORE)
def test_the_breakdown_has_it(text: str, tmp_path: Path) -> None:
    picture = tmp_path / "breakdown.svg"
    asked = ("plot", "breakdown", "--gpu", "v100", "--reduction", text, "--output", str(picture), "--format", "csv")
    rows = [row for row in csv.DictReader(io.StringIO(ran(*asked))) if row["phase"] == "reduction"]
    assert sum(float(row["roofline_s"]) for row in rows) == pytest.approx(reduction_s(text))
    assert "<!-- reduction -->" in picture.read_text()


@pytest.mark.parametrize("text", BEFORE)
def test_the_chart_of_tokens_has_it(text: str, tmp_path: Path) -> None:
    picture = tmp_path / "tokens.svg"
    ran("plot", "tokens", "--gpu", "v100", "--reduction", text, "--output", str(picture))
    assert "<!-- reduction -->" in picture.read_text()


@pytest.mark.parametrize("text", BEFORE)
def test_the_roofline_chart_has_it_or_says_why_not(text: str, tmp_path: Path) -> None:
    picture = tmp_path / "roofline.svg"
    asked = ("plot", "roofline", "--gpu", "v100", "--reduction", text, "--output", str(picture), "--format", "table")
    printed = ran(*asked)
    bare = text in COPIES
    assert ("<!-- reduction -->" in picture.read_text()) == (not bare)
    assert ("The phase reduction is made of them alone." in printed) == bare
