"""The file of a running measurement: whole at every moment, of one run at a time, and nothing is lost by a kill."""

import os
import re
import subprocess
import sys
from pathlib import Path

import killing
import pytest
from doubles import AGAIN, DECODE, GEMM, MACHINE, POINTS, RUN
from test_emit import break_replace, break_write

from perfkit.errors import InvalidSpec, MachineError
from perfkit.measuring import journal as module
from perfkit.measuring.journal import open_journal
from perfkit.measuring.measurement import Measurement, Point
from perfkit.measuring.schema import line_of, read_measurement, text_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.json"


def names(path):
    return sorted(other.name for other in path.parent.iterdir())


def write(path, *points, machine=MACHINE, run=RUN, resume=False):
    with open_journal(path, machine, run, resume=resume) as journal:
        for point in points:
            journal.add(point)
        return journal.measurement()


# --- adding


def test_a_new_file_holds_no_points_yet(path):
    with open_journal(path, MACHINE, RUN, resume=False):
        assert read_measurement(path) == Measurement(MACHINE, (RUN,), (), str(path))


def test_every_point_stands_in_the_file_once_it_is_added(path):
    with open_journal(path, MACHINE, RUN, resume=False) as journal:
        for number, point in enumerate(POINTS, 1):
            journal.add(point)
            assert read_measurement(path).points == POINTS[:number]
            assert journal.missing(point.case for point in POINTS) == [point.case for point in POINTS[number:]]
        assert journal.measurement() == read_measurement(path)


def test_the_file_is_what_the_schema_writes(path):
    write(path, *POINTS)
    assert path.read_text() == text_of(MACHINE, (RUN,), map(line_of, POINTS))


def test_a_reader_sees_a_whole_file_while_a_point_is_added(path):
    with open_journal(path, MACHINE, RUN, resume=False) as journal:
        journal.add(POINTS[0])
        with path.open() as reader:
            journal.add(POINTS[1])
            assert reader.read() == text_of(MACHINE, (RUN,), [line_of(POINTS[0])])


def test_a_clean_end_leaves_the_file_alone(path):
    write(path, *POINTS)
    assert names(path) == ["out.json"]


def test_an_error_in_between_keeps_the_points_and_leaves_nothing_else(path):
    with pytest.raises(AttributeError):
        write(path, POINTS[0], None)
    assert read_measurement(path).points == POINTS[:1]
    assert names(path) == ["out.json"]


def test_adding_stays_cheap_with_many_points(path, monkeypatch):
    rendered = []
    monkeypatch.setattr(module, "line_of", lambda point: rendered.append(point) or line_of(point))
    write(path, *[POINTS[0]] * 50)
    assert len(rendered) == 50  # each once, though the file was written 51 times


# --- a file that stands there


def test_a_file_that_stands_already_is_refused_without_resume(path):
    write(path, POINTS[0])
    before = path.read_bytes()
    with pytest.raises(MachineError, match=r"out\.json stands already: --resume finishes it; or name another file"):
        write(path, POINTS[1])
    assert path.read_bytes() == before
    assert names(path) == ["out.json"]


def test_resume_keeps_the_points_and_adds_a_run(path):
    write(path, *POINTS[:2])
    with open_journal(path, MACHINE, AGAIN, resume=True) as journal:
        assert journal.missing(point.case for point in POINTS) == [point.case for point in POINTS[2:]]
        for point in POINTS[2:]:
            journal.add(point)
    assert read_measurement(path) == Measurement(MACHINE, (RUN, AGAIN), POINTS, str(path))


def test_resume_without_a_file_begins_one(path):
    write(path, POINTS[0], resume=True)
    assert read_measurement(path) == Measurement(MACHINE, (RUN,), POINTS[:1], str(path))


def test_resume_with_nothing_left_keeps_every_byte_of_the_points(path):
    write(path, *POINTS)
    before = path.read_text().partition('"points"')[2]
    write(path, run=AGAIN, resume=True)
    assert path.read_text().partition('"points"')[2] == before


