"""A simulation, from options to figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from perfkit.counting import execution_of, workload_of
from perfkit.errors import InvalidValue
from perfkit.hardware import choose_device
from perfkit.kernels.calibrations import read_calibration
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.serving.figures import Figures, figures_of
from perfkit.serving.files import read_requests
from perfkit.serving.largest_rate import LargestRate, largest_rate
from perfkit.serving.ledger import Run
from perfkit.serving.lengths import Lengths, lengths_of
from perfkit.serving.replica import Replica, replica_of
from perfkit.serving.request import MAX_BATCH, REQUESTS, Arrivals, Batching, Goals, Policy, Server, ServingRequest
from perfkit.serving.running import Progress
from perfkit.serving.traffic import Traffic, draw_traffic
from perfkit.sweeping.grid import Cell
from perfkit.sweeping.request import Basis
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS, Runtime

NEAREST = 0.99  # of the capacity: what is offered where a rate is above it


@dataclass(frozen=True, eq=False)
class Simulated:
    """A run and its figures; times of each request are in `run`, in the order of `traffic`.

    `alone`: a request of mean lengths by itself. `capacity`: requests a second where they always wait. `largest`: the
    largest rate that meets the goals, None where there are none, or arrivals are those of a file.
    """

    replica: Replica
    alone: Prediction
    traffic: Traffic
    run: Run
    figures: Figures
    capacity: float
    largest: LargestRate | None
    warnings: tuple[str, ...]

    @property
    def request(self) -> ServingRequest:
        """What was asked."""
        return self.replica.request


def simulate(
    gpu: str,
    model: str = DEFAULT_MODEL,
    *,
    rate: float | None = None,
    arrivals: Arrivals = "poisson",
    requests: int = REQUESTS,
    seed: int = 0,
    request_file: str | Path | None = None,
    tokens: int | str | Lengths | None = None,
    text_tokens: int | str | Lengths = TEXT_TOKENS,
    new_tokens: int | str | Lengths = NEW_TOKENS,
    images: int = 1,
    batching: Batching = "continuous",
    max_batch: int = MAX_BATCH,
    wait_s: float = 0.0,
    chunked_prefill: int | None = None,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    precision: str = "fp16",
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    attention: str = "fused",
    tp: int = 1,
    pp: int = 1,
    basis: Basis = "expected",
    runtime: Runtime = "graph",
    calibration: str | Path | None = None,
    progress: Progress = nullcontext,
) -> Simulated:
    """Serve requests that arrive at `rate` a second on one replica; arguments are the options of `perfkit simulate`.

    `tokens`, `text_tokens`, `new_tokens`: one number, `A:B` for an even spread, or a .csv that is drawn from.
    `request_file`: a csv of requests; they are drawn at random, or played at their own times where no rate is given.

    Raises:
        InvalidValue: a rate above the capacity, which the message says; a request that the context or the memory does
            not hold; and what `ServingRequest` refuses.
        UnknownName, InvalidSpec, UnsupportedPrecision: as `perfkit.analyze`; a file of requests that is none.
        MachineError: SimPy is missing.

    >>> found = simulate("v100", rate=0.05, tokens=32, requests=50, max_batch=1, basis="roofline")
    >>> # 18.5 ms and 127 steps of 14.8 ms take 1.90 s: 0.527 requests a second at most
    >>> round(found.capacity, 3), round(found.figures.latency_s.p50, 2)
    (0.527, 1.9)
    """
    spec, choice = load_model(model), choose_device(gpu)
    if not spec.has_decoder:
        raise InvalidValue(f"{spec.name} makes no tokens: a simulation is of models with a decode phase")
    execution = parse_execution(precision, weights, activations, kv, attention, runtime=runtime, tp=tp, pp=pp)
    found = None if calibration is None else read_calibration(Path(calibration))
    own = images * spec.visual_tokens if spec.vision else 0
    request = ServingRequest(
        server=Server(Cell(spec, choice, execution_of(spec, execution)), found, basis, images),
        policy=Policy(batching, max_batch, wait_s, chunked_prefill),
        goals=Goals(ttft_s, tpot_s),
        text_tokens=lengths_of("--text-tokens", text_tokens),
        visual_tokens=lengths_of("--tokens", own if tokens is None else tokens, 0),
        new_tokens=lengths_of("--new-tokens", new_tokens),
        rate=rate,
        arrivals=arrivals,
        rows=None if request_file is None else read_requests(Path(request_file)),
        requests=requests,
        seed=seed,
    )
    return run(request, progress)


def run(request: ServingRequest, progress: Progress = nullcontext) -> Simulated:
    """A simulation from its request; the rest is as of `simulate`."""
    replica = replica_of(request)
    capacity = replica.capacity()
    if request.rate is not None and request.rate > capacity:
        raise InvalidValue(_overloaded(request, capacity))
    traffic = draw_traffic(request, request.rate, request.requests, request.seed)
    done = replica.run(traffic, progress)
    figures = figures_of(done, traffic, request.goals, replica.streams, max(replica.room.by_batch[1:]))
    wanted = request.goals != Goals() and request.rate is not None
    largest = largest_rate(replica, capacity, progress) if wanted else None
    alone = _alone(request.server, traffic)
    return Simulated(
        replica, alone, traffic, done, figures, capacity, largest, tuple(_warnings(replica, traffic, capacity))
    )


def _overloaded(request: ServingRequest, capacity: float) -> str:
    cell = request.server.cell
    return (
        f"--rate {request.rate:g} is more than the capacity of {cell}, {capacity:.4g} requests/s: the waiting line "
        f"would grow without end; give at most {NEAREST * capacity:.3g}, or share the requests among replicas"
    )


def _alone(server: Server, traffic: Traffic) -> Prediction:
    spec, choice, execution = server.cell
    text, visual, new = (
        round(float(lengths.mean())) for lengths in (traffic.text_tokens, traffic.visual_tokens, traffic.new_tokens)
    )
    workload = workload_of(spec, tokens=visual, text_tokens=text, new_tokens=new, images=server.images)
    return predict(spec, choice, workload, execution, server.calibration, expected=server.basis == "expected")


def _warnings(replica: Replica, traffic: Traffic, capacity: float) -> Iterator[str]:
    held, wanted = replica.held(traffic), replica.request.policy.max_batch
    if held < wanted:
        yield f"memory holds about {held} requests of mean length at once, fewer than --max-batch {wanted}"
    rate = traffic.rate
    if replica.request.played is not None and rate is not None and rate > capacity:
        yield f"requests arrive at {rate:.4g} a second, above the capacity of {capacity:.4g}: the line grows"
