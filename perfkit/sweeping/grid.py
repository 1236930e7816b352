"""The points of a sweep in their order, and how they are cut: into boxes that arrays are evaluated over at once.

A grid is a product: cells (a model on a GPU in some formats) by axes of counts. A box is one cell by stretches of the
axes. Its arrays have a dimension an axis and broadcast, so that what depends on few axes is computed for those alone:
the vision tower once a batch, not once a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.errors import InvalidSpec, InvalidValue, PerfkitError, UnsupportedPrecision
from perfkit.hardware import Choice, choose_device
from perfkit.kernels.calibrations import Calibration, read_calibration
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.parallel import layout_of, part_of
from perfkit.roofline import engines_of
from perfkit.sweeping.ranges import values_of
from perfkit.sweeping.request import COUNTS, SweepRequest
from perfkit.workload import Execution, Workload

BOX_POINTS = 2**16  # arrays of 512 KiB at most: what broadcasts is far smaller, and lies in a core's second cache


class Cell(NamedTuple):
    """What no array goes over."""

    spec: ModelSpec
    choice: Choice
    execution: Execution

    def __str__(self) -> str:
        """As a warning names it."""
        e = self.execution
        shared = f", tp {e.tp}, pp {e.pp}" if e.gpus > 1 else ""
        return f"{self.spec.name} on {self.choice.device.id} in {e.formats}{shared}"


class Box(NamedTuple):
    """Some points of one cell: `counts` are arguments of `workload_of`, ints and float64 arrays that broadcast.

    `shape`: of what is computed from them; points are in the order of its elements.
    """

    cell: Cell
    counts: dict[str, Any]
    shape: tuple[int, ...]

    @property
    def points(self) -> int:
        """How many."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells by axes; `axes` are float64 arrays by the names of `workload_of`, in the order of the rows.

    `left_out`: what has no cell, and why, a line each.
    """

    request: SweepRequest
    cells: tuple[Cell, ...]
    axes: dict[str, Any]
    left_out: tuple[str, ...]
    calibration: Calibration | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Ranges travel, not the arrays that are made of them."""
        return _unpickled, (self.request, self.cells, self.left_out, self.calibration)

    @property
    def points(self) -> int:
        """Rows."""
        return len(self.cells) * math.prod(map(len, self.axes.values()))

    def boxes(self, start: int, stop: int, most: int = BOX_POINTS) -> Iterator[Box]:
        """Rows `start` to `stop`, in their order, as boxes of at most `most` points."""
        values = tuple(self.axes.values())
        strides = [math.prod(map(len, values[i + 1 :])) for i in range(len(values))]
        while start < stop:
            room = min(most, stop - start)
            # The slowest axis of which a whole step fits, among those at whose step the row stands.
            axis = next(i for i, stride in enumerate(strides) if stride <= room and start % stride == 0)
            places = [start // stride % len(one) for stride, one in zip(strides, values, strict=True)]
            steps = min(len(values[axis]) - places[axis], room // strides[axis])
            ends = [place + 1 for place in places[:axis]] + [places[axis] + steps]
            ends += [len(one) for one in values[axis + 1 :]]
            stretches = [one[a:b] for one, a, b in zip(values, places, ends, strict=True)]
            cell = self.cells[start // (strides[0] * len(values[0]))]
            yield _box(cell, dict(zip(self.axes, stretches, strict=True)))
            start += steps * strides[axis]

    def predict(self, box: Box) -> Prediction:
        """Prediction of arrays, by the formulas of a single one."""
        spec, choice, execution = box.cell
        workload = workload_of(spec, **box.counts)
        expected = self.request.basis == "expected"
        return predict(spec, choice, workload, execution, self.calibration, expected=expected)


def _box(cell: Cell, stretches: dict[str, Any]) -> Box:
    """Numbers stay Python ints; each axis of several has a dimension of its own."""
    shape = tuple(len(values) for values in stretches.values() if len(values) > 1)
    counts: dict[str, Any] = {}
    left = len(shape)
    for name, values in stretches.items():
        if len(values) == 1:
            counts[name] = int(values[0])
        else:
            left -= 1
            counts[name] = values.reshape(-1, *(1,) * left)
    return Box(cell, counts, shape)


def grid_of(request: SweepRequest) -> Grid:
    """The grid of a request, every name looked up and every limit checked.

    Raises:
        UnknownName: no such model, GPU, precision or attention.
        InvalidValue: more visual tokens than a model makes; a calibration of another device.
        InvalidSpec: a YAML or config.json that is none.
        UnsupportedPrecision, InvalidValue, InvalidSpec: no cell is left, since no GPU has an engine for any of the
            formats, or no model can be split so.

    >>> grid = grid_of(SweepRequest(("v100",), tokens=(range(0, 577, 288),), batch=(range(1, 65),)))
    >>> grid.points, [box.shape for box in grid.boxes(0, grid.points, most=100)]  # 3 * 64
    (192, [(64,), (64,), (64,)])
    """
    axes = _axes(request)
    cells, left_out = _cells(request, axes)
    calibration = None if request.calibration is None else read_calibration(Path(request.calibration))
    if calibration is not None:
        for device in dict.fromkeys(cell.choice.device for cell in cells):
            calibration.check_device(device)
    return Grid(request, cells, axes, left_out, calibration)


def _axes(request: SweepRequest) -> dict[str, Any]:
    return {name: values_of(counts) for name in COUNTS if (counts := getattr(request, name))}


def _unpickled(
    request: SweepRequest, cells: tuple[Cell, ...], left_out: tuple[str, ...], calibration: Calibration | None
) -> Grid:
    return Grid(request, cells, _axes(request), left_out, calibration)


def _cells(request: SweepRequest, axes: dict[str, Any]) -> tuple[tuple[Cell, ...], tuple[str, ...]]:
    """Combinations that can run, and a line for each that cannot."""
    specs = {name: load_model(name) for name in request.model}
    choices = [choose_device(gpu) for gpu in dict.fromkeys(request.gpu)]
    found: list[Cell] = []
    left_out: dict[str, type[PerfkitError]] = {}
    for spec in specs.values():
        _check_tokens(spec, axes)
        executions = dict.fromkeys(execution_of(spec, execution) for execution in _executions(request))
        engines = {execution: _products(spec, execution, axes) for execution in executions}
        for choice, execution in product(choices, executions):
            cell = Cell(spec, choice, execution)
            try:
                engines_of(choice.device, engines[execution])
                part_of(spec, execution)
                layout_of(spec, execution, choice.device)
            except (UnsupportedPrecision, InvalidValue, InvalidSpec) as why:
                left_out[f"{cell} is left out: {why}"] = type(why)
            else:
                found.append(cell)
    if not found:
        line, kind = next(iter(left_out.items()))
        raise kind(f"nothing is left of the grid: {line}")
    return tuple(found), tuple(left_out)


def _executions(request: SweepRequest) -> Iterator[Execution]:
    """Those of the axes of formats, attention and degrees."""
    formats = (request.precision, *((getattr(request, name) or (None,)) for name in ("weights", "activations", "kv")))
    degrees = (map(int, values_of(counts)) for counts in (request.tp, request.pp))
    for (precision, weights, activations, kv), attention, tp, pp in product(
        product(*formats), request.attention, *degrees
    ):
        runtime = request.runtime or "graph"
        yield parse_execution(precision, weights, activations, kv, attention, runtime=runtime, tp=tp, pp=pp)


def _corner(spec: ModelSpec, axes: dict[str, Any], **ends: Any) -> Workload:
    """Workload of one point: by default that of the least counts."""
    counts: dict[str, Any] = {name: int(ends.get(name, min)(values)) for name, values in axes.items()}
    return workload_of(spec, **counts)


def _check_tokens(spec: ModelSpec, axes: dict[str, Any]) -> None:
    """Refuse more visual tokens than images make, at the corners of the grid where they are most and fewest."""
    _corner(spec, axes, tokens=max)
    _corner(spec, axes, images=max)


def _products(spec: ModelSpec, execution: Execution, axes: dict[str, Any]) -> list[OpCost]:
    """One op for each precision that a forward of all parts of the model multiplies in."""
    forward = count_ops(spec, _corner(spec, axes, tokens=max), execution)
    return list({op.engine: op for op in forward if op.multiplies}.values())
