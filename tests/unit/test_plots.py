"""Charts of predictions: the numbers behind them by hand, and pictures whose labels can be read."""

import re
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit import reports
from perfkit.charts import breakdown, roofline, tokens
from perfkit.charts.curves import rooms_of, series_of
from perfkit.charts.placing import Box, Disc, Obstacles, Wish, around, cross, place, spread
from perfkit.charts.rendering import ENDINGS
from perfkit.charts.roofline_labels import LABELLED
from perfkit.charts.sheet import EDGE, text_width, wrapped
from perfkit.charts.style import WIDTHS
from perfkit.errors import InvalidValue, UnknownName
from perfkit.latency import analyze
from perfkit.models import preset_names
from perfkit.views.asking import predictions_of
from perfkit.views.breakdown import WORK, breakdown_view
from perfkit.views.naming import labels_of
from perfkit.views.roofline import NEAR, roofline_view
from perfkit.views.tokens import MOST_COUNTS, tokens_view

# LLaVA-1.5-7B: weights of the linear layers of all 32 layers, 4 of 4096 x 4096 and 3 of 4096 x 11008, and of lm_head.
LAYERS = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)  # 6,476,005,376
LM_HEAD = 4096 * 32064  # 131,334,144


def point_of(view, phase, label, roof=0):
    (found,) = [point for point in view.roofs[roof].points if (point.phase, point.label) == (phase, label)]
    return found


# --- roofline: numbers


def test_linear_layers_of_prefill_are_one_point_on_the_flat_roof():
    point = point_of(roofline_view([analyze("v100")]), "prefill", "linear layers")
    assert point.names == ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert point.launches == 7 * 32
    assert point.flops == 2 * 636 * LAYERS  # 8,237,478,838,272
    assert point.roofline_s == pytest.approx(8_237_478_838_272 / 125e12)  # 65.90 ms, of 76.59 ms
    assert point.share == pytest.approx(0.0658998 / 0.0765949, rel=1e-4)
    assert (point.bound, point.flops_per_s) == ("compute", pytest.approx(125e12))


def test_linear_layers_of_decode_stand_where_bandwidth_leaves_them():
    point = point_of(roofline_view([analyze("v100")]), "decode", "linear layers")
    assert point.flops == 2 * (LAYERS + LM_HEAD)
    # Bytes: weights, 2 each; in and out of 32 layers 2 (7 * 4096 + 2 * 11008 + ... ): below a thousandth of them.
    assert point.intensity == pytest.approx(1, rel=1e-3)
    assert point.flops_per_s == pytest.approx(point.intensity * 900e9)
    assert point.bound == "memory"


def test_lm_head_of_one_row_stands_apart_from_the_layers_of_prefill():
    point = point_of(roofline_view([analyze("v100")]), "prefill", "lm_head")
    assert (point.flops, point.bound) == (2 * LM_HEAD, "memory")


def test_ceilings_are_those_of_the_datasheet_and_ridges_their_quotients():
    (roof,) = roofline_view([analyze("v100")]).roofs
    assert [(c.peak.engine, c.peak.flops_per_s, c.products) for c in roof.ceilings] == [
        ("tensor", 125e12, True),
        ("vector", 15.7e12, False),
    ]
    assert [c.ridge for c in roof.ceilings] == [pytest.approx(125e12 / 900e9), pytest.approx(15.7e12 / 900e9)]


def test_products_on_the_vector_engine_have_one_ceiling():
    (roof,) = roofline_view([analyze("v100", precision="fp32")]).roofs
    assert [(c.peak.engine, c.products) for c in roof.ceilings] == [("vector", True)]


