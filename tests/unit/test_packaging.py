"""The wheel, the source distribution, the bare checkout and the module run all find the data that perfkit reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

import pytest

from perfkit.cli import COMMANDS
from perfkit.cli.version import REQUIRED

ROOT = Path(__file__).parents[2]
MAIN_JOB = ["roofline", "--gpu", "v100", "--tokens", "32", "--format", "json"]
# What an installed perfkit does with what lies in it, and the help of every command: in one process, for speed.
EVERYTHING = """
from contextlib import redirect_stdout
from io import StringIO
from perfkit.cli import COMMANDS, main

lines = [[name, "--help"] for name in COMMANDS]
lines += [["gpus"], ["models"], ["reproduce"], ["count", "--compare"], ["table", "--gpu", "v100"]]
for line in lines:
    with redirect_stdout(StringIO()) as printed:
        assert not main(line, standalone_mode=False), line
    assert printed.getvalue(), line
print(len(lines))
"""


def run(command: list[str], cwd: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    pytest.importorskip("build", reason="needs `build`, which '.[dev]' has")
    target = tmp_path_factory.mktemp("built")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)], ROOT)
    return target


@pytest.fixture(scope="module")
def wheel_path(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


def data_files() -> set[str]:
    """Everything in the package that is no code, and the device files, as they are named in a wheel."""
    package = {path for path in (ROOT / "perfkit").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    specs = {path for path in (ROOT / "hardware_specs").rglob("*") if path.is_file()}
    named = {path.relative_to(ROOT).as_posix() for path in package}
    return named | {f"perfkit/{path.relative_to(ROOT).as_posix()}" for path in specs}


def test_the_wheel_holds_every_data_file(wheel: zipfile.ZipFile) -> None:
    inside, wanted = set(wheel.namelist()), data_files()
    assert wanted - inside == set()
    specs = {name for name in wanted if name.startswith("perfkit/hardware_specs/") and name.count("/") == 2}
    assert len(specs) == 57  # 54 devices; aliases, prices, NVML's names
    for kind in (
        "hardware_specs/calibrations/",
        "models/presets/",
        "conventions/",
        "papers/tables/",
        "papers/timings/",
    ):
        assert any(name.startswith(f"perfkit/{kind}") for name in wanted)
    assert "perfkit/py.typed" in inside


def test_the_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "perfkit").rglob("*.py")}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == modules


def test_the_wheel_installs_neither_the_launcher_nor_the_tests(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"perfkit"}


def test_the_source_distribution_holds_what_tests_and_builds_need(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "cli.py", "constraints.txt", "Makefile"}
    needed |= {
        "reports/validation/kernels.md",
        "hardware_specs/aliases.yaml",
        "tests/conftest.py",
        "docs/cli.md",
        "benchmarks/start.py",
    }
    assert needed - inside == set()
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"][
        "include"
    ]
    assert all(pattern.startswith("/") for pattern in included)  # else folders of environments would be in it
    tops = {pattern[1:] for pattern in included} | {"PKG-INFO", ".gitignore", "pyproject.toml"}
    assert [name for name in inside if not any(fnmatch(name.split("/")[0], top) for top in tops)] == []
    assert [name for name in inside if "__pycache__" in name] == []


def test_the_package_index_takes_both(built: Path) -> None:
    pytest.importorskip("twine", reason="needs twine, which '.[dev]' has")
    files = [str(path) for path in built.iterdir() if path.suffix in (".whl", ".gz")]
    assert len(files) == 2
    checked = run([sys.executable, "-m", "twine", "check", "--strict", *files], ROOT, NO_COLOR="1")
    assert checked.count("PASSED") == 2


@pytest.fixture(scope="module")
def installed(wheel_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binaries of a fresh environment that has the wheel and what it declares to need, nothing else."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False)
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    run([*pip, "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel_path)], home)
    (site,) = home.glob("lib/python*/site-packages")
    for name in REQUIRED:
        copy_distribution(name, site)
    return home / "bin"


def copy_distribution(name: str, site: Path) -> None:
    """Install what is installed here; an index would have to be asked for it."""
    for file in distribution(name).files or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, site / file)


@pytest.mark.slow
def test_the_installed_wheel_does_its_jobs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    perfkit = str(installed / "perfkit")
    assert json.loads(run([perfkit, *MAIN_JOB], tmp_path))["device"] == "v100-sxm2-32gb"
    assert "54" not in run([perfkit, "--version"], tmp_path).splitlines()[0]
    assert run([perfkit, "completion", "bash"], tmp_path).startswith("_perfkit_completion")


@pytest.mark.slow
def test_the_installed_wheel_answers_every_command_without_extras(installed: Path, tmp_path: Path) -> None:
    where = run([str(installed / "python"), "-c", "import perfkit; print(perfkit.__file__)"], tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    assert run([str(installed / "python"), "-c", EVERYTHING], tmp_path).split() == [str(len(COMMANDS) + 5)]


@pytest.mark.parametrize("start", [["cli.py"], ["-m", "perfkit"]])
def test_the_main_job_runs_from_a_bare_checkout(start: list[str]) -> None:
    assert json.loads(run([sys.executable, *start, *MAIN_JOB], ROOT))["model"] == "llava-1.5-7b"


def test_the_launcher_runs_from_any_folder(tmp_path: Path) -> None:
    assert json.loads(run([sys.executable, str(ROOT / "cli.py"), *MAIN_JOB], tmp_path))["model"] == "llava-1.5-7b"
