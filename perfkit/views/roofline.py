"""Ops under a roofline: each phase's ops as points, those of one kind and nearly one intensity as one point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perfkit.errors import InvalidValue
from perfkit.hardware import Peak
from perfkit.latency import Prediction
from perfkit.ops import OpCost
from perfkit.roofline import OpTime
from perfkit.units import Amount
from perfkit.views.naming import check_several

NEAR = 1.3  # ratio of intensities below which ops of a kind and a bound are one point
MOST_DEVICES, MOST_WORKLOADS = 4, 3  # that a reader can tell apart
LONGEST = 4  # names that a label lists


class RoofPoint(NamedTuple):
    """Ops of one phase and kind, which have nearly the same intensity and the same bound.

    `flops` are products, or element-wise work where an op has none, so that they stand under the ceiling of the
    engine that makes them. `share`: of the time to first token, in decode of its step.
    """

    phase: str
    kind: str
    names: tuple[str, ...]
    launches: int
    flops: Amount
    bytes: Amount
    roofline_s: float
    share: float
    bound: str

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return float(self.flops / self.bytes)

    @property
    def flops_per_s(self) -> float:
        """FLOPs over the roofline time."""
        return float(self.flops / self.roofline_s)

    @property
    def label(self) -> str:
        """Its ops in few words.

        >>> RoofPoint("prefill", "linear", ("gate_proj", "up_proj"), 64, 1, 1, 1.0, 0.5, "compute").label
        'gate, up'
        """
        if len(self.names) > LONGEST:
            return f"{self.kind} layers" if self.kind == "linear" else self.kind
        return ", ".join(name.removesuffix("_proj") for name in self.names) if len(self.names) > 1 else self.names[0]


class Ceiling(NamedTuple):
    """Rate of an engine of a device; `products`: whether products of the workload run there."""

    peak: Peak
    ridge: float
    products: bool


class Roof(NamedTuple):
    """A prediction with its ceilings and points; `unplaced_share`: time of ops without FLOPs, over that of all."""

    prediction: Prediction
    ceilings: tuple[Ceiling, ...]
    points: tuple[RoofPoint, ...]
    unplaced_share: float


@dataclass(frozen=True, slots=True)
class RooflineView:
    """Rooflines of one model in one execution, on one or several devices, for one or several workloads."""

    roofs: tuple[Roof, ...]


def roofline_view(predictions: Sequence[Prediction]) -> RooflineView:
    """Points and ceilings of predictions.

    Raises:
        InvalidValue: none, several models or executions, more than a picture can tell apart, or ops that GPUs share.

    >>> from perfkit.latency import analyze
    >>> view = roofline_view([analyze("v100")])
    >>> [round(ceiling.ridge, 1) for ceiling in view.roofs[0].ceilings]  # 125e12 / 900e9, 15.7e12 / 900e9
    [138.9, 17.4]
    """
    _check(predictions)
    return RooflineView(tuple(map(_roof, predictions)))


def _check(predictions: Sequence[Prediction]) -> None:
    what = "a roofline chart shows"
    check_several(f"{what} one model at a time", [p.model.name for p in predictions], 1)
    check_several(f"{what} one execution at a time", [p.execution for p in predictions], 1)
    check_several(f"{what} at most {MOST_DEVICES} devices", [p.device.id for p in predictions], MOST_DEVICES)
    check_several(f"{what} at most {MOST_WORKLOADS} workloads", [p.workload for p in predictions], MOST_WORKLOADS)
    if predictions[0].execution.tp > 1:
        raise InvalidValue(f"{what} the ceilings of one GPU, above which ops on several would lie: leave out --tp")


def _roof(p: Prediction) -> Roof:
    placed = [time for time in p.ops if flops_of(time.cost) > 0 and time.cost.bytes > 0]
    unplaced = sum(time.roofline_s for time in p.ops) - sum(time.roofline_s for time in placed)
    return Roof(p, tuple(_ceilings(p)), tuple(_points(p, placed)), unplaced / sum(time.roofline_s for time in p.ops))


def flops_of(op: OpCost) -> Amount:
    """FLOPs that place an op under a roof: its products, or its element-wise work where it has none."""
    return op.matmul_flops if op.multiplies else op.vector_flops


def _ceilings(p: Prediction) -> Iterator[Ceiling]:
    for peak in p.engines.peaks.values():
        yield Ceiling(peak, peak.flops_per_s / p.device.bytes_per_s, products=True)
    vector = p.engines.vector
    if vector is not None and vector not in p.engines.peaks.values():
        yield Ceiling(vector, vector.flops_per_s / p.device.bytes_per_s, products=False)


def _points(p: Prediction, times: Sequence[OpTime]) -> Iterator[RoofPoint]:
    for phase in p.phases:
        whole = phase.roofline_s if phase.phase == "decode" else p.ttft_roofline_s
        members = [time for time in times if time.cost.phase == phase.phase]
        for alike in dict.fromkeys(map(_likeness, members)):
            for near in _near(time for time in members if _likeness(time) == alike):
                yield _point(sorted(near, key=members.index), whole)


def _likeness(time: OpTime) -> tuple[str, str]:
    return time.cost.kind, time.bound


def _intensity(time: OpTime) -> float:
    return float(flops_of(time.cost) / time.cost.bytes)


def _near(times: Iterable[OpTime]) -> Iterator[list[OpTime]]:
    """Runs of ops by rising intensity, each within NEAR of the first of its run."""
    run: list[OpTime] = []
    for time in sorted(times, key=_intensity):
        if run and _intensity(time) > NEAR * _intensity(run[0]):
            yield run
            run = []
        run.append(time)
    if run:
        yield run


def _point(times: Sequence[OpTime], whole_s: float) -> RoofPoint:
    costs = [time.cost for time in times]
    seconds = sum(time.roofline_s for time in times)
    return RoofPoint(
        phase=costs[0].phase,
        kind=costs[0].kind,
        names=tuple(dict.fromkeys(cost.name for cost in costs)),
        launches=sum(cost.repeat for cost in costs),
        flops=sum(flops_of(cost) for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
        roofline_s=seconds,
        share=seconds / whole_s,
        bound=times[0].bound,
    )
