"""Serving under a rate: against queueing theory, the single prediction, and Little's law; limits, seeds, goals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy
import pytest

from perfkit import analyze, simulate
from perfkit.errors import InvalidValue
from perfkit.serving.interpolating import Interpolation
from perfkit.serving.replica import Replica
from perfkit.serving.request import Goals, ServingRequest
from perfkit.serving.running import PARTS, Part
from perfkit.serving.simulating import Simulated
from perfkit.serving.traffic import draw_traffic

SPREAD: dict[str, Any] = {"tokens": "0:576", "text_tokens": "40:400", "new_tokens": "1:256"}
# Of requests that take the same time one after the other: a queue of one server.
ONE: dict[str, Any] = {"tokens": 32, "max_batch": 1, "basis": "roofline"}
CAPACITIES: dict[ServingRequest, float] = {}
WAYS: list[dict[str, Any]] = [
    {"batching": "static"},
    {"batching": "static", "wait_s": 0.2, "max_batch": 8, "rate": 3.0},
    {},
    {"chunked_prefill": 256},
    {"pp": 2},
    {"gpu": "v100-16gb", "max_batch": 8, "rate": 0.2},
]


@pytest.fixture(autouse=True)
def known_capacities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capacity takes longer to find than most runs here, and depends neither on the rate nor on the goals."""
    find = Replica.capacity

    def capacity(asked: Replica) -> float:
        request = replace(asked.request, rate=1.0, requests=1, goals=Goals())
        if request not in CAPACITIES:
            CAPACITIES[request] = find(asked)
        return CAPACITIES[request]

    monkeypatch.setattr(Replica, "capacity", capacity)


def simulated(gpu: str = "h100", **asked: Any) -> Simulated:
    return simulate(gpu, **({"rate": 8.0, "requests": 400} | asked))


def service_s(gpu: str = "v100") -> float:
    """TTFT, then a step for each further token."""
    alone = analyze(gpu, tokens=32)
    assert alone.tpot_roofline_s is not None
    return float(alone.ttft_roofline_s + 127 * alone.tpot_roofline_s)


# --- closed forms


def lindley(arrival_s: Any, service: float) -> Any:
    """Lindley (1952): a request waits as long as the one before it, and its service, reach beyond its arrival.

    That is how far the sum of service less gaps stands above the least that it was.
    """
    ahead = numpy.concatenate(([0.0], numpy.cumsum(service - numpy.diff(arrival_s))))
    return ahead - numpy.minimum.accumulate(ahead)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_one_server_waits_as_lindley_says(load: float) -> None:
    service = service_s()
    found = simulate("v100", rate=load / service, requests=20_000, seed=3, **ONE)
    waits = lindley(found.traffic.arrival_s, service)
    assert found.run.waiting_s == pytest.approx(waits, rel=1e-9, abs=1e-9)
    assert found.figures.waiting_s.mean == pytest.approx(waits.mean(), rel=1e-9)
    # It works from the first arrival on, but while nobody is there, until the last one leaves.
    span = found.traffic.arrival_s[-1] + waits[-1] + service
    assert found.figures.utilisation == pytest.approx(20_000 * service / span, rel=1e-9)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_the_mean_waiting_time_is_that_of_m_d_1(load: float) -> None:
    # Pollaczek and Khinchine with a service that never varies: W = load s / (2 (1 - load)); the waits are those that
    # the test above has request by request. Means of so many scatter by less than 1 % from seed to seed.
    service = service_s()
    request = simulate("v100", rate=load / service, requests=2, **ONE).request
    traffic = draw_traffic(request, load / service, 3_000_000, seed=0)
    assert lindley(traffic.arrival_s, service).mean() == pytest.approx(load * service / (2 * (1 - load)), rel=0.02)
    assert traffic.rate == pytest.approx(load / service, rel=0.005)


def test_even_arrivals_below_capacity_never_wait() -> None:
    found = simulate("v100", rate=0.9 / service_s(), arrivals="even", requests=200, **ONE)
    assert found.run.waiting_s.max() < 1e-9


def test_the_capacity_of_one_server_is_one_over_its_service_time() -> None:
    assert simulate("v100", rate=0.01, requests=2, **ONE).capacity == pytest.approx(1 / service_s(), rel=1e-9)


