"""Handing over: stdout or a file, whole or not at all."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.cli import main
from perfkit.errors import MachineError
from perfkit.files import open_whole, write_whole
from perfkit.tables import FORMATS

ROOT = Path(__file__).parents[2]
OLD = "what stood here before\n"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*arguments):
    return CliRunner().invoke(main, arguments)


# --- files


def test_a_new_file_holds_the_text(tmp_path):
    write_whole(tmp_path / "new.txt", "µ\r\nline\n")
    assert (tmp_path / "new.txt").read_bytes() == "µ\r\nline\n".encode()
    assert names(tmp_path) == ["new.txt"]


def test_an_old_file_is_replaced_and_keeps_its_mode(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text(OLD)
    path.chmod(0o640)
    write_whole(path, "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names(tmp_path) == ["old.txt"]


def test_a_new_file_gets_the_usual_mode(tmp_path):
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path / "new.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(mask)
    # 0o666 without the mask's bits: not the 0o600 of a temporary file.
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640


def test_a_reader_of_the_old_file_keeps_the_old_text(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text(OLD)
    with path.open() as reader:
        write_whole(path, "new\n")
        assert reader.read() == OLD


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text(OLD)
    link.symlink_to(target.name)
    write_whole(link, "new\n")
    assert link.is_symlink()
    assert target.read_text() == "new\n"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    write_whole(path, "through\n")
    reader.join(timeout=10)
    assert read == ["through\n"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_device_stays_a_device():
    write_whole(Path(os.devnull), "away\n")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_missing_folder_is_not_made(tmp_path):
    with pytest.raises(
        MachineError, match=r"cannot write .*none/x.json: No such file or directory; nothing was written"
    ):
        write_whole(tmp_path / "none" / "x.json", "x")
    assert names(tmp_path) == []


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(MachineError, match=r"cannot write .*folder: is a folder; nothing was written"):
        write_whole(tmp_path / "folder", "x")
    assert names(tmp_path) == ["folder"]


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text(OLD)
    with pytest.raises(MachineError, match="Not a directory; nothing was written"):
        write_whole(tmp_path / "file" / "x.json", "x")
    assert (tmp_path / "file").read_text() == OLD


def test_a_folder_without_the_right_to_write_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "old.txt"
    path.write_text(OLD)

    def refuse(**_):  # root may write anywhere, so the file system cannot be asked to
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(MachineError, match="Permission denied; nothing was written"):
        write_whole(path, "x")
    assert path.read_text() == OLD


def write_half(path):
    with open_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_file_that_is_not_written_to_its_end_is_not_there(tmp_path):
    (tmp_path / "old.txt").write_text(OLD)
    for name in ("old.txt", "new.txt"):
        with pytest.raises(KeyboardInterrupt):
            write_half(tmp_path / name)
    assert names(tmp_path) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == OLD


FULL = OSError(28, "No space left on device")


class FullFile:
    """A file on a full disk: it takes the first half of what is written."""

    def __init__(self, handle):
        self.handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.handle)

    def write(self, content):
        os.write(self.handle, content[: len(content) // 2])
        raise FULL


def break_replace(monkeypatch):
    def replace(*_):
        raise FULL

    monkeypatch.setattr(Path, "replace", replace)


def break_write(monkeypatch):
    monkeypatch.setattr("os.fdopen", lambda handle, *_, **__: FullFile(handle))


@pytest.mark.parametrize("break_something", [break_replace, break_write])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(break_something, existed, tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    if existed:
        path.write_text(OLD)
    break_something(monkeypatch)
    with pytest.raises(MachineError, match=r"cannot write .*out\.json: No space left on device; nothing was written"):
        write_whole(path, "new text")
    assert names(tmp_path) == (["out.json"] if existed else [])
    assert not existed or path.read_text() == OLD


def test_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_text(OLD)

    def replace(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new text")
    assert names(tmp_path) == ["out.json"]
    assert path.read_text() == OLD


def test_text_that_cannot_be_encoded_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "out.json"
    path.write_text(OLD)
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half a pair: \ud800")
    assert names(tmp_path) == ["out.json"]
    assert path.read_text() == OLD


# --- through the commands

COMMANDS = {
    "roofline": ("roofline", "--gpu", "v100-sxm2-32gb", "--tokens", "32"),
    "compare": ("roofline", "--gpu", "v100-sxm2-32gb", "--gpu", "t4", "--tokens", "32"),
    "count": ("count", "--tokens", "32"),
    "gpus": ("gpus",),
    "gpu": ("gpus", "v100-sxm2-32gb"),
    "models": ("models",),
    "model": ("models", "llava-1.5-7b"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_file_gets_what_stdout_would(command, form, tmp_path):
    path = tmp_path / "out"
    shown, written = run(*command, "--format", form), run(*command, "--format", form, "--output", str(path))
    assert (shown.exit_code, written.exit_code) == (0, 0)
    assert written.stdout == ""
    assert path.read_bytes() == shown.stdout_bytes
    assert shown.stdout_bytes.endswith(b"\n")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_an_unwritable_output_is_one_line(command, tmp_path):
    result = run(*command, "--output", str(tmp_path / "none" / "x"))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: cannot write ")
    assert result.stderr.endswith("nothing was written\n")
    assert len(result.stderr.splitlines()) == 1


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_text(OLD)
    break_replace(monkeypatch)
    result = run("roofline", "--gpu", "v100", "--output", str(path))
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert path.read_text() == OLD
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("roofline", "--gpu", "v10"),
        ("roofline", "--gpu", "v100", "--precision", "bf16"),
        ("roofline", "--gpu", "v100", "--tokens", "-1"),
        ("count", "--model", "none"),
        ("models", "none"),
        ("gpus", "none"),
        ("roofline", "--gpu", "v100", "--format", "xml"),
        ("roofline", "--gpu", "v100", "--unknown"),
    ],
)
def test_an_error_writes_nothing(arguments, tmp_path):
    path = tmp_path / "out.json"
    path.write_text(OLD)
    assert run(*arguments, "--output", str(path)).exit_code in (1, 2)
    assert names(tmp_path) == ["out.json"]
    assert path.read_text() == OLD


def test_warnings_go_to_stderr_and_the_file_is_written(tmp_path):
    path = tmp_path / "out.json"
    result = run("roofline", "--gpu", "t4", "--model", "llava-1.5-13b", "--format", "json", "--output", str(path))
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: does not fit")
    assert path.read_text().startswith("{")


def test_a_file_that_may_not_be_written_stays(tmp_path, monkeypatch):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    # Whoever runs the tests may be root, for whom every file is writable.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(MachineError, match="is read-only; nothing was written"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_standard_output_is_one_clear_line():
    command = [sys.executable, "-m", "perfkit", "models"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot write to standard output: No space left")
    assert len(done.stderr.splitlines()) == 1
