"""A sweep on a Dask cluster: the file of one process, whoever makes its parts and whatever is lost meanwhile."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import distributed
import pytest

import perfkit
from perfkit.errors import InvalidValue, MachineError
from perfkit.sweeping import cluster as room
from perfkit.sweeping import parts as parts_room
from perfkit.sweeping.grid import grid_of
from perfkit.sweeping.part import Part
from perfkit.sweeping.ranges import counts_of
from perfkit.sweeping.request import SweepRequest

PARTS = 12
ASKED: dict[str, Any] = {"tokens": (32, 576), "text_tokens": range(1, 101), "batch": range(1, 31)}
# A scheduler and a worker in one process, which can be killed as a whole; what is put before them makes them odd.
SMALL = """
import sys
from distributed import LocalCluster
{odd}
with LocalCluster(n_workers={workers}, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
                  dashboard_address=":0") as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""

WORKER = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard", "--nthreads", "1"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_room, "PART_POINTS", 500)  # of 6000


@pytest.fixture(scope="module")
def workers() -> Iterator[distributed.LocalCluster]:
    """Two worker processes; one that is killed is started again by its nanny."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs="CRITICAL"
    ) as cluster:
        yield cluster


@contextmanager
def small_cluster(odd: str = "", workers: int = 1) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    code = SMALL.format(odd=odd, workers=workers)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def sweep(output: Path, dask: str | None = None, **more: Any) -> bytes:
    perfkit.sweep("v100", **ASKED, output=output, dask=dask, **more)
    return output.read_bytes()


def after(count: int, act: Callable[[], object]) -> Any:
    """Progress that does something when so many parts are written."""

    @contextmanager
    def progress(parts: list[Part]) -> Iterator[Iterator[Part]]:
        def shown() -> Iterator[Part]:
            for done, part in enumerate(parts):
                if done == count:
                    act()
                yield part

        yield shown()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def kept(output: Path) -> int:
    return len(list(parts_room.folder_of(output).glob(f"0*{output.suffix}")))


# --- the same file


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "basis"), [("parquet", "roofline"), ("csv", "expected")])
def test_a_cluster_writes_the_bytes_of_one_process(
    workers: distributed.LocalCluster, tmp_path: Path, ending: str, basis: str
) -> None:
    spread = sweep(tmp_path / f"spread.{ending}", workers.scheduler_address, basis=basis)
    assert spread == sweep(tmp_path / f"one.{ending}", basis=basis)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{ending}", f"spread.{ending}"]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing(
    workers: distributed.LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, keep = [], Part.keep
    monkeypatch.setattr(Part, "keep", lambda part, rows: (numbers.append(part.number), keep(part, rows))[1])
    victim = workers.workers[0].pid
    progress = after(2, lambda: os.kill(victim, signal.SIGKILL))
    spread = sweep(tmp_path / "spread.csv", workers.scheduler_address, progress=progress)
    assert sorted(numbers) == list(range(PARTS))  # each once
    assert spread == sweep(tmp_path / "one.csv")


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["cluster-first", "cluster-second"])
def test_a_run_goes_on_where_the_other_kind_was_stopped(
    workers: distributed.LocalCluster, tmp_path: Path, first: bool
) -> None:
    address, output = workers.scheduler_address, tmp_path / "grid.csv"
    with pytest.raises(KeyboardInterrupt):
        sweep(output, address if first else None, progress=after(5, interrupt))
    assert kept(output) == 5
    again: list[int] = []
    progress = after(0, lambda: again.append(kept(output)))
    assert sweep(output, None if first else address, resume=True, progress=progress) == sweep(tmp_path / "one.csv")
    assert again == [5]


@pytest.mark.slow
def test_few_parts_are_on_their_way(
    workers: distributed.LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: set[str] = set()
    most, submit, content = [0], distributed.Client.submit, room.Cluster.content

    def submitted(*args: Any, **asked: Any) -> Any:
        rows = submit(*args, **asked)
        under_way.add(rows.key)
        most[0] = max(most[0], len(under_way))
        return rows

    def arrived(cluster: room.Cluster, rows: Any, part: Part) -> bytes:
        under_way.remove(rows.key)
        return content(cluster, rows, part)

    monkeypatch.setattr(distributed.Client, "submit", submitted)
    monkeypatch.setattr(room.Cluster, "content", arrived)
    sweep(tmp_path / "grid.csv", workers.scheduler_address)
    assert 2 <= most[0] <= room.AHEAD * 2  # two workers of a thread each


# --- what is lost


@pytest.mark.slow
@pytest.mark.parametrize("busy_s", [0, 4])
def test_a_scheduler_that_is_lost_leaves_parts_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy_s: int
) -> None:
    monkeypatch.setattr(room, "CONNECT_S", 3)  # after which dask gives up, be it while a part is written
    output = tmp_path / "grid.csv"

    def lose(cluster: subprocess.Popen[str]) -> None:
        cluster.kill()
        time.sleep(busy_s)

    with small_cluster() as (address, process), pytest.raises(MachineError) as caught:
        sweep(output, address, progress=after(3, lambda: lose(process)))
    assert str(caught.value) == (
        f"the scheduler at {address!r} is lost: the parts that are finished are kept, "
        "and --resume goes on with the rest"
    )
    assert 3 <= kept(output) < PARTS
    assert sweep(output, resume=True) == sweep(tmp_path / "one.csv")


@pytest.mark.slow
def test_workers_that_are_all_lost_are_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "grid.csv"

    def lose(worker: subprocess.Popen[bytes]) -> None:
        monkeypatch.setattr(room, "NO_WORKER_S", 1)
        worker.kill()

    message = r"^all workers of .* are lost: the parts that are finished are kept"
    with (
        small_cluster(workers=0) as (address, _),
        subprocess.Popen([*WORKER, address], stderr=subprocess.DEVNULL) as one,
    ):
        try:
            with pytest.raises(MachineError, match=message):
                sweep(output, address, progress=after(3, lambda: lose(one)))
        finally:
            one.kill()
    assert 3 <= kept(output) < PARTS


def test_a_part_that_brings_workers_down_is_named(tmp_path: Path) -> None:
    class Nobody:
        def as_current(self) -> nullcontext[None]:
            return nullcontext()

    class Rows:
        def exception(self, timeout: float) -> Exception:  # noqa: ARG002  # as a future has it
            return distributed.scheduler.KilledWorker("encoded-1", None, 3)  # type: ignore[arg-type]

    part = Part(grid_of(SweepRequest(("v100",))), 0, 0, 1, tmp_path, ".csv")
    with pytest.raises(MachineError, match=r"^rows 1 to 1 brought 4 workers down: .* --resume"):
        room.Cluster(distributed, Nobody(), "tcp://127.0.0.1:8786").content(Rows(), part)


# --- what is refused


def refused(tmp_path: Path, address: str) -> str:
    """The error of a run that must leave nothing behind."""
    with pytest.raises(MachineError) as caught:
        sweep(tmp_path / "grid.csv", address)
    assert list(tmp_path.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_an_address_that_answers_nothing_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CONNECT_S", 1)
    with socket.socket() as open_port:
        open_port.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{open_port.getsockname()[1]}"
        assert refused(tmp_path, address).startswith(f"no Dask scheduler answers at '{address}'")  # nobody listens
        open_port.listen()
        assert refused(tmp_path, address).startswith(f"no Dask scheduler answers at '{address}'")  # nobody speaks


@pytest.mark.parametrize("address", ["", "nonsense", "http://localhost:1"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    assert refused(tmp_path, address).startswith(f"no Dask scheduler answers at '{address}' (")


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "NO_WORKER_S", 1)
    with small_cluster(workers=0) as (address, _):
        line = refused(tmp_path, address)
    assert line.endswith(f"has no workers: start some by `dask worker {address}`; nothing was written")


@pytest.mark.slow
def test_a_cluster_of_other_versions_is_refused(tmp_path: Path) -> None:
    odd = (
        "from distributed import versions; told = versions._version_cached\n"
        "versions._version_cached = lambda name: '0.0.1' if name == 'perfkit' else told(name)"
    )
    with small_cluster(odd) as (address, _):
        assert refused(tmp_path, address).startswith("the scheduler has perfkit 0.0.1, python 3.")


@pytest.mark.slow
def test_a_worker_that_reads_another_grid_is_refused(tmp_path: Path) -> None:
    odd = "import perfkit.sweeping.parts as parts; parts.__version__ = '0.0.1'"
    message = r"^a worker has another perfkit, or other calibrations, than this"
    with small_cluster(odd) as (address, _), pytest.raises(MachineError, match=message):
        sweep(tmp_path / "grid.csv", address)
    assert kept(tmp_path / "grid.csv") == 0


def test_a_worker_that_cannot_read_the_grid_says_so() -> None:
    with pytest.raises(MachineError, match=r"^a worker cannot read the grid, .* perfkit or Python: "):
        room.encoded(b"cnowhere\nGrid\n.", 0, 1, ".csv")


def test_rows_of_a_cluster_are_a_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="dask makes the parts of a file: name an output"):
        perfkit.sweep("v100", dask="tcp://127.0.0.1:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    line = refused(tmp_path, "tcp://127.0.0.1:8786")
    assert line == "a sweep on a cluster needs dask: pip install 'perfkit[dask]'"


def test_a_long_axis_travels_as_a_range() -> None:
    grid = grid_of(SweepRequest(("v100",), text_tokens=counts_of("text tokens", range(1, 10**6))))
    sent = pickle.dumps(grid)
    assert len(sent) < 20_000  # of 8 MB
    assert (pickle.loads(sent).axes["text_tokens"] == grid.axes["text_tokens"]).all()  # noqa: S301  # our own
