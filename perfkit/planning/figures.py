"""Figures of a candidate that goals and ranks ask for, of one prediction or of one of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.planning.energy import request_j
from perfkit.prices import HourlyPrice
from perfkit.sweeping.request import Basis

if TYPE_CHECKING:
    from perfkit.latency import Prediction

MILLION = 1e6
HOUR_S = 3600.0


class Figures(NamedTuple):
    """A candidate in SI units; `ttft_high_s`, `tpot_high_s`: what nine of ten are below, the time itself by roofline.

    `request_s`: all new tokens of a batch. `tokens_per_s`: new tokens of all that the GPUs serve at once, every stage
    of a pipeline busy with a batch of its own. `memory_bytes` of a GPU, the runtime's reserve included, of
    `capacity_bytes`. `usd_per_hour` of all GPUs, None where no price is known, as is `usd_per_mtoken`, of a million new
    tokens; `j_per_token` of a new token, None where the card's power is not known. Prompts are in both: who pays for
    the new tokens pays for them too.
    """

    ttft_s: Any
    ttft_high_s: Any
    tpot_s: Any
    tpot_high_s: Any
    request_s: Any
    tokens_per_s: Any
    memory_bytes: Any
    capacity_bytes: float
    context_tokens: Any
    context_limit: float
    usd_per_hour: float | None
    usd_per_mtoken: Any
    j_per_token: Any


def figures_of(prediction: Prediction, basis: Basis, price: HourlyPrice | None) -> Figures:
    """Figures of a prediction whose model makes tokens.

    >>> from perfkit.latency import analyze
    >>> found = figures_of(analyze("v100", tokens=32), "roofline", HourlyPrice(1.0, 1.0, 1.0, 1, "2026-01-01"))
    >>> # 18.5 ms and 127 * 14.8 ms for 128 tokens: 67.4 a second; 1 $ an hour is 1e6 / 67.4 / 3600 $ a million of them
    >>> round(found.request_s, 2), round(found.tokens_per_s, 1), round(found.usd_per_mtoken, 2)
    (1.9, 67.4, 4.12)
    """
    p = prediction
    gpus = p.execution.gpus
    ttft, ttft_high, tpot, tpot_high = _times(p, basis)
    steps = p.workload.new_tokens - 1
    request = ttft + steps * tpot
    tokens_per_s = p.execution.pp * p.workload.batch * p.workload.new_tokens / request
    per_hour = None if price is None else gpus * price.usd_per_hour
    joules = request_j(p, basis)
    assert p.model.text is not None  # noqa: S101  # a model that makes tokens
    return Figures(
        ttft_s=ttft,
        ttft_high_s=ttft_high,
        tpot_s=tpot,
        tpot_high_s=tpot_high,
        request_s=request,
        tokens_per_s=tokens_per_s,
        memory_bytes=p.footprint.needed,
        capacity_bytes=p.device.memory_bytes,
        context_tokens=p.workload.prompt_tokens + p.workload.new_tokens,
        context_limit=p.model.text.context,
        usd_per_hour=per_hour,
        usd_per_mtoken=None if per_hour is None else per_hour / HOUR_S / tokens_per_s * MILLION,
        j_per_token=None if joules is None else joules / (p.workload.batch * p.workload.new_tokens),
    )


def _times(p: Prediction, basis: Basis) -> tuple[Any, Any, Any, Any]:
    """TTFT and TPOT, each with its high end."""
    assert p.mean_decode is not None  # noqa: S101  # a model that makes tokens
    if basis == "roofline":
        return p.ttft_roofline_s, p.ttft_roofline_s, p.tpot_roofline_s, p.tpot_roofline_s
    _, high = p.ttft_range_s or (None, None)
    ttft_high = p.ttft_expected_s if high is None else high
    tpot_high = p.tpot_expected_s if p.mean_decode.expected_high_s is None else p.mean_decode.expected_high_s
    return p.ttft_expected_s, ttft_high, p.tpot_expected_s, tpot_high
