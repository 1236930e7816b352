"""What a report holds: an analysis and a validation as pages, their figures those of the library."""

from dataclasses import replace

import pytest

from perfkit import remarks
from perfkit.charts.style import WIDTHS
from perfkit.errors import InvalidValue
from perfkit.latency import analyze
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.protocol import Timing
from perfkit.pages.analysis import MOST_DEVICES, analysis_page
from perfkit.pages.page import Command, Paragraph, Picture, Points
from perfkit.pages.validated import validation_page
from perfkit.tables import Table, show
from perfkit.validation.judging import validate

CPU = """\
name: A processor that was measured
memory:
  capacity: {value: 64, unit: GB}
  bandwidth: {value: 40, unit: GB/s}
  gemv_bandwidth:
    - {precision: fp32, value: 20, unit: GB/s}
peaks:
  - {engine: vector, precision: fp32, accumulate: fp32, dense: true, value: 200, unit: GFLOP/s}
gemm_rate:
  - {precision: fp32, value: 150, unit: GFLOP/s}
"""


def blocks(page, title, kind):
    (found,) = [section for section in page.sections if section.title == title]
    return [block for block in found.blocks if isinstance(block, kind)]


def titles(page):
    return [section.title for section in page.sections]


def key_figures(page):
    """Figure -> its row, by the headers of the columns."""
    (table,) = blocks(page, "Key figures", Table)
    headers = [column.header for column in table.columns]
    return {row[0]: dict(zip(headers, row, strict=True)) for row in table.rows}


@pytest.fixture(scope="module")
def v100():
    return analyze("v100", tokens=32)


@pytest.fixture(scope="module")
def page(v100):
    return analysis_page([v100], "perfkit report --gpu v100 --tokens 32 --output DIR")


# --- an analysis


def test_an_analysis_has_all_that_a_reader_asks_for(page):
    assert titles(page) == [
        "In short",
        "Key figures",
        "Where the time goes",
        "Roofline",
        "Cost against visual tokens",
        "Ops",
        "What was asked",
        "Notes",
        "Sources",
        "Conventions",
    ]
    assert page.title == "llava-1.5-7b on v100-sxm2-32gb"
    assert page.kind == "Analysis: predicted, not measured"
    assert page.subtitle.startswith("32 visual + 60 text tokens, 128 new, 1 image, batch 1; fp16")


def test_key_figures_are_those_that_can_be_worked_out_by_hand(page):
    found = {name: row["v100-sxm2-32gb"] for name, row in key_figures(page).items()}
    # Weights 13.2152 GB, cache of 92 + 63.5 + 1 tokens 0.0821 GB, activations 0.012 GB; / 900 GB/s = 14.79 ms
    assert found["TPOT, roofline"] == "14.8 ms"
    # 32 layers, keys and values, 4096 wide, 2 bytes: 524 288 B a token; 32 + 60 + 128 of them = 115.3 MB
    assert found["KV cache"] == "115 MB"
    assert (found["fp16 peak"], found["bandwidth"], found["capacity"]) == ("125 TFLOP/s", "900 GB/s", "32 GB")
    assert found["fits"] == "yes"


def test_key_figures_are_those_of_the_prediction(page, v100):
    found = {name: row["v100-sxm2-32gb"] for name, row in key_figures(page).items()}
    assert found["TTFT, roofline"] == show(v100.ttft_roofline_s, "s")
    assert found["TTFT, expected"].startswith(show(v100.ttft_expected_s, "s"))
    assert found["TPOT, expected"].startswith(show(v100.tpot_expected_s, "s"))
    assert found["decode rate, expected"] == f"{1 / v100.tpot_expected_s:.1f} tokens/s"
    first = [phase.flops for phase in v100.phases if phase.phase != "decode"]
    assert found["FLOPs to the first token"] == show(sum(first), "FLOP")
    assert found["memory"] == show(v100.footprint.total, "B")


