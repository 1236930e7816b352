"""What the documentation says, runs; what is generated, is current."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import perfkit
from perfkit.cli import COMMANDS, load_command, main
from perfkit.hardware import device_ids, load_device
from perfkit.kernels.calibrations import calibration_ids, read_bundled
from perfkit.models import FAMILIES, preset_names
from perfkit.planning import loads
from perfkit.serving import replica

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("reports/*/*.md")]
KERNELS = ROOT / "reports/validation/kernels.md"  # made by `make validation`, from tables that are not here
EXCHANGES = ROOT / "docs/parallelism.md"
README = (ROOT / "README.md").read_text()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def shell_lines() -> list[str]:
    lines = [
        line.split("#")[0].strip() for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()
    ]
    return sorted({line for line in lines if line.startswith("perfkit ")})


def needs_a_machine(line: str) -> bool:
    """Whether a command times this machine, reads what was timed, needs weights or a cluster, or serves a page."""
    measured = re.match(r"perfkit (measure|calibrate|validate|plot validation|report \S+\.json) (?!--published)", line)
    return bool(measured) or any(
        asked in line for asked in ("--detect", "this.yaml", "--vision-model", "--dask", " serve")
    )


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capacity and a largest rate are found by fewer requests too."""
    monkeypatch.setattr(replica, "REQUESTS", 300)
    monkeypatch.setattr(replica, "BATCHES", 10)
    monkeypatch.setattr(loads, "REQUESTS", 100)


def run(line: str, folder: Path) -> Result:
    """A command line; a picture or a grid that it writes lies in `folder`; a simulation is of fewer requests."""
    fewer = ["--requests", "300"] if line.startswith("perfkit simulate ") and "--rate" in line else []
    with chdir(folder if line.startswith(("perfkit plot ", "perfkit sweep ", "perfkit report ")) else Path.cwd()):
        return CliRunner().invoke(main, [*shlex.split(line)[1:], *fewer])


QUICK = [line for line in shell_lines() if not needs_a_machine(line)]
LONG = [line for line in shell_lines() if needs_a_machine(line)]


@pytest.mark.parametrize("line", QUICK)
def test_every_perfkit_command_of_the_documentation_runs(line: str, tmp_path: Path) -> None:
    result = run(line, tmp_path)
    assert result.exit_code == 0, result.output


def parse(line: str) -> str | None:
    """Name of the command of a line that is taken apart as it would be, without being run."""
    _, name, *arguments = shlex.split(line)
    # Below the group: click keeps a command's help option, -h included, as the first context asks for it.
    parent = click.Context(main, info_name="perfkit", **main.context_settings)
    return load_command(name).make_context(name, arguments, parent=parent).info_name


@pytest.mark.parametrize("line", LONG)
def test_every_long_command_of_the_documentation_can_be_read(line: str) -> None:
    assert parse(line) == line.split()[1]


def examples() -> list[str]:
    """Command lines under "Example" in the commands' help."""
    helps = "\n".join(load_command(name).help or "" for name in COMMANDS)
    return re.findall(r"^\s*(perfkit .*)$", helps, flags=re.MULTILINE)


def test_every_command_has_an_example() -> None:
    assert {line.split()[1] for line in examples()} == set(COMMANDS)


@pytest.mark.parametrize("line", [line for line in examples() if line not in QUICK])  # which run above
def test_every_example_of_the_help_runs(line: str, tmp_path: Path) -> None:
    if needs_a_machine(line):
        assert parse(line) == line.split()[1]
    else:
        assert run(line, tmp_path).exit_code == 0


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    exec(code, {})  # noqa: S102  # our own README
    assert "1579545624576" in capsys.readouterr().out  # vision 381.9 G + projector 1.342 G + prefill 1196.3 G


def test_the_output_in_the_readme_is_what_the_main_job_prints() -> None:
    shown = blocks(ROOT / "README.md", "text")[0].splitlines()
    printed = CliRunner(env={"COLUMNS": "100"}).invoke(main, ["roofline", "--gpu", "v100", "--tokens", "32"]).output
    assert [line.rstrip() for line in printed.splitlines()[: len(shown)]] == shown


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(
        line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines() if "pytest" in line
    )
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def test_the_example_device_loads(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs/adding-a-gpu.md", "yaml")
    path = tmp_path / "my-card.yaml"
    path.write_text(example)
    assert load_device(str(path)).memory_bytes == 24e9


def test_the_command_line_reference_is_current() -> None:
    script = "import cli_reference, sys; sys.stdout.write(cli_reference.reference())"
    run = [sys.executable, "-c", script]
    done = subprocess.run(
        run, cwd=ROOT / "scripts", env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/cli.md").read_text() == done.stdout, "run `make reports`"


def test_the_validation_reports_are_current() -> None:
    script = (
        "import json; from scripts.validation_reports import pages; print(json.dumps({str(f): t for f, t in pages()}))"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    pages = {*(ROOT / "reports/validation").glob("*.md")} - {KERNELS}  # whose tables are not part of perfkit
    written = {str(path.relative_to(ROOT)): path.read_text() for path in pages}
    assert written == json.loads(done.stdout), "run `make reports`"
    for name in json.loads(done.stdout):
        assert name.endswith("published.md") or (ROOT / name).with_suffix(".svg").is_file()


def test_the_page_of_kernels_is_of_the_tables_that_calibrations_were_fitted_on() -> None:
    page = KERNELS.read_text()
    for name in calibration_ids():
        for table in read_bundled(name).fitted_on if name != "cpu" else ():  # which was measured in reports/measured
            if table.table.startswith("reports/measured"):
                assert (ROOT / table.table).is_file()
            elif table.table.startswith("collectives"):  # no kernels of one GPU
                assert table.table in EXCHANGES.read_text()
            else:
                assert f"{table.sha256}" in page, "run `make validation DATA=DIR`"
    for chart in ("kernels-products.svg", "kernels-others.svg"):
        assert f"]({chart})" in page
        assert (KERNELS.parent / chart).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_resolves(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_counts_that_the_documentation_states() -> None:
    assert f"{len(device_ids())} devices" in README
    assert f"{len(preset_names())} presets and {len(FAMILIES)} families" in (ROOT / "CHANGELOG.md").read_text()
    families = (ROOT / "docs/adding-a-model.md").read_text().split("Families: ")[1].split(". ")[0]
    assert families.replace("\n", " ").split(", ") == list(FAMILIES)


def test_every_public_name_is_documented_with_an_example() -> None:
    public = [getattr(perfkit, name) for name in perfkit.__all__ if name != "__version__"]
    assert [function.__name__ for function in public if ">>>" not in (function.__doc__ or "")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    folders = "perfkit|hardware_specs|tests|docs|benchmarks|scripts"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text())
    examples = {"perfkit/models/presets/NAME.json", "perfkit/models/MODEL_TYPE.py"}
    assert [path for path in named if path not in examples and not (ROOT / path).exists()] == []
