"""Completion: what click's protocol answers, and what real shells make of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.cli import COMMANDS, load_command, main
from perfkit.conventions import convention_names
from perfkit.cost_tables.columns import COLUMNS
from perfkit.hardware import aliases, device_ids
from perfkit.models import preset_names
from perfkit.papers.reading import paper_names
from perfkit.reduction import METHODS, REDUCERS
from perfkit.tables import FORMATS
from perfkit.units import COMPUTE_PRECISIONS, STORAGE_PRECISIONS

Answer = list[tuple[str, str, str]]


def complete(line: str) -> Answer:
    """What zsh is answered for a line whose last word is being typed: kind, text, and what is said of it."""
    words = line.split(" ")
    answer = answered("zsh", line, str(len(words) - 1)).strip().splitlines()
    return list(zip(answer[::3], answer[1::3], answer[2::3], strict=True))


def answered(shell: str, words: str, word: str) -> str:
    variables = {"_PERFKIT_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": word}
    result = CliRunner(env=variables).invoke(main, prog_name="perfkit")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def names(line: str) -> list[str]:
    return [text for kind, text, _ in complete(line) if kind == "plain"]


# --- what is answered


def test_commands_and_options_come_with_their_help() -> None:
    assert names("perfkit ") == list(COMMANDS)
    (command,) = complete("perfkit roofl")
    assert command == ("plain", "roofline", load_command("roofline").get_short_help_str())
    (option,) = complete("perfkit roofline --gpu v100 --run")
    assert option[1] == "--runtime"
    assert option[2].startswith("Of expected times.")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("perfkit roofline --gpu ", {*device_ids(), *aliases()}),
        ("perfkit gpus ", {*device_ids(), *aliases()}),
        ("perfkit plan --gpu ", {*device_ids(), *aliases()}),
        ("perfkit roofline --model ", set(preset_names())),
        ("perfkit models ", set(preset_names())),
        ("perfkit roofline --reduction ", set(METHODS)),
        ("perfkit table --reduction ", {"none", *METHODS}),
        ("perfkit reduce a.png --method ", set(REDUCERS)),
        ("perfkit count --convention ", set(convention_names())),
        ("perfkit table --columns ", set(COLUMNS)),
        ("perfkit reproduce ", set(paper_names())),
        ("perfkit roofline --precision ", set(COMPUTE_PRECISIONS)),
        ("perfkit roofline --weights ", set(STORAGE_PRECISIONS)),
        ("perfkit measure --precision ", {"fp32", "tf32", "fp16", "bf16"}),
        ("perfkit measure --phase ", {"vision", "projector", "prefill", "decode"}),
        ("perfkit roofline --format ", set(FORMATS)),
        ("perfkit roofline --attention ", {"fused", "eager"}),
        ("perfkit count --unit ", {"flop", "mac"}),
        ("perfkit measure --suite ", {"model", "kernels", "peaks"}),
        ("perfkit plot ", {"roofline", "tokens", "breakdown", "validation"}),
        ("perfkit completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_names_are_all_that_may_stand_there(line: str, expected: set[str]) -> None:
    assert sorted(names(line)) == sorted(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("perfkit roofline --gpu mi300", ["mi300", "mi300x"]),
        ("perfkit roofline --gpu MI300", ["mi300", "mi300x"]),
        ("perfkit roofline --gpu=mi300", ["--gpu=mi300", "--gpu=mi300x"]),
        ("perfkit sweep --precision fp16,in", ["fp16,int8"]),
        ("perfkit sweep --precision fp16,fp32,f", ["fp16,fp32,fp8"]),  # each once
        ("perfkit count --include vision,l", ["vision,llm", "vision,lm_head"]),
        ("perfkit roofline --batch none-of-these --gpu mi300", ["mi300", "mi300x"]),
        ("perfkit roofline --tokens ", []),
        ("perfkit no-such-command --gp", []),
    ],
)  # fmt: skip
def test_what_is_typed_narrows_it_down(line: str, expected: list[str]) -> None:
    assert names(line) == expected


def test_a_word_is_said_of_names() -> None:
    said = {text: word for _, text, word in complete("perfkit roofline --gpu v100")}
    assert (said["v100"], said["v100-pcie-16gb"]) == ("means v100-sxm2-32gb", "Volta GV100")
    assert dict(pair[1:] for pair in complete("perfkit count --convention f")) == {"fastv": "FastV (ECCV 2024)"}
    (method,) = complete("perfkit roofline --reduction vt")
    assert method == ("plain", "vtw", "inside the language model")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("perfkit roofline --gpu my-card", "file"),  # no device begins so
        ("perfkit roofline --gpu ./", "file"),
        ("perfkit roofline --model models/", "file"),
        ("perfkit roofline --calibration fits/", "file"),
        ("perfkit roofline --output ", "file"),
        ("perfkit plan --chart ", "file"),
        ("perfkit plan --prices ", "file"),
        ("perfkit kernels ", "file"),
        ("perfkit validate ", "file"),
        ("perfkit reduce ", "file"),
        ("perfkit reduce a.png --vision-model ", "dir"),
    ],
)
def test_paths_are_left_to_the_shell(line: str, kind: str) -> None:
    assert [found[0] for found in complete(line)] == [kind]


def test_bash_hands_an_option_and_its_value_over_in_three_words() -> None:
    assert answered("bash", "perfkit\nroofline\n--gpu\n=\nmi300", "4").split() == [
        "plain,mi300",
        "plain,mi300x",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_gpu_and_model_completes(command: str) -> None:
    options = {option for parameter in load_command(command).params for option in parameter.opts}
    for option, name in (("--gpu", "v100"), ("--model", "llava")):
        if option in options:
            assert names(f"perfkit {command} {option} {name}")


def test_a_defect_leaves_the_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("perfkit.cli.completing._matching", fail)
    assert answered("zsh", "perfkit roofline --gpu ", "3").strip() == ""


def test_completing_reads_no_device_and_loads_nothing_that_predicts() -> None:
    script = (
        "import sys, json; from perfkit import documents; from perfkit.cli import main; read = documents.read_yaml;"
        "seen = []; documents.read_yaml = lambda path: seen.append(path.name) or read(path)\n"
        "try: main(prog_name='perfkit')\n"
        "except SystemExit: sys.stderr.write(json.dumps([seen, sorted(sys.modules)]))"
    )
    line = {"_PERFKIT_COMPLETE": "bash_complete", "COMP_WORDS": "perfkit roofline --gpu v", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **line}, capture_output=True, text=True, check=True
    )
    seen, loaded = json.loads(done.stderr)
    assert "v100-sxm2-32gb" in done.stdout
    assert seen == ["aliases.yaml"]
    assert set(loaded) & {"numpy", "torch", "pandas", "matplotlib", "tabulate", "perfkit.latency"} == set()


# --- the scripts


def test_an_unknown_shell_is_one_line() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: unknown shell 'tcsh'; nearest: zsh")


@pytest.fixture
def shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type in, and `perfkit` on the path, which is this checkout's."""
    bin_folder, folder = tmp_path / "bin", tmp_path / "typed"
    bin_folder.mkdir()
    folder.mkdir()
    launcher = bin_folder / "perfkit"
    launcher.write_text(f"#!{sys.executable}\nfrom perfkit.cli import main\nmain()\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    (folder / "kernels.csv").write_text("op\n")
    return folder


def shell(*command: str) -> str:
    """What a shell prints, which must be no complaint."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} on this machine")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return done.stdout


def supports_bash() -> bool:
    """click's script needs bash 4.4; macOS comes with 3.2."""
    if not shutil.which("bash"):
        return False
    printed = subprocess.run(
        ["bash", "-c", "echo ${BASH_VERSINFO[0]} ${BASH_VERSINFO[1]}"], capture_output=True, text=True, check=True
    )
    return tuple(map(int, printed.stdout.split())) >= (4, 4)


needs_bash = pytest.mark.skipif(not supports_bash(), reason="no bash 4.4 or newer on this machine")


@needs_bash
@pytest.mark.usefixtures("shells")
def test_bash_completes_names() -> None:
    typed = (
        'COMP_WORDS=(perfkit roofline --gpu mi300); COMP_CWORD=3; _perfkit_completion perfkit; echo "${COMPREPLY[@]}"'
    )
    printed = shell("bash", "--norc", "-c", f'eval "$(perfkit completion bash)"; {typed}; complete -p perfkit')
    assert printed.splitlines() == ["mi300 mi300x", "complete -o nosort -F _perfkit_completion perfkit"]


@needs_bash
@pytest.mark.usefixtures("shells")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("perfkit gpus tpuv5p\t", "perfkit gpus tpuv5p "),
        ("perfkit roofline --gpu=jetson-agx-orin-6\t", "perfkit roofline --gpu=jetson-agx-orin-64gb "),
        ("perfkit count --model mixt\t", "perfkit count --model mixtral-8x7b "),
        ("perfkit kernels ker\t", "perfkit kernels kernels.csv "),
        ("perfkit roofline --calibration ./k\t", "perfkit roofline --calibration ./kernels.csv "),
    ],
)
def test_bash_completes_a_line_that_is_typed(typed: str, expected: str) -> None:
    assert f"{expected}END" in typed_in_bash('eval "$(perfkit completion bash)"', f"{typed}END", until="END")


