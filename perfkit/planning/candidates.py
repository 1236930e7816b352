"""Every candidate of a plan, as arrays: the points of a grid in their order, and the figures of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from perfkit.counting import workload_of
from perfkit.latency import Prediction, predict
from perfkit.planning.figures import Figures, figures_of
from perfkit.planning.goals import Goals, limits_of
from perfkit.planning.request import PlanRequest
from perfkit.prices import HourlyPrice, hourly_price
from perfkit.sweeping.grid import Cell, Grid, grid_of


class Point(NamedTuple):
    """One candidate: GPUs, formats and degrees are those of the cell."""

    cell: Cell
    visual_tokens: int
    batch: int

    def __str__(self) -> str:
        """As messages name it.

        >>> from perfkit.planning.request import PlanRequest, Goals
        >>> from perfkit.sweeping.request import SweepRequest
        >>> str(candidates_of(PlanRequest(SweepRequest(("v100",)), Goals(), ())).point(0))
        'v100-sxm2-32gb fp16, 576 visual tokens, batch 1'
        """
        e = self.cell.execution
        shared = "".join(f" {name} {n}" for name, n in (("tp", e.tp), ("pp", e.pp)) if n > 1)
        name = self.cell.choice.device.id
        return f"{name}{shared} {e.formats}, {self.visual_tokens} visual tokens, batch {self.batch}"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Points of a grid, and their figures as arrays over them; `prices` by device id."""

    grid: Grid
    prices: dict[str, HourlyPrice | None]
    cells: Any
    visual_tokens: Any
    batch: Any
    figures: Figures

    def point(self, place: int) -> Point:
        """The candidate at a place."""
        cell = self.grid.cells[int(self.cells[place])]
        return Point(cell, int(self.visual_tokens[place]), int(self.batch[place]))

    def exact(self, point: Point) -> tuple[Prediction, Figures]:
        """Prediction and figures of one candidate by itself, to the last bit those of `perfkit roofline`."""
        counts: dict[str, Any] = {name: int(values[0]) for name, values in self.grid.axes.items()}
        counts |= {"tokens": point.visual_tokens, "batch": point.batch}
        cell, basis = point.cell, self.grid.request.basis
        workload = workload_of(cell.spec, **counts)
        expected = basis == "expected"
        prediction = predict(cell.spec, cell.choice, workload, cell.execution, self.grid.calibration, expected=expected)
        return prediction, figures_of(prediction, basis, self.prices[cell.choice.device.id])

    def excess(self, goals: Goals) -> Any:
        """How far each candidate is beyond the limit that it misses most, as a share of it; feasible up to 0."""
        import numpy

        each = [numpy.broadcast_to(limit.excess, self.batch.shape) for limit in limits_of(self.figures, goals)]
        return numpy.max(each, axis=0)


def candidates_of(request: PlanRequest) -> Candidates:
    """Every point of the request's grid, predicted.

    Raises:
        UnknownName, InvalidValue, InvalidSpec, UnsupportedPrecision: as `perfkit.sweep`.
    """
    import numpy

    grid = grid_of(request.grid)
    devices = dict.fromkeys(cell.choice.device.id for cell in grid.cells)
    prices = {device: hourly_price(request.prices, device) for device in devices}
    found: list[tuple[Any, ...]] = []
    for box in grid.boxes(0, grid.points):
        prediction = grid.predict(box)
        device = box.cell.choice.device.id
        figures = figures_of(prediction, request.grid.basis, prices[device])
        places = (grid.cells.index(box.cell), prediction.workload.visual_tokens, prediction.workload.batch)
        found.append(tuple(_flat(value, box.shape) for value in (*places, *figures)))
    cells, tokens, batch, *rest = (numpy.concatenate(parts) for parts in zip(*found, strict=True))
    return Candidates(grid, prices, cells, tokens, batch, Figures._make(rest))


def _flat(value: Any, shape: tuple[int, ...]) -> Any:
    """An array of all points of a box; what is not known is infinite, so that it is never the best."""
    import numpy

    number = math.inf if value is None else value
    return numpy.broadcast_to(numpy.asarray(number, float), shape).reshape(-1)
