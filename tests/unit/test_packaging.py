"""The wheel, the bare checkout and the module run all find the data files that perfkit reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN_JOB = ["roofline", "--gpu", "v100", "--tokens", "32", "--format", "json"]


def run(command: list[str], cwd: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], ROOT)
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_device_and_preset(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    specs = {f"perfkit/hardware_specs/{path.name}" for path in (ROOT / "hardware_specs").glob("*.yaml")}
    presets = {f"perfkit/models/presets/{path.name}" for path in (ROOT / "perfkit/models/presets").glob("*.json")}
    assert len(specs) == 57  # 54 devices; aliases, prices, NVML's names
    assert specs | presets | {"perfkit/py.typed"} <= inside


def test_the_wheel_installs_neither_the_launcher_nor_the_tests(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"perfkit"}


def test_the_main_job_runs_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = "import perfkit, sys; sys.stderr.write(perfkit.__file__); from perfkit.cli import main; main()"
    command = [sys.executable, "-c", code, *MAIN_JOB]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert str(tmp_path) in done.stderr  # the wheel's own code ran, not the checkout's
    assert json.loads(done.stdout)["device"] == "v100-sxm2-32gb"


@pytest.mark.parametrize("start", [["cli.py"], ["-m", "perfkit"]])
def test_the_main_job_runs_from_a_bare_checkout(start: list[str]) -> None:
    assert json.loads(run([sys.executable, *start, *MAIN_JOB], ROOT))["model"] == "llava-1.5-7b"


def test_the_launcher_runs_from_any_folder(tmp_path: Path) -> None:
    assert json.loads(run([sys.executable, str(ROOT / "cli.py"), *MAIN_JOB], tmp_path))["model"] == "llava-1.5-7b"