ASKED = [
    {},
    {"tokens": 32, "batch": 8},
    {"attention": "eager"},
    {"precision": "fp32"},
    {"weights": "int4"},
    {"reduction": "fastv:k=2,r=0.5"},
    {"model": "llama-3-8b", "text_tokens": 2048},
    {"model": "mixtral-8x7b"},
    {"model": "bert-base"},
    {"model": "clip-vit-l-14-336"},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_no_point_is_above_the_roof_and_all_time_is_accounted_for(asked):
    prediction = analyze("v100", **asked)
    (roof,) = roofline_view([prediction]).roofs
    peak = max(c.peak.flops_per_s for c in roof.ceilings)
    for point in roof.points:
        assert point.flops_per_s <= (1 + 1e-12) * min(peak, point.intensity * 900e9)
        if point.bound == "memory":
            assert point.flops_per_s == pytest.approx(point.intensity * 900e9)
    whole = sum(time.roofline_s for time in prediction.ops)
    assert sum(point.roofline_s for point in roof.points) + roof.unplaced_share * whole == pytest.approx(whole)
    first = sum(point.share for point in roof.points if point.phase != "decode")
    assert 0.9 < first <= 1 + 1e-9  # the rest are copies


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_point_holds_ops_of_a_kind_that_are_near_each_other(asked):
    prediction = analyze("v100", **asked)
    for point in roofline_view([prediction]).roofs[0].points:
        members = [t.cost for t in prediction.ops if t.cost.phase == point.phase and t.cost.name in point.names]
        assert {cost.kind for cost in members} == {point.kind}
        near = [(cost.matmul_flops or cost.vector_flops) / cost.bytes for cost in members]
        if prediction.workload.reduction == "":  # with it, ops of one name stand at several places
            assert max(near) <= NEAR * min(near)


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (["v100"], {"models": ["llava-1.5-7b", "llava-1.5-13b"]}, "one model at a time, not 2: llava-1.5-7b, llava"),
        (["v100", "a100", "h100", "l4", "t4"], {}, "at most 4 devices, not 5: v100-sxm2-32gb"),
        (["v100"], {"tokens": [1, 2, 3, 4]}, "at most 3 workloads, not 4"),
        ([], {}, "nothing to show"),
    ],
)
def test_what_a_roofline_chart_cannot_hold_is_refused(gpus, asked, message):
    with pytest.raises(InvalidValue, match=message):
        roofline_view(predictions_of(gpus, **asked))


# --- tokens: numbers


@pytest.mark.parametrize(
    ("gpu", "first"),
    [
        # gate, up and down, two thirds of the linear layers, at n rows: 2 n 4096 11008 FLOP over
        # 2 (n (4096 + 11008) + 4096 11008) B reach the ridge r where n = r 45,088,768 / (45,088,768 - 15,104 r).
        ("v100", 86),  # r = 138.89: n = 145.66, so 146 rows, 60 of them text
        ("a100", 102),  # r = 312 / 2.039 = 153.02: n = 161.3, so 162
        ("h100", 268),  # r = 989.4 / 3.35 = 295.34: n = 327.7, so 328
        ("l4", 407),  # r = 121 / 0.3 = 403.3: n = 466.3, so 467
    ],
)
def test_the_count_from_which_prefill_is_bound_by_compute(gpu, first):
    (curve,) = tokens_view([analyze(gpu)]).curves
    assert [crossing[:2] for crossing in curve.crossings] == [(first, "compute")]
    for count, bound in ((first - 1, "memory"), (first, "compute")):
        prefill = next(phase for phase in analyze(gpu, tokens=count).phases if phase.phase == "prefill")
        assert prefill.bound == bound
    assert curve.crossings[0].prefill_s == pytest.approx(prefill.roofline_s)


def test_a_change_between_counts_that_were_left_out_is_found_exactly():
    (curve,) = tokens_view([analyze("v100", images=20)]).curves
    assert len(curve.tokens) <= MOST_COUNTS + 2  # of 11,521, and the marks
    assert 86 not in curve.tokens
    assert [crossing[:2] for crossing in curve.crossings] == [(86, "compute")]


def test_prefill_of_a_batch_is_bound_by_compute_throughout():
    (curve,) = tokens_view([analyze("v100", batch=8)]).curves  # 480 rows of text alone
    assert curve.crossings == ()
    assert tokens.bounds_of(curve) == "prefill compute-bound"