def test_every_key_figure_says_how_it_came_about(page):
    origins = {name: row["origin"] for name, row in key_figures(page).items()}
    assert {origins[name] for name in origins if "TTFT" in name or "TPOT" in name} == {"predicted"}
    assert {origins[name] for name in ("memory", "weights", "KV cache", "FLOPs to the first token")} == {"counted"}
    assert {origins[name] for name in ("fp16 peak", "bandwidth", "capacity")} == {"datasheet"}
    assert set(origins.values()) == {"predicted", "counted", "datasheet", "counted, datasheet"}


def test_ops_are_all_ops_and_add_up(page, v100):
    (table,) = blocks(page, "Ops", Table)
    keys = [column.key for column in table.columns]
    ops = [dict(zip(keys, row, strict=True)) for row in table.rows]
    assert [(op["phase"], op["name"]) for op in ops] == [(time.cost.phase, time.cost.name) for time in v100.ops]
    for phase in v100.phases:
        members = [op for op in ops if op["phase"] == phase.phase]
        assert sum(op["flops"] for op in members) == phase.flops
        assert sum(op["roofline_s"] for op in members) == pytest.approx(phase.roofline_s, rel=1e-12)
    starts = [i for i in range(1, len(ops)) if ops[i]["phase"] != ops[i - 1]["phase"]]
    assert table.rule_before == frozenset(starts)
    assert len(starts) == len(v100.phases) - 1


def test_pictures_say_in_words_what_they_show(page):
    (roofline,) = blocks(page, "Roofline", Picture)
    # LLaVA's vision over a V100: 219 FLOP/B, right of the ridge of 139; decode near 1
    assert "vision is bound by compute at 219 FLOP/B" in roofline.alt
    assert "decode is bound by memory at" in roofline.alt
    (breakdown,) = blocks(page, "Where the time goes", Picture)
    assert "prefill 81 %" in breakdown.alt
    (tokens,) = blocks(page, "Cost against visual tokens", Picture)
    assert "prefill compute-bound from 86 tokens" in tokens.alt


def test_pictures_are_as_wide_as_a_page_and_as_a_phone(page):
    for title in ("Roofline", "Where the time goes"):
        (picture,) = blocks(page, title, Picture)
        widths = [draw().get_figwidth() for draw in (picture.draw, picture.narrow)]
        assert widths == [WIDTHS["page"], WIDTHS["column"]]


def test_what_was_asked_gives_it_again(page):
    (table,) = blocks(page, "What was asked", Table)
    asked = dict(table.rows)
    assert (asked["visual tokens"], asked["new tokens"], asked["weights"]) == ("32", "128", "fp16")
    assert asked["reduction"] == "none"
    assert blocks(page, "What was asked", Command) == [Command("perfkit report --gpu v100 --tokens 32 --output DIR")]


def test_notes_are_told_in_full(page, v100):
    (notes,) = blocks(page, "Notes", Points)
    assert set(remarks.notes(v100)) <= set(notes.texts)
    assert any("hidden_size=4096" in note for note in notes.texts)


def test_sources_are_those_of_the_figures_that_were_used(page):
    (table,) = blocks(page, "Sources", Table)
    assert [row[:2] for row in table.rows] == [
        ("fp16 peak", "125 TFLOP/s"),
        ("vector fp32 rate", "15.7 TFLOP/s"),
        ("bandwidth", "900 GB/s"),
        ("capacity", "32 GB"),
    ]
    assert all("V100" in row[2] for row in table.rows)
    (basis,) = blocks(page, "Sources", Points)
    assert basis.texts[0].startswith("Expected times of v100-sxm2-32gb: calibration v100-sxm2-32gb")


def test_devices_stand_side_by_side():
    predictions = [analyze(gpu) for gpu in ("v100", "h100")]
    page = analysis_page(predictions, "")
    rows = key_figures(page)
    assert [rows["bandwidth"][p.device.id] for p in predictions] == ["900 GB/s", "3350 GB/s"]
    assert page.title == "llava-1.5-7b on v100-sxm2-32gb and h100-sxm-80gb"
    (short,) = blocks(page, "In short", Points)
    assert len(short.texts) == 2
    assert [table.title for table in blocks(page, "Ops", Table)] == ["Ops on v100-sxm2-32gb", "Ops on h100-sxm-80gb"]


