"""What a bug report needs, from `perfkit --version`; and help that loads nothing for it."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import COMMANDS, main
from perfkit.cli import version as versions

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("numpy", "scipy", "pandas", "pyarrow", "matplotlib", "PIL", "plotly", "streamlit", "reportlab", "simpy"),
    *("torch", "transformers", "safetensors", "dask", "distributed", "pynvml", "tabulate", "tomllib"),
}


def printed() -> list[str]:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_the_first_line_is_for_scripts_and_the_rest_for_people() -> None:
    first, *rest = printed()
    assert first == f"perfkit {perfkit.__version__}"
    assert [line.partition(": ")[0] for line in rest] == ["Python", "platform", "required", "optional", "GPUs"]


def test_it_names_the_versions_that_are_installed() -> None:
    text = "\n".join(printed())
    assert f"Python: {'.'.join(map(str, sys.version_info[:3]))} (CPython)" in text
    assert f"click {version('click')}, PyYAML {version('PyYAML')}, tabulate {version('tabulate')}\n" in text
    assert f"numpy {version('numpy')}" in text
    assert f"torch {version('torch')}" in text


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "OPTIONAL", ("no-such-distribution",))
    assert "optional: none" in list(versions.version_lines())


def test_it_tells_nobody_where_and_who_you_are() -> None:
    text = "\n".join(printed()).split("GPUs: ")[0]
    private = {os.uname().nodename, str(Path.home()), str(Path.cwd()), sys.prefix, os.uname().release}
    assert [word for word in private if word in text] == []
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)
    assert "/" not in text


def test_gpus_are_counted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA L4", "NVIDIA H100 80GB HBM3")
    found = [SimpleNamespace(name=name, driver="570.86.15") for name in names]
    monkeypatch.setattr("perfkit.measuring.nvml.detect_gpus", lambda: found)
    assert list(versions.version_lines())[-1] == "GPUs: 2 x NVIDIA H100 80GB HBM3, 1 x NVIDIA L4, driver 570.86.15"


def asked_for(extras: dict[str, list[str]], name: str) -> Iterator[str]:
    """Distributions of an extra, those of extras that it takes in too."""
    for requirement in extras[name]:
        distribution, others = re.fullmatch(r"([\w-]+)(?:\[([\w,]+)\])?.*", requirement).groups()  # type: ignore[union-attr]
        if distribution == "perfkit":
            for other in others.split(","):
                yield from asked_for(extras, other)
        else:
            yield distribution.lower()


def test_the_lists_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[><=]", each)[0] for each in project["dependencies"]} == set(versions.REQUIRED)
    extras = project["optional-dependencies"]
    own = set(extras) - {"test", "dev", "docs", "notebooks"}  # which work on perfkit, and are no part of it
    assert {each for name in own for each in asked_for(extras, name)} == {each.lower() for each in versions.OPTIONAL}


def loaded_by(*arguments: str) -> set[str]:
    """Modules that a command line loads, in a process of its own."""
    script = (
        "import sys, json; from perfkit.cli import main; sys.stdout = open('/dev/null', 'w');"
        f"main({list(arguments)!r}, standalone_mode=False); sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stderr))


def test_the_version_imports_none_of_what_it_names() -> None:
    assert loaded_by("--version") & HEAVY - {"pynvml"} == set()


def test_help_loads_no_heavy_library() -> None:
    assert loaded_by("--help") & HEAVY == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_loads_neither_heavy_libraries_nor_what_predicts(name: str) -> None:
    loaded = loaded_by(name, "--help")
    assert f"perfkit.cli.{name}" in loaded
    assert loaded & {*HEAVY, "perfkit.latency", "perfkit.kernels"} == set()
