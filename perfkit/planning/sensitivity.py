"""How much a plan hangs on: is it still feasible where the hardware is slower than taken?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from perfkit.hardware import Device, Figure, Link
from perfkit.planning.candidates import Candidates, Point
from perfkit.planning.goals import Goals, limits_of

LESS = 0.2


class Sensitivity(NamedTuple):
    """What was lowered by LESS, and which limits are then missed, in words; none where it is still feasible."""

    lowered: str
    misses: tuple[str, ...]


def sensitivity_of(candidates: Candidates, point: Point, goals: Goals) -> tuple[Sensitivity, ...]:
    """A candidate with less bandwidth, less compute, and where GPUs share a request slower links, one at a time."""
    gpus = point.cell.execution.gpus
    changes = {name: change for name, change in _CHANGES.items() if gpus > 1 or name != "links"}
    return tuple(Sensitivity(name, _misses(candidates, point, goals, change)) for name, change in changes.items())


def _misses(candidates: Candidates, point: Point, goals: Goals, change: Callable[[Device], Device]) -> tuple[str, ...]:
    choice = point.cell.choice
    slower = point._replace(cell=point.cell._replace(choice=choice._replace(device=change(choice.device))))
    _, figures = candidates.exact(slower)
    return tuple(limit.missed() for limit in limits_of(figures, goals) if limit.excess > 0)


def _less(figure: Figure) -> Figure:
    return figure if figure.value is None else figure._replace(value=figure.value * (1 - LESS))


def _less_bandwidth(device: Device) -> Device:
    return replace(device, bandwidth=_less(device.bandwidth), gemv={p: _less(f) for p, f in device.gemv.items()})


def _less_compute(device: Device) -> Device:
    peaks = tuple(
        peak._replace(rate=_less(peak.rate), sustained=None if peak.sustained is None else _less(peak.sustained))
        for peak in device.peaks
    )
    return replace(device, peaks=peaks, gemm={p: _less(f) for p, f in device.gemm.items()})


def _less_link(link: Link) -> Link:
    return link._replace(bandwidth=_less(link.bandwidth))


def _less_links(device: Device) -> Device:
    pcie = None if device.pcie is None else _less_link(device.pcie)
    return replace(device, links=tuple(map(_less_link, device.links)), pcie=pcie)


_CHANGES: dict[str, Callable[[Device], Device]] = {
    "bandwidth": _less_bandwidth,
    "compute": _less_compute,
    "links": _less_links,
}
