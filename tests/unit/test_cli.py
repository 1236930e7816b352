"""The command line: exit codes, one-line errors, every format, the contract's JSON, terminals and pipes."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import COMMANDS, EXTRAS, main
from perfkit.tables import FORMATS

ROOT = Path(__file__).parents[2]
LLAVA_13B_ON_T4 = ("roofline", "--gpu", "t4", "--model", "llava-1.5-13b")


def run(*arguments):
    return CliRunner().invoke(main, arguments, prog_name="perfkit")


def answer(*arguments):
    """stdout of a command that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def answer_json(*arguments):
    return json.loads(
        answer(*arguments, "--format", "json"), parse_constant=lambda name: pytest.fail(f"{name} in JSON")
    )


def error_line(*arguments):
    """The one line of a command that must fail with exit code 1."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def process(*arguments, **environment):
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    variables |= {"PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, encoding="utf-8", timeout=60)


# --- exit codes, in processes of their own


@pytest.mark.parametrize("launcher", [["cli.py"], ["-m", "perfkit"]])
def test_both_launchers_answer(launcher):
    command = [sys.executable, *launcher, "roofline", "--gpu", "v100", "--tokens", "32"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert "llava-1.5-7b on v100-sxm2-32gb (v100)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["gpus"], 0),
        (["--version"], 0),
        (["gpus", "v10"], 1),
        (["roofline", "--gpu", "v100", "--precision", "bf16"], 1),
        (["roofline", "--gpu", "v100", "--no-such-option"], 2),
        (["no-such-command"], 2),
    ],
)
def test_exit_codes_reach_the_shell(arguments, code):
    result = process(*arguments)
    assert result.returncode == code
    assert (result.stdout == "") == (code != 0)
    assert "Traceback" not in result.stderr


def test_the_version_is_the_packages():
    assert answer("--version").splitlines()[0] == f"perfkit {perfkit.__version__}"


# --- help


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["perfkit", *COMMANDS])
def test_every_command_explains_itself_with_an_example(command, flag):
    text = answer(*command, flag)
    assert re.search(r"^  Examples?:\n    perfkit \w", text, re.MULTILINE)
    assert "Usage: perfkit" in text


def test_the_help_lists_every_command():
    text = answer("--help")
    assert all(re.search(rf"^  {name}  ", text, re.MULTILINE) for name in COMMANDS)


# --- exit code 2: click's own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rooflin"], "unknown command 'rooflin'; nearest: roofline"),
        (["roofline"], "Missing option '--gpu'"),
        (["roofline", "--gpu", "v100", "--token", "3", "--frmat", "json"], "No such option"),
        (["gpus", "--gpu", "v100"], "No such option"),
        (["gpus", "v100", "a100"], "unexpected extra argument"),
        (["count", "--tokens"], "requires an argument"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_exit_code_2(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr


def test_no_command_shows_what_there_is():
    result = run()
    assert result.exit_code == 2
    assert all(name in result.output for name in COMMANDS)


# --- exit code 1: one clear line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        # names, with the nearest
        (["roofline", "--gpu", "v10"], ["unknown GPU 'v10'", "nearest: v100"]),
        (["gpus", "rtx4091"], ["unknown GPU 'rtx4091'", "rtx4090"]),
        (["roofline", "--gpu", ""], ["unknown GPU ''", "`perfkit gpus` lists all"]),
        (["roofline", "--gpu", "g" * 5000], ["unknown GPU"]),
        (["roofline", "--gpu", "v100", "--gpu", "v10"], ["unknown GPU 'v10'"]),
        (["roofline", "--gpu", "v100", "--model", "llava-1.5"], ["unknown model 'llava-1.5'", "llava-1.5-7b"]),
        (["count", "--model", "bert"], ["unknown model 'bert'", "bert-base"]),
        (["models", "lama-3-8b"], ["unknown model 'lama-3-8b'", "nearest: llama-3-8b"]),
        (["roofline", "--gpu", "v100", "--precision", "fp15"], ["unknown --precision 'fp15'", "fp16"]),
        (["roofline", "--gpu", "v100", "--precision", "int4"], ["unknown --precision 'int4'", "int8"]),
        (["roofline", "--gpu", "v100", "--weights", "int3"], ["unknown --weights 'int3'", "int4"]),
        (["roofline", "--gpu", "v100", "--kv", "fp9"], ["unknown --kv 'fp9'"]),
        (["roofline", "--gpu", "v100", "--activations", "int4"], ["unknown --activations 'int4'"]),
        (["roofline", "--gpu", "v100", "--attention", "flash"], ["unknown --attention 'flash'", "fused"]),
        (["roofline", "--gpu", "v100", "--runtime", "graf"], ["unknown --runtime 'graf'", "nearest: graph", "eager"]),
        (["roofline", "--gpu", "v100", "--calibration", "no.yaml"], ["no.yaml: no such file"]),
        (
            ["roofline", "--gpu", "v100", "--calibration", "hardware_specs/calibrations/l40s.yaml"],
            ["calibration l40s is of l40s, not of v100-sxm2-32gb"],
        ),
        (["roofline", "--gpu", "v100", "--logits", "first"], ["unknown --logits 'first'", "last"]),
        (["count", "--format", "jsn"], ["unknown --format 'jsn'", "nearest: json"]),
        (["count", "--convention", "trch"], ["unknown convention 'trch'", "nearest: torch"]),
        # precisions that the card lacks
        (["roofline", "--gpu", "v100", "--precision", "bf16"], ["v100-sxm2-32gb", "bf16", "fp16 (125", "fp32 (15.7"]),
        (["roofline", "--gpu", "a100", "--precision", "fp8"], ["a100-sxm-80gb", "fp8", "fp16 (312", "int8 (624"]),
        (["roofline", "--gpu", "p100", "--precision", "int8"], ["p100-sxm2-16gb", "int8", "fp16 (21.2"]),
        (["roofline", "--gpu", "tpuv4", "--precision", "fp16"], ["tpuv4", "fp16", "bf16 (275"]),
        (["roofline", "--gpu", "v100", "--activations", "bf16"], ["v100-sxm2-32gb", "bf16", "fp16 (125"]),
        (["roofline", "--gpu", "a100", "--gpu", "v100", "--precision", "tf32"], ["v100-sxm2-32gb", "tf32"]),
        # counts
        (["count", "--tokens", "-1"], ["--tokens", "from 0 to 10000000", "-1"]),
        (["count", "--tokens", "1.5"], ["--tokens", "whole number", "'1.5'"]),
        (["count", "--tokens", "many"], ["--tokens", "whole number", "'many'"]),
        (["count", "--tokens", "nan"], ["--tokens", "whole number"]),
        (["count", "--tokens", "10000001"], ["--tokens", "from 0 to 10000000"]),
        (["count", "--text-tokens", "0"], ["--text-tokens", "from 1 to 10000000", "not 0"]),
        (["count", "--text-tokens", "1e3"], ["--text-tokens", "whole number"]),
        (["count", "--batch", "0"], ["--batch", "from 1 to 10000000", "not 0"]),
        (["count", "--batch", "-3"], ["--batch", "from 1"]),
        (["count", "--batch", "99999999999999999999"], ["--batch", "from 1 to 10000000"]),
        (["count", "--images", "0"], ["--images", "from 1"]),
        (["count", "--images", "0.5"], ["--images", "whole number"]),
        (["roofline", "--gpu", "v100", "--new-tokens", "0"], ["--new-tokens", "from 1"]),
        (["roofline", "--gpu", "v100", "--new-tokens", "ten"], ["--new-tokens", "whole number"]),
        # more visual tokens than the model makes
        (["count", "--tokens", "577"], ["577", "llava-1.5-7b", "576"]),
        (["count", "--tokens", "1153", "--images", "2"], ["1153", "1152"]),
        (["count", "--model", "vicuna-7b", "--tokens", "1"], ["vicuna-7b", "use 0"]),
        # files
        (["roofline", "--gpu", "none.yaml"], ["none.yaml", "no such file"]),
        (["roofline", "--gpu", "./none"], ["none", "no such file"]),
        (["roofline", "--gpu", "~nobody-of-this-name/x.yaml"], ["no such file"]),
        (["gpus", "/"], ["not a regular file"]),
        (["gpus", "v100", "--detect"], ["--detect takes no name"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_bad_value_is_one_line_that_says_what_is_allowed(arguments, parts):
    line = error_line(*arguments)
    for part in parts:
        assert part in line


def test_as_many_tokens_as_the_model_makes_are_allowed():
    assert answer_json("count", "--tokens", "576")["workload"]["visual_tokens"] == 576
    assert answer_json("count", "--tokens", "1152", "--images", "2")["workload"]["visual_tokens"] == 1152


def test_no_visual_tokens_are_no_vision_phase():
    document = answer_json("roofline", "--gpu", "v100", "--tokens", "0")
    assert [phase["phase"] for phase in document["phases"]] == ["prefill", "decode"]


BAD_CONFIGS = {
    "no model_type": ('{"hidden_size": 4096}', ["model_type is missing"]),
    "no sizes": ('{"model_type": "llama"}', ["is missing", "cannot be counted without it"]),
    "unknown family": ('{"model_type": "mamba"}', ["unknown model_type 'mamba'"]),
    "model_type is no text": ('{"model_type": 3}', ["model_type is missing"]),
    "not JSON": ("model_type: llama", ["not JSON"]),
    "cut off": ('{"model_type": "llama"', ["not JSON"]),
    "a list": ("[]", ["object"]),
    "empty": ("", ["not JSON"]),
    "nested too deeply": ("[" * 100_000, ["not JSON"]),
    "size as text": ('{"model_type": "llama", "hidden_size": "4096"}', ["hidden_size", "'4096'"]),
    "size below zero": ('{"model_type": "llama", "hidden_size": -1}', ["hidden_size", "-1"]),
    "size NaN": ('{"model_type": "llama", "hidden_size": NaN}', ["hidden_size", "nan"]),
}


@pytest.mark.parametrize(("text", "parts"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
@pytest.mark.parametrize("command", [["count", "--model"], ["models"], ["roofline", "--gpu", "v100", "--model"]])
def test_a_bad_config_is_one_line_that_names_the_file(command, text, parts, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    line = error_line(*command, str(path))
    for part in [str(path), *parts]:
        assert part in line


def test_100_mb_of_garbage_are_no_config(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    line = error_line("count", "--model", str(path))
    assert str(path) in line
    assert "larger than 16 MiB" in line


def test_a_folder_stands_for_the_config_in_it(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    assert str(tmp_path / "config.json") in error_line("count", "--model", str(tmp_path))


# --- devices by path

CARD = """\
name: My card
peaks:
  - {engine: tensor, precision: fp16, accumulate: fp32, dense: true, value: 100, unit: TFLOP/s}
