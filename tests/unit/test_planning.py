"""Plans: energies and prices by hand, goals in words, what is said of goals that nothing meets, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfkit import analyze, plan, simulate
from perfkit.charts.planned import draw_planned
from perfkit.cli import main
from perfkit.errors import InvalidValue, UnknownName
from perfkit.hardware import load_device
from perfkit.planning import loads
from perfkit.planning.energy import ESTIMATED, MEASURED, energy_source, request_j
from perfkit.planning.figures import figures_of
from perfkit.planning.goals import Goals, limits_of
from perfkit.planning.regions import MET, region_of
from perfkit.prices import HourlyPrice, hourly_price, read_prices, unknown_gpus

ONE_DOLLAR = HourlyPrice(1.0, 1.0, 1.0, 1, "2026-01-01")


def run(*typed: str) -> Any:
    return CliRunner().invoke(main, ["plan", *typed])


def refused(*typed: str) -> str:
    """The one line of an error."""
    done = run(*typed)
    assert done.exit_code == 1, done.output
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    return done.output.removeprefix("Error: ").rstrip("\n")


# --- figures by hand


def test_price_and_throughput_of_a_batch() -> None:
    prediction = analyze("a100", batch=4, tokens=144, new_tokens=11)
    found = figures_of(prediction, "roofline", ONE_DOLLAR)
    request = prediction.ttft_roofline_s + 10 * prediction.tpot_roofline_s  # the first token, then ten steps
    assert found.request_s == request
    assert found.tokens_per_s == 4 * 11 / request
    assert found.usd_per_mtoken == pytest.approx(1 / 3600 / (4 * 11 / request) * 1e6)


def test_gpus_that_share_a_request_are_all_paid_and_a_pipeline_serves_a_batch_a_stage() -> None:
    shared = analyze("a100", tp=2, pp=2)
    found = figures_of(shared, "roofline", ONE_DOLLAR)
    assert found.usd_per_hour == 4.0
    assert found.tokens_per_s == pytest.approx(2 * 128 / found.request_s)


def test_energy_where_power_was_measured() -> None:
    prediction = analyze("h100-sxm", new_tokens=3)
    assert energy_source(prediction) == MEASURED
    before = sum(p.expected_s for p in prediction.phases if p.phase != "decode" and p.expected_s is not None)
    step = prediction.mean_decode
    assert step is not None
    assert step.expected_s is not None
    assert request_j(prediction, "expected") == pytest.approx(690 * before + 2 * 409 * step.expected_s)


def test_energy_from_the_tdp() -> None:
    # A V100 of 300 W. Prefill of 636 tokens is bound by compute, decode by memory: 0.2 + 0.8 roofline / expected.
    prediction = analyze("v100", new_tokens=2)
    assert energy_source(prediction) == ESTIMATED
    joules = 0.0
    for phase in (*prediction.phases[:-1], prediction.mean_decode):
        assert phase is not None
        assert phase.expected_s is not None
        used = 1.0 if phase.compute_bound else 0.2 + 0.8 * phase.roofline_s / phase.expected_s
        joules += 300 * used * phase.expected_s
    assert request_j(prediction, "expected") == pytest.approx(joules)
    # By roofline everything runs at its bound: the TDP all the time.
    assert request_j(prediction, "roofline") == pytest.approx(
        300 * (prediction.ttft_roofline_s + prediction.tpot_roofline_s)
    )


def test_the_rule_for_power_holds_on_the_card_that_was_measured() -> None:
    # 3.16 J in 8.20 ms of a step of the 7B model: 385 W; 700 W (0.2 + 0.8 * 4.05 / 8.20) = 417
    tdp = load_device("h100-sxm").tdp
    assert tdp is not None
    assert tdp.value is not None
    assert tdp.value * (0.2 + 0.8 * 4.05 / 8.20) == pytest.approx(3.16 / 8.20e-3, rel=0.1)


# --- prices


def test_an_hour_costs_the_median_of_the_last_listings_and_of_a_range_its_middle(tmp_path: Path) -> None:
    rows = [
        'provider: A, kind: on-demand, usd_per_hour: 9.0, date: "2026-01-01"',
        'provider: A, kind: on-demand, usd_per_hour: 2.0, date: "2026-03-01"',  # replaces the first
        'provider: B, kind: on-demand, usd_per_hour_low: 1.0, usd_per_hour_high: 4.0, date: "2026-02-01"',
        'provider: C, kind: spot, usd_per_hour: 0.1, date: "2026-03-01"',  # is taken away at any time
    ]
    file = tmp_path / "prices.yaml"
    file.write_text("prices:\n" + "".join(f"  - {{gpu: l4, {row}, source: list}}\n" for row in rows))
    # (2 + 2.5) / 2
    assert hourly_price(read_prices(file), "l4") == HourlyPrice(2.25, 1.0, 4.0, 2, "2026-03-01")


def test_prices_of_no_device_are_named_and_left_out(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    row = "kind: on-demand, usd_per_hour: 1.0, date: '2026-01-01', provider: A, source: list"
    file.write_text(f"prices:\n  - {{gpu: v10, {row}}}\n  - {{gpu: l4, {row}}}\n")
    assert unknown_gpus(read_prices(file)) == ["v10"]
    found = plan(prices=file, tokens=32, batch=1, tp=1)
    assert [one.point.cell.choice.device.id for one in found.plans] == ["l4"]
    assert found.warnings == (f"{file}: no device here is 'v10': its prices are left out",)


def test_a_card_without_a_price_is_ranked_last_and_breaks_any_budget() -> None:
    found = plan(("v100", "a100"), tokens=32, batch=1, tp=1)
    assert [one.point.cell.choice.name for one in found.plans] == ["a100", "v100"]
    assert found.plans[1].figures.usd_per_mtoken is None
    assert found.warnings == ("no price of v100-sxm2-32gb is known: ranked last; give one by --prices",)
    assert len(plan(("v100", "a100"), tokens=32, batch=1, tp=1, usd_per_hour=50).plans) == 1


# --- goals


def test_limits_are_of_a_card_its_memory_its_context_and_what_is_asked() -> None:
    figures = figures_of(analyze("v100", tokens=32), "roofline", ONE_DOLLAR)
    found = {limit.name: limit for limit in limits_of(figures, Goals(0.1, 0.01, 20e9, 0.5))}
    assert list(found) == ["memory", "context", "TTFT", "TPOT", "price"]
    assert found["memory"].most == 20e9
    assert found["context"].value == 32 + 60 + 128
    assert found["TPOT"].missed() == "TPOT 14.8 ms, more than 10.0 ms"
    assert found["price"].excess == pytest.approx(1.0)
    assert limits_of(figures, Goals(memory_bytes=99e9))[0].most == 32e9  # a card has no more than it has


def test_goals_that_nothing_meets_name_the_limit_and_the_nearest() -> None:
    asked: dict[str, Any] = {"tokens": (576, 32), "batch": (1, 4), "tp": 1, "basis": "roofline"}
    with pytest.raises(InvalidValue) as error:
        plan("v100", ttft_s=0.018, **asked)
    # Vision 3.63 ms, projector 0.05, prefill of 32 + 60 tokens 16.0: 19.7; of 576 tokens 76.6
    assert str(error.value) == (
        "no candidate of 4 meets the goals; the nearest, v100-sxm2-32gb fp16, 32 visual tokens, batch 1: "
        "TTFT 19.7 ms, more than 18.0 ms; --ttft 19.7ms would allow it"
    )
    assert plan("v100", ttft_s=0.0197, **asked).plans[0].point.batch == 1


def test_what_no_goal_would_allow_is_not_offered() -> None:
    with pytest.raises(InvalidValue, match=r"memory 28\.5 GB, more than 16\.0 GB$"):
        plan("v100-sxm2-16gb", "llava-1.5-13b", tp=1, batch=1)


def test_a_looser_goal_is_offered_only_where_the_card_would_hold_it() -> None:
    asked: dict[str, Any] = {"tp": 1, "batch": 1, "tokens": 32, "basis": "roofline"}
    with pytest.raises(InvalidValue, match=r"memory 15\.3 GB, more than 9\.00 GB; --memory 15\.4GB would allow it$"):
        plan("v100", memory_bytes=9e9, **asked)
    with pytest.raises(InvalidValue, match=r"more than 9\.00 GB$"):
        plan("v100-sxm2-16gb", "llava-1.5-13b", memory_bytes=9e9, **asked)


def test_a_price_of_an_alias_is_that_of_the_device_it_means(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    row = "provider: A, kind: on-demand, usd_per_hour: 0.5, date: '2026-01-01', source: list"
    file.write_text(f"prices:\n  - {{gpu: v100, {row}}}\n")
    (found,) = plan(prices=file, tokens=32, batch=1, tp=1).plans
    assert found.point.cell.choice.device.id == "v100-sxm2-32gb"
    assert found.figures.usd_per_hour == 0.5


def test_the_sensitivity_tells_what_a_plan_hangs_on() -> None:
    # One step reads 13.3 GB: 14.8 ms at 900 GB/s, 18.5 ms at 720
    asked: dict[str, Any] = {"tokens": 32, "batch": 1, "tp": 1, "basis": "roofline"}
    (found,) = plan("v100", tpot_s=0.015, **asked).plans
    assert {one.lowered: one.misses for one in found.sensitivity} == {
        "bandwidth": ("TPOT 18.5 ms, more than 15.0 ms",),
        "compute": (),
    }
    (shared,) = plan("v100", tpot_s=0.02, **{**asked, "tp": 2}).plans
    assert [one.lowered for one in shared.sensitivity] == ["bandwidth", "compute", "links"]


def test_the_best_batch_stands_for_a_choice_and_the_range_says_whether_it_is_sure() -> None:
    found = plan("a100", tokens=32, tp=1, batch=(1, 2, 4, 8, 16, 32), ttft_s=0.2)
    (one,) = found.plans  # of one GPU, one format, one count of tokens
    assert one.point.batch == 16
    assert one.sure == (one.figures.ttft_high_s <= 0.2)
    by_energy = plan("a100", tokens=32, tp=1, batch=(1, 2, 4), rank="energy").plans[0]
    assert by_energy.point.batch == 4
    assert plan("a100", tokens=32, tp=1, batch=(1, 2, 4), rank="latency").plans[0].point.batch == 1


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(InvalidValue, match="makes no tokens"):
        plan("v100", "clip-vit-l-14-336")
    with pytest.raises(InvalidValue, match="--ttft must be above zero, not -1"):
        plan("v100", ttft_s=-1)
    with pytest.raises(UnknownName, match="unknown --rank 'price'"):
        plan("v100", rank="price")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="candidates are too many"):
        plan("v100", batch=range(1, 10**6 + 2), tp=1)
    with pytest.raises(InvalidValue, match="allowed: 1, 2, 4, 8"):
        plan("v100", "llava-1.5-13b", tp=3)


# --- under a request rate


LOADED: dict[str, Any] = {"tokens": 32, "tp": 1, "batch": (1, 16), "ttft_s": 0.2, "tpot_s": 0.04}


def test_replicas_share_a_rate_and_all_their_gpus_are_paid() -> None:
    (found,) = plan("a100", rate=30, **LOADED).plans
    served = found.served
    assert served is not None
    assert found.price is not None
    assert (served.replicas - 1) * served.largest < 30 <= served.replicas * served.largest * (1 + 1e-6)
    assert served.usd_per_hour == pytest.approx(served.replicas * found.price.usd_per_hour)
    assert served.usd_per_mtoken == pytest.approx(served.usd_per_hour / 3600 / (30 * 128) * 1e6)
    assert served.ttft_p90_s <= 0.2
    # A GPU draws a fifth of its 400 W when idle, at the most all of it: between these for the tokens of a second.
    assert served.j_per_token is not None
    assert 0.2 * 400 <= served.j_per_token * 30 * 128 / served.gpus <= 400


def test_one_replica_under_load_is_what_a_simulation_finds() -> None:
    (found,) = plan("a100", rate=4, **LOADED).plans
    alone = simulate("a100", rate=4, tokens=32, max_batch=16, requests=1000, ttft_s=0.2, tpot_s=0.04)
    assert found.served is not None
    assert alone.largest is not None
    assert found.served.replicas == 1
    assert found.served.largest == alone.largest.rate
    assert found.served.ttft_p90_s == alone.figures.ttft_s.p90
    assert found.served.busy == alone.figures.utilisation


def test_a_budget_is_held_against_all_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "REQUESTS", 200)
    with pytest.raises(InvalidValue, match=r"60 requests/s cost \$\d+\.\d\d an hour at least, more than \$2\.00: \d"):
        plan("a100", rate=60, usd_per_hour=2.0, **LOADED)
    with pytest.raises(InvalidValue, match="--rate needs --ttft or --tpot"):
        plan("a100", rate=60)
    with pytest.raises(InvalidValue, match="above zero, not 0"):
        plan("a100", rate=0, ttft_s=1)


def test_the_command_shows_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "REQUESTS", 200)
    done = run("--gpu", "a100", "--tokens", "32", "--tp", "1", "--batch", "1,16", "--ttft", "0.2", "--rate", "30")
    assert done.exit_code == 0, done.output
    assert "replicas" in done.output
    assert "30 requests a second, shared evenly" in done.output


# --- regions and charts


def test_a_region_is_over_tokens_and_batch_of_the_first_plan() -> None:
    region = region_of(plan("v100", tp=1, batch=(1, 4, 64), ttft_s=0.1, tokens=(32,), basis="roofline"))
    assert region.tokens.tolist()[:3] == [0, 32, 36]
    assert region.binding.shape == (3, len(region.tokens)) == region.ttft_s.shape
    assert (region.binding[0] == MET).all()  # batch 1 takes 77 ms at most
    assert region.names[region.binding[2, -1]] == "TTFT"


def test_the_chart_is_written(tmp_path: Path) -> None:
    draw_planned(plan(("v100", "a100"), tokens=(576, 32), ttft_s=0.3, rank="latency"), tmp_path / "plan.svg")
    text = (tmp_path / "plan.svg").read_text()
    assert "Plans for llava-1.5-7b" in text


# --- the command


def test_the_command_shows_plans_and_what_was_rejected() -> None:
    typed = ["--gpu", "v100", "--gpu", "l4", "--model", "llava-1.5-13b", "--tp", "1", "--tpot", "50ms"]
    done = run(*typed, "--batch", "1,2", "--weights", "fp16,int4", "--rank", "latency")
    assert done.exit_code == 0, done.output
    assert "TPOT up to 50.0 ms" in done.output
    assert "l4 fp16, 576 visual tokens, batch 1" in done.output
    assert "memory 28.5 GB, more than 24.0" in done.output


def test_the_json_has_every_candidate() -> None:
    done = run("--gpu", "v100", "--tp", "1,2", "--batch", "1,64", "--ttft", "100ms", "--format", "json")
    found = json.loads(done.output)
    assert list(found) == [
        *("perfkit", "basis", "rank", "goals", "candidates", "feasible", "plans", "front", "rejected", "left_out"),
        "warnings",
    ]
    assert found["candidates"] == 4 == found["feasible"] + len(found["rejected"])
    assert found["plans"][0]["execution"]["tp"] in (1, 2)
    assert all("TTFT" in one["why"] for one in found["rejected"])
    assert {"ttft_s", "tpot_s", "usd_per_mtoken", "j_per_token", "limits", "sensitivity"} <= found["plans"][0].keys()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--ttft", "200 min"), "--ttft: unknown unit 'min'; allowed: s, ms, us"),
        (("--ttft", "0"), "--ttft must be a number above zero, not '0'"),
        (("--ttft", "fast"), "--ttft: unknown unit 'fast'; allowed: s, ms, us"),
        (("--memory", "24GiBs"), "--memory: unknown unit 'GiBs'; allowed: B, MB, GB, MiB, GiB"),
        (("--budget", "-3"), "--budget must be a number above zero, not '-3'"),
        (("--rank", "price"), "unknown --rank 'price'; allowed: energy, latency, usd"),
        (("--gpu", "v10"), "unknown GPU 'v10'; nearest: "),
        (("--tokens", "577"), "577"),
        (("--chart", "plan.bmp"), "unknown ending of a chart '.bmp'"),
    ],
)
def test_bad_input_is_one_line(typed: tuple[str, ...], said: str) -> None:
    assert said in refused(*typed)