def test_the_capacity_of_static_batches_is_that_of_full_ones() -> None:
    full = analyze("h100", batch=64)
    assert full.ttft_expected_s is not None
    assert full.tpot_expected_s is not None
    seconds = full.ttft_expected_s + 127 * full.tpot_expected_s
    assert simulated(batching="static").capacity == pytest.approx(64 / seconds, rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_littles_law(way: dict[str, Any]) -> None:
    # L = lambda W, here exactly: the integral of how many there are is the sum of how long each stays.
    for lengths in ({}, SPREAD):
        found = simulated(**{**lengths, **way})
        done = found.run
        rate = len(done.arrived) / done.span_s
        assert done.in_system == pytest.approx(rate * done.latency_s.mean(), rel=1e-9)
        assert done.running == pytest.approx(rate * (done.ended - done.started).mean(), rel=1e-9)
        kv = found.replica.room.token_bytes * found.traffic.total_tokens
        assert done.kv_bytes == pytest.approx(rate * (kv * (done.ended - done.started)).mean(), rel=1e-9)


# --- the single prediction


@pytest.mark.parametrize("basis", ["roofline", "expected"])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"tokens": 32, "text_tokens": 100, "new_tokens": 64},
        {"tokens": 0},
        {"tp": 2, "pp": 2},
        {"runtime": "eager"},
        {"kv": "int8", "weights": "int4"},
    ],
)
def test_a_request_that_meets_nobody_takes_what_is_predicted(basis: str, asked: dict[str, Any]) -> None:
    alone = analyze("h100", **asked)
    new = alone.workload.new_tokens
    for batching in ("continuous", "static"):
        found = simulate("h100", rate=1e-3, requests=3, basis=basis, batching=batching, **asked)  # type: ignore[arg-type]
        assert found.run.ttft_s[0] == pytest.approx(getattr(alone, f"ttft_{basis}_s"), rel=1e-12)
        tpot = (found.run.ended - found.run.first)[0] / (new - 1)
        assert tpot == pytest.approx(getattr(alone, f"tpot_{basis}_s"), rel=1e-12)
        assert found.run.latency_s == pytest.approx(found.run.latency_s[0], rel=1e-9)


def test_a_prompt_in_one_chunk_takes_what_is_predicted_but_for_the_copy_of_visual_tokens() -> None:
    alone = analyze("h100").ttft_expected_s
    assert alone is not None
    one = simulated(rate=1e-3, requests=2, chunked_prefill=1024).run.ttft_s[0]
    assert one == pytest.approx(alone, rel=0.01)
    # Chunks read the weights again.
    assert simulated(rate=1e-3, requests=2, chunked_prefill=128).run.ttft_s[0] > one


def test_a_full_static_batch_takes_what_is_predicted() -> None:
    batch = analyze("h100", batch=8)
    found = simulated(batching="static", max_batch=8, wait_s=5.0, requests=8, rate=4.0)
    assert found.run.started[0] == found.run.arrived[-1]
    assert found.run.first[0] - found.run.started[0] == pytest.approx(batch.ttft_expected_s, rel=1e-12)


def test_tables_are_exact_on_their_points_and_linear_between() -> None:
    table = Interpolation(([1.0, 2.0, 4.0],), numpy.array([0.1, 0.3, 0.7]))
    assert [table.at(x) for x in (1, 2, 4)] == [0.1, 0.3, 0.7]
    assert table.at(3) == pytest.approx(0.5)
    assert table.at(0) == 0.1


def test_a_batch_of_different_requests_is_close_to_one_of_their_mean() -> None:
    # Between the points of the tables: against the prediction itself
    steps = simulated(**SPREAD).replica.steps
    exact = analyze("h100", tokens=217, text_tokens=123, new_tokens=1, batch=7)
    prefill = next(phase for phase in exact.phases if phase.phase == "prefill")
    assert steps.prefill.at(7, 123, 217) == pytest.approx(prefill.expected_s, rel=0.02)
    assert steps.decode.at(7, 340) == pytest.approx(exact.tpot_expected_s, rel=0.002)


# --- what must hold


def test_more_requests_wait_longer() -> None:
    for way in ({}, {"batching": "static"}, {"chunked_prefill": 256}):
        runs = [simulated(rate=rate, requests=800, **SPREAD, **way).figures for rate in (2.0, 6.0, 11.0)]
        for before, after in pairwise(runs):
            assert before.latency_s.mean < after.latency_s.mean
            assert before.waiting_s.p90 <= after.waiting_s.p90
            assert before.utilisation < after.utilisation + 1e-9