def test_a_curve_is_what_single_predictions_are():
    (curve,) = tokens_view([analyze("v100")]).curves
    assert list(curve.tokens) == list(range(577))
    for count in (0, 1, 32, 576):
        one = analyze("v100", tokens=count)
        assert curve.swept.ttft_roofline_s[count] == pytest.approx(one.ttft_roofline_s)
        assert curve.swept.tpot_roofline_s[count] == pytest.approx(one.tpot_roofline_s)
        assert curve.swept.footprint.total[count] == one.footprint.total
        assert curve.first_flops[count] == sum(p.flops for p in one.phases if p.phase != "decode")
    assert curve.room_bytes == 32e9 - 2**30


@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        ({}, (0, 576)),
        ({"images": 2}, (0, 1152)),
        ({"reduction": "prumerge"}, (1, 576)),
        ({"reduction": "fastv:k=2,r=0.5"}, (1, 576)),
        ({"reduction": "pyramiddrop:stages=4,keep=0.5"}, (8, 576)),  # 8, 4, 2, 1
        ({"reduction": "sparsevlm:layers=2/6/15,tokens=300/200/110"}, (300, 576)),
        ({"model": "llava-next-7b"}, (0, 2928)),
        ({"model": "llava-next-7b", "reduction": "sequential:n=64"}, (1, 2880)),  # row ends are no patches
    ],
)
def test_a_curve_covers_the_counts_that_its_reduction_takes(asked, ends):
    (curve,) = tokens_view([analyze("v100", **asked)]).curves
    assert (curve.tokens[0], curve.tokens[-1]) == ends


def test_marks_are_averages_of_the_papers_on_models_like_theirs():
    assert [*tokens_view([analyze("v100")]).marks] == [("PruMerge", 32), ("PruMerge+", 144)]
    assert [*tokens_view([analyze("v100", images=2)]).marks] == [("PruMerge", 64), ("PruMerge+", 288)]
    assert tokens_view([analyze("v100", "llava-next-7b")]).marks == ()
    assert tokens_view([analyze("v100", reduction="prumerge")]).marks == ()


def test_predictions_that_differ_in_tokens_alone_are_one_curve():
    assert len(tokens_view(predictions_of(["v100"], tokens=[576, 32])).curves) == 1


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (["v100"], {"models": ["llama-2-7b"]}, "llama-2-7b: there are no visual tokens to vary"),
        (["v100"], {"models": ["clip-vit-l-14-336"]}, "no visual tokens to vary"),
        (["v100"], {"tokens": [0]}, "no visual tokens to vary"),
        (["v100", "a100", "h100", "l4", "t4"], {}, "at most 4 curves, not 5"),
    ],
)
def test_what_a_chart_of_tokens_cannot_show_is_refused(gpus, asked, message):
    with pytest.raises(InvalidValue, match=message):
        tokens_view(predictions_of(gpus, **asked))


def test_room_far_beyond_what_is_used_is_named_and_not_drawn():
    rooms = rooms_of(series_of(tokens_view(predictions_of(["v100", "h100"]))))
    # 14.6 GB are used, and 2.5 times that is 36.4 GB: 32 GB less 1 GiB are drawn, 80 GB less 1 GiB are not.
    assert [(room.devices, room.drawn) for room in rooms] == [(("v100-sxm2-32gb",), True), (("h100-sxm-80gb",), False)]


# --- breakdown: numbers


def test_parts_of_a_request_by_hand():
    (bar,) = breakdown_view([analyze("v100")]).bars
    parts = {(part.phase, part.work): part.roofline_s for part in bar.first}
    # Layers at 125 TFLOP/s, and lm_head: 2 (4096 * 32064 + 4096 + 32064) B at 900 GB/s.
    lm_head_s = 2 * (LM_HEAD + 4096 + 32064) / 900e9
    assert parts["prefill", "linear layers"] == pytest.approx(2 * 636 * LAYERS / 125e12 + lm_head_s)  # 66.19 ms
    # Gathered and overwritten embeddings, and the cache: (2 * 636 + 2 * 576 + 32 * 4 * 636) rows of 4096, 2 B each.
    assert parts["prefill", "copies"] == pytest.approx((2 * 636 + 2 * 576 + 32 * 4 * 636) * 4096 * 2 / 900e9)
    assert ("decode", "linear layers") not in parts


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_parts_make_up_the_times_of_the_prediction(asked):
    prediction = analyze("v100", **asked)
    (bar,) = breakdown_view([prediction]).bars
    assert sum(part.roofline_s for part in bar.first) == pytest.approx(prediction.ttft_roofline_s)
    assert sum(part.share for part in bar.first) == pytest.approx(1)
    assert sum(part.roofline_s for part in bar.step) == pytest.approx(prediction.tpot_roofline_s or 0)
    assert {part.phase for part in bar.step} <= {"decode"}


