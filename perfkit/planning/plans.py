"""A plan: a candidate that meets the goals, predicted by itself."""

from __future__ import annotations

from typing import NamedTuple

from perfkit.latency import Prediction
from perfkit.planning.candidates import Point
from perfkit.planning.figures import Figures
from perfkit.planning.goals import Limit
from perfkit.planning.loads import Served
from perfkit.planning.sensitivity import Sensitivity
from perfkit.prices import HourlyPrice


class Plan(NamedTuple):
    """A candidate that meets the goals: its prediction, to the last bit that of `perfkit roofline`, and its figures.

    `energy`: what joules rest on. `on_front`: no other candidate is as good in rank, TTFT and TPOT and better in one.
    `sure`: whether the high ends of its times meet the goals too; by roofline there are none. `served`: its replicas
    under a request rate, None where none was asked for.
    """

    point: Point
    prediction: Prediction
    figures: Figures
    limits: tuple[Limit, ...]
    price: HourlyPrice | None
    energy: str | None
    on_front: bool
    sure: bool
    sensitivity: tuple[Sensitivity, ...]
    served: Served | None = None