def test_more_devices_than_a_reader_can_tell_apart_are_refused():
    predictions = [analyze(gpu) for gpu in ("v100", "a100", "h100", "l4", "t4")]
    with pytest.raises(InvalidValue, match=f"a report compares at most {MOST_DEVICES} devices, not 5"):
        analysis_page(predictions, "")


def test_what_does_not_fit_is_the_first_thing_told():
    page = analysis_page([analyze("v100", model="llama-2-70b")], "")
    facts, warnings = blocks(page, "In short", Points)
    assert warnings.urgent
    assert warnings.texts[0].startswith("does not fit")
    assert "does not fit (memory)" in facts.texts[0]


def test_a_model_without_images_has_no_curve_of_tokens():
    page = analysis_page([analyze("v100", model="llama-2-7b")], "")
    assert "Cost against visual tokens" not in titles(page)
    (table,) = blocks(page, "What was asked", Table)
    assert not {"visual tokens", "images", "reduction"} & {row[0] for row in table.rows}


def test_a_model_that_makes_no_tokens_has_a_forward():
    page = analysis_page([analyze("v100", model="bert-base")], "")
    rows = key_figures(page)
    assert "forward, roofline" in rows
    assert not [name for name in rows if "TPOT" in name or "KV" in name or "decode" in name]


def test_several_gpus_have_no_roofline_and_it_says_why():
    p = analyze("a100", tp=2)
    page = analysis_page([p], "")
    (why,) = blocks(page, "Roofline", Paragraph)
    assert "leave out --tp" in why.text
    assert "memory, per GPU" in key_figures(page)
    (sources,) = blocks(page, "Sources", Table)
    assert ("NVLink3, each direction", "300 GB/s") in [row[:2] for row in sources.rows]


def test_rates_that_were_measured_are_called_measured(tmp_path):
    path = tmp_path / "cpu.yaml"
    path.write_text(CPU)
    page = analysis_page([analyze(str(path), precision="fp32")], "")
    assert key_figures(page)["bandwidth"]["origin"] == "measured"
    (sources,) = blocks(page, "Sources", Table)
    figures = [row[:2] for row in sources.rows]
    assert ("fp32 rate of large products", "150 GFLOP/s") in figures
    assert ("fp32 bandwidth of one-row products", "20 GB/s") in figures
    assert "read from" in sources.title


# --- a validation


def timing(seconds, *, stable=True):
    return Timing((seconds, 1.01 * seconds, 0.99 * seconds) * 3, 3, stable=stable)


def measured(**points):
    """Prefill of 576 and 32 tokens, the latter unstable, read by counters at 1.4 and 1.5 GHz."""
    cases = [PhaseCase("llava-1.5-7b", "prefill", n, 60, 1, "fp16", "sdpa") for n in (576, 32)]
    clocks = [Counters(9, (1, hz, 2 * hz), None, None, None, ("sw power cap",), None) for hz in (10**9, 15 * 10**8)]
    made = [
        Point(case, "ok", timing(s, stable=s > 0.15), counters=counters, launches=900)
        for case, s, counters in zip(cases, (0.2, 0.1), clocks, strict=True)
    ]
    libraries = {"torch": "2.13.0", "transformers": "5.23.0"}
    machine = Machine(
        "cuda", "A card", "CUDA events", 32 * 10**9, 80, "Linux", libraries, "v100-sxm2-32gb", driver="580"
    )
    runs = (Run("2025-01-01T00:00:00+00:00", "perfkit measure --output mine.json", "0.1.0"),)
    return Measurement(machine, runs, points.get("points", tuple(made)), "mine.json")


@pytest.fixture(scope="module")
def validated():
    measurement = measured()
    return validation_page(validate([measurement]), [measurement], "perfkit report mine.json --output DIR")