def test_every_kind_of_op_is_a_sort_of_work():
    methods = ["prumerge", "prumerge+", "fastv:k=2,r=0.5", "pyramiddrop:stages=4,keep=0.5", "sparsevlm", "vtw:k=16"]
    asked = [{"model": name} for name in preset_names()] + [{"reduction": method} for method in methods]
    asked += [{"attention": "eager"}, {"model": "llama-3-8b", "attention": "eager"}]
    found = {time.cost.kind for one in asked for time in analyze("h100", **one).ops}
    assert found <= {kind for kinds in WORK.values() for kind in kinds}


def test_more_requests_than_a_picture_holds_are_refused():
    with pytest.raises(InvalidValue, match="at most 12 requests, not 13"):
        breakdown_view(predictions_of(["v100"], tokens=list(range(13))))


# --- what is asked, and how it is called


def test_requests_are_told_apart_by_what_differs():
    predictions = predictions_of(["v100", "h100"], tokens=[576, 0])
    assert labels_of(predictions) == (
        "v100-sxm2-32gb, 576 visual tokens",
        "v100-sxm2-32gb, 0 visual tokens",
        "h100-sxm-80gb, 576 visual tokens",
        "h100-sxm-80gb, 0 visual tokens",
    )
    assert labels_of(predictions[:1]) == ("v100-sxm2-32gb",)
    reduced = predictions_of(["v100"], reductions=["none", "prumerge", "fastv:k=2,r=0.5"])
    assert labels_of(reduced) == ("576 visual tokens", "prumerge, 32 visual tokens", "fastv:k=2,r=0.5")


def test_two_names_of_one_device_are_one_request():
    assert len(predictions_of(["v100", "v100-sxm2-32gb"])) == 1


# --- reports


@pytest.mark.parametrize("make", [roofline_view, tokens_view, breakdown_view])
def test_tables_and_json_of_a_view_tell_its_numbers(make):
    view = make(predictions_of(["v100", "h100"]))
    table, document = reports.report(view), reports.document(view)
    assert {row["device"] for row in table.records()} == {"v100-sxm2-32gb", "h100-sxm-80gb"}
    (several,) = [value for value in document.values() if isinstance(value, list) and len(value) == 2][:1]
    assert [one["device"] for one in several] == ["v100-sxm2-32gb", "h100-sxm-80gb"]
    assert all(shown.rows and shown.title for shown in reports.overview(view))


def test_the_table_of_tokens_has_every_count():
    rows = list(reports.report(tokens_view([analyze("v100")])).records())
    assert [row["visual_tokens"] for row in rows] == list(range(577))
    assert rows[32]["first_flops"] == sum(p.flops for p in analyze("v100", tokens=32).phases if p.phase != "decode")
    assert [row["prefill_bound"] for row in rows].index("compute") == 86


# --- pictures

