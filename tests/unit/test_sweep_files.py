"""Files of a sweep: whole or not at all, resumed where they were left, the same in every form."""

from __future__ import annotations

import csv
import json
import pickle
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

import perfkit
from perfkit.errors import InvalidSpec, InvalidValue, MachineError
from perfkit.sweeping import parts as parts_room
from perfkit.sweeping import running
from perfkit.sweeping.columns import fields_of
from perfkit.sweeping.part import Part
from perfkit.sweeping.running import Sweep

ASKED: dict[str, Any] = {"tokens": (32, 576), "text_tokens": range(10, 20), "batch": range(1, 6)}
POINTS = 2 * 10 * 5
READ: dict[str, Any] = {"text": str, "count": int, "number": float, "flag": "True".__eq__}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_room, "PART_POINTS", 17)  # six parts, the last of 15


def sweep(output: Path | None = None, **changed: Any) -> Sweep:
    return perfkit.sweep("v100", **{**ASKED, **changed}, output=output)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def stopping_after(count: int, written: list[int] | None = None) -> Iterator[Any]:
    """Progress that stops a run as a user does."""

    @contextmanager
    def progress(parts: list[Part]) -> Iterator[Iterator[Part]]:
        def some() -> Iterator[Part]:
            for done, part in enumerate(parts):
                if done == count:
                    raise KeyboardInterrupt
                if written is not None:
                    written.append(part.number)
                yield part

        yield some()

    yield progress


def stop(output: Path, count: int, **asked: Any) -> list[int]:
    written: list[int] = []
    with stopping_after(count, written) as progress, pytest.raises(KeyboardInterrupt):
        sweep(output, progress=progress, **asked)
    return written


def finish(output: Path) -> list[int]:
    """Parts that a resumed run writes."""
    written: list[int] = []
    with stopping_after(10**6, written) as progress:
        sweep(output, resume=True, progress=progress)
    return written


# --- both forms


@pytest.mark.parametrize("basis", ["roofline", "expected"])
def test_csv_and_parquet_hold_what_memory_holds(tmp_path: Path, basis: Any) -> None:
    asked: dict[str, Any] = {"basis": basis, "model": ("llava-1.5-7b", "bert-base"), "tokens": None}
    kept = sweep(None, **asked).columns
    for name in ("grid.csv", "grid.parquet"):
        assert sweep(tmp_path / name, **asked).output == tmp_path / name
    with (tmp_path / "grid.csv").open(newline="") as file:
        text = list(csv.DictReader(file))
    binary = parquet.read_table(tmp_path / "grid.parquet").to_pylist()
    assert list(text[0]) == list(binary[0]) == list(kept)
    for field in fields_of(basis):
        values = [None if value != value else value for value in kept[field.key].tolist()]
        assert [row[field.key] for row in binary] == values
        assert [READ[field.kind](row[field.key]) if row[field.key] else None for row in text] == values
    assert names(tmp_path) == ["grid.csv", "grid.parquet"]