def test_a_validation_has_all_that_a_reader_asks_for(validated):
    assert titles(validated) == [
        "In short",
        "Measured against predicted",
        "What was measured where",
        "Points",
        "Points to be careful with",
        "Where the time goes",
        "Speed-ups",
        "Sources",
        "Conventions",
    ]
    assert validated.title == "A card (measured) against v100-sxm2-32gb (predicted)"


def test_a_validation_tells_its_errors_and_what_did_not_settle(validated):
    (errors,) = blocks(validated, "Measured against predicted", Table)
    v = validate([measured()])
    assert [row[3] for row in errors.rows] == [error.mape for error in v.errors]
    facts, warnings = blocks(validated, "In short", Points)
    assert facts.texts[0] == "2 of 2 points of prefill were timed on A card."
    assert facts.texts[-1] == "1 point is unstable."
    assert "clocks were held back while 2 points were measured: sw power cap" in warnings.texts
    (shaky,) = blocks(validated, "Points to be careful with", Points)
    assert shaky.texts[0].startswith("llava-1.5-7b prefill, 32 + 60 tokens, batch 1, fp16, sdpa: unstable: after 9")
    assert len(shaky.texts) == 1


def test_a_validation_says_what_was_measured_where(validated):
    machine, runs = blocks(validated, "What was measured where", Table)
    rows = dict(machine.rows)
    assert (rows["machine"], rows["driver"], rows["torch"]) == ("A card", "580", "2.13.0")
    assert rows["SM clock while it was timed"] == "1.00 GHz to 1.50 GHz, by the medians of the phases"
    assert runs.rows == (("mine.json", "2025-01-01T00:00:00+00:00", "perfkit measure --output mine.json", "0.1.0"),)
    assert blocks(validated, "What was measured where", Command)[0].text == "perfkit report mine.json --output DIR"


def test_what_files_say_is_cut_before_it_fills_pages():
    long = "x" * 100_000
    whole = measured()
    machine = whole.machine._replace(name=long, platform=long, libraries={"torch": long})
    runs = (Run("2025", f"perfkit measure {long}", "0.1.0"),)
    shaky = [replace(point, timing=None, status="out of memory", note=long) for point in whole.points[:1]]
    made = replace(whole, machine=machine, runs=runs, points=(*shaky, *whole.points[1:]))
    page = validation_page(validate([made]), [made], "perfkit report mine.json --output DIR")
    rows, run = blocks(page, "What was measured where", Table)
    assert dict(rows.rows)["machine"] == dict(rows.rows)["torch"] == "x" * 497 + "..."
    assert run.rows[0][2] == f"perfkit measure {'x' * 481}..."  # 16 + 481 + 3 = 500
    assert page.title == f"{'x' * 497}... (measured) against v100-sxm2-32gb (predicted)"
    (careful,) = blocks(page, "Points to be careful with", Points)
    assert [len(text) for text in careful.texts if text.endswith("x...")] == [2000]
    assert long not in "".join(text for points in blocks(page, "In short", Points) for text in points.texts)


def test_points_of_a_validation_are_those_of_its_table(validated):
    (table,) = blocks(validated, "Points", Table)
    seconds = [column.key for column in table.columns].index("measured_s")
    assert [row[seconds] for row in table.rows] == [0.2, 0.1]


def test_nothing_that_ran_leaves_the_points_alone():
    case = PhaseCase("llava-1.5-7b", "prefill", 576, 60, 1, "fp16", "sdpa")
    measurement = measured(points=(Point(case, "out of memory", note="too large"),))
    page = validation_page(validate([measurement]), [measurement], "")
    assert "Measured against predicted" not in titles(page)
    assert "Where the time goes" not in titles(page)
    (shaky,) = blocks(page, "Points to be careful with", Points)
    assert shaky.texts == ("llava-1.5-7b prefill, 576 + 60 tokens, batch 1, fp16, sdpa: out of memory: too large",)
