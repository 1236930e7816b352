"""Around a simulation: latencies against the rate, and the most tokens a second against visual tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from perfkit.serving.figures import Quantiles, quantiles_of, tpot_of
from perfkit.serving.lengths import Lengths
from perfkit.serving.replica import replica_of
from perfkit.serving.request import ServingRequest
from perfkit.serving.simulating import Simulated
from perfkit.serving.traffic import draw_traffic

SHARES = (0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the capacity
REQUESTS = 2000  # of each run
STEPS = 8  # of the model's own visual tokens
REDUCER_S = (
    2e-3  # of PruMerge for one picture on an H100, bound by its host: 1.8-2.2 ms measured, docs/measured-h100.md
)


class RateCurve(NamedTuple):
    """Requests a second, and quantiles in seconds at each; `tpot_s` None where no request makes two tokens."""

    rates: tuple[float, ...]
    ttft_s: tuple[Quantiles, ...]
    tpot_s: tuple[Quantiles, ...] | None


class TokensCurve(NamedTuple):
    """Visual tokens of a request, and new tokens a second at capacity with so many, `new` to a request."""

    tokens: tuple[int, ...]
    tokens_per_s: tuple[float, ...]
    new: float

    @property
    def spare_s(self) -> tuple[float, ...]:
        """Seconds a request that a reducer may take of the GPUs before it costs more than it saves: 1 / q - 1 / q(all).

        >>> TokensCurve((32, 576), (4000.0, 2000.0), 100).spare_s  # 40 and 20 requests a second: 50 - 25 ms
        (0.025, 0.0)
        """
        each = [self.new / rate for rate in self.tokens_per_s]
        return tuple(each[-1] - one for one in each)

    def pays_below(self, reducer_s: float = REDUCER_S) -> float | None:
        """Visual tokens below which a reducer of so many seconds a request gains; None where it never does.

        >>> TokensCurve((32, 576), (4000.0, 2000.0), 100).pays_below(0.005)  # a fifth of the way from 576 to 32
        467.2
        """
        spare = self.spare_s
        for i in range(len(spare) - 1, 0, -1):
            if spare[i] <= reducer_s <= spare[i - 1]:
                part = (reducer_s - spare[i]) / (spare[i - 1] - spare[i])
                return self.tokens[i] + part * (self.tokens[i - 1] - self.tokens[i])
        return None


def rate_curve(simulated: Simulated) -> RateCurve:
    """The same requests at rates up to nearly the capacity."""
    replica, request = simulated.replica, simulated.request
    rates = tuple(share * simulated.capacity for share in SHARES)
    ttft, tpot = [], []
    for rate in rates:
        traffic = draw_traffic(request, rate, REQUESTS, request.seed)
        run = replica.run(traffic)
        ttft.append(quantiles_of(run.ttft_s))
        decoded = tpot_of(run, traffic)
        tpot += [quantiles_of(decoded)] if len(decoded) else []
    return RateCurve(rates, tuple(ttft), tuple(tpot) or None)


def tokens_curve(simulated: Simulated) -> TokensCurve:
    """The same requests with other counts of visual tokens, up to all that the images make."""
    server, new = simulated.request.server, float(simulated.traffic.new_tokens.mean())
    own = server.images * server.cell.spec.visual_tokens
    tokens = tuple(sorted({own * step // STEPS for step in range(1, STEPS + 1)} | ({32} if own >= 32 else {0})))
    capacities = (replica_of(_with_tokens(simulated.request, count)).capacity() for count in tokens)
    return TokensCurve(tokens, tuple(new * capacity for capacity in capacities), new)


def _with_tokens(request: ServingRequest, tokens: int) -> ServingRequest:
    rows = request.rows
    if rows is not None:
        rows = rows._replace(visual_tokens=(tokens,) * len(rows.visual_tokens))
    return replace(request, visual_tokens=Lengths(str(tokens), (tokens,)), rows=rows)
