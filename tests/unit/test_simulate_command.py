"""`perfkit simulate`: files of requests, what is refused, what is printed, and the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import error_line, run

from perfkit import analyze, simulate
from perfkit.charts.simulated import draw_simulated
from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.serving import curves, replica
from perfkit.serving.curves import rate_curve, tokens_curve
from perfkit.serving.files import read_counts, read_requests
from perfkit.serving.lengths import parse_lengths
from perfkit.serving.simulating import Simulated


def simulated(**asked: Any) -> Simulated:
    return simulate("h100", **({"rate": 8.0, "requests": 400} | asked))


# --- files


def written(folder: Path, text: str) -> Path:
    file = folder / "requests.csv"
    file.write_text(text)
    return file


HEAD = "text_tokens,visual_tokens,new_tokens,arrival_s\n"


def test_a_file_of_requests_is_played_at_its_own_times(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD + "60,576,10,0.5\n100,0,20,0.5\n60,32,1,3\n")
    found = simulate("h100", request_file=file)
    assert found.run.arrived.tolist() == [0.0, 0.0, 2.5]
    assert found.traffic.visual_tokens.tolist() == [576, 0, 32]
    assert found.largest is None
    # Alone at its time: what is predicted, between points of the tables
    alone = analyze("h100", tokens=32, new_tokens=1).ttft_expected_s
    assert found.run.latency_s[2] == pytest.approx(alone, rel=0.05)


def test_a_file_of_requests_is_drawn_from_at_a_rate(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD + "60,576,10,0\n100,0,20,0\n")
    traffic = simulated(request_file=file).traffic
    assert set(zip(traffic.visual_tokens, traffic.new_tokens, strict=True)) == {(576, 10), (0, 20)}
    assert len(traffic.arrival_s) == 400


def test_a_file_that_comes_too_fast_is_played_with_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"60,576,100,{place / 100}\n" for place in range(200))
    (warning,) = simulate("h100", request_file=written(tmp_path, HEAD + rows), max_batch=8).warnings
    assert warning.startswith("requests arrive at 100 a second, above the capacity of ")


def test_requests_that_arrive_at_once_have_no_rate(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD + "60,576,10,1\n60,0,20,1\n")
    done = run("simulate", "--gpu", "h100", "--request-file", file)
    assert "fp16: - requests/s" in done.output
    assert "arriving as the file says" in " ".join(done.output.split())
    (record,) = [json.loads(run("simulate", "--gpu", "h100", "--request-file", file, "--format", "json").output)]
    assert (record["request"]["arrivals"], record["request"]["requests"]) == ("file", 2)


def test_tokens_that_a_reducer_kept_are_drawn_from(tmp_path: Path) -> None:
    kept = written(
        tmp_path, "picture,method,status,tokens\na.png,prumerge,ok,30\nb.png,prumerge,left out,\nc.png,prumerge,ok,50\n"
    )
    assert parse_lengths("--tokens", str(kept), 0).values == (30, 50)
    assert set(simulated(tokens=str(kept)).traffic.visual_tokens) == {30.0, 50.0}
    assert read_counts(written(tmp_path, "visual_tokens\n7\n"), 0) == (7,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text_tokens,new_tokens\n1,2\n", "no column visual_tokens; needed: text_tokens, visual_tokens, new_tokens"),
        (HEAD, "no rows"),
        (HEAD + "60,576,10,0\n60,,10,1\n", "row 2: visual_tokens is missing"),
        (HEAD + "60,-1,10,0\n", "row 1: visual_tokens must be a whole number from 0 to 10000000, not '-1'"),
        (HEAD + "60,5,0,0\n", "row 1: new_tokens must be a whole number from 1"),
        (HEAD + "1.5,5,1,0\n", "row 1: text_tokens must be a whole number from 1"),
        (HEAD + "60,5,1\n", "row 1: arrival_s is missing"),
        (HEAD + "60,5,1,soon\n", "row 1: arrival_s must be seconds from 0 to 1e+10, not 'soon'"),
        (HEAD + "60,5,1,-2\n", "row 1: arrival_s must be seconds from 0 to 1e+10, not '-2'"),
        (HEAD + "60,5,1,2\n60,5,1,1\n", "row 2: arrival_s 1 is before that of the row above, 2: sort the rows"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_requests(written(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture\na\n", "needs a column tokens or visual_tokens, and has picture"),
        ("method,tokens\na,1\nb,2\n", "holds several methods: a, b; keep the rows of one"),
        ("method,tokens\na,\n", "no row has a count"),
    ],
)
def test_what_is_wrong_in_a_file_of_counts_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        read_counts(written(tmp_path, text), 0)


# --- what cannot be


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--rate", "0"), "--rate must be a number above zero, not '0'"),
        (("--rate", "-3"), "--rate must be a number above zero, not '-3'"),
        ((), "--rate is missing: no file says when requests arrive"),
        (("--rate", "1", "--batching", "statc"), "unknown --batching 'statc'; nearest: static"),
        (("--rate", "1", "--arrivals", "bursty"), "unknown --arrivals 'bursty'; allowed: even, poisson"),
        (("--rate", "1", "--wait", "1s"), "--wait is for --batching static"),
        (("--rate", "1", "--batching", "static", "--chunked-prefill", "512"), "is for --batching continuous"),
        (("--rate", "1", "--chunked-prefill", "64"), "(--max-batch), so at least 65"),
        (("--rate", "1", "--tokens", "0:577"), "577 visual tokens: llava-1.5-7b makes at most 576"),
        (("--rate", "1", "--new-tokens", "9:3"), "--new-tokens 9:3: a range A:B goes up: 3:9"),
        (("--rate", "1", "--new-tokens", "many"), "--new-tokens must be a whole number from 1"),
        (
            ("--rate", "1", "--new-tokens", "4000"),
            "the context of llava-1.5-7b, 4096 tokens: at most 3460 new tokens fit",
        ),
        (("--rate", "1", "--text-tokens", "5000"), "not even its prompt fits"),
        (("--rate", "1", "--max-batch", "5000"), "--max-batch must be at most 4096"),
        (("--rate", "0.0000001"), "a run is longer than 1e+10 s; at least 1e-06"),
        (("--rate", "1", "--requests", "2000000"), "--requests 2000000 are too many"),
        (("--rate", "1", "--model", "llava-1.5-34b"), "unknown model"),
        (("--rate", "1", "--request-file", "none.csv"), "none.csv: no such file"),
        (("--rate", "1", "--chart", "a.bmp"), "unknown ending of a chart '.bmp'"),
    ],
)
def test_bad_input_is_one_line(typed: tuple[str, ...], said: str) -> None:
    assert said in error_line("simulate", "--gpu", "h100", *typed)


def test_a_rate_above_the_capacity_is_refused_with_the_capacity() -> None:
    said = error_line("simulate", "--gpu", "h100", "--rate", "100")
    assert "--rate 100 is more than the capacity of llava-1.5-7b on h100-sxm-80gb in fp16, 22." in said
    assert "give at most 22." in said


def test_requests_beyond_the_memory_are_refused_with_the_limit() -> None:
    said = error_line("simulate", "--gpu", "v100-16gb", "--rate", "0.1", "--new-tokens", "100:3000")
    assert "a request of 3636 tokens needs 1.91 GB of cache, and v100-sxm2-16gb has " in said
    assert said.endswith("tokens fit")
    assert "does not fit v100-sxm2-16gb" in error_line(
        "simulate", "--gpu", "v100-16gb", "--model", "llava-1.5-13b", "--rate", "0.1"
    )


def test_what_python_gives_is_checked_too() -> None:
    for asked, said in (
        ({"rate": float("nan")}, "--rate must be requests a second"),
        ({"wait_s": -1.0}, "--wait must be seconds from 0"),
        ({"tpot_s": -1.0}, "--tpot must be above zero"),
        ({"seed": -1}, "--seed must be a whole number from 0"),
        ({"new_tokens": 0}, "--new-tokens must be a whole number from 1"),
    ):
        with pytest.raises(InvalidValue, match=said):
            simulated(**asked)
    with pytest.raises(UnknownName, match="unknown --basis"):
        simulated(basis="measured")


def test_a_file_without_times_needs_a_rate(tmp_path: Path) -> None:
    file = written(tmp_path, "text_tokens,visual_tokens,new_tokens\n60,32,8\n")
    assert error_line("simulate", "--gpu", "h100", "--request-file", file).endswith("has no column arrival_s")


# --- the command


def test_the_command_compares_tokens_and_gpus() -> None:
    typed = ("--rate", 2, "--tokens", 576, "--tokens", 32, "--requests", 300, "--ttft", "200ms")
    done = run("simulate", "--gpu", "h100", *typed)
    assert done.exit_code == 0, done.output
    assert "300 requests of 60 text, 576 visual, 128 new tokens, poisson arrivals, seed 0" in done.output
    assert "TTFT up to 200 ms: met by 100 % of the requests." in done.output
    records = json.loads(run("simulate", "--gpu", "h100", *typed, "--format", "json").output)
    assert [one["distributions"]["visual_tokens"]["mean"] for one in records] == [576, 32]


def test_the_json() -> None:
    typed = ("--rate", 2, "--requests", 200, "--new-tokens", "1:99", "--seed", 7, "--tpot", "30ms")
    found = json.loads(run("simulate", "--gpu", "h100", *typed, "--format", "json").output)
    assert list(found) == [
        *("perfkit", "model", "device", "calibration", "execution", "basis", "request", "distributions", "alone"),
        *("capacity_per_s", "results", "goals", "warnings"),
    ]
    assert list(found["request"]) == [
        *("rate_per_s", "arrivals", "requests", "seed", "images", "file"),
        *("batching", "max_batch", "wait_s", "chunk_tokens"),
    ]
    assert found["request"]["seed"] == 7
    assert found["distributions"]["new_tokens"]["asked"] == "1:99"
    assert list(found["results"]) == [
        *("ttft_s", "tpot_s", "latency_s", "waiting_s", "requests_per_s", "tokens_per_s", "utilisation", "running"),
        *("in_system", "kv_mean_bytes", "kv_peak_bytes", "kv_room_bytes"),
    ]
    assert list(found["results"]["ttft_s"]) == ["mean", "p50", "p90", "p99"]
    assert list(found["goals"]["largest_rate"]) == ["rate", "least", "most", "requests", "step"]


def test_a_request_by_itself_is_told_by_the_basis_that_was_asked_for() -> None:
    typed = ("simulate", "--gpu", "h100", "--rate", 1, "--requests", 20, "--format", "json")
    alone = analyze("h100")
    for basis in ("roofline", "expected"):
        found = json.loads(run(*typed, "--basis", basis).output)
        assert found["basis"] == basis
        assert found["alone"]["ttft_s"] == getattr(alone, f"ttft_{basis}_s")
        assert found["alone"]["tpot_s"] == getattr(alone, f"tpot_{basis}_s")


def test_goals_that_one_request_by_itself_misses_are_said_to_be_met_at_no_rate() -> None:
    # A step takes 4 ms at the least: 13.5 GB of weights at 3.35 TB/s.
    typed = ("simulate", "--gpu", "h100", "--rate", 1, "--requests", 20, "--tpot", "1ms")
    said = " ".join(run(*typed).output.split())
    assert "TPOT up to 1.00 ms: met by 0 % of the requests." in said
    assert "At no rate do nine of ten requests meet the goals: one by itself misses them." in said
    largest = json.loads(run(*typed, "--format", "json").output)["goals"]["largest_rate"]
    assert (largest["rate"], largest["most"]) == (0, 0)


def test_the_tidy_table_is_a_row_a_run() -> None:
    done = run("simulate", "--gpu", "h100", "--rate", 2, "--requests", 50, "--format", "csv")
    head, row = done.output.splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["requests"] == "50"


# --- curves and charts


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "REQUESTS", 300)
    monkeypatch.setattr(replica, "REQUESTS", 300)
    monkeypatch.setattr(replica, "BATCHES", 5)


@pytest.mark.usefixtures("short_runs")
def test_curves_go_up_with_the_rate_and_down_with_visual_tokens(tmp_path: Path) -> None:
    found = simulated(requests=100)
    curve = rate_curve(found)
    assert curve.rates[-1] == pytest.approx(0.95 * found.capacity)
    assert curve.ttft_s[0].p90 < curve.ttft_s[-1].p90
    tokens = tokens_curve(found)
    assert tokens.tokens[0] == 32
    assert list(tokens.tokens_per_s) == sorted(tokens.tokens_per_s, reverse=True)
    file = written(tmp_path, HEAD + "60,576,10,0\n100,0,20,0\n")
    assert len(tokens_curve(simulated(request_file=file, requests=10)).tokens) == 9


@pytest.mark.usefixtures("short_runs")
def test_the_chart_is_written(tmp_path: Path) -> None:
    found = [simulated(requests=50, tokens=tokens, ttft_s=0.2) for tokens in (576, 32)]
    draw_simulated(found, tmp_path / "serving.svg")
    assert "Serving llava-1.5-7b" in (tmp_path / "serving.svg").read_text()
