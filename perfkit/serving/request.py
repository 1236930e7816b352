"""What is asked of a simulation: who serves, which requests arrive how, and how they are batched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.serving.files import LATEST_S, Rows
from perfkit.serving.lengths import Lengths
from perfkit.sweeping.request import BASES, Basis
from perfkit.units import check_count, parse_choice

if TYPE_CHECKING:  # what predicts is loaded when something is simulated, not for the names of options
    from perfkit.kernels.calibrations import Calibration
    from perfkit.sweeping.grid import Cell

Batching = Literal["static", "continuous"]
Arrivals = Literal["poisson", "even"]
BATCHINGS: tuple[Batching, ...] = ("static", "continuous")
ARRIVALS: tuple[Arrivals, ...] = ("poisson", "even")
REQUESTS, MAX_BATCH = 10_000, 64
MOST_BATCH = 4096
MOST_REQUESTS = 10**6


class Server(NamedTuple):
    """One replica, on tp times pp GPUs of a kind, and which times are taken."""

    cell: Cell
    calibration: Calibration | None
    basis: Basis
    images: int


class Policy(NamedTuple):
    """How requests are batched.

    `static`: up to `max_batch` start together, once so many wait or the first has waited `wait_s`, and all end
    together. `continuous`: requests join and leave between steps; `chunk_tokens`: most tokens of a step in which
    prompts are read beside decoding, None where prompts are read whole in steps of their own.
    """

    batching: Batching = "continuous"
    max_batch: int = MAX_BATCH
    wait_s: float = 0.0
    chunk_tokens: int | None = None


class Goals(NamedTuple):
    """Upper limits in seconds, None where there is none."""

    ttft_s: float | None = None
    tpot_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """`requests` arrive at `rate` a second, None where `rows` of a file say when; else rows are drawn from at random.

    Raises:
        InvalidValue: a rate, wait or goal that is not above zero, counts out of range, chunks with static batches, a
            chunk that is no larger than the batch, no rate where none is in a file.
        UnknownName: no such batching, arrivals or basis.
    """

    server: Server
    policy: Policy
    goals: Goals
    text_tokens: Lengths
    visual_tokens: Lengths
    new_tokens: Lengths
    rate: float | None
    arrivals: Arrivals = "poisson"
    rows: Rows | None = None
    requests: int = REQUESTS
    seed: int = 0

    def __post_init__(self) -> None:
        parse_choice("--batching", self.policy.batching, BATCHINGS)
        parse_choice("--arrivals", self.arrivals, ARRIVALS)
        parse_choice("--basis", self.server.basis, BASES)
        _check_policy(self.policy)
        check_count("--seed", self.seed, 0)
        if check_count("--requests", self.requests) > MOST_REQUESTS:
            raise InvalidValue(f"--requests {self.requests} are too many: at most {MOST_REQUESTS}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise InvalidValue(f"--rate must be requests a second, above zero, not {self.rate:g}")
        if self.rate is not None and self.requests / self.rate > LATEST_S:
            least = f"{self.requests / LATEST_S:.3g}"
            raise InvalidValue(
                f"--rate {self.rate:g}: so few that a run is longer than {LATEST_S:g} s; at least {least}"
            )
        for name, value in zip(("--ttft", "--tpot"), self.goals, strict=True):
            if value is not None and not value > 0:
                raise InvalidValue(f"{name} must be above zero, not {value:g}")
        if self.rate is None and (self.rows is None or self.rows.arrival_s is None):
            without = f"{self.rows.path} has no column arrival_s" if self.rows else "no file says when requests arrive"
            raise InvalidValue(f"--rate is missing: {without}")

    @property
    def played(self) -> tuple[float, ...] | None:
        """Arrival times of the file where they are kept to."""
        return self.rows.arrival_s if self.rows is not None and self.rate is None else None

    @property
    def path(self) -> Path | None:
        """The file that requests come from."""
        return self.rows.path if self.rows is not None else None


def _check_policy(policy: Policy) -> None:
    if check_count("--max-batch", policy.max_batch) > MOST_BATCH:
        raise InvalidValue(f"--max-batch must be at most {MOST_BATCH}, not {policy.max_batch}")
    if not 0 <= policy.wait_s < float("inf"):
        raise InvalidValue(f"--wait must be seconds from 0, not {policy.wait_s:g}")
    if policy.wait_s and policy.batching != "static":
        raise InvalidValue("--wait is for --batching static: continuous batches wait for nobody")
    if policy.chunk_tokens is None:
        return
    if policy.batching == "static":
        raise InvalidValue("--chunked-prefill is for --batching continuous: static batches read all prompts at once")
    if check_count("--chunked-prefill", policy.chunk_tokens) <= policy.max_batch:
        raise InvalidValue(
            f"--chunked-prefill {policy.chunk_tokens}: a step decodes up to {policy.max_batch} tokens (--max-batch), "
            f"so at least {policy.max_batch + 1}"
        )