memory:
  capacity: {value: 24, unit: GB}
  bandwidth: {value: 600, unit: GB/s}
"""


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "my-card.yaml"
    path.write_text(CARD)
    return path


def test_a_device_by_path_is_analysed_with_its_own_ceilings(card):
    document = answer_json("roofline", "--gpu", str(card), "--tokens", "32")
    assert document["device"] == "my-card"
    prefill = {op["name"]: op for op in document["ops"] if op["phase"] == "prefill"}
    for op in prefill.values():
        compute, memory = op["matmul_flops"] / 100e12, op["bytes"] / 600e9
        assert op["roofline_s"] == pytest.approx(max(compute, memory)), op["name"]


def test_a_device_by_path_is_shown(card):
    text = answer("gpus", str(card))
    assert "My card (my-card)" in text
    assert "not stated" in text  # it names no source


@pytest.mark.parametrize("command", [["gpus"], ["roofline", "--gpu"]])
@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("unit: TFLOP/s", "unit: TFLOPS", "peaks[0]: unit must be one of"),
        ("value: 100", "value: 125e12", "not the text '125e12'"),
        ("value: 100", "value: .nan", "above zero"),
        ("value: 600", "value: -600", "above zero"),
        ("name: My card", "name: My card\nname: Mine", "'name' twice"),
        ("name: My card", "name: My card\ncolour: red", "unknown key 'colour'"),
        ("name: My card", "name: !!python/object/apply:os.getcwd []", "tags ("),
        ("name: My card", "name: " + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_device_file_is_one_line_that_names_file_and_place(command, old, new, part, card):
    card.write_text(CARD.replace(old, new))
    line = error_line(*command, str(card))
    assert str(card) in line
    assert part in line


def test_unknown_bandwidth_is_said_when_it_is_needed(card):
    card.write_text(CARD.replace("value: 600", "value: unknown"))
    assert "memory bandwidth is unknown" in error_line("roofline", "--gpu", str(card))
    assert "unknown GB/s" in answer("gpus", str(card))


# --- tracebacks on demand


@pytest.mark.parametrize(
    "arguments",
    [
        ["-v", "roofline", "--gpu", "v10"],
        ["--verbose", "roofline", "--gpu", "v10"],
        ["roofline", "-v", "--gpu", "v10"],
        ["roofline", "--gpu", "v10", "-v"],
        ["gpus", "v10", "-v"],
        ["models", "none", "-v"],
        ["count", "--tokens", "x", "-v"],
        ["-v", "count", "--tokens", "x"],
    ],
    ids=" ".join,
)
def test_verbose_shows_the_traceback_before_the_line(arguments):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("Error: ")


def test_verbose_changes_nothing_where_all_is_well():
    result = run("-v", "gpus", "v100-sxm2-32gb")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == answer("gpus", "v100-sxm2-32gb")


def test_a_defect_is_one_line_too(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("an unforeseen zero")

    monkeypatch.setattr("perfkit.totals.counted.count", fail)
    line = error_line("count")
    assert "unexpected ZeroDivisionError: an unforeseen zero" in line
    assert "-v" in line
    assert "Traceback" in run("count", "-v").stderr


@pytest.mark.parametrize(("library", "extra"), sorted(EXTRAS.items()))
def test_a_library_that_is_missing_is_named_with_what_brings_it(monkeypatch, library, extra):
    def fail(*_, **__):
        raise ModuleNotFoundError(f"No module named {library!r}", name=f"{library}.core")

    monkeypatch.setattr("perfkit.totals.counted.count", fail)
    assert error_line("count") == f"this needs {library}: pip install 'perfkit[{extra}]'"
    brought = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert any(re.match(rf"{library}\W", each) for each in brought)


# --- formats

# A command, and an exact SI number that it must show: its key in the tables, and its value.
SHOWN = {
    # 1024 * 2 * 3 * 14 * 14 multiply-adds a patch, 576 patches: 576 * 2 * 588 * 1024 = 693,633,024 FLOPs.
    "roofline": (["roofline", "--gpu", "v100", "--tokens", "32"], "matmul_flops", 693_633_024),
    "compare": (["roofline", "--gpu", "v100", "--gpu", "t4", "--tokens", "32"], "matmul_flops", 693_633_024),
    "count": (["count", "--tokens", "32"], "flops", 693_633_024),
    "gpus": (["gpus"], "bandwidth_bytes_per_s", 900e9),
    "gpu": (["gpus", "v100"], "value", 32e9),
    "models": (["models"], "parameters", 7_063_427_072),
    "model": (["models", "llava-1.5-7b"], "parameters", 7_063_427_072),
}
# A single model is a row a figure.
SHOWN_AS_ROWS = {**SHOWN, "model": (["models", "llava-1.5-7b"], "value", 7_063_427_072)}
MACHINE_FORMATS = [form for form in FORMATS if form != "table"]


def numbers(text):
    """Every word of a text that is a plain number."""
    words = (word.rstrip(".") for word in re.findall(r"(?<![\w.-])\d[\w.+-]*", text))
    return {float(word) for word in words if re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", word)}


@pytest.mark.parametrize("form", MACHINE_FORMATS)
@pytest.mark.parametrize(("command", "key", "value"), SHOWN.values(), ids=SHOWN.keys())
def test_every_command_gives_si_numbers_in_every_machine_format(command, key, value, form):
    text = answer(*command, "--format", form)
    assert key in text.replace(r"\_", "_")
    assert float(value) in numbers(text)
    assert "\x1b" not in text


@pytest.mark.parametrize(("command", "key", "value"), SHOWN_AS_ROWS.values(), ids=SHOWN.keys())
def test_csv_gives_the_number_under_its_key(command, key, value):
    rows = list(csv.DictReader(io.StringIO(answer(*command, "--format", "csv"), newline="")))
    assert value in numbers(" ".join(row[key] for row in rows))
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["roofline", "--gpu", "v100", "--tokens", "32"], ["TTFT", "TPOT", "GFLOP", " ms", "GB", "predicted"]),
        (["roofline", "--gpu", "v100", "--gpu", "t4"], ["TTFT", "v100-sxm2-32gb", "t4", "TFLOP/s"]),
        (["count", "--tokens", "32"], ["patch_embedding", "694 MFLOP", "counted"]),
        (["gpus"], ["v100-sxm2-32gb", "900 GB/s", "125 TFLOP/s"]),
        (["gpus", "v100"], ["125 TFLOP/s", "900 GB/s", "WP-08608"]),
        (["models"], ["llava-1.5-7b", "7 063 427 072"]),
        (["models", "llava-1.5-7b"], ["7 063 427 072", "vision hidden", "11 008"]),
    ],
)
def test_people_get_prefixes(command, parts):
    text = answer(*command)
    for part in parts:
        assert part in text


def test_table_is_what_comes_without_a_format():
    assert answer("count", "--format", "table") == answer("count")


# --- the JSON of the contract

PHASE_KEYS = {
    "phase",
    "flops",
    "matmul_flops",
    "weight_bytes",
    "read_bytes",
    "write_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "bytes",
    "intensity",
    "roofline_s",
    "expected_s",
    "expected_low_s",
    "expected_high_s",
    "bound",
}
FIVE = ("weight_bytes", "read_bytes", "write_bytes", "kv_read_bytes", "kv_write_bytes")
WORKLOADS = {
    "default": [],
    "32 tokens": ["--tokens", "32"],
    "batch of 4": ["--tokens", "64", "--batch", "4", "--text-tokens", "17"],
    "eager": ["--attention", "eager", "--logits", "all"],
    "int4 weights": ["--weights", "int4", "--kv", "int8"],
    "a reducer": ["--reduction", "prumerge"],
    "another model": ["--model", "llama-3-8b"],
    "an encoder": ["--model", "bert-base"],
    "a tower": ["--model", "clip-vit-l-14-336"],
}


@pytest.fixture(scope="module", params=WORKLOADS.values(), ids=WORKLOADS.keys())
def document(request):
    return answer_json("roofline", "--gpu", "v100", *request.param)


def test_the_document_has_the_contracts_keys(document):
    top = {"perfkit", "model", "device", "calibration", "workload", "execution", "phases", "ops", "totals", "warnings"}
    assert document.keys() == top | {"skipped"}
    counts = {"batch", "images", "visual_tokens", "text_tokens", "new_tokens"}
    assert document["workload"].keys() == counts | {"reduction", "schedule"}
    execution = {"weights", "activations", "kv", "attention", "logits", "tp", "pp", "runtime"}
    assert document["execution"].keys() == execution
    seconds = {f"{what}_{kind}_s" for what in ("ttft", "tpot") for kind in ("roofline", "expected")}
    assert document["totals"].keys() == {*seconds, "memory_bytes", "fits"}
    assert document["totals"]["memory_bytes"].keys() == {"weights", "kv", "activations", "total"}
    assert all(phase.keys() == PHASE_KEYS for phase in document["phases"])
    assert document["skipped"] is None or document["skipped"].keys() == PHASE_KEYS
    assert all(op.keys() == PHASE_KEYS | {"name", "kind", "repeat"} for op in document["ops"])
    assert all(isinstance(warning, str) for warning in document["warnings"])


def test_a_phase_is_the_sum_of_its_ops(document):
    for phase in document["phases"]:
        ops = [op for op in document["ops"] if op["phase"] == phase["phase"]]
        for key in ("flops", "matmul_flops", *FIVE, "bytes"):
            assert phase[key] == sum(op[key] for op in ops), (phase["phase"], key)
        assert phase["roofline_s"] == pytest.approx(sum(op["roofline_s"] for op in ops), rel=1e-12)


def test_counts_are_exact_integers(document):
    for entry in document["phases"] + document["ops"]:
        assert all(type(entry[key]) is int for key in ("flops", "matmul_flops", *FIVE, "bytes"))
        assert entry["bytes"] == sum(entry[key] for key in FIVE) > 0
        assert entry["intensity"] == pytest.approx(entry["flops"] / entry["bytes"])
        assert 0 <= entry["matmul_flops"] <= entry["flops"]
        assert entry["bound"] in ("compute", "memory")


def test_no_op_is_faster_than_the_memory_or_the_peak(document):
    # A V100 moves 900e9 B/s and multiplies 125e12 FLOP/s.
    for op in document["ops"]:
        assert op["roofline_s"] >= max(op["bytes"] / 900e9, op["matmul_flops"] / 125e12) * (1 - 1e-12)


def test_totals_add_up(document):
    totals, phases = document["totals"], {phase["phase"]: phase["roofline_s"] for phase in document["phases"]}
    decode = phases.pop("decode", None)
    assert totals["ttft_roofline_s"] == pytest.approx(sum(phases.values()))
    assert (totals["tpot_roofline_s"] is None) == (decode is None)
    memory = totals["memory_bytes"]
    assert memory["total"] == memory["weights"] + memory["kv"] + memory["activations"]
    assert totals["fits"] is (memory["total"] + 2**30 <= 32e9)


def test_the_document_says_what_was_asked():
    document = answer_json(
        *("roofline", "--gpu", "t4", "--tokens", "32", "--text-tokens", "7", "--new-tokens", "9", "--batch", "2"),
        *("--images", "3", "--weights", "int4", "--kv", "int8", "--attention", "eager", "--logits", "none"),
    )
    assert document["perfkit"] == perfkit.__version__
    assert (document["device"], document["model"], document["calibration"]) == ("t4", "llava-1.5-7b", "turing")
    workload = {"batch": 2, "images": 3, "visual_tokens": 32, "text_tokens": 7, "new_tokens": 9}
    assert document["workload"] == {**workload, "reduction": None, "schedule": []}
    execution = {"weights": "int4", "activations": "fp16", "kv": "int8", "attention": "eager", "logits": "none"}
    assert {key: document["execution"][key] for key in execution} == execution
    assert (document["execution"]["tp"], document["execution"]["pp"]) == (1, 1)


def test_the_default_is_every_visual_token_in_half_precision():
    document = answer_json("roofline", "--gpu", "v100")
    assert document["workload"] == {
        "batch": 1,
        "images": 1,
        "visual_tokens": 576,  # (336 / 14)^2
        "text_tokens": 60,
        "new_tokens": 128,
        "reduction": None,
        "schedule": [],
    }
    assert {document["execution"][key] for key in ("weights", "activations", "kv")} == {"fp16"}
    assert [phase["phase"] for phase in document["phases"]] == ["vision", "projector", "prefill", "decode"]
    memory = document["totals"]["memory_bytes"]
    assert memory["weights"] == 14_126_854_144  # 7,063,427,072 parameters of 2 bytes
    assert memory["kv"] == 400_556_032  # 2 * 32 layers * (576 + 60 + 128) positions * 4096 * 2 bytes


def test_fewer_visual_tokens_cost_less_after_the_tower_only():
    few, all_of_them = (answer_json("roofline", "--gpu", "v100", "--tokens", n)["phases"] for n in ("32", "576"))
    assert few[0] == all_of_them[0]
    assert all(a["flops"] < b["flops"] for a, b in zip(few[1:], all_of_them[1:], strict=True))


def test_two_devices_are_a_list_in_the_order_asked_for():
    documents = answer_json("roofline", "--gpu", "t4", "--gpu", "v100", "--tokens", "32")
    assert [document["device"] for document in documents] == ["t4", "v100-sxm2-32gb"]
    assert documents[1] == answer_json("roofline", "--gpu", "v100", "--tokens", "32")


def test_the_lists_of_gpus_and_models_are_lists():
    assert len(answer_json("gpus")) == 54
    assert {"llava-1.5-7b", "llava-1.5-13b"} <= {model["name"] for model in answer_json("models")}


def test_count_has_its_keys_and_adds_up():
    document = answer_json("count", "--tokens", "32")
    assert {"total", "by_phase", "by_op", "convention", "uncounted", "macs", "parameters", "bytes"} <= document.keys()
    assert document["total"] == sum(document["by_phase"].values()) == sum(op["flops"] for op in document["by_op"])
    assert document["convention"]["multiply_add"] == 2
    assert document["convention"]["causal"] == "full"


def test_logits_of_one_position_are_one_product():
    last, none = (answer_json("count", "--logits", logits)["total"] for logits in ("last", "none"))
    assert last - none == 2 * 4096 * 32064  # hidden width times vocabulary, multiply-add = 2


def test_logits_of_all_positions_are_one_product_each():
    everything, none = (answer_json("count", "--logits", logits)["total"] for logits in ("all", "none"))
    assert everything - none == (576 + 60) * 2 * 4096 * 32064


def test_elementwise_work_is_counted_on_request():
    plain, more = answer_json("count"), answer_json("count", "--elementwise")
    assert more["total"] > plain["total"]
    assert {op["kind"] for op in more["by_op"]} > {op["kind"] for op in plain["by_op"]}


# --- aliases, and what a reader should know


def test_an_alias_names_its_siblings_for_people_and_machines():
    siblings = ["v100-sxm2-16gb", "v100-pcie-32gb", "v100-pcie-16gb", "v100s-pcie-32gb"]
    notes = " ".join(answer("roofline", "--gpu", "v100").split("note: ", 1)[1].split())
    assert notes.startswith(f"v100 means v100-sxm2-32gb; its siblings: {', '.join(siblings)}")
    (warning,) = [w for w in answer_json("roofline", "--gpu", "v100")["warnings"] if w.startswith("v100 means")]
    assert all(sibling in warning for sibling in siblings)


def test_an_id_needs_no_such_note():
    document = answer_json("roofline", "--gpu", "v100-sxm2-32gb")
    assert not [warning for warning in document["warnings"] if "siblings" in warning]


def test_showing_an_alias_names_its_siblings_on_stderr():
    result = run("gpus", "v100")
    assert result.exit_code == 0
    assert "v100 means v100-sxm2-32gb" in result.stderr
    assert "v100-pcie-16gb" in result.stderr


def test_int8_on_a_v100_is_labelled_dp4a():
    document = answer_json("roofline", "--gpu", "v100", "--precision", "int8")
    assert [warning for warning in document["warnings"] if "DP4A" in warning]


def test_class_defaults_of_the_model_are_named():
    warnings = " ".join(answer_json("roofline", "--gpu", "v100")["warnings"])
    assert re.search(r"text_config \([^)]*hidden_size=4096", warnings)


def test_what_does_not_fit_is_a_warning_with_ways_out_and_not_an_error():
    result = run(*LLAVA_13B_ON_T4)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    # 13.35e9 parameters of 2 bytes are 26.7 GB, and a T4 has 16.
    assert line.startswith("warning: does not fit: ")
    assert "t4 has 16.0 GB" in line
    assert "what would fit: --weights int8, or --weights int4, or a card with at least" in line
    document = answer_json(*LLAVA_13B_ON_T4)
    assert document["totals"]["fits"] is False
    assert line.removeprefix("warning: ") in document["warnings"]


@pytest.mark.parametrize("remedy", [["--weights", "int8"], ["--weights", "int4"]])
def test_what_would_fit_fits(remedy):
    assert answer_json(*LLAVA_13B_ON_T4, *remedy)["totals"]["fits"] is True


def test_a_smaller_batch_that_would_fit_fits_and_one_more_does_not():
    command = ("roofline", "--gpu", "v100", "--text-tokens", "2000")
    ways = run(*command, "--batch", "64").stderr
    batch = int(re.search(r"--batch (\d+)", ways)[1])
    assert answer_json(*command, "--batch", str(batch))["totals"]["fits"] is True
    assert answer_json(*command, "--batch", str(batch + 1))["totals"]["fits"] is False


def test_an_exceeded_context_is_a_warning():
    # 576 + 60 + 3461 tokens are one more than the 4096 that the model was made for.
    over, under = (run("roofline", "--gpu", "v100", "--new-tokens", n, "--format", "json") for n in ("3461", "3460"))
    assert (over.exit_code, under.exit_code) == (0, 0)
    assert over.stderr == "warning: 4097 tokens exceed the context of llava-1.5-7b (4096)\n"
    assert under.stderr == ""
    assert json.loads(over.stdout)["totals"]["fits"] is False
    assert json.loads(under.stdout)["totals"]["fits"] is True


def test_a_warning_of_two_devices_is_given_once():
    result = run("roofline", "--gpu", "v100", "--gpu", "h100", "--new-tokens", "4000")
    assert result.stderr.count("exceed the context") == 1


def test_figures_of_low_confidence_are_doubted():
    assert "tpuv4: no vector rate is published" in run("roofline", "--gpu", "tpuv4", "--precision", "bf16").stderr
    assert re.search("warning: b300-sxm: .*low confidence", run("roofline", "--gpu", "b300").stderr)
    assert run("roofline", "--gpu", "v100").stderr == ""


# --- this machine


def test_detecting_without_a_driver_is_one_line(monkeypatch):
    class NoDriver(Exception):
        pass

    class Library:
        NVMLError = NoDriver

        @staticmethod
        def nvmlInit():  # noqa: N802 - NVML's own name
            raise NoDriver("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "pynvml", Library)
    line = error_line("gpus", "--detect")
    assert "NVML Shared Library Not Found" in line
    assert "driver" in line


# --- terminals and pipes


def in_terminal(*arguments, **environment):
    """What a command writes to a terminal."""
    controller, terminal = pty.openpty()
    variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    variables |= {"TERM": "xterm", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **environment}
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *arguments], cwd=ROOT, env=variables, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not chunk:
            break
        written += chunk
    os.close(controller)
    assert child.wait(timeout=60) == 0
    return written.decode()


def test_a_terminal_gets_colours():
    assert "\x1b[1m" in in_terminal("roofline", "--gpu", "v100")


def test_no_color_is_heeded():
    text = in_terminal("roofline", "--gpu", "v100", NO_COLOR="1")
    assert "\x1b" not in text
    assert "TTFT" in text


def test_a_file_written_from_a_terminal_has_no_colours(tmp_path):
    path = tmp_path / "out.txt"
    assert in_terminal("roofline", "--gpu", "v100", "--output", str(path)) == ""
    assert "\x1b" not in path.read_text(encoding="utf-8")


def test_an_empty_no_color_asks_for_nothing():
    assert "\x1b[1m" in in_terminal("roofline", "--gpu", "v100", NO_COLOR="")


@pytest.mark.parametrize("form", MACHINE_FORMATS)
def test_machine_formats_are_never_coloured(form):
    assert "\x1b" not in in_terminal("roofline", "--gpu", "v100", "--format", form)


def test_a_pipe_gets_the_same_without_colours():
    piped = process("roofline", "--gpu", "v100", COLUMNS="100").stdout
    assert "\x1b" not in piped
    shown = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal("roofline", "--gpu", "v100"))
    assert [line.rstrip() for line in shown.splitlines()] == piped.splitlines()


@pytest.mark.parametrize(
    ("command", "headers"),
    [
        (["roofline", "--gpu", "v100"], ["phase", "roofline", "of TTFT", "total", "value", "kind", "of phase"]),
        (["roofline", "--gpu", "v100", "--gpu", "h100"], ["device", "TTFT", "TPOT", "fits"]),
        (["count"], ["phase", "op", "FLOPs", "bytes"]),
        (["gpus"], ["GPU", "memory", "bandwidth", "fp16"]),
        (["models"], ["model", "parameters", "visual tokens"]),
    ],
    ids=["roofline", "compare", "count", "gpus", "models"],
)
def test_a_narrow_terminal_keeps_the_columns_that_matter(command, headers, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = answer(*command)
    assert max(map(len, text.splitlines())) <= 60
    for header in headers:
        assert re.search(rf"\b{header}\b", text), header


def test_a_wide_terminal_shows_more(monkeypatch):
    command = ("roofline", "--gpu", "v100")
    monkeypatch.setenv("COLUMNS", "60")
    narrow = answer(*command)
    monkeypatch.setenv("COLUMNS", "140")
    wide = answer(*command)
    assert "FLOP/B  bound" not in narrow
    assert "FLOP/B  bound" in wide


def test_a_terminal_without_these_characters_gets_question_marks():
    result = process("roofline", "--gpu", "v100", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "?" in result.stdout
    assert "TTFT" in result.stdout


def test_a_reader_that_leaves_early_sees_no_traceback():
    command = [sys.executable, str(ROOT / "cli.py"), "gpus", "--format", "json"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    child.stdout.close()
    complaint = child.stderr.read()
    child.stderr.close()
    child.wait(timeout=60)
    assert complaint == ""


# --- what is imported

HEAVY = {"torch", "pandas", "matplotlib", "numpy", "transformers", "scipy"}


def imported_by(code):
    program = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [["roofline", "--gpu", "v100", "--tokens", "32"], ["count", "--format", "csv"], ["gpus"], ["models"], ["--help"]],
    ids=" ".join,
)
def test_no_command_imports_what_it_does_not_need(arguments):
    loaded = imported_by(f"from perfkit.cli import main\nmain({arguments!r}, standalone_mode=False)")
    assert "perfkit.cli" in loaded
    assert not loaded & HEAVY


def test_importing_perfkit_imports_nothing_else():
    loaded = imported_by("import perfkit")
    assert "perfkit" in loaded
    assert not loaded & {*HEAVY, "click", "yaml", "rich", "tabulate", "perfkit.hardware"}


def test_a_command_imports_no_other_command():
    loaded = imported_by("from perfkit.cli import main\nmain(['models'], standalone_mode=False)")
    assert not loaded & {"perfkit.cli.roofline", "perfkit.cli.gpus", "perfkit.cli.count"}
