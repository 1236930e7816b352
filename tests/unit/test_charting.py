"""`perfkit.chart`: one door to every picture; gains of a reducer and accuracy at a glance."""

import builtins

import pytest
from test_charts import STARTS, measurement, texts_overlap

import perfkit
from perfkit.charts import accuracy, gains
from perfkit.charts.charting import Chart
from perfkit.errors import InvalidValue, MachineError, UnknownName
from perfkit.serving.simulating import Simulated
from perfkit.validation.judging import validate
from perfkit.views.gains import gains_view


def asked(*gpus, methods=(None, "prumerge"), batches=(1, 64), answers=(1, 128), **more):
    return [
        perfkit.analyze(gpu, reduction=method, batch=batch, new_tokens=answer, **more)
        for gpu in gpus
        for method in methods
        for batch in batches
        for answer in answers
    ]


@pytest.fixture(scope="module")
def view():
    return gains_view(asked("v100", "h100"))


@pytest.fixture(scope="module")
def validation():
    return validate([measurement((576, 32), (1, 8))])


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")) if text.get_text()]


# --- the door


def test_a_notebook_sees_a_png_and_a_short_text(view):
    chart = perfkit.chart(view, "column")
    assert repr(chart) == "<picture of a GainsView, column wide>"
    assert chart._repr_png_().startswith(STARTS[".png"])
    assert chart._repr_png_() == chart._repr_png_()


@pytest.mark.parametrize("ending", STARTS)
def test_a_chart_is_saved_in_every_format(view, ending, tmp_path):
    perfkit.chart(view).save(tmp_path / f"a{ending}")
    assert (tmp_path / f"a{ending}").read_bytes().startswith(STARTS[ending])


