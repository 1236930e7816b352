"""Plans: candidates that meet the goals, the best first; what was rejected, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.models import DEFAULT_MODEL
from perfkit.planning.candidates import Candidates, Point, candidates_of
from perfkit.planning.energy import energy_source
from perfkit.planning.figures import Figures
from perfkit.planning.fronts import front_of
from perfkit.planning.goals import Goals, Limit, limits_of
from perfkit.planning.plans import Plan
from perfkit.planning.ranking import under_load
from perfkit.planning.request import BATCHES, DEGREES, PlanRequest, Rank, priced_gpus
from perfkit.planning.sensitivity import sensitivity_of
from perfkit.prices import read_prices, unknown_gpus
from perfkit.serving.running import Progress
from perfkit.sweeping.ranges import counts_of
from perfkit.sweeping.request import Basis, SweepRequest
from perfkit.sweeping.running import Names, Numbers, names_of
from perfkit.units import check_count
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS

TOP = 10


class Rejected(NamedTuple):
    """A candidate that misses a goal: which ones, in words, the worst first."""

    point: Point
    why: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Planned:
    """Plans in the order of their rank: of each GPU, format, degrees and tokens the best batch.

    `candidates`: all that was looked at, `feasible` an array of whether each meets the goals, `on_front` whether no
    feasible one beats it. `left_out`: what cannot run at all, a line each.
    """

    request: PlanRequest
    plans: tuple[Plan, ...]
    candidates: Candidates
    feasible: Any
    on_front: Any
    warnings: tuple[str, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Combinations that no engine runs or that do not divide, a line each."""
        return self.candidates.grid.left_out

    def rejected(self) -> Iterator[Rejected]:
        """Every candidate that misses a goal."""
        return self.rejected_at((~self.feasible).nonzero()[0].tolist())

    def rejected_at(self, places: Iterable[int]) -> Iterator[Rejected]:
        """Those at some places among the candidates."""
        return (_rejected(self.candidates, place, self.request.goals) for place in places)