KINDS = {
    "roofline": (roofline_view, roofline.figure_of, roofline.draw_roofline),
    "tokens": (tokens_view, tokens.figure_of, tokens.draw_tokens),
    "breakdown": (breakdown_view, breakdown.figure_of, breakdown.draw_breakdown),
}
TEXTS = {"models": ["llama-2-7b"]}
DRAWN = [
    ("roofline", ["v100"], {}),
    ("roofline", ["h100"], {"models": ["llava-1.5-13b"]}),
    ("roofline", ["v100", "h100"], {"tokens": [576, 32]}),
    ("roofline", ["v100", "a100", "h100", "l4"], {"tokens": [576, 144, 32]}),
    ("roofline", ["v100"], {"tokens": [576, 144, 0]}),
    ("roofline", ["h100"], {"batches": [8]}),
    ("roofline", ["v100"], TEXTS),
    ("roofline", ["a100"], {"models": ["bert-base"]}),
    ("tokens", ["v100"], {}),
    ("tokens", ["h100"], {"batches": [64]}),
    ("tokens", ["v100", "h100"], {"models": ["llava-1.5-7b", "llava-1.5-13b"]}),
    ("tokens", ["v100"], {"reductions": ["none", "fastv:k=2,r=0.5"], "batches": [1, 8]}),
    ("breakdown", ["v100"], {}),
    ("breakdown", ["v100", "h100"], {"tokens": [576, 144, 32, 0]}),
    ("breakdown", ["v100"], {"reductions": ["none", "prumerge", "fastv:k=2,r=0.5", "sparsevlm"], "batches": [1, 8]}),
    ("breakdown", ["v100"], {"models": ["llama-2-7b", "bert-base"]}),
]