def typed_in_bash(first: str, typed: str, until: str) -> str:
    """What a terminal shows when a command and then a line are typed into bash."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])  # noqa: S606  # a shell is what is tested
    try:
        os.write(terminal, f'{first}; PS1="NO""W> "\n'.encode())
        read_until(terminal, "NOW> ")  # readline listens; what is typed before is shown twice
        os.write(terminal, typed.encode())
        return read_until(terminal, until)
    finally:
        os.write(terminal, b"\x03\nexit\n")
        os.close(terminal)
        os.waitpid(process, 0)


def read_until(terminal: int, word: str, seconds: float = 60) -> str:
    text, end = "", time.monotonic() + seconds
    while word not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\n\x07]", "", text)


@pytest.mark.usefixtures("shells")
def test_zsh_completes_names() -> None:
    # Of the two builtins that only a completing zsh has, what they are given is printed.
    shown = "compadd() { print -l -- ${(P)@[-1]} }; _describe() { print -l -- ${(P)3} }; _path_files() { print files }"
    typed = "words=(perfkit roofline --gpu mi300); CURRENT=4; _perfkit_completion"
    paths = "words=(perfkit kernels ker); CURRENT=3; _perfkit_completion"
    printed = shell(
        "zsh",
        "-fc",
        f'autoload -U compinit; compinit -u -D; eval "$(perfkit completion zsh)"; {shown}; {typed}; {paths}',
    )
    assert printed.splitlines() == ["mi300:means mi300x", "mi300x:CDNA3", "files"]


@pytest.mark.usefixtures("shells")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("roofline --gpu mi300", ["mi300\tmeans mi300x", "mi300x\tCDNA3"]),
        ("roofline --gpu=v100s-pcie-", ["--gpu=v100s-pcie-32gb\tVolta GV100"]),
        ("sweep --precision fp16,in", ["fp16,int8"]),
        ("kernels ker", ["kernels.csv"]),
    ],
)
def test_fish_completes_names_and_files(typed: str, expected: list[str]) -> None:
    printed = shell("fish", "--no-config", "-c", f'perfkit completion fish | source; complete -C "perfkit {typed}"')
    assert printed.splitlines() == expected