def plan(
    gpu: Names = (),
    model: str = DEFAULT_MODEL,
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    memory_bytes: float | None = None,
    usd_per_hour: float | None = None,
    tokens: Numbers | None = None,
    text_tokens: int = TEXT_TOKENS,
    new_tokens: int = NEW_TOKENS,
    images: int = 1,
    batch: Numbers = BATCHES,
    precision: Names = "fp16",
    weights: Names = (),
    activations: Names = (),
    kv: Names = (),
    attention: str = "fused",
    tp: Numbers = DEGREES,
    pp: Numbers = 1,
    basis: Basis = "expected",
    runtime: str | None = None,
    calibration: str | Path | None = None,
    rank: Rank = "usd",
    prices: str | Path | None = None,
    rate: float | None = None,
    top: int = TOP,
    progress: Progress = nullcontext,
) -> Planned:
    """Which GPUs serve `model` within the goals, the best first; the arguments are the options of `perfkit plan`.

    `gpu`: by default every device of which a price is known. `prices`: a file of listings instead of perfkit's own.
    `basis`: which times are held against the goals and make prices and energies. `rate`: requests a second that
    replicas of each plan share, simulated as by `perfkit.simulate`; plans are ranked by what that costs. `top`: plans
    that are kept, and simulated.

    Raises:
        InvalidValue: goals that no candidate meets, which names the limit and the nearest candidate; and what
            `PlanRequest` refuses.
        UnknownName, InvalidSpec, UnsupportedPrecision: as `perfkit.sweep`; a file of prices that is none.

    >>> found = plan(("v100", "a100"), tokens=32, ttft_s=0.03, tpot_s=0.03, basis="roofline", rank="latency")
    >>> found.plans[0].point.cell.choice.name, found.plans[0].point.cell.execution.tp
    ('a100', 8)
    """
    check_count("top", top)
    listed = read_prices(None if prices is None else Path(prices))
    grid = SweepRequest(
        gpu=names_of(gpu) or priced_gpus(listed),
        model=(model,),
        precision=names_of(precision),
        weights=names_of(weights),
        activations=names_of(activations),
        kv=names_of(kv),
        attention=(attention,),
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
    goals = Goals(ttft_s, tpot_s, memory_bytes, usd_per_hour)
    unknown = unknown_gpus(listed) if prices is not None else []
    warnings = tuple(f"{prices}: no device here is {name!r}: its prices are left out" for name in unknown)
    return make(PlanRequest(grid, goals, listed, rank, rate), top, warnings, progress)


def make(
    request: PlanRequest, top: int = TOP, warnings: tuple[str, ...] = (), progress: Progress = nullcontext
) -> Planned:
    """Plans of a request; the rest is as of `plan`."""
    candidates = candidates_of(request)
    feasible = candidates.excess(request.goals) <= 0
    if not feasible.any():
        raise InvalidValue(_impossible(candidates, request.goals))
    ranked = _ranked(candidates, feasible, request.rank)
    on_front = _front(candidates, feasible, request.rank)
    plans = tuple(_plan(candidates, place, request, on_front=bool(on_front[place])) for place in ranked[:top])
    if request.rate is not None:
        plans = under_load(plans, candidates, request, request.rate, progress)
    return Planned(request, plans, candidates, feasible, on_front, (*warnings, *_unpriced(candidates, request.rank)))


def cost_of(figures: Figures, rank: Rank) -> Any:
    """The figure that a rank makes small."""
    return {"usd": figures.usd_per_mtoken, "energy": figures.j_per_token, "latency": figures.request_s}[rank]


def _ranked(candidates: Candidates, feasible: Any, rank: Rank) -> list[int]:
    """Places of the best feasible batch of every other choice, the best first."""
    import numpy

    cost = cost_of(candidates.figures, rank)
    order = numpy.lexsort((candidates.figures.request_s, cost))
    best: dict[tuple[float, float], int] = {}
    for place in order[feasible[order]].tolist():
        best.setdefault((candidates.cells[place], candidates.visual_tokens[place]), place)
    return list(best.values())


def _front(candidates: Candidates, feasible: Any, rank: Rank) -> Any:
    import numpy

    figures = candidates.figures
    seen = numpy.column_stack([cost_of(figures, rank), figures.ttft_s, figures.tpot_s])
    on_front = numpy.zeros(len(feasible), bool)
    on_front[feasible] = front_of(seen[feasible])
    return on_front


def _plan(candidates: Candidates, place: int, request: PlanRequest, *, on_front: bool) -> Plan:
    point = candidates.point(place)
    prediction, figures = candidates.exact(point)
    high = figures._replace(ttft_s=figures.ttft_high_s, tpot_s=figures.tpot_high_s)
    return Plan(
        point=point,
        prediction=prediction,
        figures=figures,
        limits=limits_of(figures, request.goals),
        price=candidates.prices[point.cell.choice.device.id],
        energy=energy_source(prediction),
        on_front=on_front,
        sure=all(limit.excess <= 0 for limit in limits_of(high, request.goals)),
        sensitivity=sensitivity_of(candidates, point, request.goals),
    )


# --- what does not meet the goals


def _rejected(candidates: Candidates, place: int, goals: Goals) -> Rejected:
    missed = _missed(candidates, place, goals)
    return Rejected(candidates.point(place), tuple(limit.missed() for limit in missed))


def _missed(candidates: Candidates, place: int, goals: Goals) -> list[Limit]:
    """Limits that a candidate misses, the worst first."""
    columns: Any = candidates.figures
    figures = Figures._make(column[place] for column in columns)
    return sorted((one for one in limits_of(figures, goals) if one.excess > 0), key=lambda one: -one.excess)


def _impossible(candidates: Candidates, goals: Goals) -> str:
    """Which limit binds, and the nearest candidate."""
    nearest = int(candidates.excess(goals).argmin())
    missed = _missed(candidates, nearest, goals)
    mended = ""
    if all(limit.asked for limit in missed):
        mended = f"; {' '.join(limit.loosened() for limit in missed)} would allow it"
    why = ", ".join(limit.missed() for limit in missed)
    nothing = f"no candidate of {len(candidates.batch)} meets the goals"
    return f"{nothing}; the nearest, {candidates.point(nearest)}: {why}{mended}"


def _unpriced(candidates: Candidates, rank: Rank) -> Sequence[str]:
    if rank != "usd":
        return ()
    unknown = [device for device, price in candidates.prices.items() if price is None]
    return [f"no price of {', '.join(unknown)} is known: ranked last; give one by --prices"] if unknown else ()
