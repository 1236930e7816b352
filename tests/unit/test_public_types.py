"""What a type checker sees of perfkit from outside: every public name with its own types, and no other name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import perfkit

ROOT = Path(__file__).parents[2]
CONSUMER = """
from typing import assert_type

import perfkit
from perfkit.calibration.calibrating import CalibrationRun
from perfkit.charts.charting import Chart
from perfkit.hardware import Device
from perfkit.latency import Prediction
from perfkit.measuring.measurement import Measurement
from perfkit.papers.reproducing import Reproduction
from perfkit.pictures.results import ReducedPictures
from perfkit.planning.planner import Planned
from perfkit.serving.simulating import Simulated
from perfkit.sweeping.running import Sweep
from perfkit.tables import Table, Tables
from perfkit.totals.counted import Count
from perfkit.validation.judging import Validation

assert_type(perfkit.__version__, str)
prediction = perfkit.analyze("v100", tokens=32)
assert_type(prediction, Prediction)
assert_type(prediction.device, Device)
assert_type(perfkit.calibrate(["kernels.csv"], ["a100"]), CalibrationRun)
assert_type(perfkit.count("llava-1.5-7b", tokens=32), Count)
assert_type(perfkit.measure("llava.json"), Measurement)
assert_type(perfkit.plan(ttft_s=0.2), Planned)
assert_type(perfkit.reduce_pictures(["cat.jpg"], random_weights=True), ReducedPictures)
assert_type(perfkit.report(prediction), Table)
assert_type(perfkit.report([prediction, prediction]).render("markdown"), str)
assert_type(perfkit.reproduce("prumerge"), Reproduction)
assert_type(perfkit.reproduce(), tuple[Reproduction, ...])
assert_type(perfkit.simulate("h100", rate=4.0), Simulated)
assert_type(perfkit.sweep("v100", batch=range(1, 65)), Sweep)
assert_type(perfkit.validate(["llava.json"]), Validation)
assert_type(perfkit.chart(perfkit.plan(ttft_s=0.2)), Chart)
assert_type(perfkit.overview(prediction), Tables)
perfkit.analyse("v100")  # misspelt
perfkit.analyze("v100", tokens="32")  # a text
"""


@pytest.mark.slow
def test_a_program_that_uses_perfkit_is_checked_against_its_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy, which '.[dev]' has")
    program = tmp_path / "program.py"
    program.write_text(CONSUMER)
    # The project's own settings and cache: `mypy` then finds there what was looked at here.
    check = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(program)]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = CONSUMER.splitlines()
    (misspelt,) = [n for n, line in enumerate(lines, 1) if "# misspelt" in line]
    (text,) = [n for n, line in enumerate(lines, 1) if "# a text" in line]
    said = [line.partition("program.py:")[2] for line in done.stdout.splitlines()]
    errors = [line for line in said if "error:" in line]
    assert [line.split(":")[0] for line in errors] == [str(misspelt), str(text)], done.stdout
    assert 'Module has no attribute "analyse"' in errors[0]
    assert "[arg-type]" in errors[1]


def test_the_program_uses_every_public_name() -> None:
    assert [name for name in perfkit.__all__ if f"perfkit.{name}" not in CONSUMER] == []
