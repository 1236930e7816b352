"""Parts of a sweep made by the workers of a Dask cluster, and sent back as bytes: no folder is shared.

A grid travels as values (models, devices, ranges), so that no file of this machine is looked for on another. What comes
back is written here, a part at a time; what waits its turn waits with the workers, so that memory here stays bounded.
"""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeAlias

from perfkit.errors import MachineError, PerfkitError
from perfkit.sweeping.grid import Grid
from perfkit.sweeping.part import Part, encode
from perfkit.sweeping.parts import digest_of

CONNECT_S = 5
NO_WORKER_S = 15  # how long a cluster may be without any
AHEAD = 2  # parts a thread of a worker is given: the one it makes, and one to go on with
_SAME = ("perfkit", "python", "numpy")  # or rows might differ; dask itself warns of the rest
_KEPT = "the parts that are finished are kept, and --resume goes on with the rest"

Made: TypeAlias = Iterator[tuple[Part, bytes]]


@contextmanager
def open_cluster(address: str) -> Iterator[Callable[[Sequence[Part]], Made]]:
    """What makes parts on the cluster whose scheduler has this address, in the order in which they are finished.

    Raises:
        MachineError: dask is not installed, no scheduler or worker answers, one of them has another perfkit, Python or
            numpy; later, the scheduler or all workers are lost, or a part brings workers down.
    """
    distributed = _distributed()
    with ExitStack() as stack:
        stack.enter_context(distributed.utils.silence_logging_cmgr("CRITICAL"))  # errors say what must be known
        client = stack.enter_context(_connected(distributed, address))
        cluster = Cluster(distributed, client, address)
        with cluster.losses():
            _check_versions(client, address)
        yield cluster.make


def encoded(packed: bytes, start: int, stop: int, ending: str) -> bytes:
    """Content of a part's file; what a worker does.

    Raises:
        MachineError: the worker cannot read the grid, or reads another from it.
    """
    return encode(_unpacked(packed), start, stop, ending)


def _packed(grid: Grid) -> bytes:
    return pickle.dumps((digest_of(grid), grid))


@lru_cache(maxsize=1)  # all parts of a sweep have one grid
def _unpacked(packed: bytes) -> Grid:
    try:
        digest, grid = pickle.loads(packed)  # noqa: S301  # from the scheduler, whom a worker obeys anyway
    except Exception as error:
        raise MachineError(f"a worker cannot read the grid, since it has another perfkit or Python: {error}") from None
    if digest_of(grid) != digest:
        raise MachineError("a worker has another perfkit, or other calibrations, than this machine")
    return grid  # type: ignore[no-any-return]


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise MachineError("a sweep on a cluster needs dask: pip install 'perfkit[dask]'") from None
    return distributed


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
        try:
            with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own in this one
                thread.submit(asyncio.run, asyncio.wait_for(_greet(distributed, address), CONNECT_S)).result()
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except Exception as error:  # of many kinds, where something else listens
            why = f" ({_line(error)})" if str(error) else ""
            raise MachineError(f"no Dask scheduler answers at {address!r}{why}; nothing was written") from None
    with client:
        yield client


async def _greet(distributed: Any, address: str) -> None:
    """Shake hands, in bounded time; a `Client` waits for ever where a port is open and says nothing."""
    security = distributed.Security().get_connection_args("client")
    comm = await distributed.comm.connect(address, timeout=CONNECT_S, **security)
    await comm.close()


def _check_versions(client: Any, address: str) -> None:
    """Refuse a cluster without workers, or with another perfkit somewhere."""
    try:
        client.wait_for_workers(1, timeout=NO_WORKER_S)
    except TimeoutError:
        raise MachineError(
            f"the scheduler at {address!r} has no workers: start some by `dask worker {address}`; nothing was written"
        ) from None
    versions = client.get_versions(packages=["perfkit"])
    here = _versions(versions["client"])
    others = {"the scheduler": versions["scheduler"]}
    others |= {f"worker {name}": found for name, found in versions["workers"].items()}
    for name, found in others.items():
        if (there := _versions(found)) != here:
            raise MachineError(f"{name} has {_told(there)}, this machine {_told(here)}; nothing was written")


def _versions(machine: dict[str, Any]) -> dict[str, str | None]:
    found = {name: machine["packages"].get(name) for name in _SAME}
    return found | {"python": ".".join(found["python"].split(".")[:2])}


def _told(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" if version else f"no {name}" for name, version in versions.items())


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster that has answered, and what it is asked for."""

    distributed: Any  # the library
    client: Any
    address: str

    def make(self, parts: Sequence[Part]) -> Made:
        """Parts and the contents of their files, in the order in which they are finished."""
        waiting, running = iter(parts), dict[Any, Part]()
        packed = _packed(parts[0].grid) if parts else b""
        while True:
            with self.losses():
                for part in islice(waiting, max(0, self._room() - len(running))):
                    # Not pure: rows that someone else asked for, with another perfkit it may be, are none of ours.
                    rows = self.client.submit(encoded, packed, part.start, part.stop, part.ending, pure=False)
                    running[rows] = part
            if not running:
                return
            for rows in self._patiently(partial(self._finished, list(running))):
                yield (part := running.pop(rows)), self.content(rows, part)
            rows = None  # or the worker keeps the last of them

    def content(self, rows: Any, part: Part) -> bytes:
        """What a worker made of a part, which is taken from it."""
        error = self._patiently(lambda seconds: rows.exception(timeout=seconds))
        if error is None:
            return self._patiently(lambda seconds: rows.result(timeout=seconds))  # type: ignore[no-any-return]
        if isinstance(error, PerfkitError):
            raise error
        if isinstance(error, self.distributed.scheduler.KilledWorker):
            raise MachineError(f"{part.label} brought {error.allowed_failures + 1} workers down: {_KEPT}")
        raise MachineError(f"a worker failed at {part.label} ({type(error).__name__}: {_line(error)}): {_KEPT}")

    def _room(self) -> int:
        """How many parts may be on their way: workers may come and go."""
        threads: dict[str, int] = self.client.nthreads()
        return max(1, AHEAD * sum(threads.values()))

    def _finished(self, running: list[Any], seconds: float) -> set[Any]:
        """One or more, as soon as there is one."""
        found: set[Any] = self.distributed.wait(running, seconds, "FIRST_COMPLETED").done
        return found

    def _patiently(self, ask: Callable[[float], Any]) -> Any:
        """What is asked for, however long it takes while there are workers: rows of one that died are made again."""
        seconds: float = NO_WORKER_S
        while True:
            with self.losses(), self.client.as_current():
                try:
                    return ask(seconds)
                except TimeoutError:
                    if not self.client.nthreads():
                        raise MachineError(f"all workers of {self.address!r} are lost: {_KEPT}") from None
            seconds *= 2  # what comes over a slow link starts again

    @contextmanager
    def losses(self) -> Iterator[None]:
        """The scheduler's end, in whatever way this process comes to know of it.

        Raises:
            MachineError: it came.
        """
        try:
            yield
        except (OSError, CancelledError, asyncio.CancelledError) as error:
            raise self._lost() from error
        except (AttributeError, RuntimeError) as error:
            if self.client.status == "running" or isinstance(error, PerfkitError):
                raise
            raise self._lost() from error  # the client has given up, while a part was written

    def _lost(self) -> MachineError:
        return MachineError(f"the scheduler at {self.address!r} is lost: {_KEPT}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
