"""A sweep, from its request to its rows: in memory, or in a file that is written part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.files import claimed
from perfkit.models import DEFAULT_MODEL
from perfkit.sweeping.columns import columns_of
from perfkit.sweeping.formats import check_form, plain
from perfkit.sweeping.grid import Grid, grid_of
from perfkit.sweeping.part import Part
from perfkit.sweeping.parts import claim, join
from perfkit.sweeping.ranges import counts_of
from perfkit.sweeping.request import Basis, SweepRequest
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS

KEPT_POINTS = 10**6  # at most so many in memory, some 250 MB

# Goes through the parts that are left, and may show where it is: a click progress bar, for one.
Progress: TypeAlias = Callable[[list[Part]], AbstractContextManager[Iterable[Part]]]
Make: TypeAlias = Callable[[Sequence[Part]], Iterable[tuple[Part, bytes]]]
Names: TypeAlias = str | Sequence[str]
Numbers: TypeAlias = str | int | range | Iterable[int]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Rows of a grid.

    `columns`: arrays by name, in SI units, NaN where a number is not known; empty where the rows went to `output`.
    `left_out`: combinations that no engine runs, a line each.
    """

    request: SweepRequest
    points: int
    left_out: tuple[str, ...]
    columns: dict[str, Any]
    output: Path | None = None


def sweep(
    gpu: Names,
    model: Names = DEFAULT_MODEL,
    *,
    tokens: Numbers | None = None,
    text_tokens: Numbers = TEXT_TOKENS,
    new_tokens: Numbers = NEW_TOKENS,
    batch: Numbers = 1,
    images: Numbers = 1,
    precision: Names = "fp16",
    weights: Names = (),
    activations: Names = (),
    kv: Names = (),
    attention: Names = "fused",
    tp: Numbers = 1,
    pp: Numbers = 1,
    basis: Basis = "roofline",
    runtime: str | None = None,
    calibration: str | Path | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    dask: str | None = None,
    progress: Progress = nullcontext,
) -> Sweep:
    """Predict every point of a grid; the arguments are the options of `perfkit sweep`, each one value or several.

    Every row is what `perfkit.analyze` gives of its point. `output`: a .csv or .parquet, written whole or not at all;
    parts are kept beside it until then, and `resume` goes on with them. Without it rows are kept in memory.
    `dask`: address of the scheduler of a Dask cluster, whose workers make the parts: the same file.

    Raises:
        UnknownName: no such GPU, model, precision, attention, basis or runtime.
        InvalidValue: counts out of range, more visual tokens than a model makes, an output of another form, too many
            points (10^9 in a file, 10^6 in memory), `dask` without an output.
        UnsupportedPrecision: no GPU has an engine for any of the formats.
        InvalidSpec: a YAML or config.json that is none; with `resume`, parts of another grid.
        MachineError: pyarrow, filelock or dask is missing, parts of an earlier run stand, another run writes the same
            file, a file cannot be written, or the cluster is not there, not the same, or lost.

    >>> found = sweep("v100", tokens=(576, 32), batch=range(1, 5))
    >>> found.points, found.columns["batch"].tolist()
    (8, [1, 2, 3, 4, 1, 2, 3, 4])
    >>> found.columns["tpot_roofline_s"][4:5].round(5).tolist()  # 14.79 ms, as of perfkit.analyze("v100", tokens=32)
    [0.01479]
    """
    request = SweepRequest(
        gpu=names_of(gpu),
        model=names_of(model),
        precision=names_of(precision),
        weights=names_of(weights),
        activations=names_of(activations),
        kv=names_of(kv),
        attention=names_of(attention),
        tp=counts_of("tp", tp),
        pp=counts_of("pp", pp),
        images=counts_of("images", images),
        tokens=() if tokens is None else counts_of("tokens", tokens, 0),
        text_tokens=counts_of("text tokens", text_tokens),
        new_tokens=counts_of("new tokens", new_tokens),
        batch=counts_of("batch", batch),
        basis=basis,
        runtime=runtime,
        calibration=None if calibration is None else str(calibration),
    )
    return run(request, None if output is None else Path(output), resume=resume, dask=dask, progress=progress)


def run(
    request: SweepRequest,
    output: Path | None = None,
    *,
    resume: bool = False,
    dask: str | None = None,
    progress: Progress = nullcontext,
) -> Sweep:
    """A sweep from its request; the rest is as of `sweep`."""
    if output is not None:
        check_form(output)
    elif dask is not None:
        raise InvalidValue("dask makes the parts of a file: name an output")
    grid = grid_of(request)
    if output is None:
        return _kept(grid)
    # The cluster first: one that is not there must leave nothing behind.
    with _makers(dask) as make, claimed(output):
        _write(grid, output, make, resume=resume, progress=progress)
    return Sweep(request, grid.points, grid.left_out, {}, output)


def names_of(given: Names) -> tuple[str, ...]:
    """Each once."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


def _kept(grid: Grid) -> Sweep:
    if grid.points > KEPT_POINTS:
        raise InvalidValue(f"{grid.points} points are not kept in memory: at most {KEPT_POINTS}; name an output")
    columns = {key: plain(column) for key, column in columns_of(grid, 0, grid.points).items()}
    return Sweep(grid.request, grid.points, grid.left_out, columns)


def _makers(dask: str | None) -> AbstractContextManager[Make]:
    """This process, or a cluster."""
    if dask is None:
        return nullcontext(lambda parts: ((part, part.encode()) for part in parts))
    from perfkit.sweeping.cluster import open_cluster

    return open_cluster(dask)


def _write(grid: Grid, output: Path, make: Make, *, resume: bool, progress: Progress) -> None:
    parts = claim(grid, output, resume=resume)
    files = {part.number: part.standing() for part in parts} if resume else {}
    left = [part for part in parts if files.get(part.number) is None]
    with progress(left) as shown:
        for _, (part, content) in zip(shown, make(left), strict=True):  # a cluster finishes them in any order
            files[part.number] = part.keep(content)
    join(parts, [file for part in parts if (file := files[part.number])], output)
