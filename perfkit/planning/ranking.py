"""Plans under a request rate: the replicas that each needs, and their order at that load."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from perfkit.errors import InvalidValue
from perfkit.planning.candidates import Candidates
from perfkit.planning.loads import Load, served_by
from perfkit.planning.plans import Plan
from perfkit.planning.request import PlanRequest, Rank
from perfkit.serving.running import Part, Progress


def under_load(
    plans: Sequence[Plan], candidates: Candidates, request: PlanRequest, rate: float, progress: Progress
) -> tuple[Plan, ...]:
    """Plans with the replicas that serve the rate, the best by its rank at that load first."""
    grid = candidates.grid
    load = Load(rate, request.goals, int(candidates.batch.max()), grid.request.basis, grid.calibration)
    found = []
    with progress([Part(0.0, str(one.point)) for one in plans]) as shown:
        for one, _ in zip(plans, shown, strict=True):
            served = served_by(one.point.cell, one.prediction, one.figures, load)
            if served is not None:
                found.append(one._replace(served=served))
    return tuple(sorted(_within_budget(found, request), key=lambda one: _load_cost(one, request.rank)))


def _load_cost(plan: Plan, rank: Rank) -> float:
    assert plan.served is not None  # noqa: S101  # of plans under load
    served = plan.served
    cost = {"usd": served.usd_per_mtoken, "energy": served.j_per_token, "latency": served.latency_p90_s}[rank]
    return inf if cost is None else cost


def _within_budget(plans: Sequence[Plan], request: PlanRequest) -> Sequence[Plan]:
    if not plans:
        raise InvalidValue(f"no plan serves any request within the goals at the 90th percentile, of {request.rate:g}/s")
    most = request.goals.usd_per_hour
    kept = [one for one in plans if most is None or _per_hour(one) <= most]
    if not kept:
        least = min(plans, key=_per_hour)
        raise InvalidValue(
            f"{request.rate:g} requests/s cost ${_per_hour(least):.2f} an hour at least, more than ${most:.2f}: "
            f"{least.served.replicas if least.served else 0} replicas of {least.point}"
        )
    return kept


def _per_hour(plan: Plan) -> float:
    return inf if plan.served is None or plan.served.usd_per_hour is None else plan.served.usd_per_hour