def test_a_page_has_the_numbers_below_the_picture(view, tmp_path):
    perfkit.chart(view).save(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert "llava-1.5-7b: what prumerge gains on v100-sxm2-32gb" in page
    assert "only reduced" in page


def test_what_has_no_picture_is_told_so(view, validation):
    with pytest.raises(InvalidValue, match=r"no picture of Prediction: RooflineView, .* have one"):
        perfkit.chart(perfkit.analyze("v100"))
    with pytest.raises(InvalidValue, match="no picture of nothing"):
        perfkit.chart([])
    with pytest.raises(InvalidValue, match="no picture of GainsView and Validation"):
        perfkit.chart([view, validation])
    with pytest.raises(UnknownName, match="unknown width 'wide'"):
        perfkit.chart(view, "wide")


def test_several_of_a_kind_that_has_one_picture_each_are_refused(view):
    with pytest.raises(InvalidValue, match="one GainsView at a time"):
        perfkit.chart([view, view])
    assert isinstance(perfkit.chart([view]), Chart)


def test_simulations_are_drawn_together_and_alone(monkeypatch):
    seen = []
    monkeypatch.setattr("perfkit.charts.simulated.figure_of", lambda several, width: seen.append((several, width)))
    one = object.__new__(Simulated)
    perfkit.chart(one).figure()
    perfkit.chart([one, one], "column").figure()
    assert seen == [((one,), "page"), ((one, one), "column")]


def test_no_chart_without_matplotlib(view, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match="charts need matplotlib"):
        perfkit.chart(view)


# --- gains


def test_a_gain_is_a_request_over_a_request(view):
    found = view.panels[0].gains[1, 128]
    # TTFT 76.59 and 19.69 ms; a mean step moves weights 13.2152 GB, activations 0.012 GB and a cache of 524,288 bytes
    # a token, of 576 and 32 visual ones, 60 + 63.5 + 1 others: 13.594 and 13.309 GB at 900 GB/s, 15.105 and 14.788 ms.
    assert found.roofline == pytest.approx((76.59 + 127 * 15.105) / (19.69 + 127 * 14.788), rel=1e-3)
    before, after = found.before, found.after
    assert found.expected == pytest.approx(
        (before.ttft_expected_s + 127 * before.tpot_expected_s) / (after.ttft_expected_s + 127 * after.tpot_expected_s)
    )


def test_a_request_of_one_token_is_its_first(view):
    found = view.panels[0].gains[1, 1]
    assert found.before.request_expected_s == found.before.ttft_expected_s
    assert found.before.request_roofline_s == found.before.ttft_roofline_s


def test_a_model_that_makes_no_tokens_has_no_expected_request():
    encoder = perfkit.analyze("v100", "bert-base")
    assert encoder.request_expected_s is None
    assert encoder.request_roofline_s == encoder.ttft_roofline_s


def test_room_tells_what_memory_holds():
    # V100 of 32 GB: 37 requests of LLaVA-1.5-7B fit unreduced, 133 with PruMerge (docs/when-reducers-pay.md).
    found = gains_view(asked("v100", batches=(37, 38, 134), answers=(128,))).panels[0].gains
    assert [found[batch, 128].room for batch in (37, 38, 134)] == ["both", "only reduced", "neither"]


def test_panels_are_gpus_and_methods_over_the_same_places():
    view = gains_view(asked("h100", methods=("prumerge", None, "prumerge+"), batches=(8, 1), answers=(64,)))
    assert [(panel.device, panel.reduction) for panel in view.panels] == [
        ("h100-sxm-80gb", "prumerge"),
        ("h100-sxm-80gb", "prumerge+"),
    ]
    assert (view.batches, view.new_tokens) == ((1, 8), (64,))


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "nothing to show: no prediction"),
        (asked("v100", methods=(None,)), "nothing to compare: no prediction has a reduction"),
        (
            asked("v100", methods=("prumerge",), batches=(4,), answers=(16,)),
            "prumerge on v100-sxm2-32gb, batch 4, 16 new tokens: the same without a reduction is missing",
        ),
        (
            [*asked("v100", methods=(None,), runtime="eager"), *asked("v100", methods=("prumerge",))],
            "without a reduction is missing",
        ),
        ([perfkit.analyze("v100", model) for model in ("llava-1.5-7b", "llava-1.5-13b")], "one model, not 2"),
        (
            asked(*["v100", "a100", "h100", "l4", "l40s", "h200", "a10"], batches=(1,), answers=(1,)),
            "at most 6 GPUs and methods, not 7",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(predictions, message):
    with pytest.raises(InvalidValue, match=message):
        gains_view(predictions)


def test_a_cell_says_both_times_as_fast_and_none_where_memory_holds_no_request(view):
    texts = texts_of(gains.figure_of(view, "page"))
    for panel in view.panels:
        for gain in panel.gains.values():
            assert (f"{gain.roofline:.2f}" in texts) == (gain.room == "both")
            assert (f"{gain.expected:.2f}" in texts) == (gain.room == "both")
    assert "fits only with the reducer" in texts
    assert "slower" not in texts


def test_the_report_of_gains_has_their_requests(view):
    table = perfkit.report(view)
    first = next(table.records())
    assert first["before_roofline_s"] / first["after_roofline_s"] == pytest.approx(first["roofline_gain"])
    assert len(table.rows) == len(view.gains) == 8
    assert (first["reduction"], first["batch"], first["new_tokens"]) == ("prumerge", 1, 1)


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("gpus", [("v100",), ("v100", "a100", "h100", "l40s")], ids=len)
def test_no_text_of_gains_covers_another_or_leaves_the_picture(width, gpus):
    figure = gains.figure_of(gains_view(asked(*gpus, batches=(1, 8))), width)
    assert_texts_stand_apart(figure)


def assert_texts_stand_apart(figure):
    overlaps, boxes = texts_overlap(figure)
    assert overlaps == []
    width, height = figure.get_size_inches() * figure.dpi
    for _, box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1


# --- accuracy


def test_every_error_of_a_validation_stands_in_its_picture(validation):
    texts = texts_of(accuracy.figure_of(validation, "page"))
    for errors in validation.errors:
        assert errors.phase in texts
        assert accuracy._told(errors) in texts


def test_speed_ups_stand_on_a_page_where_much_was_promised(validation):
    page, column = (texts_of(accuracy.figure_of(validation, width)) for width in ("page", "column"))
    # Prefill of 636 and of 92 rows: promised 2.3 times at batch 1, 6.9 at batch 8; a decode step 1.02 and 1.17.
    shown = sorted({text for text in page if text.endswith("576 to 32")})
    assert shown == ["prefill: batch 1, 576 to 32", "prefill: batch 8, 576 to 32"]
    assert not any(text.endswith("576 to 32") for text in column)


def test_a_row_of_speed_ups_is_named_by_its_tokens_alone_where_nothing_else_differs():
    texts = texts_of(accuracy.figure_of(validate([measurement((576, 32))]), "page"))
    assert {text for text in texts if text.endswith("576 to 32")} == {"prefill: 576 to 32"}


def test_a_measurement_of_one_count_of_tokens_has_no_speed_ups():
    figure = accuracy.figure_of(validate([measurement((576,))]), "page")
    assert "times as fast with fewer visual tokens" not in texts_of(figure)


@pytest.mark.parametrize("width", ["page", "column"])
def test_no_text_of_accuracy_covers_another_or_leaves_the_picture(width, validation):
    assert_texts_stand_apart(accuracy.figure_of(validation, width))


def test_a_validation_whose_points_all_failed_is_told_so():
    with pytest.raises(InvalidValue, match="no phase was timed"):
        accuracy.figure_of(validate([measurement(fits=False)]), "page")