def test_continuous_batches_serve_more_and_sooner_than_static_ones() -> None:
    continuous, static = (simulated(batching=way, **SPREAD) for way in ("continuous", "static"))
    assert continuous.capacity > 1.5 * static.capacity  # short answers wait for long ones
    assert continuous.figures.latency_s.mean < static.figures.latency_s.mean
    assert continuous.figures.ttft_s.p90 < static.figures.ttft_s.p90


def test_chunks_keep_long_prompts_from_holding_up_decoding() -> None:
    asked: dict[str, Any] = {"rate": 6.0, "text_tokens": 3000, "tokens": 0, "new_tokens": 100}
    whole, chunks = (simulated(chunked_prefill=chunk, **asked).figures.tpot_s for chunk in (None, 512))
    assert whole is not None
    assert chunks is not None
    assert chunks.p99 < whole.p99


def test_static_batches_end_together() -> None:
    done = simulated(batching="static", max_batch=4, rate=2.0, **SPREAD).run
    for start in numpy.unique(done.started):
        assert len(set(done.ended[done.started == start])) == 1
        assert (done.started == start).sum() <= 4


def test_caches_stay_within_their_room_and_requests_are_first_come_first_served() -> None:
    found = simulate("v100-16gb", rate=0.45, requests=300, max_batch=16, tokens="32:288", new_tokens="10:200")
    room = found.replica.room
    assert 0 < found.run.kv_peak_bytes <= max(room.by_batch[1:])
    assert found.warnings == ("memory holds about 4 requests of mean length at once, fewer than --max-batch 16",)
    assert (numpy.diff(found.run.started) >= 0).all()
    kv = room.token_bytes * found.traffic.total_tokens
    for moment in found.run.started:
        running = (found.run.started <= moment) & (found.run.ended > moment)
        assert kv[running].sum() <= room.by_batch[int(running.sum())]


def test_a_batch_never_exceeds_its_limit() -> None:
    done = simulated(max_batch=5, rate=4.0, **SPREAD).run
    assert max(((done.started <= moment) & (done.ended > moment)).sum() for moment in done.started) <= 5


def test_a_pipeline_serves_a_batch_a_stage() -> None:
    one, two = simulated("h100", tp=2), simulated("h100", tp=2, pp=2)
    assert two.capacity > 1.5 * one.capacity


def test_a_seed_repeats_and_another_differs() -> None:
    runs = [simulated(seed=seed, **SPREAD) for seed in (5, 5, 6)]
    assert runs[0].figures == runs[1].figures
    assert runs[0].figures != runs[2].figures
    slow, fast = simulated(rate=1.0, **SPREAD).traffic, simulated(rate=2.0, **SPREAD).traffic
    assert (slow.new_tokens == fast.new_tokens).all()
    assert slow.arrival_s == pytest.approx(2 * fast.arrival_s)


def test_the_largest_rate_meets_the_goals_and_a_little_more_does_not() -> None:
    found = simulated(requests=1000, ttft_s=0.2, tpot_s=0.015)
    assert found.largest is not None
    assert found.largest.least <= found.largest.rate <= found.largest.most <= found.capacity
    assert found.figures.goals_met == 1.0
    beyond = simulated(requests=1000, rate=1.05 * found.largest.most, tpot_s=0.015).figures.tpot_s
    assert beyond is not None
    assert beyond.p90 > 0.015
    never = simulated(tpot_s=0.001)
    assert never.largest is not None
    assert (never.largest.rate, never.figures.goals_met) == (0.0, 0.0)
    always = simulated(ttft_s=1000.0).largest
    assert always is not None
    assert always.rate == pytest.approx(simulated().capacity)


def test_a_run_shows_where_it_is() -> None:
    class Shown:
        def __init__(self) -> None:
            self.parts: list[Part] = []

        def __call__(self, parts: list[Part]) -> Any:
            from contextlib import nullcontext

            self.parts += parts
            return nullcontext(parts)

    shown = Shown()
    assert simulated(progress=shown).figures == simulated().figures
    assert len(shown.parts) == PARTS
    assert shown.parts[-1].label == "400 of 400 requests"


def test_text_models_and_models_without_tokens() -> None:
    assert simulated(model="llama-2-7b", rate=2.0).figures.requests_per_s > 1
    with pytest.raises(InvalidValue, match="makes no tokens"):
        simulated(model="clip-vit-l-14-336")


def test_requests_of_one_new_token_have_no_tpot() -> None:
    figures = simulated(new_tokens=1, tpot_s=0.01).figures
    assert figures.tpot_s is None
    assert figures.goals_met == 1.0
    assert figures.latency_s == figures.ttft_s
