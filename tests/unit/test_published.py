"""Published timings against perfkit: one point a source redone by hand, and no roofline above what was measured."""

import json

import pytest

from perfkit import reports
from perfkit.papers.timings import Paper
from perfkit.tables import render_for_people
from perfkit.validation.published import PublishedPoint, PublishedValidation, published

SOURCES = {"deepbench": 36, "fastertransformer": 36, "neusight": 18, "sparsevlm": 4}


@pytest.fixture(scope="module")
def validation():
    return published()


@pytest.fixture(scope="module")
def errors(validation):
    return {(error.paper, error.device, error.predictor): error for error in validation.errors()}


def point(validation, paper, device, what):
    (found,) = [p for p in validation.points if (p.paper.name, p.device, p.what) == (paper, device, what)]
    return found


# --- by hand


def test_a_product_of_deepbench(validation):
    found = point(validation, "deepbench", "v100-sxm2-16gb", "layouts, fp16 TN (16, 2560) x (2560, 7680)")
    # 2 bytes x (16 * 2560 + 2560 * 7680 + 16 * 7680) = 39,649,280 B, at 900 GB/s; 2 * 16 * 2560 * 7680 FLOPs, at
    # 125 TFLOP/s, take 5.0 us only.
    assert found.roofline_s == pytest.approx(39_649_280 / 900e9)
    assert (found.measured_s, found.others) == (104e-6, {})


def test_bert_base_of_fastertransformer(validation):
    found = point(validation, "fastertransformer", "v100-sxm2-16gb", "BERT-base fp16, TensorFlow, 32 x 384 tokens")
    rows, d, ffn = 32 * 384, 768, 3072
    layer = (
        4 * 2 * rows * d * d / 125e12  # q, k, v and output: bound by compute
        + 2 * 2 * rows * d * ffn / 125e12
        + 4 * 32 * 384**2 * d / 125e12  # attention: 116 us; its 4 rows x d elements of 2 bytes would take 84
        + 2 * 2 * rows * d * 2 / 900e9  # two norms, each read and written
        + 2 * 3 * rows * d * 2 / 900e9  # two residuals: two read, one written
        + 2 * rows * ffn * 2 / 900e9  # gelu
    )
    embeddings = 3 * 2 * rows * d * 2 / 900e9  # gathered, positions and types added, normed
    assert found.roofline_s == pytest.approx(12 * layer + embeddings, rel=1e-3)  # 22.75 ms
    assert found.measured_s == 0.0402


def test_bert_large_of_neusight(validation):
    found = point(validation, "neusight", "v100-pcie-32gb", "BERT-large, 8 x 512 tokens")
    rows, d, ffn, scores = 8 * 512, 1024, 4096, 8 * 16 * 512**2
    layer = (
        4 * (2 * rows * d * d + rows * d) / 14e12  # with biases, on the same engine
        + (2 * 2 * rows * d * ffn + rows * (d + ffn)) / 14e12
        + 2 * 2 * scores * 64 / 14e12  # eager attention: two products,
        + 2 * scores * 4 / 900e9  # and a softmax through memory
        + 2 * 2 * rows * d * 4 / 900e9
        + 2 * 3 * rows * d * 4 / 900e9
        + 2 * rows * ffn * 4 / 900e9
    )
    assert found.roofline_s == pytest.approx(24 * layer, rel=1e-3)  # 206.8 ms
    assert found.measured_s == 0.257422
    assert found.others == {"NeuSight": 0.271402, "NeuSight's roofline": 0.221571, "Habitat": 0.249925}


def test_llava_of_sparsevlm(validation):
    found = point(validation, "sparsevlm", "a100-sxm-80gb", "LLaVA-1.5-7B, vanilla, 1 x (576 + 118) tokens")
    n, d, ffn, vocab = 576 + 118, 4096, 11008, 32064
    layer = (
        (4 * 2 * n * d * d + 3 * 2 * n * d * ffn + 4 * n * n * d) / 312e12  # linear layers, attention: by compute
        + (2 * 2 * n * d + 2 * 3 * n * d) * 2 / 2039e9  # two norms, two residuals
        + (2 * 2 * n * d + 2 * n * 128) * 2 / 2039e9  # rotary: queries and keys, cosines and sines
        + 2 * 2 * n * d * 2 / 2039e9  # keys and values into the cache
        + 3 * n * ffn * 2 / 2039e9  # silu(gate) * up
    )
    outside = (2 * n * d + 2 * 576 * d + 2 * n * d + d * vocab) * 2 / 2039e9  # embedding, image, last norm, lm_head
    assert found.roofline_s == pytest.approx(32 * layer + outside, rel=1e-3)  # 32.10 ms
    assert found.measured_s == pytest.approx(0.05782)