OTHERS = {
    "card": MACHINE._replace(name="NVIDIA A100-SXM4-80GB"),
    "torch": MACHINE._replace(libraries={**MACHINE.libraries, "torch": "2.12.0+cu130"}),
    "one library more": MACHINE._replace(libraries={**MACHINE.libraries, "transformers": "5.23.0"}),
    "one library less": MACHINE._replace(libraries={"python": "3.12.3", "torch": "2.11.0+cu130"}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_another_machine_is_refused_and_the_file_stays(other, path):
    write(path, POINTS[0])
    before = path.read_bytes()
    with pytest.raises(InvalidSpec) as caught:
        write(path, POINTS[1], machine=other, resume=True)
    line = str(caught.value)
    assert line.startswith(f"{path} was measured on another machine than this (")
    assert line.endswith("): name another file")
    assert re.search(r"\((\w+): \S.*, now \S.*\)", line)  # what differs, and nothing else
    assert ", python" not in line
    assert len(line.splitlines()) == 1
    assert path.read_bytes() == before
    assert names(path) == ["out.json"]


def test_a_driver_or_kernel_that_was_updated_is_the_same_machine(path):
    write(path, POINTS[0])
    write(path, POINTS[1], machine=MACHINE._replace(driver="590.1", platform="Linux-7"), resume=True)
    assert read_measurement(path).points == POINTS[:2]


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "perfkit-measurement", "version": 2}', "not JSON"])
def test_what_is_no_measurement_is_not_resumed_and_stays(text, path):
    path.write_text(text)
    with pytest.raises(InvalidSpec, match=str(path)):
        write(path, POINTS[0], resume=True)
    assert path.read_text() == text
    assert names(path) == ["out.json"]


# --- one run at a time


def holder(path, *points):
    """A process of its own that holds the file until it is killed or told to end."""
    program = f"""if True:
        import sys
        from pathlib import Path
        from doubles import MACHINE, POINTS, RUN
        from perfkit.measuring.journal import open_journal
        with open_journal(Path({str(path)!r}), MACHINE, RUN, resume=True) as journal:
            for number in {points!r}:
                journal.add(POINTS[number])
            print("held", flush=True)
            sys.stdin.readline()
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def end(process, how="quit"):
    if how == "kill":
        process.kill()
    process.communicate("\n" if how == "quit" else None, timeout=30)


BUSY = r"out\.json is being written by another run: wait for it, or name another file"


@pytest.mark.parametrize("how", ["quit", "kill"])
def test_a_second_run_is_refused_until_the_first_ends_or_is_killed(how, path):
    first = holder(path, 0)
    try:
        for resume in (True, False):
            with pytest.raises(MachineError, match=BUSY):
                write(path, POINTS[1], resume=resume)
        assert read_measurement(path).points == POINTS[:1]
    finally:
        end(first, how)
    assert names(path) == (["out.json"] if how == "quit" else [".out.json.lock", "out.json"])
    write(path, POINTS[1], run=AGAIN, resume=True)
    assert read_measurement(path).points == POINTS[:2]
    assert names(path) == ["out.json"]


def test_a_second_run_through_a_link_is_refused_too(path):
    first = holder(path, 0)
    link = path.parent / "folder" / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)
    try:
        with pytest.raises(MachineError, match=r"link\.json is being written by another run"):
            write(link, POINTS[1], resume=True)
    finally:
        end(first)


def test_runs_in_one_process_keep_each_other_away_too(path):
    with open_journal(path, MACHINE, RUN, resume=False) as journal:
        with pytest.raises(MachineError, match=BUSY):
            write(path, POINTS[1], resume=True)
        journal.add(POINTS[0])  # and the first is still its owner
        with pytest.raises(MachineError, match=BUSY):
            write(path, POINTS[1], resume=True)
    assert read_measurement(path).points == POINTS[:1]


def test_runs_on_two_files_of_a_folder_do_not_disturb_each_other(path):
    other = path.with_name("other.json")
    with open_journal(path, MACHINE, RUN, resume=False) as one, open_journal(other, MACHINE, RUN, resume=False) as two:
        one.add(POINTS[0])
        two.add(POINTS[1])
    assert read_measurement(path).points == POINTS[:1]
    assert read_measurement(other).points == POINTS[1:2]


# --- what a killed run left


def test_a_left_over_of_a_killed_run_is_removed_and_nothing_else(path):
    folder = path.parent
    kept = (".out.json.original", ".other.json.abcd1234.part", "out.json.abcd1234.part", ".outsjson.abcd1234.part")
    for name in (".out.json.abcd1234.part", ".out.json.z_9xyzab.part", ".out.json.lock", *kept):
        (folder / name).write_text("half a fi")
    write(path, POINTS[0])
    assert names(path) == sorted([*kept, "out.json"])


def test_a_name_like_a_pattern_is_a_name(tmp_path):
    path = tmp_path / "out[1].json"
    for name in (".out[1].json.abcd1234.part", ".out1.json.abcd1234.part"):
        (tmp_path / name).write_text("half a fi")
    write(path, POINTS[0])
    assert names(path) == [".out1.json.abcd1234.part", "out[1].json"]


# --- places that cannot be written


def test_a_missing_folder_is_not_made(tmp_path):
    with pytest.raises(MachineError, match=r"cannot write .*none/out\.json: no such folder .*none"):
        write(tmp_path / "none" / "out.json", POINTS[0])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir()
    with pytest.raises((MachineError, InvalidSpec), match=r"out\.json"):
        write(path, POINTS[0], resume=True)
    assert names(path) == ["out.json"]
    assert list(path.iterdir()) == []


def test_a_folder_without_the_right_to_write_is_one_clear_line(path, monkeypatch):
    def refuse(*_, **__):  # root may write anywhere, so the file system cannot be asked to
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(MachineError, match=r"cannot write .*out\.json: Permission denied"):
        write(path, POINTS[0])
    assert names(path) == []


@pytest.mark.parametrize("break_something", [break_replace, break_write])
def test_a_full_disk_keeps_the_last_whole_file(break_something, path):
    with pytest.MonkeyPatch.context() as patch:
        with open_journal(path, MACHINE, RUN, resume=False) as journal:
            journal.add(POINTS[0])
            break_something(patch)
            with pytest.raises(MachineError, match="No space left on device; nothing was written"):
                journal.add(POINTS[1])
        assert read_measurement(path).points == POINTS[:1]
        assert names(path) == ["out.json"]
    write(path, POINTS[1], run=AGAIN, resume=True)  # there is room again
    assert read_measurement(path).points == POINTS[:2]


@pytest.mark.parametrize("break_something", [break_replace, break_write])
def test_a_full_disk_at_the_start_leaves_no_file(break_something, path, monkeypatch):
    break_something(monkeypatch)
    with pytest.raises(MachineError, match="No space left on device; nothing was written"):
        write(path, POINTS[0])
    assert names(path) == []


def test_an_interruption_while_writing_keeps_the_last_whole_file(path, monkeypatch):
    replace, files = Path.replace, []

    def interrupt(temporary, target):
        files.append(target)
        if len(files) == 3:  # without points, with one, and now with two
            raise KeyboardInterrupt
        return replace(temporary, target)

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, *POINTS)
    assert read_measurement(path).points == POINTS[:1]
    assert names(path) == ["out.json"]


# --- killed at any moment

KILLS = 20


@pytest.mark.slow
def test_a_measurement_killed_at_any_moment_loses_nothing_and_is_resumed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "killing.py"), str(tmp_path), "20261122", str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    caught = [check_killed(tmp_path / str(number)) for number in range(KILLS)]
    assert sum(0 < kept < killing.POINTS for kept in caught) >= KILLS / 2  # in the middle, most of them
    assert len(set(caught)) > KILLS / 2


def check_killed(home):
    """How many points a killed measurement had kept; in the end every case stands there once."""
    killed, finished = home / "killed", (home / "killed" / "finished")
    labels = finished.read_text().splitlines() if finished.exists() else []
    kept = []
    if (killed / "out.json").exists():
        kept = [point.case.label for point in read_measurement(killed / "out.json").points]
    # The one point that was written, but not told any more, is more and no less.
    assert kept[: len(labels)] == labels
    assert len(kept) - len(labels) in (0, 1)
    whole = read_measurement(home / "out.json")
    measured = [point.case.label for point in whole.points]
    assert len(measured) == len(set(measured)) == killing.POINTS
    assert measured[: len(kept)] == kept
    assert len(whole.runs) == (2 if (killed / "out.json").exists() else 1)
    assert names(home / "out.json") == ["finished", "killed", "out.json"]
    return len(kept)


def test_cases_of_the_doubles_differ():
    assert len({point.case for point in POINTS}) == len(POINTS)
    assert {DECODE, GEMM} < {point.case for point in POINTS}
    assert all(isinstance(point, Point) for point in POINTS)
