"""`perfkit count --module`: factories of every kind, inputs as typed, every format, one line for whatever is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perfkit.cli import main
from perfkit.reports import document, report
from perfkit.tables import FORMATS
from perfkit.tracing import load_factory, parse_input, registry, trace
from perfkit.tracing.calls import Call, TensorInfo
from perfkit.tracing.inputs import InputSpec

ROOT = Path(__file__).parents[2]
SAMPLE = "perfkit.tracing.samples:gated_feed_forward"

NET = """
import torch
from torch import nn

@torch.library.custom_op("count_module_tests::{name}", mutates_args=())
def scan(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

@scan.register_fake
def _(x):
    return torch.empty_like(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 4, bias=False)
    def forward(self, x, scale=None):
        print("running")
        y = self.second(self.first(x))
        return y if scale is None else y * scale

class Unknown(nn.Module):
    def forward(self, x):
        return scan(x)

def alone():
    print("building")
    return Net()
def with_args():
    return Net(), (torch.zeros(2, 6),)
def with_kwargs():
    return Net(), (torch.zeros(2, 6),), {{"scale": torch.zeros(4)}}
def unknown():
    return Unknown(), (torch.zeros(2, 6),)
def words():
    return nn.Embedding(10, 6)
def half():
    return Net().half()
def real():
    linear = nn.Linear(6, 6, device="cpu")
    return nn.Sequential(linear, linear), (torch.zeros(2, 6, device="cpu"),)
def training():
    return nn.Sequential(nn.Dropout(0.5)), (torch.zeros(2, 6),)
def uncopyable():
    import threading
    net = nn.Linear(6, 4, device="cpu")
    net.lock = threading.Lock()
    return net, (torch.zeros(2, 6),)
def silent():
    class Silent(nn.Module):
        def forward(self, x):
            x * 2
    return Silent(), (torch.zeros(2, 6),)
ready = nn.Linear(6, 4)
number = 3
def raises():
    raise ValueError("no such size\\nmore")
def leaves():
    raise SystemExit(3)
def a_number():
    return 3
def a_pair():
    return Net(), torch.zeros(2, 6)
def four():
    return Net(), (), {{}}, 1
def by_value():
    class ByValue(nn.Module):
        def forward(self, x):
            return x[: int(x.sum())]
    return ByValue(), (torch.zeros(2, 6),)
"""

Net = Callable[[str], str]


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Net:
    """A module of factories in the current folder, under a name of its own."""
    name = re.sub(r"\W", "_", request.node.name)
    (tmp_path / f"{name}.py").write_text(NET.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda factory: f"{name}:{factory}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["count", "--module", *arguments])


def answer(*arguments: str) -> Any:
    result = run(*arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def error_line(*arguments: str) -> str:
    """The one line of a command that must fail with exit code 1 and print nothing."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = [line for line in result.stderr.splitlines() if line not in ("building", "running")]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


# --- factories and inputs

FLOPS = 2 * 2 * 6 * 12 + 2 * 2 * 12 * 4  # of Net over 2 rows


@pytest.mark.parametrize(
    ("factory", "inputs", "elementwise"),
    [
        ("with_args", [], 24),  # a bias of 12
        ("with_kwargs", [], 32),  # and a product with the scale
        ("alone", ["2x6"], 24),
        ("alone", ["2x6:float32", "scale=4"], 32),
        ("alone", ["x=2x6"], 24),
        ("half", ["2x6"], 24),  # the module's own dtype
    ],
)
def test_modules_with_inputs(net: Net, factory: str, inputs: list[str], elementwise: int) -> None:
    said = answer(net(factory), *(part for text in inputs for part in ("--input", text)))
    assert (said["total"], said["macs"]) == (FLOPS, FLOPS // 2)
    assert sum(op["elementwise_flops"] for op in said["by_op"]) == elementwise


def test_a_file_is_named_as_a_module(net: Net) -> None:
    name, _, factory = net("with_args").partition(":")
    assert error_line(f"{name}.py:{factory}").endswith(f"(a module's name, not its file's: {name})")


def test_a_module_that_stands_ready_needs_no_factory(net: Net) -> None:
    assert answer(net("ready"), "--input", "2x6")["total"] == 96  # 2 * 2 * 6 * 4


def test_what_was_made_elsewhere_is_put_on_meta_and_shared_weights_stay_shared(net: Net) -> None:
    loaded = load_factory(net("real"))
    first, second = loaded.module
    assert first.weight is second.weight
    assert {tensor.device.type for tensor in (*loaded.module.parameters(), *loaded.args)} == {"meta"}
    assert trace(*loaded).fused.weights == 6 * 6 * 4 + 6 * 4


def test_modules_are_counted_in_eval_mode(net: Net) -> None:
    assert answer(net("training"))["by_op"] == []


def test_ids_are_said_with_their_dtype(net: Net) -> None:
    assert answer(net("words"), "--input", "3:int64")["bytes"]["unfused"] == 72 + 72 + 24
    line = error_line(net("words"), "--input", "3")
    assert "running" in line
    assert line.endswith("; say the dtype, as --input 1x16:int64")


def test_what_modules_print_is_no_part_of_the_result(net: Net) -> None:
    result = run(net("alone"), "--input", "2x6", "--format", "csv")
    assert result.exit_code == 0
    assert {"building", "running"} <= set(result.stderr.splitlines())
    assert "building" not in result.stdout
    assert "running" not in result.stdout


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1x16:int64", InputSpec("", (1, 16), "int64")),
        ("7", InputSpec("", (7,), "")),
        ("inputs_embeds=1x16x4096:float16", InputSpec("inputs_embeds", (1, 16, 4096), "float16")),
    ],
)
def test_inputs_as_typed(text: str, spec: InputSpec) -> None:
    assert parse_input("--input", text) == spec