def test_the_roofline_of_neusight_is_ours_with_the_passes_of_eager_code(validation):
    """Two rooflines of different makers agree once both count the same kernels."""
    ours = point(validation, "neusight", "v100-pcie-32gb", "GPT2-large, 4 x 1024 tokens")
    scores, widened = 4 * 20 * 1024**2, 4 * 1024 * 5120
    # A layer of GPT-2 scales and masks its scores in 2 kernels of their own, and gelu_new runs as 8 kernels, not 1;
    # each reads and writes 4 bytes an element.
    passes = 36 * (2 * scores + 7 * widened) * 2 * 4 / 900e9
    assert ours.roofline_s + passes == pytest.approx(ours.others["NeuSight's roofline"], rel=0.01)


# --- all points


def test_every_source_is_there_and_every_point_has_its_own(validation):
    names = [p.paper.name for p in validation.points]
    assert {name: names.count(name) for name in dict.fromkeys(names)} == SOURCES
    assert all(len(p.source) > 20 for p in validation.points)
    # Calibrations may have seen single products; whole forwards none of them has.
    assert all((p.expected_s is None) == (p.paper.name == "deepbench") for p in validation.points)


def test_no_run_is_faster_than_the_roofline(validation):
    # No exceptions. The nearest is cuBLAS in fp32, (7000, 4096) x (4096, 4096): 94 % of 15.7 TFLOP/s.
    closest = max(validation.points, key=lambda p: p.roofline_s / p.measured_s)
    assert closest.what == "many rows, fp32 NN (7000, 4096) x (4096, 4096)"
    assert closest.roofline_s / closest.measured_s == pytest.approx(0.941, abs=5e-4)


def test_errors_by_source(errors):
    def mape_of(paper, device, predictor):
        return round(100 * errors[paper, device, predictor].mape, 1)

    assert mape_of("neusight", "v100-pcie-32gb", "roofline") == 21.3
    assert mape_of("neusight", "v100-pcie-32gb", "NeuSight") == 5.2
    assert mape_of("neusight", "v100-pcie-32gb", "NeuSight's roofline") == 12.9
    assert mape_of("neusight", "a100-pcie-40gb", "roofline") == 26.8
    assert mape_of("neusight", "a100-pcie-40gb", "Habitat") == 8.8
    assert mape_of("sparsevlm", "a100-sxm-80gb", "roofline") == 58.4
    assert errors["deepbench", "v100-sxm2-16gb", "roofline"].worst == pytest.approx(1 - 0.619 / 8, abs=1e-3)


def test_errors_are_over_points_that_all_predictors_spoke_of():
    paper = Paper("mine", "my desk", "once", ())
    one = PublishedPoint(paper, "v100-sxm2-32gb", "a", 4.0, 3.0, 5.0, 4.5, 6.0, {"Oracle": 4.0})
    other = PublishedPoint(paper, "v100-sxm2-32gb", "b", 4.0, 2.0, 4.0, 3.5, 5.0, {})
    found = {error.predictor: error for error in PublishedValidation((one, other)).errors()}
    assert list(found) == ["roofline", "expected"]
    assert found["roofline"].mape == 0.375  # (0.25 + 0.5) / 2
    assert (found["expected"].mape, found["expected"].points) == (0.125, 2)


# --- reports


def test_the_document(validation):
    document = reports.document(validation)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["points"]) == 94
    keys = {"paper", "device", "what", "source", "measured_s", "roofline_s", "others"}
    keys |= {"expected_s", "expected_low_s", "expected_high_s"}
    assert all(set(record) == keys for record in document["points"])
    keys = {"paper", "device", "predictor", "points", "mape", "p90", "worst"}
    assert all(set(record) == keys for record in document["errors"])
    assert len(document["errors"]) == 1 + 2 + 2 * 5 + 2  # DeepBench is not expected


def test_a_row_a_prediction(validation):
    table = reports.report(validation)
    assert len(table.rows) == 94 + (94 - 36) + 18 * 3  # the roofline of all, expected times of forwards, three others
    record = next(table.records())
    assert record["percentage_error"] == pytest.approx(record["predicted_s"] / record["measured_s"] - 1)
    assert table.render("csv").splitlines()[0].startswith("paper,device,what,measured_s,predictor,")


def test_people_see_each_source_and_a_summary(validation):
    tables = reports.overview(validation)
    assert len(tables) == 5 + 1  # NeuSight measured two devices
    for table in tables[:-1]:
        assert "measured: " in table.title
    text = render_for_people(tables)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("Eager attention is counted") == 1  # once, though on two devices
    assert len(tables[-1].rows) == 5
