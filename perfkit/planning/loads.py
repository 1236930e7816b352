"""A plan under a request rate: how many replicas serve it within the goals, and what that costs."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from perfkit.kernels.calibrations import Calibration
from perfkit.latency import Prediction
from perfkit.planning.energy import IDLE
from perfkit.planning.figures import HOUR_S, MILLION, Figures
from perfkit.planning.goals import Goals
from perfkit.serving import figures as serving_figures
from perfkit.serving.largest_rate import largest_rate
from perfkit.serving.lengths import lengths_of
from perfkit.serving.replica import Replica, replica_of
from perfkit.serving.request import Goals as ServingGoals
from perfkit.serving.request import Policy, Server, ServingRequest
from perfkit.serving.traffic import draw_traffic
from perfkit.sweeping.grid import Cell
from perfkit.sweeping.request import Basis

REQUESTS = 1000  # of each simulated run
SLACK = 1e-9  # so that a rate of just so many replicas does not ask for one more


class Served(NamedTuple):
    """Replicas that share `rate` requests a second evenly, continuous batching on each.

    `largest`: the most that one serves so that nine of ten requests meet the goals. Times are the 90th percentile at a
    replica's share, in seconds. `busy`: share of the time in which GPUs compute. `usd_per_hour` of all `gpus`; a
    million new tokens at this rate cost `usd_per_mtoken`, and one takes `j_per_token`, idle GPUs included.
    """

    rate: float
    largest: float
    replicas: int
    gpus: int
    ttft_p90_s: float
    tpot_p90_s: float | None
    latency_p90_s: float
    busy: float
    usd_per_hour: float | None
    usd_per_mtoken: float | None
    j_per_token: float | None


class Load(NamedTuple):
    """What is to be served: requests a second, goals, most requests at once on a replica, and whose step times."""

    rate: float
    goals: Goals
    most: int
    basis: Basis
    calibration: Calibration | None


def served_by(cell: Cell, prediction: Prediction, figures: Figures, load: Load) -> Served | None:
    """`load` on replicas of a plan; None where not even requests that meet nobody keep the goals.

    >>> from perfkit.planning.planner import plan
    >>> found = plan("v100", tokens=32, tp=1, batch=(1, 8), ttft_s=0.2, tpot_s=0.06, rank="latency", rate=1)
    >>> served = found.plans[0].served
    >>> served.replicas, served.gpus, served.largest > 1, served.ttft_p90_s < 0.2
    (1, 1, True, True)
    """
    request = _request(cell, prediction, load)
    replica = replica_of(request)
    largest = largest_rate(replica, replica.capacity()).rate
    if largest <= 0:
        return None
    replicas = ceil(load.rate / largest * (1 - SLACK))
    done = _at(replica, load.rate / replicas)
    per_hour = None if figures.usd_per_hour is None else replicas * figures.usd_per_hour
    tokens_per_s = load.rate * prediction.workload.new_tokens
    watts = _watts(prediction, figures, done.utilisation)
    return Served(
        rate=load.rate,
        largest=largest,
        replicas=replicas,
        gpus=replicas * prediction.execution.gpus,
        ttft_p90_s=done.ttft_s.p90,
        tpot_p90_s=None if done.tpot_s is None else done.tpot_s.p90,
        latency_p90_s=done.latency_s.p90,
        busy=done.utilisation,
        usd_per_hour=per_hour,
        usd_per_mtoken=None if per_hour is None else per_hour / HOUR_S / tokens_per_s * MILLION,
        j_per_token=None if watts is None else replicas * prediction.execution.gpus * watts / tokens_per_s,
    )


def _request(cell: Cell, prediction: Prediction, load: Load) -> ServingRequest:
    w = prediction.workload
    return ServingRequest(
        server=Server(cell, load.calibration, load.basis, int(w.images)),
        policy=Policy(max_batch=load.most),
        goals=ServingGoals(load.goals.ttft_s, load.goals.tpot_s),
        text_tokens=lengths_of("--text-tokens", int(w.text_tokens)),
        visual_tokens=lengths_of("--tokens", int(w.visual_tokens), 0),
        new_tokens=lengths_of("--new-tokens", int(w.new_tokens)),
        rate=load.rate,
        requests=REQUESTS,
    )


def _at(replica: Replica, rate: float) -> serving_figures.Figures:
    request = replica.request
    traffic = draw_traffic(request, rate, REQUESTS, request.seed)
    room = max(replica.room.by_batch[1:])
    return serving_figures.figures_of(replica.run(traffic), traffic, request.goals, replica.streams, room)


def _watts(prediction: Prediction, figures: Figures, busy: float) -> float | None:
    """Of one GPU: what it draws in the plan's own batch while it computes, and little else."""
    tdp = prediction.device.tdp
    if figures.j_per_token is None or tdp is None or tdp.value is None:
        return None
    w, e = prediction.workload, prediction.execution
    computing = figures.j_per_token * w.batch * w.new_tokens / figures.request_s / e.tp
    return float(busy * computing + (1 - busy) * IDLE * tdp.value)