# --- results


def test_the_json_is_that_of_a_count_as_far_as_it_goes(net: Net) -> None:
    said = answer(net("with_args"), "--depth", "1")
    assert said["by_phase"] == {"forward": FLOPS}
    assert said["convention"]["name"] == "torch"
    assert said["uncounted"] == []
    assert said["parameters"] == 6 * 12 + 12 + 12 * 4
    assert [op["repeat"] for op in said["by_op"]] == [1, 1]
    assert {op["phase"] for op in said["by_op"]} == {"forward"}
    assert [(module["module"], module["class"], module["flops"]) for module in said["by_module"]] == [
        ("", "Net", FLOPS),
        ("first", "Linear", 288),
        ("second", "Linear", 192),
    ]
    assert said["bytes"]["fused"] == sum(said["bytes"]["fused_parts"].values())
    assert said["bytes"]["fused_parts"]["weights"] == 4 * said["parameters"]
    assert said["compared"]["FlopCounterMode"] == {"flops": FLOPS, "ours": FLOPS, "equal": True, "note": None}


def test_elementwise_work_is_in_the_total_where_asked_for(net: Net) -> None:
    said = answer(net("with_args"), "--elementwise", "--convention", "torch")
    assert (said["total"], said["convention"]["elementwise"]) == (FLOPS + 24, True)


