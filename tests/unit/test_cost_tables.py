"""Cost tables: a row is what `perfkit.analyze` and `count` give for its point, and every figure says what it is."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfkit
from perfkit import reports
from perfkit.cost_tables.building import build_table
from perfkit.cost_tables.columns import BASES, COLUMNS, column_of
from perfkit.cost_tables.keys import keys_of
from perfkit.cost_tables.naming import format_title, method_title, model_title
from perfkit.cost_tables.remarking import caption_of, footnotes_of, notes_of, told, warnings_of
from perfkit.cost_tables.request import MAXIMUM_ROWS, TableRequest, command_of, quoted
from perfkit.errors import InvalidValue, UnknownName, UnsupportedPrecision
from perfkit.models import preset_names
from perfkit.reduction import METHODS, parse_reduction
from perfkit.tables import render_for_people
from perfkit.workload import Execution

ROOT = Path(__file__).parents[2]
ALL = tuple(COLUMNS)


def asked(**request):
    return build_table(TableRequest(**{"gpu": ("v100",), **request}))


# --- figures


def test_one_row_by_hand():
    table = asked(reduction=("none", "prumerge"), columns=("flops", "decode_ms", "memory", "kv", "speedup", "energy"))
    first, pruned = reports.document(table)["rows"]
    # Vision 381,918,216,192; reducer: scores of the class token 2 * 577 * 1024, similarity of 31 kept patches to all
    # 2 * 31 * 576 * 1024; projector 2 * 32 * (1024 * 4096 + 4096^2); prefill of 92 tokens, one logit.
    reducer = 2 * 577 * 1024 + 2 * 31 * 576 * 1024
    assert pruned["flops"] == 381_918_216_192 + reducer + 1_342_177_280 + 1_196_285_231_104
    # Cache: 2 * 32 layers * (32 + 60 + 128) tokens * 4096 * 2 bytes.
    assert pruned["kv_bytes"] == 2 * 32 * 220 * 4096 * 2
    # Weights 7,063,427,072 * 2; activations are small beside them.
    assert 0 < pruned["memory_bytes"] - pruned["kv_bytes"] - 2 * 7_063_427_072 < 20e6
    # Weights 13.2152 GB + cache of 92 + 63.5 + 1 tokens 0.0821 GB + activations 0.012 GB; / 900 GB/s.
    assert pruned["decode_roofline_s"] == pytest.approx((13.2152 + 0.0821 + 0.012) / 900, rel=1e-4)
    # TTFT 76.60 ms without, 19.69 ms with.
    assert (first["speedup"], pruned["speedup"]) == (1, pytest.approx(76.595 / 19.691, rel=1e-4))
    # 300 W for 19.69 ms to the first token and 127 steps of 14.789 ms for the others.
    assert pruned["energy_at_tdp_j"] == pytest.approx(300 * (0.019691 + 127 * 0.0147886), rel=1e-4)


def test_a_request_of_one_token_ends_with_the_first():
    # 19.69 ms at 32 visual tokens, and no step after it; 300 W * 19.69 ms = 5.91 J.
    table = asked(reduction=("prumerge",), new_tokens=1, columns=("request_ms", "ttft_ms", "energy"))
    (row,) = reports.document(table)["rows"]
    assert row["request_roofline_s"] == row["ttft_roofline_s"] == pytest.approx(0.01969, rel=1e-3)
    assert row["energy_at_tdp_j"] == pytest.approx(5.907, rel=1e-3)
    assert any("1 new token," in note for note in notes_of(table))


def test_what_is_counted_in_multiply_adds_is_no_flops():
    # SparseVLM's paper: 118 text tokens; 694 tokens, 32 (4 n d^2 + 2 n^2 d + 3 n d m) multiply-adds.
    n, d, m = 694, 4096, 11008
    table = asked(convention="sparsevlm", columns=("flops", "macs"))
    (row,) = reports.document(table)["rows"]
    assert row["macs"] == 32 * (4 * n * d**2 + 2 * n**2 * d + 3 * n * d * m) == 4_620_605_718_528
    assert "flops" not in row
    (figure,) = reports.printed(table).figures
    assert figure.line == "MACs (T)"
    assert render_for_people(reports.overview(table)).splitlines()[3].split() == ["LLaVA-1.5-7B", "4.62", "TMAC"]


def test_tables_of_different_units_stay_apart():
    flops, macs = asked(columns=("flops",)), asked(convention="sparsevlm", columns=("flops",))
    both = perfkit.report([flops, macs])
    assert [column.key for column in both.columns][-2:] == ["flops", "macs"]
    assert [row[-2] for row in both.rows] == [flops.points[0].count.total, None]
    assert [row[-1] for row in both.rows] == [flops.points[0].count.macs, 4_620_605_718_528]


def test_logits_reach_the_count():
    request = {"gpu": ("a100",), "model": ("llava-1.5-13b",), "reduction": ("prumerge+",), "columns": ("flops",)}
    figures = {}
    for logits in (None, "last", "all"):
        (row,) = reports.document(asked(**request, logits=logits))["rows"]
        figures[logits] = row["flops"]
    assert figures[None] == figures["last"]
    # 203 more of 144 + 60 positions through the lm_head: 2 * 5120 * 32064 each.
    assert figures["all"] - figures["last"] == 203 * 2 * 5120 * 32064
    assert any("Convention torch, but logits all" in note for note in notes_of(asked(**request, logits="all")))


def test_a_convention_keeps_its_logits_unless_they_are_asked_for():
    text = " ".join(notes_of(asked(convention="calflops", columns=("flops", "ttft_ms"))))
    assert "fused attention, logits last." in text
    assert "its own logits: all" in text
    with pytest.raises(InvalidValue, match="own table of ops, so --logits cannot be set"):
        asked(convention="prumerge", logits="all")
    assert asked(convention="prumerge", logits="all", columns=("ttft_ms",)).points


@pytest.mark.parametrize("model", ["bert-base", "clip-vit-l-14-336"])
def test_models_without_logits_speak_of_none(model):
    assert not any("logits" in note for note in notes_of(asked(model=(model,))))


def test_a_table_without_flops_counts_nothing():
    # PyramidDrop's convention cannot count a forward without images, and need not.
    table = asked(convention="pyramiddrop", tokens=(0,), columns=("kv", "ttft_ms"))
    assert table.points[0].count is None
    assert not any("image" in note for note in notes_of(table))


MODELS = ("llava-1.5-7b", "llava-next-7b")
GPUS = ("v100", "h100")
METHOD_SPECS = ("none", "prumerge", "fastv:k=2,r=0.5", "pyramiddrop")


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(GPUS),
    st.sampled_from(METHOD_SPECS),
    st.none() | st.integers(16, 576),
    st.integers(1, 4),
    st.sampled_from((None, "int4", "int8")),
    st.sampled_from(("torch", "calflops", "pyramiddrop")),
    st.sampled_from((None, "last", "all", "none")),
)
def test_a_row_is_what_analyze_and_count_give(model, gpu, method, tokens, batch, weights, convention, logits):
    request = TableRequest(
        gpu=(gpu,),
        model=(model,),
        reduction=(method,),
        tokens=() if tokens is None else (tokens,),
        weights=() if weights is None else (weights,),
        batch=batch,
        text_tokens=60,
        convention=convention,
        logits=logits,
        columns=ALL,
    )
    (row,) = reports.document(build_table(request))["rows"]
    point = {"tokens": tokens, "batch": batch, "reduction": None if method == "none" else method}
    p = perfkit.analyze(gpu, model, weights=weights, logits=logits or "last", **point)
    phases = {phase.phase: phase for phase in p.phases}
    c = perfkit.count(model, convention=convention, text_tokens=60, logits=logits, **point)
    assert (row.get("flops"), row["macs"]) == (c.total if c.convention.unit == "flop" else None, c.macs)
    assert row["prefill_roofline_s"] == phases["prefill"].roofline_s
    assert row["vision_roofline_s"] == phases["vision"].roofline_s
    assert row["reduction_roofline_s"] == (phases["reduction"].roofline_s if "reduction" in phases else None)
    assert row["ttft_roofline_s"] == p.ttft_roofline_s
    assert row["decode_roofline_s"] == p.tpot_roofline_s
    assert row["request_roofline_s"] == p.ttft_roofline_s + 127 * p.tpot_roofline_s
    assert row["energy_at_tdp_j"] == p.device.tdp.value * row["request_roofline_s"]
    assert row["traffic_bytes"] == phases["prefill"].bytes
    assert row["memory_bytes"] == p.footprint.total
    assert (row["weights_bytes"], row["kv_bytes"], row["activation_bytes"]) == tuple(p.footprint)
    assert row["fits"] is bool(p.fits)
    assert row["visual_tokens"] == row["tokens"] == p.workload.visual_tokens
    assert row["ttft_expected_s"] == p.ttft_expected_s > 0
    assert row["decode_expected_s"] == p.tpot_expected_s > 0
    assert row["speedup"] == row["decode_speedup"] == row["block_speedup"] == row["block_decode_speedup"] == 1


def test_mean_tokens_are_those_of_the_layers():
    # FastV after layer 2 of 32: (2 * 576 + 30 * 288) / 32 = 306.
    table = asked(reduction=("none", "fastv:k=2,r=0.5"), columns=("mean_tokens",))
    assert [row["mean_tokens"] for row in reports.document(table)["rows"]] == [576, 306]


def test_expected_times_are_those_of_the_prediction():
    device = str(ROOT / "reports/measured/epyc-2-threads/epyc-2-threads.yaml")
    table = asked(gpu=(device, "v100"), precision=("fp32",), columns=("ttft_expected_ms", "decode_expected_ms"))
    measured, calibrated = reports.document(table)["rows"]
    p = perfkit.analyze(device, precision="fp32")
    assert measured["ttft_expected_s"] == p.ttft_expected_s > p.ttft_roofline_s
    assert measured["decode_expected_s"] == p.tpot_expected_s
    assert calibrated["ttft_expected_s"] == perfkit.analyze("v100", precision="fp32").ttft_expected_s
    assert not any("rule of thumb" in note for note in notes_of(table))


def test_a_device_of_which_too_little_is_known_says_what_is_expected_instead():
    table = asked(gpu=("gb200",), columns=("ttft_expected_ms",))
    assert reports.document(table)["rows"][0]["ttft_expected_s"] == perfkit.analyze("gb200").ttft_expected_s
    why = "gb200: its sm_count is not known, which the kernel model needs"
    assert f"Expected by a rule of thumb: {why}." in notes_of(table)


def test_runtime_and_calibration_are_those_of_expected_times():
    volta = ROOT / "hardware_specs/calibrations/volta.yaml"
    columns = ("decode_expected_ms", "decode_ms")
    eager, borrowed = (
        reports.document(asked(columns=columns, **how))["rows"][0]
        for how in ({"runtime": "eager"}, {"calibration": str(volta)})
    )
    assert eager["decode_expected_s"] == perfkit.analyze("v100", runtime="eager").tpot_expected_s
    assert borrowed["decode_expected_s"] == perfkit.analyze("v100", calibration=volta).tpot_expected_s
    assert eager["decode_roofline_s"] == borrowed["decode_roofline_s"]


def test_a_named_convention_brings_its_text_tokens():
    # FastV's paper: 36. One forward of 612 tokens, 32 (4 n d^2 + 2 n^2 d + 2 n d m) multiply-adds.
    n, d, m = 612, 4096, 11008
    table = asked(convention="fastv", columns=("flops", "kv"))
    (row,) = reports.document(table)["rows"]
    assert row["macs"] == 32 * (4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m)
    assert row["kv_bytes"] == 2 * 32 * (612 + 128) * 4096 * 2
    (row,) = reports.document(asked(convention="fastv", text_tokens=60, columns=("kv",)))["rows"]
    assert row["kv_bytes"] == 2 * 32 * (636 + 128) * 4096 * 2


def test_a_convention_with_a_table_of_its_own_has_no_multiply_adds():
    table = asked(convention="prumerge", columns=("macs", "flops"))
    assert reports.document(table)["rows"][0]["macs"] is None
    assert any("does not tell multiply-adds apart" in note for note in notes_of(table))


# --- rows


def test_rows_are_nested_as_models_gpus_formats_methods_tokens():
    axes = {
        "model": ("llava-1.5-13b", "llava-1.5-7b"),
        "gpu": ("v100", "a100"),
        "weights": ("fp16", "int4"),
        "reduction": ("none", "prumerge"),
        "tokens": (64, 32),
    }
    rows = reports.document(asked(**axes))["rows"]
    devices = ("v100-sxm2-32gb", "a100-sxm-80gb")
    expected = list(product(axes["model"], devices, axes["weights"], (None, "prumerge"), axes["tokens"]))
    keys = ("model", "device", "weights", "reduction", "visual_tokens")
    assert [tuple(row[key] for key in keys) for row in rows] == expected


@pytest.mark.parametrize(
    ("axes", "block"),
    [
        ({"reduction": ("none", "prumerge"), "tokens": (64, 32), "gpu": ("v100", "t4")}, 4),
        ({"tokens": (64, 32), "model": MODELS}, 2),
        ({"weights": ("fp16", "int4"), "gpu": ("v100", "t4")}, 2),
        ({"gpu": ("v100", "t4"), "model": MODELS}, 2),
        ({"model": MODELS}, 2),
        ({}, 1),
    ],
)
def test_speedups_stand_against_the_first_row_and_the_first_of_the_innermost_axis(axes, block):
    table = asked(**axes, columns=("speedup", "block_speedup", "ttft_ms"))
    assert table.block == block
    rows = reports.document(table)["rows"]
    for i, row in enumerate(rows):
        assert row["speedup"] == rows[0]["ttft_roofline_s"] / row["ttft_roofline_s"]
        assert row["block_speedup"] == rows[i - i % block]["ttft_roofline_s"] / row["ttft_roofline_s"]


def test_tokens_win_over_a_reducer_before_the_model():
    rows = reports.document(asked(reduction=("prumerge",), tokens=(576, 40)))["rows"]
    assert [row["visual_tokens"] for row in rows] == [576, 40]


# --- keys and captions


def headings(**request):
    return [key.header for key in keys_of(asked(**request)).columns]


@pytest.mark.parametrize(
    ("axes", "headers", "caption"),
    [
        ({}, ["Model"], "Inference cost of LLaVA-1.5-7B on V100-SXM2-32GB in FP16 at 576 visual tokens."),
        ({"tokens": (64, 32)}, ["Tokens"], "Inference cost of LLaVA-1.5-7B on V100-SXM2-32GB in FP16."),
        ({"tokens": (64, 32), "columns": ("tokens",)}, ["Model"], None),  # a column already
        ({"reduction": ("none", "prumerge")}, ["Method", "Tokens"], None),
        ({"reduction": ("none", "prumerge"), "model": MODELS}, ["Method", "Tokens"], None),
        ({"reduction": ("vtw", "prumerge"), "model": MODELS}, ["Model", "Method", "Tokens"], None),
        ({"reduction": ("fastv",)}, ["Model"], "Inference cost of LLaVA-1.5-7B with FastV (k=2, r=0.5) on V100-"),
        ({"gpu": ("v100", "t4"), "weights": ("fp16", "int4")}, ["GPU", "Precision"], None),
        ({"model": ("llama-3-8b",)}, ["Model"], "Inference cost of Llama-3-8B on V100-SXM2-32GB in FP16."),
        ({"model": MODELS, "gpu": GPUS, "weights": ("fp16", "int4"), "tokens": (9, 8)}, None, "Inference cost."),
    ],
)  # fmt: skip
def test_what_varies_is_a_column_and_the_rest_stands_in_the_caption(axes, headers, caption):
    assert headers is None or headings(**axes) == headers
    assert caption is None or caption_of(asked(**axes)).startswith(caption)


def test_a_caption_of_ones_own_moves_what_is_shared_below():
    table = asked(tokens=(64, 32), caption="My caption")
    assert caption_of(table) == "My caption"
    assert notes_of(table)[0].startswith("Costs of LLaVA-1.5-7B on V100-SXM2-32GB in FP16, 60 text tokens")


def test_rows_without_a_reduction_bear_the_models_name():
    table = asked(model=MODELS, reduction=("none", "prumerge+", "vtw"))
    keys = keys_of(table)
    shown = [keys.columns[0].shown(point) for point in table.points]
    assert shown[:4] == ["LLaVA-1.5-7B", "+ PruMerge+", "+ VTW (k=16)", "LLaVA-NeXT-7B"]


def test_devices_of_one_name_are_told_apart(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text((ROOT / "hardware_specs/v100-sxm2-32gb.yaml").read_text().replace("value: 900", "value: 800"))
    paper = reports.printed(asked(gpu=("v100", str(mine))))
    assert [row.keys[0] for row in paper.rows] == ["V100-SXM2-32GB (v100)", f"V100-SXM2-32GB ({mine})"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_title(name):
    assert model_title(name).lower() == name


def test_a_path_is_its_own_title():
    assert model_title("some/config.json") == "some/config.json"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_title(name):
    needs = {"sequential": ":n=64", "spatial": ":n=64", "layers": ":2=288,16=144", "vtw": ":k=16"}
    spec = name + needs.get(name, "")
    assert method_title(spec).lower().startswith(parse_reduction(spec).name)
    assert parse_reduction(spec).title


def test_a_method_of_ones_own_needs_no_title(monkeypatch):
    page = (ROOT / "docs/token-reduction.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    module = ModuleType("perfkit.reduction.randomdrop")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)  # noqa: S102  # our own page
    monkeypatch.setattr(perfkit.reduction, "METHODS", (*METHODS, "randomdrop"))
    table = asked(reduction=("none", "randomdrop:k=2,n=64"))
    assert [row.keys[0] for row in reports.printed(table).rows] == ["LLaVA-1.5-7B", "+ randomdrop (k=2, n=64)"]


@pytest.mark.parametrize(
    ("formats", "title"),
    [
        ({}, "FP16"),
        ({"weights": "int8"}, "W8A16"),
        ({"precision": "int8"}, "INT8"),
        ({"weights": "fp8"}, "W FP8 A FP16"),
        ({"weights": "fp16", "activations": "fp32"}, "W FP16 A FP32, KV FP16"),
        ({"kv": "fp8"}, "FP16, KV FP8"),
    ],
)
def test_titles_of_formats(formats, title):
    table = asked(gpu=("h100",), **{key: (value,) for key, value in formats.items()})
    assert format_title(table.points[0].prediction.execution) == title


def test_the_usual_format():
    assert format_title(Execution()) == "FP16"


# --- notes


def test_every_column_is_described_and_labelled():
    for key in ALL:
        column = column_of(key)
        assert column.basis in BASES
        assert column.what
        (note,) = (note for note in notes_of(asked(columns=(key,))) if column.what in note)
        assert f". {column.basis.lower()}: {column.header.lower()} (" in note.lower()
    assert len({column_of(key).si_key for key in ALL}) == len(ALL)


def test_the_documentation_lists_every_column_in_order():
    page = (ROOT / "docs/tables.md").read_text()
    rows = [line.split("|") for line in page.split("## Columns")[1].split("\n") if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == list(ALL)
    assert [row[3].strip() for row in rows] == [column_of(key).basis for key in ALL]


def test_notes_say_what_the_figures_stand_on():
    table = asked(precision=("fp16", "int8"), batch=3, columns=("flops", "ttft_ms", "energy"))
    text = " ".join(notes_of(table))
    for part in (
        "60 text tokens (convention torch), 128 new tokens, batch 3, 1 image, fused attention, logits last.",
        "Convention torch: multiply-add = 2, causal mask in full, matrix products alone, of vision + reducer + ",
        "V100-SXM2-32GB (datasheet): fp16 125 TFLOP/s (tensor), int8 62.7 TOP/s (vector, by DP4A)",
        ", 32 GB at 900 GB/s, TDP 300 W.",
        "Predicted by the roofline: TTFT",
        "TDP x roofline time; no bound: Energy",
        f"By perfkit {perfkit.__version__}.",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("convention", "switches"),
    [
        ("fastv", "multiply-add = 1, causal mask in full, matrix products alone, of llm, no gate matrix in the FFN"),
        ("visionzip", "of llm, visual tokens alone, no gate matrix in the FFN, its own logits: none."),
        ("prumerge", "matrix products and element-wise work, of llm, work in b bits as b/16, by its own table of ops"),
    ],
)
def test_a_convention_is_described_where_it_counts_a_column(convention, switches):
    assert any(switches in note for note in notes_of(asked(convention=convention, columns=("flops",))))
    assert not any("Convention" in note for note in notes_of(asked(convention=convention, columns=("ttft_ms",))))


def test_a_convention_is_named_with_its_text_tokens_whatever_the_columns():
    assert "36 text tokens (convention fastv), " in notes_of(asked(convention="fastv", columns=("ttft_ms",)))[0]
    assert "40 text tokens, " in notes_of(asked(convention="fastv", text_tokens=40, columns=("ttft_ms",)))[0]


def test_notes_of_the_example_are_few():
    methods = asked(
        model=("llava-1.5-7b", "llava-1.5-13b"), reduction=("none", "prumerge+", "prumerge"), caption="Cost."
    )
    notes = notes_of(methods)
    assert len(notes) == 5
    assert not any("--" in note for note in notes)  # a paper has no command line


def test_a_device_that_is_not_named_after_its_file_says_which():
    (note,) = (n for n in notes_of(asked(gpu=("gb200",), columns=("kv",))) if "datasheet" in n)
    assert note.startswith("GB200-per-GPU (datasheet of gb200): ")


def test_columns_of_one_table_have_headers_of_their_own():
    headers = [column_of(key).header for key in ALL]
    assert len(set(headers)) == len(headers)
    assert column_of("block_speedup").header == "Speed-up in block"


def test_warnings_name_what_no_column_shows():
    table = asked(
        gpu=("v100-sxm2-16gb", "t4"),
        model=("llava-1.5-13b", "llava-1.5-7b"),
        reduction=("none", "fastv"),
        tokens=(576, 144),
        columns=("tokens",),
    )
    warnings = list(told(table))
    # 13B's 26.7 GB of weights fit neither card of 16 GB, whatever the tokens; 7B's 14.1 GB do.
    assert len(warnings) == 2 * 2 * 2
    assert all(warning.startswith("LLaVA-1.5-13B, ") for warning in warnings)
    assert warnings[0].startswith("LLaVA-1.5-13B, V100-SXM2-16GB, no reduction, 576 visual tokens: does not fit")
    assert warnings[-1].startswith("LLaVA-1.5-13B, T4, FastV (k=2, r=0.5), 144 visual tokens: does not fit")


def test_assumed_tokens_are_said_to_be():
    assert any("assumed" in note for note in notes_of(asked(reduction=("none", "prumerge"))))
    assert not any("assumed" in note for note in notes_of(asked()))


def test_a_device_without_tdp_has_no_energy():
    table = asked(gpu=("tpuv5e",), precision=("bf16",), columns=("energy",))
    assert reports.document(table)["rows"][0]["energy_at_tdp_j"] is None
    assert "{--}" in reports.printed(table).render("latex")
    assert any("TDP not published" in note for note in notes_of(table))


def test_rows_that_do_not_fit_share_a_footnote():
    table = asked(gpu=("v100", "t4"), model=("llava-1.5-13b", "llava-1.5-7b"), columns=("memory", "fits"))
    # 13B takes 27 GB in fp16, 7B 14.6 GB and 1 GiB beside: within 16 GB.
    assert [row["fits"] for row in reports.document(table)["rows"]] == [True, False, True, True]
    paper = reports.printed(table)
    assert [row.marks for row in paper.rows] == ["", "a", "", ""]
    assert [(note.mark, note.text) for note in paper.notes if note.mark] == [
        ("a", "Does not fit: memory plus 1 GiB for the runtime exceeds the card.")
    ]
    (warning,) = told(table)
    assert warning.startswith("LLaVA-1.5-13B, T4: does not fit: 28.5 GB")
    assert [row["warnings"] for row in reports.document(table)["rows"]][1] == [
        warning.removeprefix("LLaVA-1.5-13B, T4: ")
    ]


def test_a_context_that_is_exceeded_is_a_footnote():
    table = asked(text_tokens=4000, tokens=(576, 1))
    # 576 + 4000 + 128 = 4704 and 1 + 4000 + 128 = 4129, both beyond 4096.
    assert [len(remark.rows) for remark in footnotes_of(table)] == [1, 1]
    assert [row.marks for row in reports.printed(table).rows] == ["a", "b"]


def test_a_warning_of_all_rows_needs_no_mark():
    table = asked(model=("llava-1.5-13b",), gpu=("t4",), tokens=(576, 32))
    paper = reports.printed(table)
    assert [row.marks for row in paper.rows] == ["", ""]
    assert any(note.text.startswith("Does not fit") for note in paper.notes)
    assert len(warnings_of(table)) == 2  # each needs another card


# --- requests


@pytest.mark.parametrize(
    ("request_of", "error", "message"),
    [
        ({"gpu": ()}, InvalidValue, "gpu is empty"),
        ({"columns": ()}, InvalidValue, "columns is empty"),
        ({"columns": ("prefil_ms",)}, UnknownName, "unknown column 'prefil_ms'; nearest: prefill_ms"),
        ({"tokens": tuple(range(MAXIMUM_ROWS + 1))}, InvalidValue, "501 rows are no table for a paper: at most 500"),
        ({"label": "a}b"}, InvalidValue, "label must be letters, digits and"),
        ({"label": ""}, InvalidValue, "label must be"),
        ({"gpu": ("v10",)}, UnknownName, "unknown GPU 'v10'"),
        ({"model": ("llava",)}, UnknownName, "unknown model 'llava'"),
        ({"reduction": ("prumerg",)}, UnknownName, "unknown reduction 'prumerg'; nearest: prumerge"),
        ({"convention": "torhc"}, UnknownName, "unknown convention 'torhc'; nearest: torch"),
        ({"precision": ("fp17",)}, UnknownName, "unknown precision 'fp17'"),
        (
            {"precision": ("fp16", "bf16")},
            UnsupportedPrecision,
            "llava-1.5-7b on v100, bf16, no reduction: v100-sxm2-32gb has no engine for bf16 products",
        ),
        (
            {"tokens": (576, 577), "reduction": ("none", "vtw")},
            InvalidValue,
            "llava-1.5-7b on v100, fp16, no reduction, 577 tokens: 577 visual tokens: llava-1.5-7b makes at most 576",
        ),
        (
            {"reduction": ("fastv:k=40",), "weights": ("int4",), "kv": ("int8",)},
            InvalidValue,
            "llava-1.5-7b on v100, fp16, weights int4, KV int8, fastv:k=40: ",
        ),
        (
            {"convention": "pyramiddrop", "tokens": (0,)},
            InvalidValue,
            "0 tokens: pyramiddrop counts visual tokens only",
        ),
    ],
)
def test_what_cannot_be_is_named(request_of, error, message):
    with pytest.raises(error) as caught:
        asked(**request_of)
    assert str(caught.value).startswith(message) or message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_tables_are_one_tidy_table_and_no_page():
    one, two = asked(tokens=(32,)), asked(columns=("energy",))
    both = perfkit.report([one, two])
    assert [column.key for column in both.columns][-6:] == [
        "flops",
        "ttft_roofline_s",
        "prefill_roofline_s",
        "decode_roofline_s",
        "memory_bytes",
        "energy_at_tdp_j",
    ]
    assert len(both.rows) == 2
    with pytest.raises(InvalidValue, match="one table at a time, not 2"):
        reports.printed([one, two])


def test_a_data_frame_has_every_axis():
    frame = perfkit.report(asked(tokens=(64, 32))).to_frame()
    assert frame["visual_tokens"].tolist() == [64, 32]
    assert frame["prefill_roofline_s"].is_monotonic_decreasing


# --- the terminal


def test_a_terminal_sees_groups_prefixes_and_marks():
    table = asked(gpu=("v100", "t4"), model=("llava-1.5-13b",), tokens=(576, 32), columns=("flops", "ttft_ms", "fits"))
    lines = render_for_people(reports.overview(table)).splitlines()
    assert lines[0] == "Inference cost of LLaVA-1.5-13B in FP16."
    assert lines[1].split() == ["GPU", "Tokens", "FLOPs", "TTFT", "Fits", "note"]
    assert lines[3].split() == ["V100-SXM2-32GB", "576", "16.9", "TFLOP", "144", "ms", "yes"]
    assert lines[4].split()[0] == "32"
    assert lines[5] == ""
    assert lines[6].split()[-2:] == ["no", "a"]
    assert lines[-1] == "[a] Does not fit: memory plus 1 GiB for the runtime exceeds the card."


def test_the_usual_table_fits_100_columns():
    table = asked(
        model=("llava-1.5-7b", "llava-1.5-13b"),
        gpu=("v100", "a100"),
        reduction=("none", "fastv:k=2,r=0.5"),
        columns=("flops", "prefill_ms", "decode_ms", "memory", "speedup"),
    )
    text = render_for_people(reports.overview(table), width=100)
    assert "not shown" not in text
    assert max(map(len, text.splitlines())) <= 100


# --- command lines


def test_a_request_comes_back_as_its_command_line():
    request = TableRequest(
        gpu=("v100", "my card.yaml"),
        reduction=("none", "layers:2=288,16=144"),
        tokens=(576, 0),
        batch=4,
        columns=("flops", "kv"),
        caption="it's",
        text_tokens=12,
    )
    assert command_of(request) == (
        "perfkit table --gpu v100 --gpu 'my card.yaml' --reduction none --reduction layers:2=288,16=144 "
        "--tokens 576,0 --text-tokens 12 --batch 4 --columns flops,kv --caption 'it'\"'\"'s'"
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_a_shell_takes_quoted_arguments_back(arguments):
    line = quoted(["printf", "%s\\0", *arguments, "end"])
    assert len(line.splitlines()) == 1
    assert "\r" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [*arguments, "end"]


def test_bytes_that_are_no_text_come_back_as_bytes():
    done = subprocess.run(["bash", "-c", quoted(["printf", "%s", "a\udcffb"])], capture_output=True, check=True)
    assert done.stdout == b"a\xffb"
