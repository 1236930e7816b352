"""What of the vision tower a reducer does without: by hand arithmetic, on which models, and where people see it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

import perfkit
from perfkit import reports
from perfkit.cli import main
from perfkit.counting import reduced_vision_ops, vision_ops, workload_of
from perfkit.hardware import Figure, choose_device
from perfkit.latency import predict
from perfkit.models import load_model, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.phases import PhaseTime
from perfkit.units import Precision
from perfkit.workload import Execution

LLAVA = load_model("llava-1.5-7b")
BY_SCORES = ["prumerge", "prumerge+"]
BY_PLACE = ["sequential:n=64", "spatial:n=64"]
INSIDE = ["fastv", "pyramiddrop", "vtw", "sparsevlm", "layers:2=288,16=144"]
FIGURES = ("flops", "matmul_flops", "weight_bytes", "read_bytes", "write_bytes", "kv_read_bytes", "kv_write_bytes")

# CLIP ViT-L/14-336: positions, width, MLP, heads
P, C, F, HEADS = 577, 1024, 4096, 16


class Work(NamedTuple):
    """An op by hand: products, element-wise work; elements of weights, read and written."""

    products: int
    other: int
    weights: int
    read: int
    write: int

    @property
    def v100_s(self) -> float:
        """The largest of products at 125 TFLOP/s, element-wise work at 15.7, 2 bytes an element at 900 GB/s."""
        moved = 2 * (self.weights + self.read + self.write)
        return max(self.products / 125e12, self.other / 15.7e12, moved / 900e9)


def product(rows: int, inputs: int, outputs: int) -> Work:
    """With a bias."""
    weights = inputs * outputs + outputs
    return Work(2 * rows * inputs * outputs, rows * outputs, weights, rows * inputs, rows * outputs)


NORM = Work(0, 7 * P * C, 2 * C, P * C, P * C)
ADD = Work(0, P * C, 0, 2 * P * C, P * C)
ATTENTION = Work(4 * P * P * C, 5 * HEADS * P * P, 0, 3 * P * C, P * C)  # scores stay on the chip
GELU = Work(0, 4 * P * F, 0, P * F, P * F)
OF_A_TOKEN = Work(0, 7 * C, 2 * C, C, C)  # the last norm, over the class token
VALUES_AND_BEYOND = [product(P, C, C), ATTENTION, product(P, C, C), ADD, NORM, product(P, C, F), GELU]
VALUES_AND_BEYOND += [product(P, F, C), ADD, OF_A_TOKEN]
QUERIES, QUERY, KEYS = product(P, C, C), product(1, C, C), product(P, C, C)


def skipped(reduction: str | None, gpu: str = "v100", **asked: Any) -> PhaseTime | None:
    return perfkit.analyze(gpu, reduction=reduction, **asked).skipped


def saved(reduction: str, gpu: str = "v100", **asked: Any) -> PhaseTime:
    found = skipped(reduction, gpu, **asked)
    assert found is not None
    return found


def total(ops: list[Work], part: str) -> int:
    return sum(getattr(op, part) for op in ops)


# --- by hand


@pytest.mark.parametrize("text", BY_SCORES)
def test_who_scores_by_the_class_token_needs_its_query_and_all_keys(text: str) -> None:
    found = saved(text)
    # Values 2 * 577 * 1024^2, queries of the patches 2 * 576 * 1024^2, attention 4 * 577^2 * 1024, its output
    # 2 * 577 * 1024^2, MLP 2 * 2 * 577 * 1024 * 4096
    by_hand = 2 * 577 * 1024**2 + 2 * 576 * 1024**2 + 4 * 577**2 * 1024 + 2 * 577 * 1024**2 + 4 * 577 * 1024 * 4096
    assert found.matmul_flops == by_hand == 14_672_203_776
    gone, products = VALUES_AND_BEYOND, total(VALUES_AND_BEYOND, "products")
    assert found.matmul_flops == products + QUERIES.products - QUERY.products
    assert found.flops - found.matmul_flops == total(gone, "other") + 576 * 1024  # a bias an element of the queries
    assert found.read_bytes == 2 * (total(gone, "read") + 576 * 1024)
    assert found.write_bytes == 2 * (total(gone, "write") + 576 * 1024)
    # The query of one token reads all weights of q_proj: none of them is saved.
    assert found.weight_bytes == 2 * total(gone, "weights") == 2 * (2 * (C * C + C) + 2 * C * F + F + C + 2 * 2 * C)
    assert found.kv_read_bytes == found.kv_write_bytes == 0


@pytest.mark.parametrize("text", BY_PLACE)
def test_who_does_not_needs_nothing_of_the_last_layer(text: str) -> None:
    found = saved(text)
    # A layer: 8 * 577 * 1024^2 + 4 * 577 * 1024 * 4096 + 4 * 577^2 * 1024
    assert found.matmul_flops == 24 * 577 * 1024**2 + 4 * 577**2 * 1024 == 15_884_357_632
    layer = [*VALUES_AND_BEYOND, NORM, QUERIES, KEYS]
    assert found.flops == total(layer, "products") + total(layer, "other")
    assert found.bytes == 2 * (total(layer, "weights") + total(layer, "read") + total(layer, "write"))
    assert found.roofline_s == pytest.approx(sum(op.v100_s for op in layer), rel=1e-9)


def test_time_saved_is_that_of_the_tower_with_and_without() -> None:
    # One row of queries still waits for the weights: 2.3 of the 9.7 us that all rows take are not saved.
    by_hand = sum(op.v100_s for op in VALUES_AND_BEYOND) + QUERIES.v100_s - QUERY.v100_s
    assert QUERY.v100_s == pytest.approx(2 * (C * C + C + 2 * C) / 900e9)
    assert saved("prumerge").roofline_s == pytest.approx(by_hand, rel=1e-9)
    assert by_hand == pytest.approx(136.1e-6, abs=0.05e-6)


def test_whole_less_reduced_is_skipped() -> None:
    workload = workload_of(LLAVA, reduction="prumerge", batch=3, images=2)
    whole, needed = (list(ops(LLAVA, workload, Execution())) for ops in (vision_ops, reduced_vision_ops))
    found = saved("prumerge", batch=3, images=2)
    for figure in FIGURES:
        parts = [sum(getattr(op, figure) for op in ops) for ops in (whole, needed)]
        assert getattr(found, figure) == parts[0] - parts[1]
        assert isinstance(getattr(found, figure), int)
    # Six pictures are six times the work, the weights read once.
    assert found.flops == 6 * saved("prumerge").flops
    assert found.weight_bytes == saved("prumerge").weight_bytes


def test_eager_attention_saves_its_scores_too() -> None:
    more = saved("prumerge", attention="eager").bytes - saved("prumerge").bytes
    assert more == 2 * 4 * HEADS * P * P  # written, read and written by the softmax, read


def test_the_tower_is_not_quantised() -> None:
    assert saved("prumerge", weights="int4") == saved("prumerge")


# --- where there is something to skip


@pytest.mark.parametrize("text", [None, *INSIDE])
def test_without_a_reducer_before_the_language_model_nothing_is_skipped(text: str | None) -> None:
    assert skipped(text) is None


def test_features_of_the_last_layer_leave_nothing_to_skip() -> None:
    assert skipped("spatial:n=64", model="llava-onevision-7b") is None  # vision_feature_layer: -1


@pytest.mark.parametrize(
    ("model", "unread"),
    [
        ("llava-1.5-7b", 1),
        ("llava-1.5-13b", 1),
        ("llava-next-7b", 1),
        ("video-llava-7b", 1),
        ("llava-onevision-7b", 0),
        ("clip-vit-l-14-336", 0),  # no model behind it, so nobody knows
        ("siglip-so400m", 0),
    ],
)
def test_layers_that_nobody_reads(model: str, unread: int) -> None:
    vision = load_model(model).vision
    assert vision is not None
    assert vision.unread_layers == unread


def with_features_of(layer: Any) -> ModelSpec:
    values = {"vision_feature_layer": layer, "text_config": {"model_type": "llama"}}
    return read_model(Config({"model_type": "llava", **{k: v for k, v in values.items() if v is not None}}, "file"))


@pytest.mark.parametrize(
    ("layer", "unread"),
    # 25 hidden states: what enters layer 0, and what leaves each of 24 layers
    [
        (None, 1),
        (-2, 1),
        (-1, 0),
        (-3, 2),
        (23, 1),
        (24, 0),
        (0, 24),
        (-25, 24),
        ([-2, -5], 1),
        ([3, -1], 0),
        ([7], 17),
    ],
)
def test_layers_behind_the_last_that_features_come_from(layer: Any, unread: int) -> None:
    vision = with_features_of(layer).vision
    assert vision is not None
    assert vision.unread_layers == unread


def test_an_absent_feature_layer_is_a_class_default() -> None:
    assert "vision_feature_layer=-2" in with_features_of(None).defaults
    assert "vision_feature_layer=-1" not in with_features_of(-1).defaults


def products_of(spec: ModelSpec, text: str) -> int:
    workload = workload_of(spec, reduction=text)
    return sum(op.matmul_flops for op in reduced_vision_ops(spec, workload, Execution()))


def test_keys_are_the_last_layers_wherever_features_come_from() -> None:
    last_but_two = with_features_of(-3)
    assert products_of(last_but_two, "prumerge") == products_of(LLAVA, "prumerge")
    layer = 24 * P * C**2 + 4 * P**2 * C
    assert products_of(last_but_two, "spatial:n=64") == products_of(LLAVA, "spatial:n=64") - layer


def test_features_of_the_embeddings_need_no_layer() -> None:
    assert products_of(with_features_of(0), "spatial:n=64") == 2 * 576 * 588 * 1024  # the convolution of 14 x 14 x 3


# --- the vision phase counts all that runs


@pytest.mark.parametrize("text", [*BY_SCORES, *BY_PLACE])
def test_the_phases_stay_whole(text: str) -> None:
    reduced, plain = perfkit.analyze("v100", reduction=text), perfkit.analyze("v100")
    assert reduced.phases[0] == plain.phases[0]
    before = sum(phase.roofline_s for phase in reduced.phases if phase.phase != "decode")
    assert reduced.ttft_roofline_s == before


def test_a_sweep_skips_what_its_points_skip() -> None:
    counts, batches = np.array([2.0, 40.0, 576.0]), np.array([1.0, 7.0, 64.0])
    swept = predict(
        LLAVA,
        choose_device("a100"),
        workload_of(LLAVA, tokens=counts, batch=batches, reduction="prumerge"),
        Execution(),
    ).skipped
    assert swept is not None
    for i, (count, batch) in enumerate(zip(counts, batches, strict=True)):
        one = saved("prumerge", "a100", tokens=int(count), batch=int(batch))
        for figure in FIGURES:
            assert np.broadcast_to(getattr(swept, figure), 3)[i] == getattr(one, figure)
        assert swept.roofline_s[i] == pytest.approx(one.roofline_s, rel=1e-9)


def test_expected_times_are_skipped_where_they_are_known() -> None:
    whole = perfkit.analyze("v100").phases[0]
    assert 0 < saved("prumerge").expected_s < whole.expected_s / 20  # one of 24 layers, less keys and one query
    v100 = choose_device("v100")
    half = Figure(62.5e12, "62.5 TFLOP/s", "measured")
    measured = v100._replace(device=replace(v100.device, gemm={Precision.FP16: half}))
    found = predict(LLAVA, measured, workload_of(LLAVA, reduction="prumerge"), Execution()).skipped
    assert found is not None

    def expected_s(op: Work) -> float:
        """At half the rate, products that are linear layers; attention and all else at theirs."""
        return max(op.v100_s, 0 if op == ATTENTION else op.products / 62.5e12)

    by_hand = sum(map(expected_s, [*VALUES_AND_BEYOND, QUERIES])) - expected_s(QUERY)
    assert found.expected_s == pytest.approx(by_hand, rel=1e-9)
    assert found.roofline_s == pytest.approx(saved("prumerge").roofline_s, rel=1e-12)


# --- what people and machines see


def roofline(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(main, ["roofline", "--gpu", "v100", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_a_key_for_it() -> None:
    plain = json.loads(roofline("--format", "json"))
    reduced = json.loads(roofline("--reduction", "prumerge", "--format", "json"))
    assert plain["skipped"] is None
    assert reduced["skipped"]["phase"] == "vision"
    assert reduced["skipped"]["matmul_flops"] == 14_672_203_776
    assert reduced["skipped"].keys() == reduced["phases"][0].keys()
    assert list(plain) == list(reduced)
    assert json.loads(roofline("--reduction", "fastv", "--format", "json"))["skipped"] is None


def test_a_tidy_table_has_a_level_for_it() -> None:
    frame = perfkit.report(perfkit.analyze("v100", reduction="prumerge")).to_frame()
    (row,) = frame[frame["level"] == "skipped"].to_dict("records")
    assert (row["phase"], row["matmul_flops"]) == ("vision", 14_672_203_776)
    assert "skipped" not in set(perfkit.report(perfkit.analyze("v100")).to_frame()["level"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "prumerge",
            "vision could skip 14.7 GFLOP, 136 µs: of its last layer prumerge needs the keys and one query alone",
        ),
        (
            "spatial:n=64",
            "vision could skip 15.9 GFLOP, 151 µs: spatial needs nothing of its last layer",
        ),
    ],
)
def test_people_see_one_line_below_the_phases(text: str, line: str) -> None:
    lines = roofline("--reduction", text).splitlines()
    (found,) = [i for i, each in enumerate(lines) if "could skip" in each]
    assert lines[found].startswith(line)
    assert lines[found - 1].startswith("decode (first token)")
    assert lines[found + 2] == "Totals"


@pytest.mark.parametrize("arguments", [(), ("--reduction", "fastv"), ("--reduction", "prumerge", "--gpu", "a100")])
def test_nobody_else_sees_it(arguments: tuple[str, ...]) -> None:
    assert "could skip" not in roofline(*arguments)


def test_layers_that_are_several_are_counted_in_words() -> None:
    spec = replace(with_features_of(-3), name="-3")
    workload = workload_of(spec, reduction="spatial:n=64")
    phases = reports.overview(predict(spec, choose_device("v100"), workload, Execution()))[0]
    assert "spatial needs nothing of its last 2 layers" in phases.notes[0]


# --- docs/token-reduction.md


def test_the_figures_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/token-reduction.md").read_text(encoding="utf-8").replace("\n", " ")
    vision, scored, unscored = perfkit.analyze("v100").phases[0], saved("prumerge"), saved("spatial:n=64")
    share = 100 * scored.roofline_s / vision.roofline_s
    assert (
        f"PruMerge does without {scored.matmul_flops / 1e9:.2f} of the phase's {vision.matmul_flops / 1e9:.1f} GFLOP "
        f"and {scored.roofline_s * 1e6:.0f} of its {vision.roofline_s * 1e6:.0f} µs, {share:.1f} %; where nothing is "
        f"scored it is {unscored.matmul_flops / 1e9:.2f} GFLOP and {unscored.roofline_s * 1e6:.0f} µs"
    ) in page
    alone, all_rows = QUERY.v100_s * 1e6, QUERIES.v100_s * 1e6
    assert f"waits {alone:.1f} µs for weights that all rows take {all_rows:.1f} µs to multiply with" in page
