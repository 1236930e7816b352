"""docs/adding-a-reducer.md: its file, its scripts and its commands run, and its figures are what they give."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from doubles import quick_torch
from drawing import drawn
from test_reducer_runs import looks_of, ops_of

import perfkit.reduction
from perfkit.cli import main
from perfkit.reduction import METHODS, REDUCERS, parse_reduction, reduce

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adding-a-reducer.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


FILE, *SCRIPTS = blocks("python")
COMMANDS = [line for block in blocks("shell") for line in block.splitlines()]


@pytest.fixture
def norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's file, somewhere on the path."""
    (tmp_path / "norm.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("norm")
    sys.modules.pop("norm")


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's file among those of perfkit/reduction, and its name in REDUCERS."""
    (tmp_path / "norm.py").write_text(FILE)
    package = perfkit.reduction
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(package, "REDUCERS", tuple(sorted((*REDUCERS, "norm"))))
    monkeypatch.setattr(package, "METHODS", tuple(sorted((*METHODS, "norm"))))
    parse_reduction.cache_clear()
    yield
    parse_reduction.cache_clear()
    sys.modules.pop("perfkit.reduction.norm", None)
    vars(package).pop("norm", None)


# --- nothing changed


@pytest.mark.usefixtures("norm")
def test_the_scripts_run(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    torch.manual_seed(0)
    with quick_torch(), chdir(ROOT):
        for script in SCRIPTS:
            exec(script, found)  # noqa: S102  # our own page
    assert tuple(found["quarter"].tokens.shape) == (2, 144, 1024)
    assert tuple(found["longest"].shape) == (2, 64, 1024)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["norm:n=64 [64, 64] (2, 64, 1024)", "random:n=64 [64, 64] (2, 64, 1024)"]
    assert printed[2].startswith("prumerge [")
    in_model = [line.split("]")[0] + "]" for line in printed[3:6]]
    assert in_model[:2] == ["norm:n=64 [64]", "random:n=64 [64]"]
    # Those of `Outlying`: each image's own count of lengths above the fence
    counts = [outlying(image) for image in found["features"]]
    assert printed[6] == f"tensor({counts})"


def outlying(features: torch.Tensor) -> int:
    lengths = features.norm(dim=-1)
    low, high = lengths.quantile(0.25), lengths.quantile(0.75)
    return max(1, int((lengths > high + 1.5 * (high - low)).sum()))


def test_the_file_s_own_example_runs(norm: ModuleType) -> None:
    results = doctest.testmod(norm)
    assert (results.attempted, results.failed) == (1, 0)


def test_the_longest_are_kept_in_their_order(norm: ModuleType) -> None:
    # Lengths 5, 1, 13, 5, 2, 5, 0, 0, 1: the longest, and of the three of length 5 the first two
    rows = [[3, 4], [1, 0], [5, 12], [-5, 0], [0, 2], [4, -3], [0, 0], [0, 0], [0, 1]]
    features = torch.tensor([rows, rows[::-1]], dtype=torch.float32)
    found = reduce(norm.Norm(3), features, None, None)
    assert found.kept[0].nonzero().flatten().tolist() == [0, 2, 3]
    assert found.kept[1].nonzero().flatten().tolist() == [3, 5, 6]  # from behind: 3 is (4, -3), 5 is (-5, 0)
    assert found.tokens[0].tolist() == [[3, 4], [5, 12], [-5, 0]]


def test_lengths_of_half_precision_do_not_overflow(norm: ModuleType) -> None:
    # sqrt(1024) * 2500 is 80000, and float16 ends at 65504; of equal infinities the first would be kept.
    features = torch.full((1, 4, 1024), 2500.0, dtype=torch.float16)
    features[0, 3] = 3000
    assert reduce(norm.Norm(1), features, None, None).kept.tolist() == [[False, False, False, True]]


def test_it_keeps_the_rules(norm: ModuleType) -> None:
    seen = drawn(24, 3)
    assert looks_of(lambda: reduce(norm.Norm(), *seen, 0.1, non_finite="skip")) == []
    few, many = (ops_of(lambda ratio=ratio: reduce(norm.Norm(), *seen, ratio)) for ratio in (0.1, 0.9))
    assert few == many


# --- a name of its own


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_run(line: str) -> None:
    with quick_torch(), chdir(ROOT):
        result = CliRunner().invoke(main, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    assert re.search("norm", result.stdout, re.IGNORECASE)


@pytest.mark.usefixtures("named")
def test_the_phase_costs_what_the_page_says() -> None:
    asked = ["roofline", "--gpu", "v100", "--reduction", "norm:n=64", "--format", "json"]
    document = json.loads(CliRunner().invoke(main, asked).stdout)
    (phase,) = [phase for phase in document["phases"] if phase["phase"] == "reduction"]
    # 2 * 576 * 1024 + 576; (589824 + 576 + 576 + 64 + 2 * 64 * 1024) * 2 = 722112 * 2
    assert (phase["flops"], phase["bytes"]) == (1_180_224, 1_444_224)
    assert phase["roofline_s"] == pytest.approx(1_444_224 / 900e9)  # 1.605 us
    for figure in ("1 180 224 FLOPs", "589 824", "1.44 MB, 1.6 µs"):
        assert figure in PAGE


@pytest.mark.usefixtures("named")
def test_its_name_and_parameters_are_those_of_any_reducer() -> None:
    method = parse_reduction("norm:n=064")
    assert (method.text, method.title, parse_reduction("norm").text) == ("norm:n=64", "Norm", "norm")
    assert reduce("norm", *drawn(), 0.5).counts.tolist() == [8, 8]
    result = CliRunner().invoke(main, ["roofline", "--gpu", "v100", "--reduction", "norn:n=64"])
    assert "unknown reduction 'norn'; nearest: norm" in result.stderr


def test_the_name_is_gone_again() -> None:
    assert "norm" not in (*perfkit.reduction.REDUCERS, *perfkit.reduction.METHODS)
    assert "norm" not in sys.modules
    assert "perfkit.reduction.norm" not in sys.modules