def test_a_row_a_module_and_op(net: Net) -> None:
    rows = list(csv.DictReader(io.StringIO(run(net("with_args"), "--format", "csv").stdout)))
    assert [(row["module"], row["name"], int(row["flops"])) for row in rows] == [
        ("first", "aten.addmm", 288),
        ("second", "aten.mm", 192),
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(form: str) -> None:
    result = run(SAMPLE, "--format", form)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "aten" in result.stdout


def test_people_see_two_levels_and_how_to_see_more() -> None:
    shown = run("perfkit.tracing.samples:clip_tower").stdout
    assert "encoder.layers" in shown
    assert "encoder.layers.0" not in shown
    assert "deeper ones not shown: --depth" in shown
    assert "encoder.layers.0" in run("perfkit.tracing.samples:clip_tower", "--depth", "3").stdout


def test_an_op_without_a_formula_is_a_warning_and_a_table(net: Net) -> None:
    result = run(net("unknown"))
    assert result.exit_code == 0
    assert "Ops without a formula" in result.stdout
    assert re.search(r"warning: no formula.*count_module_tests\.\w+ \(--strict makes it an error\)", result.stderr)
    said = answer(net("unknown"))
    assert [(op["calls"], op["bytes"]) for op in said["uncounted"]] == [(1, 96)]
    assert said["by_op"] == []
    (row,) = csv.DictReader(io.StringIO(run(net("unknown"), "--format", "csv").stdout))
    assert (row["kind"], row["flops"], row["unfused_bytes"]) == ("uncounted", "", "96")


def test_a_forward_that_returns_no_tensor_is_a_warning(net: Net) -> None:
    result = run(net("silent"))
    assert result.exit_code == 0
    assert "warning: the forward returned no tensor that was found" in result.stderr


def test_strict_prints_nothing_but_the_error(net: Net, tmp_path: Path) -> None:
    line = error_line(net("unknown"), "--strict", "--output", str(tmp_path / "out.json"))
    assert re.search(r"runs ops without a formula: count_module_tests\.\w+ \(1 call, 96\.0 B\)", line)
    assert not (tmp_path / "out.json").exists()
    assert run(net("with_args"), "--strict").exit_code == 0


def test_several_traces_stand_in_one_table() -> None:
    import torch

    traces = [trace(torch.nn.Linear(3, n), (torch.zeros(2, 3),), name=f"to {n}") for n in (5, 7)]
    assert [(row["model"], row["flops"]) for row in report(traces).records()] == [("to 5", 60), ("to 7", 84)]
    assert [one["module"] for one in document(traces)] == ["to 5", "to 7"]


# --- what can be wrong


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("raises", r"raises\(\) raised ValueError: no such size$"),
        ("leaves", r"leaves\(\) raised SystemExit: 3$"),
        ("a_number", r"a_number must return a torch module, .*, not int$"),
        ("a_pair", r"a_pair: args must be a tuple and kwargs a dict, not \(Tensor\)$"),
        ("uncopyable", r"^Linear cannot be put on meta: TypeError: cannot pickle '_thread.lock' object; make every"),
        ("four", r"four must return a torch module, .*, not \(Net, tuple, dict, int\)$"),
        ("number", r"number is a int, not a function that returns"),
        ("alone", r"alone returns a module without inputs: say them, as --input 1x16:int64"),
        ("withargs", r"unknown factory in \w+ 'withargs'; nearest: with_args"),
        ("by_value", r"running \S+ failed: RuntimeError: .*; meta tensors have no values: count the parts"),
    ],
)
def test_a_factory_that_does_not_do(net: Net, factory: str, message: str) -> None:
    assert re.search(message, error_line(net(factory)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "importing mine failed: ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0", "importing mine failed: ZeroDivisionError: division by zero"),
        ("def build(:", "importing mine failed: SyntaxError: invalid syntax"),
        ("raise SystemExit", "importing mine failed: SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert error_line("mine:build").startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mod:build"], "no module 'nowhere' in the current folder or among what is installed"),
        (["perfkit.nowhere:build"], "no module 'perfkit.nowhere' in the current folder or among what is installed"),
        (["nothere.py:build"], "no module 'nothere' in the current folder or among what is installed"),
        (["mynet"], "--module must read package.module:factory, such as mynet:build, not 'mynet'"),
        (["nets/mynet:build"], "--module must read package.module:factory"),
        (["mynet:build()"], "--module must read package.module:factory"),
        ([""], "--module must read package.module:factory"),
        ([SAMPLE, "--input", "3x3"], f"{SAMPLE} returns its inputs itself: leave --input out"),
        ([SAMPLE, "--input", "3,3"], "--input must read SHAPE, SHAPE:DTYPE or NAME=SHAPE:DTYPE, such as 1x16:int64"),
        ([SAMPLE, "--input", "3x0"], "--input: each dimension must be a whole number from 1 to 10000000, not 0"),
        ([SAMPLE, "--input", "3:int"], "unknown dtype of --input 'int'; nearest: "),
        ([SAMPLE, "--depth", "-1"], "--depth must be a whole number from 0"),
        (
            [SAMPLE, "--tokens", "32"],
            "--module counts a torch module as it is, by the convention torch: leave out --tokens",
        ),
        ([SAMPLE, "--model", "llava-1.5-7b", "--compare"], "leave out --model, --compare"),
        ([SAMPLE, "--convention", "fastv"], "leave out --convention"),
        (["torch.nn:Linear", "--input", "2x3"], "torch.nn:Linear() raised TypeError: "),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], message: str) -> None:
    assert message in error_line(*arguments)


@pytest.mark.parametrize("stray", [["--strict"], ["--depth", "2"], ["--input", "2x3"]])
def test_options_of_a_module_need_one(stray: list[str]) -> None:
    result = CliRunner().invoke(main, ["count", *stray])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {stray[0]} goes with --module only\n"


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert error_line(SAMPLE) == "tracing needs torch: pip install 'perfkit[torch]'"


# --- the documentation


def python_blocks() -> list[str]:
    page = (ROOT / "docs/tracing.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def test_the_factory_of_the_documentation_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "documented_net.py").write_text(python_blocks()[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert answer("documented_net:build", "--strict")["compared"]["FlopCounterMode"]["equal"]


def test_the_formula_of_the_documentation_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))
    exec(python_blocks()[1], {})  # noqa: S102  # our own documentation
    rule = registry.rule_of("mylib.scan")
    assert rule is not None
    x = TensorInfo((2, 5, 3), 4, floating=True, footprint=120, storage="x", storage_bytes=120)
    assert rule.vector(Call("mylib.scan", (x,), {}, (x,))) == 90  # 3 * 2 * 5 * 3


def test_the_hand_arithmetic_of_the_documentation_is_what_is_printed() -> None:
    page, printed = (ROOT / "docs/tracing.md").read_text(), run(SAMPLE).stdout
    stated = re.findall(r"=\s+([\d ]+\d)$", page, flags=re.MULTILINE)
    assert len(stated) == 5
    weights = "270 532 608"  # printed rounded, as a part of the fused bound
    assert [figure for figure in stated if figure not in printed] == [weights]
    assert f"{3 * 4096 * 11008 * 2:,}".replace(",", " ") == weights
