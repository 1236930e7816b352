"""Parameters of exchanges between GPUs from measured all-reduces, and how far they are off on sizes not seen.

A table has the columns workers, devices_per_node (fewer than workers: several nodes), size_bytes and measured_s, SI
units, a row an all-reduce. Links are those of the device's datasheet, between nodes the network of `parallel.links`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.calibration.descending import descend
from perfkit.calibration.fitting import LOOSE, NOISE, range_weights
from perfkit.calibration.judging import FOLDS, Held, held_by
from perfkit.calibration.parameters import COLLECTIVE, COLLECTIVE_START, NETWORK, NETWORK_START
from perfkit.errors import InvalidSpec
from perfkit.hardware import Device
from perfkit.kernels.calibrations import CAUTIOUS, Calibration, FittedOn, Spread
from perfkit.kernels.collectives import CollectiveParameters, exchange_s
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES
from perfkit.parallel.exchanging import ALL_REDUCE, Exchange
from perfkit.parallel.links import Group, link_of

if TYPE_CHECKING:
    from numpy import ndarray

SIZE_ENDS = tuple(4**power * 2**16 for power in range(6))  # bytes: 64 KiB to 64 MiB
_COLUMNS = ("workers", "devices_per_node", "size_bytes", "measured_s")


class Reduced(NamedTuple):
    """All-reduces of one group: arrays of bytes, and the seconds that they took."""

    group: Group
    sizes: ndarray
    seconds: ndarray

    def take(self, which: ndarray) -> Reduced:
        """Some of the rows, by a mask."""
        return self._replace(sizes=self.sizes[which], seconds=self.seconds[which])


class Fitted(NamedTuple):
    """Parameters within a node and between nodes."""

    within: CollectiveParameters
    between: CollectiveParameters


def read_collectives(path: Path, device: Device) -> list[Reduced]:
    """Groups of a table of all-reduces measured on `device`.

    Raises:
        InvalidSpec: no such table, a column that is missing, or a device without links.
    """
    rows = _rows(path)
    found = []
    for workers, of_node in sorted({(row[0], row[1]) for row in rows}):
        own = [row for row in rows if row[:2] == (workers, of_node)]
        group = Group(int(of_node), int(workers // of_node), link_of(device, int(of_node)))
        found.append(Reduced(group, _array(row[2] for row in own), _array(row[3] for row in own)))
    return found


def _rows(path: Path) -> list[tuple[float, ...]]:
    import csv
    import gzip

    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return [tuple(float(row[name]) for name in _COLUMNS) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as why:
        raise InvalidSpec(f"{path}: no gzipped table of all-reduces with {', '.join(_COLUMNS)} ({why})") from None


def _array(values: Any) -> ndarray:
    import numpy

    return numpy.array(list(values))


def fit_collectives(sets: Sequence[Reduced]) -> Fitted:
    """Parameters that fit best, groups and ranges of size counting alike."""
    one_node = [each for each in sets if each.group.nodes == 1]
    several = [each for each in sets if each.group.nodes > 1]

    def within(values: Sequence[float]) -> Fitted:
        return Fitted(CollectiveParameters._make(values), NETWORK_START)

    inside = within(_descend(one_node, within, COLLECTIVE, COLLECTIVE_START))

    def between(values: Sequence[float]) -> Fitted:
        return inside._replace(between=CollectiveParameters._make(values))

    return between(_descend(several, between, NETWORK, NETWORK_START))


def _descend(sets: Sequence[Reduced], made: Any, parameters: Any, start: Sequence[float]) -> list[float]:
    import numpy

    def misfit(values: list[float]) -> ndarray:
        return numpy.concatenate([_misfit(each, made(values)) / numpy.sqrt(len(sets)) for each in sets])

    return descend(misfit, parameters, start, [p.spread * LOOSE for p in parameters])[1]


def _ratios(each: Reduced, fitted: Fitted) -> ndarray:
    times: Any = exchange_s(Exchange(ALL_REDUCE, each.sizes, each.group), *fitted)
    ratios: ndarray = times / each.seconds
    return ratios


def _misfit(each: Reduced, fitted: Fitted) -> ndarray:
    import numpy

    misfit: ndarray = numpy.log(_ratios(each, fitted)) / NOISE * numpy.sqrt(range_weights(each.sizes, SIZE_ENDS))
    return misfit


def judge_collectives(sets: Sequence[Reduced]) -> list[Held]:
    """Of each group every row predicted by a fit to rows of other sizes, in all groups."""
    import numpy

    # No size is in two folds; neighbours fall into different ones, since sizes are even multiples of 2 KiB apart.
    numbers = [(each.sizes // 2048 * 7919 % FOLDS).astype(int) for each in sets]
    ratios = [numpy.empty(len(each.sizes)) for each in sets]
    for fold in range(FOLDS):
        fitted = fit_collectives([each.take(number != fold) for each, number in zip(sets, numbers, strict=True)])
        for each, number, ratio in zip(sets, numbers, ratios, strict=True):
            ratio[number == fold] = _ratios(each.take(number == fold), fitted)
    return [Held(s.sizes, r, range_weights(s.sizes, SIZE_ENDS)) for s, r in zip(sets, ratios, strict=True)]


def with_collectives(calibration: Calibration, sets: Sequence[Reduced], table: FittedOn) -> Calibration:
    """`calibration` with exchanges fitted to `table`, whose rows are `sets`.

    The cautious default is for machines of which nothing is measured: its ranges reach twice as far, as factors.
    """
    fitted, held = fit_collectives(sets), judge_collectives(sets)
    errors, spread = list(calibration.errors), dict(calibration.spread)
    for name, several in ((COLLECTIVES, False), (BETWEEN_NODES, True)):
        of = held_by([one for one, each in zip(held, sets, strict=True) if (each.group.nodes > 1) == several])
        errors.append(of.error(name))
        low, high = of.spread()
        spread[name] = Spread(low**2, high**2) if calibration.id == CAUTIOUS else Spread(low, high)
    forms = {**calibration.forms, COLLECTIVES: fitted.within, BETWEEN_NODES: fitted.between}
    fitted_on = (*calibration.fitted_on, table)
    return replace(calibration, forms=forms, fitted_on=fitted_on, errors=tuple(errors), spread=spread)