def test_parquet_has_a_row_group_a_part_and_dictionaries_of_text(tmp_path: Path) -> None:
    sweep(tmp_path / "grid.parquet")
    file = parquet.ParquetFile(tmp_path / "grid.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [17] * 5 + [15]
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types["device"].startswith("dictionary<values=string")
    assert (types["batch"], types["ttft_roofline_s"], types["fits"]) == ("int64", "double", "bool")


def test_what_is_not_known_is_null_and_an_empty_cell(tmp_path: Path) -> None:
    for name in ("bert.csv", "bert.parquet"):
        perfkit.sweep("v100", "bert-base", output=tmp_path / name)
    assert parquet.read_table(tmp_path / "bert.parquet")["tpot_roofline_s"].to_pylist() == [None]
    head, row = (tmp_path / "bert.csv").read_text().splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["tpot_roofline_s"] == ""


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_same_grid_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    sweep(first)
    stop(second, 3)
    finish(second)
    assert first.read_bytes() == second.read_bytes()


def test_an_older_output_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "grid.csv"
    output.write_text("old")
    stop(output, 2)
    assert output.read_text() == "old"
    finish(output)
    assert len(output.read_text().splitlines()) == POINTS + 1


# --- interruption and resumption


@pytest.mark.parametrize("done", [0, 1, 5])
def test_a_run_that_was_stopped_goes_on_with_what_is_missing(tmp_path: Path, done: int) -> None:
    output = tmp_path / "grid.csv"
    assert stop(output, done) == list(range(done))
    assert names(tmp_path) == ["grid.csv.parts"]
    assert len(list((tmp_path / "grid.csv.parts").glob("*.csv"))) == done
    assert finish(output) == list(range(done, 6))
    assert names(tmp_path) == ["grid.csv"]


def test_resuming_where_nothing_stands_starts(tmp_path: Path) -> None:
    assert finish(tmp_path / "grid.csv") == list(range(6))


def test_a_part_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    output, other = tmp_path / "grid.parquet", tmp_path / "other.parquet"
    stop(output, 4)
    first, second, third, _ = sorted((tmp_path / "grid.parquet.parts").glob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-10])
    third.write_bytes(b"")
    assert finish(output) == [0, 1, 2, 4, 5]
    sweep(other)
    assert output.read_bytes() == other.read_bytes()


def test_a_file_that_was_being_written_never_counts(tmp_path: Path) -> None:
    output = tmp_path / "grid.csv"
    stop(output, 2)
    folder = tmp_path / "grid.csv.parts"
    (folder / ".000002-12345678.csv.abc.part").write_text("half a")
    (folder / "000003-nonsense.csv").write_text("1,2\n")
    (tmp_path / ".grid.csv.abc.part").write_text("half of all")
    assert finish(output) == [2, 3, 4, 5]
    assert names(tmp_path) == ["grid.csv"]


def test_a_run_that_was_stopped_while_joining_joins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "grid.csv"
    with monkeypatch.context() as patched:
        patched.setattr(running, "join", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            sweep(output)
    assert names(tmp_path) == ["grid.csv.parts"]
    assert finish(output) == []
    assert len(output.read_text().splitlines()) == POINTS + 1


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_parts_of_an_earlier_run_are_not_taken_unasked(tmp_path: Path) -> None:
    output = tmp_path / "grid.csv"
    stop(output, 2)
    with pytest.raises(MachineError, match=r"parts of an earlier run stand in .*: --resume goes on with them"):
        sweep(output)
    assert finish(output) == [2, 3, 4, 5]


def test_two_runs_of_one_output_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "grid.csv"

    @contextmanager
    def progress(parts: list[Part]) -> Iterator[list[Part]]:
        for resume in (False, True):
            with pytest.raises(MachineError, match=r"grid\.csv is being written by another run: wait for it, or name"):
                sweep(output, resume=resume)
        sweep(tmp_path / "other.csv")  # which is nobody's
        yield parts

    sweep(output, progress=progress)
    assert output.read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert names(tmp_path) == ["grid.csv", "other.csv"]


def test_a_lock_that_was_left_by_a_run_that_was_killed_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".grid.csv.lock").touch()
    sweep(tmp_path / "grid.csv")
    assert names(tmp_path) == ["grid.csv"]


def test_a_file_without_filelock_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "filelock", None)
    with pytest.raises(MachineError, match=r"by filelock: pip install filelock$"):
        sweep(tmp_path / "grid.csv")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "changed",
    [{"batch": range(1, 7)}, {"text_tokens": range(11, 21)}, {"basis": "expected"}, {"precision": "int8"}],
)
def test_another_request_is_not_resumed(tmp_path: Path, changed: dict[str, Any]) -> None:
    output = tmp_path / "grid.csv"
    stop(output, 2)
    with pytest.raises(InvalidSpec, match=r"holds parts of another grid, or of another perfkit than"):
        sweep(output, resume=True, **changed)
    assert len(list((tmp_path / "grid.csv.parts").glob("*.csv"))) == 2