def texts_of(figure, dpi):
    """Texts of a figure that are seen, and where."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure.dpi = dpi
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [(text, text.get_window_extent(canvas.get_renderer())) for text in shown]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("kind", "gpus", "asked"), DRAWN, ids=str)
def test_no_text_covers_another_or_leaves_the_picture(kind, gpus, asked, width):
    view, figure_of, _ = KINDS[kind]
    figure = figure_of(view(predictions_of(gpus, **asked)), width)
    assert figure.get_size_inches()[0] == WIDTHS[width]
    assert figure.get_size_inches()[1] < 9  # of a page of 11 inches
    for dpi in (72, 144):  # of svg and pdf, and of png
        boxes = texts_of(figure, dpi)
        pairs = [(one, other) for i, one in enumerate(boxes) for other in boxes[:i]]
        assert [(a.get_text(), b.get_text()) for (a, box), (b, other) in pairs if box.overlaps(other)] == []
        across, up = figure.get_size_inches() * dpi
        assert [t.get_text() for t, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > across or b.y1 > up] == []
        assert {7.0 <= text.get_fontsize() <= 9.0 for text, _ in boxes} == {True}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("asked", [{}, {"model": "llava-1.5-13b"}, {"tokens": 32}, {"batch": 8}], ids=str)
@pytest.mark.parametrize("gpu", ["v100", "h100"])
def test_ops_that_take_most_of_the_time_are_named(gpu, asked, width):
    view = roofline_view([analyze(gpu, **asked)])
    seen = " ".join(text.get_text().replace("\n", " ") for text, _ in texts_of(roofline.figure_of(view, width), 72))
    (roof,) = view.roofs
    for point in roof.points:
        if point.share > 10 * LABELLED:
            assert f"{point.phase}: {point.label}, {100 * point.share:.0f}\N{NO-BREAK SPACE}%" in seen
    assert f"ridge {roof.ceilings[0].ridge:.3g} FLOP/B" in seen
    assert roof.prediction.device.bandwidth.printed in seen
    assert "predicted" in seen


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_every_card_is_named_with_its_room_and_what_takes_memory(batch, width):
    view = tokens_view(predictions_of(["v100", "a100", "h100"], batches=[batch]))
    seen = [text.get_text() for text, _ in texts_of(tokens.figure_of(view, width), 72)]
    room = next(text for text in seen if text.startswith("room: v100"))
    beyond = "" if batch == 64 else " (not drawn)"  # of 43 GB; else 17.7 and 14.6 GB are used
    assert " ".join(room.split()) == (
        f"room: v100-sxm2-32gb 30.9 GB; a100-sxm-80gb and h100-sxm-80gb 78.9 GB{beyond}"  # 32 and 80 GB less 1.07
    )
    if batch < 64:  # where what they name is high enough to be named
        assert "weights: 14.1 GB" in seen
        assert any(text.startswith("KV cache and activations: ") for text in seen)


def test_a_mark_stands_where_its_numbers_are_and_its_disc_has_the_area_of_its_share():
    view = roofline_view([analyze("v100")])
    (axes,) = roofline.figure_of(view, "page").axes
    discs = {
        (line.get_xdata()[0], line.get_ydata()[0]): line.get_markersize()
        for line in axes.get_lines()
        if line.get_marker() == "o" and line.get_zorder() == 2.5
    }
    first, second = (point_of(view, phase, "linear layers") for phase in ("prefill", "decode"))
    areas = [discs[point.intensity, point.flops_per_s] ** 2 for point in (first, second)]
    assert areas[0] / areas[1] == pytest.approx(first.share / second.share)


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_of_several_devices_say_of_which(width):
    view = roofline_view(predictions_of(["v100", "mi300x", "h100", "a100"], tokens=[576, 144, 32]))
    seen = [text.get_text() for text, _ in texts_of(roofline.figure_of(view, width), 72)]
    # 125 / 0.9, 1307.4 / 5.3, 989.4 / 3.35 and 312 / 2.039 FLOP/B
    assert {"v100\n139", "mi300x\n247", "h100\n295", "a100\n153"} <= set(seen)
    labels = [text for text in seen if "linear" in text and "layers" in text]
    assert labels
    assert all(text.startswith(("v100 ", "mi300x ", "h100 ", "a100 ")) for text in labels)


def test_the_mark_of_the_largest_share_is_drawn_over_the_others():
    view = roofline_view([analyze("v100")])
    (axes,) = roofline.figure_of(view, "page").axes
    drawn = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_zorder() == 3]
    rising = sorted(view.roofs[0].points, key=lambda point: point.share)
    assert drawn == [(point.intensity, point.flops_per_s) for point in rising]


@pytest.mark.parametrize("gpus", [["tpuv5e"], ["v100", "h100"]])
def test_areas_of_memory_are_in_the_legend_even_where_they_are_too_thin_for_a_label(gpus):
    figure = tokens.figure_of(
        tokens_view(predictions_of(gpus, precision="bf16" if len(gpus) == 1 else "fp16")), "column"
    )
    legend = [text.get_text() for one in figure.legends for text in one.get_texts()]
    assert {"weights", "KV cache and activations"} <= set(legend)


def test_workloads_are_named_by_what_differs():
    figure = roofline.figure_of(roofline_view(predictions_of(["v100"], batches=[1, 8])), "page")
    seen = [text.get_text() for text, _ in texts_of(figure, 72)]
    assert {"batch 1", "batch 8"} <= set(seen)
    assert any(text.startswith("576 visual tokens, 60 text and 128 new tokens, fp16") for text in seen)


def test_two_files_of_one_name_are_two_devices(tmp_path):
    from perfkit.hardware import specs_folder

    file = tmp_path / "v100-sxm2-32gb.yaml"
    file.write_text((specs_folder() / file.name).read_text().replace("value: 125, ", "value: 100, "))
    view = roofline_view(predictions_of(["v100", str(file)]))
    assert [roof.ceilings[0].peak.flops_per_s for roof in view.roofs] == [125e12, 100e12]
    lines = roofline.figure_of(view, "page").axes[0].get_lines()
    assert {125e12, 100e12} <= {line.get_ydata()[-1] for line in lines if line.get_linestyle() == "-"}


def test_series_are_told_apart_without_colour():
    view = tokens_view(predictions_of(["v100", "a100", "h100", "l4"]))
    assert len({one.marker for one in series_of(view)}) == 4
    lines = tokens.figure_of(view, "page").axes[1].get_lines()
    assert {line.get_linestyle() for line in lines} >= {"-", "--"}  # TTFT and prefill


@pytest.mark.parametrize(("kind", "ending"), list(product(KINDS, ENDINGS)))
def test_every_format_is_drawn_and_the_same_value_gives_the_same_bytes(kind, ending, tmp_path):
    make, _, draw = KINDS[kind]
    view = make([analyze("v100")])
    draw(view, tmp_path / f"a{ending}")
    draw(view, tmp_path / f"b{ending}", "page")
    first = (tmp_path / f"a{ending}").read_bytes()
    assert first == (tmp_path / f"b{ending}").read_bytes()
    assert not re.search(rb"dc:date|CreationDate|Software", first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_holds_the_tables_behind_the_picture(kind, tmp_path):
    make, _, draw = KINDS[kind]
    view = make([analyze("v100")])
    draw(view, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.count("<table>") == len(reports.overview(view))
    assert page.count("<svg") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_width_is_refused_and_nothing_is_written(kind, tmp_path):
    make, _, draw = KINDS[kind]
    with pytest.raises(UnknownName, match="unknown width 'wide'; allowed: column, page"):
        draw(make([analyze("v100")]), tmp_path / "a.svg", "wide")
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_broken_into_lines():
    room = 72 * WIDTHS["column"] - 2 * EDGE
    lines = wrapped("Roofline of " + "a-very-long-name-" * 12, room, 8.5, bold=True)
    assert all(text_width(line, 8.5, bold=True) <= room for line in lines)
    assert "".join(lines).replace(" ", "").endswith("a-very-long-name-" * 12)


# --- places of labels

coordinates = st.floats(0, 300)
marks = st.lists(st.tuples(coordinates, coordinates, st.floats(5, 90), st.floats(5, 20)), min_size=1, max_size=12)


@given(marks)
def test_placed_labels_cover_no_label_no_mark_no_line_and_stay_inside(drawn):
    frame, line = Box(0, 0, 300, 300), ((0.0, 0.0), (300.0, 300.0))
    wishes = [around((x, y), (width, height), 3, -60) for x, y, width, height in drawn]
    discs = tuple(Box(x, y, x, y).grown(3) for x, y, _, _ in drawn)
    obstacles = Obstacles(discs, (line,), (line,))
    boxes = place(wishes, frame, obstacles)
    assert boxes == place(wishes, frame, obstacles)
    placed = [(wish, box) for wish, box in zip(wishes, boxes, strict=True) if box]
    for i, (wish, box) in enumerate(placed):
        assert box.within(frame)
        assert not any(box.overlaps(disc) for disc in discs)
        assert not box.meets(line)
        leader = wish.leader(box)
        assert leader is None or not cross(leader, line)
        for other_wish, other in placed[:i]:
            assert not box.overlaps(other)
            assert not (leader and other.meets(leader))
            other_leader = other_wish.leader(other)
            assert not (leader and other_leader and cross(leader, other_leader))


def test_a_leader_goes_around_discs_of_others_where_it_can():
    mark, through, clear = (0.0, 0.0), Box(40, -5, 60, 5), Box(-5, 40, 5, 60)
    wish, other = Wish((through, clear), mark, 3), Disc((20.0, 0.0), 4)
    assert place([wish], Box(-99, -99, 99, 99), Obstacles(discs=(other, Disc(mark, 3)))) == [clear]
    assert place([wish._replace(boxes=(through,))], Box(-99, -99, 99, 99), Obstacles(discs=(other,))) == [through]
    assert place([wish], Box(-99, -99, 99, 99), Obstacles(drops=(((50.0, -9.0), (50.0, 9.0)),))) == [clear]


def test_a_label_without_a_free_place_is_left_out():
    wall = Box(-10, -10, 310, 310)
    assert place([Wish((Box(0, 0, 9, 9),))], Box(0, 0, 300, 300), Obstacles((wall,))) == [None]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 8)), min_size=1, max_size=8))
def test_spread_things_do_not_cover_each_other(things):
    centers, heights = zip(*things, strict=True)
    found = spread(centers, heights, 100)
    order = sorted(range(len(things)), key=lambda i: found[i])
    for lower, upper in pairwise(order):
        assert found[upper] - found[lower] >= (heights[upper] + heights[lower]) / 2 - 1e-9
    assert all(center + height / 2 <= 100 + 1e-9 for center, height in zip(found, heights, strict=True))
