"""What is asked of a plan: what is to be served, on which GPUs, within which goals, and what is best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from perfkit.errors import InvalidValue
from perfkit.hardware import device_ids
from perfkit.models import load_model
from perfkit.planning.goals import Goals, check_goals
from perfkit.prices import ON_DEMAND, Price, listed_device
from perfkit.sweeping.request import SweepRequest
from perfkit.units import parse_choice

Rank = Literal["usd", "energy", "latency"]
RANKS: tuple[Rank, ...] = ("usd", "energy", "latency")
MAXIMUM_CANDIDATES = 10**6
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
DEGREES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A grid of candidates (one model, one text length, one count of new tokens), goals, and how plans are ranked.

    `rank`: `usd`, of a million new tokens; `energy`, joules of a new token; `latency`, seconds of a request. `prices`:
    listings. `rate`: requests a second that replicas share, None where a full batch starts together.

    Raises:
        InvalidValue: a goal or a rate that is not above zero, a rate without a goal in time, several models or lengths,
            a model that makes no tokens, or more than 10^6 candidates.
        UnknownName: no such rank.
    """

    grid: SweepRequest
    goals: Goals
    prices: tuple[Price, ...]
    rank: Rank = "usd"
    rate: float | None = None

    def __post_init__(self) -> None:
        parse_choice("--rank", self.rank, RANKS)
        check_goals(self.goals)
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise InvalidValue(f"--rate must be requests a second, above zero, not {self.rate:g}")
        if self.rate is not None and self.goals.ttft_s is None and self.goals.tpot_s is None:
            raise InvalidValue("--rate needs --ttft or --tpot: without a goal any waiting line would do")
        lengths = self.grid.lengths
        for name in ("model", "images", "text_tokens", "new_tokens"):
            if lengths[name] > 1:
                raise InvalidValue(f"a plan is for one {name.replace('_', '-')}: {lengths[name]} were given")
        if not load_model(self.grid.model[0]).has_decoder:
            raise InvalidValue(f"{self.grid.model[0]} makes no tokens: a plan is for models with a decode phase")
        if self.grid.points > MAXIMUM_CANDIDATES:
            raise InvalidValue(f"{self.grid.points} candidates are too many: at most {MAXIMUM_CANDIDATES}")


def priced_gpus(prices: Iterable[Price]) -> tuple[str, ...]:
    """Devices that someone lists on demand: what is chosen among where nobody names any."""
    listed = {listed_device(price) for price in prices if price.kind == ON_DEMAND}
    return tuple(name for name in device_ids() if name in listed)