def test_a_device_that_changed_meanwhile_is_not_resumed(tmp_path: Path) -> None:
    card, output = tmp_path / "card.yaml", tmp_path / "grid.csv"
    text = (Path(perfkit.__file__).parents[1] / "hardware_specs/v100-sxm2-32gb.yaml").read_text()
    card.write_text(text)
    with stopping_after(1) as progress, pytest.raises(KeyboardInterrupt):
        perfkit.sweep(str(card), **ASKED, output=output, progress=progress)
    card.write_text(text.replace("value: 900", "value: 901"))
    with pytest.raises(InvalidSpec, match="parts of another grid"):
        perfkit.sweep(str(card), **ASKED, output=output, resume=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"perfkit": "0"}'])
def test_a_folder_without_a_manifest_of_this_grid_is_refused(tmp_path: Path, content: str) -> None:
    output = tmp_path / "grid.csv"
    stop(output, 1)
    (tmp_path / "grid.csv.parts/sweep.json").write_text(content)
    with pytest.raises(InvalidSpec, match="parts of another grid"):
        sweep(output, resume=True)


def test_an_empty_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "grid.csv.parts").mkdir()
    sweep(tmp_path / "grid.csv")
    assert names(tmp_path) == ["grid.csv"]


def test_the_manifest_says_what_parts_are_of(tmp_path: Path) -> None:
    stop(tmp_path / "grid.csv", 1)
    manifest = json.loads((tmp_path / "grid.csv.parts/sweep.json").read_text())
    assert {key: manifest[key] for key in ("perfkit", "points", "part_points")} == {
        "perfkit": perfkit.__version__,
        "points": POINTS,
        "part_points": 17,
    }


# --- a part by itself


def test_a_part_is_a_piece_of_work_that_can_be_sent(tmp_path: Path) -> None:
    sent: list[Part] = []

    @contextmanager
    def progress(parts: list[Part]) -> Iterator[list[Part]]:
        sent.extend(pickle.loads(pickle.dumps(parts)))  # noqa: S301  # our own
        yield parts

    output = tmp_path / "grid.csv"
    perfkit.sweep("v100", **ASKED, output=output, progress=progress)
    (tmp_path / "grid.csv.parts").mkdir()
    rows = "".join(part.keep(part.encode()).read_text() for part in sent)
    assert output.read_text().split("\n", 1)[1] == rows


def test_memory_does_not_grow_with_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_room, "PART_POINTS", 1000)
    peaks = []
    for number, length in enumerate((1000, 10_000)):
        tracemalloc.start()
        sweep(tmp_path / f"{number}.csv", tokens=32, batch=1, text_tokens=range(1, length + 1))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


# --- what is refused


def test_memory_holds_a_million_points_at_most() -> None:
    with pytest.raises(InvalidValue, match="2000000 points are not kept in memory: at most 1000000; name an output"):
        sweep(None, batch=range(1, 100001))


@pytest.mark.parametrize("name", ["grid.xlsx", "grid", "grid.csv.gz"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match=r"the output of a sweep ends in \.csv or \.parquet"):
        sweep(tmp_path / name)
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot write .*: no such folder .*none$"):
        sweep(tmp_path / "none/grid.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MachineError, match="is a folder"):
        sweep(tmp_path / "folder.csv")
    assert names(tmp_path) == ["folder.csv"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"Parquet needs pyarrow: pip install 'perfkit\[sweep\]'; or name a \.csv"):
        sweep(tmp_path / "grid.parquet")
    assert names(tmp_path) == []
    sweep(tmp_path / "grid.csv")  # which needs no pyarrow


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_room, "PART_POINTS", 2**18)
    monkeypatch.chdir(tmp_path)
    page = (Path(perfkit.__file__).parents[1] / "docs/sweeping.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  # our own page
    assert len(found["frame"]) == 2 * 73 * 64
    assert found["frame"]["device"][found["fastest"]] == "h100-sxm-80gb"
    assert names(tmp_path) == ["grid.parquet"]
