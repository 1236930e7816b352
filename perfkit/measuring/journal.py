"""The file of a running measurement: every point is written whole as it is finished, by one run at a time.

The file is replaced, never appended to, so that whatever stops the run (a kill, a full disk) leaves the last whole
state. A lock beside it keeps a second run away; the system drops it when the run ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perfkit.errors import InvalidSpec, MachineError
from perfkit.files import claimed, write_whole
from perfkit.measuring.cases import Case
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.schema import line_of, read_measurement, text_of


class Journal:
    """Points of a file: those that stand in it already, and those added."""

    def __init__(self, path: Path, machine: Machine, runs: tuple[Run, ...], points: tuple[Point, ...]) -> None:
        self.path = path
        self.machine = machine
        self.runs = runs
        self.points = list(points)
        self._lines = [line_of(point) for point in points]  # rendered once, so that adding a point stays cheap
        self._write()

    def add(self, point: Point) -> None:
        """Append a finished point and write the file.

        Raises:
            MachineError: it cannot be written; the file stays as it was.
        """
        self._lines.append(line_of(point))
        self.points.append(point)
        self._write()

    def missing(self, cases: Iterable[Case]) -> list[Case]:
        """Those of `cases` that were not measured yet."""
        finished = {point.case for point in self.points}
        return [case for case in cases if case not in finished]

    def measurement(self) -> Measurement:
        """All points so far."""
        return Measurement(self.machine, self.runs, tuple(self.points), str(self.path))

    def _write(self) -> None:
        write_whole(self.path, text_of(self.machine, self.runs, self._lines))


@contextmanager
def open_journal(path: Path, machine: Machine, run: Run, *, resume: bool) -> Iterator[Journal]:
    """Journal at `path`, new, or with `resume` continued where it stands.

    Raises:
        MachineError: another run holds it, it stands already, it is of another machine, or cannot be written.
        InvalidSpec: with `resume`, a file that is no measurement.
    """
    with claimed(path):
        runs, points = _standing(path, machine) if resume else _nothing(path)
        yield Journal(path, machine, (*runs, run), points)


def _nothing(path: Path) -> tuple[tuple[Run, ...], tuple[Point, ...]]:
    if path.exists():
        raise MachineError(f"{path} stands already: --resume finishes it; or name another file")
    return (), ()


def _standing(path: Path, machine: Machine) -> tuple[tuple[Run, ...], tuple[Point, ...]]:
    if not path.exists():
        return (), ()
    earlier = read_measurement(path)
    if earlier.machine.name != machine.name or earlier.machine.libraries != machine.libraries:
        differ = _differences(earlier.machine, machine)
        raise InvalidSpec(f"{path} was measured on another machine than this ({differ}): name another file")
    return earlier.runs, earlier.points


def _differences(old: Machine, new: Machine) -> str:
    """Product name and library versions that are not the same, old and new."""
    pairs = {"name": (old.name, new.name)}
    for library in dict.fromkeys((*old.libraries, *new.libraries)):
        pairs[library] = (old.libraries.get(library, "none"), new.libraries.get(library, "none"))
    return ", ".join(f"{what}: {before}, now {now}" for what, (before, now) in pairs.items() if before != now)
