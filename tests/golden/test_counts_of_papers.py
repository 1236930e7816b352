"""Counts under a convention against arithmetic written out here, apart from the data files."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from perfkit.conventions import convention_names, load_convention
from perfkit.models import load_model
from perfkit.totals.asked import stored_execution
from perfkit.totals.counted import Count, count, tally
from perfkit.totals.explaining import explain
from perfkit.workload import Execution, LayerGroup, Workload

LLAVA, LARGE, NEXT = "llava-1.5-7b", "llava-1.5-13b", "llava-next-7b"


class Shape(NamedTuple):
    """A Llama: layers, hidden width, feed-forward width, heads, vocabulary."""

    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int


VICUNA = {"vicuna-7b": Shape(32, 4096, 11008, 32, 32000), "vicuna-13b": Shape(40, 5120, 13824, 40, 32000)}


# --- the totals of the well-known papers, by hand


@pytest.mark.parametrize(
    ("convention", "model", "total"),
    [
        # 32 (4*576*4096^2 + 2*576^2*4096 + 3*576*4096*11008): 32 (38 654 705 664 + 2 717 908 992 + 77 913 391 104)
        ("pyramiddrop", LLAVA, 32 * (38_654_705_664 + 2_717_908_992 + 77_913_391_104)),
        ("vscan", LLAVA, 3_817_152_184_320),
        # two matrices: 3*576*4096*11008 * 2/3 = 51 942 260 736
        ("visionzip", LLAVA, 32 * (38_654_705_664 + 2_717_908_992 + 51_942_260_736)),
        # 576 + 118 = 694 tokens: 32 (4*694*4096^2 + 2*694^2*4096 + 3*694*4096*11008)
        ("sparsevlm", LLAVA, 32 * (46_573_551_616 + 3_945_562_112 + 93_874_814_976)),
        # 576 + 36 = 612 tokens, two matrices: 32 * 99 327 541 248, the mean of a layer being the paper's 99.3 B
        ("fastv", LLAVA, 32 * 99_327_541_248),
        # 40 * 154 641 530 880, the paper's 154.6 B
        ("fastv", LARGE, 40 * 154_641_530_880),
        # vision 381 918 216 192 + projector 24 159 191 040 + prefill of 636 tokens, last or all logits
        ("torch", LLAVA, 381_918_216_192 + 24_159_191_040 + 8_449_813_905_408),
        ("calflops", LLAVA, 381_918_216_192 + 24_159_191_040 + 8_616_608_268_288),
    ],
)
def test_totals_by_hand(convention: str, model: str, total: int) -> None:
    assert count(model, convention=convention).total == total


def test_the_prefill_of_636_tokens_is_torchs() -> None:
    assert count(LLAVA).by_phase["prefill"] == 8_449_813_905_408  # FlopCounterMode over Hugging Face's module
    assert count(LLAVA, convention="calflops").by_phase["prefill"] == 8_616_608_268_288


# --- the switches, each by hand


def test_a_mac_is_half_of_two_flops() -> None:
    assert 2 * count(LLAVA, unit="mac").total == count(LLAVA).total == 8_855_891_312_640


def test_half_of_a_causal_mask() -> None:
    # Products of attention in the language model: 32 * 4 * 636 * 636 * 4096; the tower has no mask.
    attention = 32 * 4 * 636 * 636 * 4096
    assert count(LLAVA).total - count(LLAVA, causal="half").total == attention // 2


def test_an_encoders_mask_is_not_causal() -> None:
    assert count("bert-base", causal="half").total == count("bert-base").total
    assert count("clip-vit-l-14-336", causal="half").total == count("clip-vit-l-14-336").total


def test_two_matrices_leave_the_gate_out() -> None:
    gate = 32 * 2 * 636 * 4096 * 11008
    assert count(LLAVA).total - count(LLAVA, ffn_matrices=2).total == gate


def test_two_matrices_leave_the_gates_of_all_chosen_experts_out() -> None:
    gate = 32 * 2 * (2 * 60) * 4096 * 14336  # two experts a token
    assert count("mixtral-8x7b").total - count("mixtral-8x7b", ffn_matrices=2).total == gate


def test_two_matrices_change_nothing_where_there_are_two() -> None:
    assert count("bert-base", ffn_matrices=2).total == count("bert-base").total


@pytest.mark.parametrize(("logits", "positions"), [("none", 0), ("last", 1), ("all", 636)])
def test_logits(logits: str, positions: int) -> None:
    alone = count(LLAVA, include=["llm"], logits=logits).total - count(LLAVA, include=["llm"], logits="none").total
    assert alone == positions * 2 * 4096 * 32064


def test_the_head_alone() -> None:
    assert count(LLAVA, include=["lm_head"]).total == 2 * 4096 * 32064
    assert count(LLAVA, include=["lm_head"], logits="all", unit="mac").total == 636 * 4096 * 32064


def test_parts() -> None:
    parts = {part: count(LLAVA, include=[part]).total for part in ("vision", "projector", "llm")}
    assert parts == {"vision": 381_918_216_192, "projector": 24_159_191_040, "llm": 8_449_813_905_408}
    assert count(LLAVA, include=list(parts)).total == sum(parts.values())


def test_visual_tokens_alone() -> None:
    counted = count(LLAVA, tokens_counted="visual", include=["llm"], logits="none", text_tokens=1000)
    assert counted.total == 2 * 3_817_152_184_320
    assert counted.workload.text_tokens == 1000
    assert counted.counted.prompt_tokens == 576


def test_elementwise_work() -> None:
    plain, more = count(LLAVA), count(LLAVA, elementwise=True)
    assert more.total - plain.total == sum(op.vector_flops for op in plain.ops) > 0


def test_what_a_reducer_computes_is_a_part() -> None:
    whole = count(LLAVA, reduction="prumerge")
    reducer = count(LLAVA, reduction="prumerge", include=["reducer"])
    assert (
        whole.total - count(LLAVA, reduction="prumerge", include=["vision", "projector", "llm"]).total == reducer.total
    )
    assert reducer.total > 0
    # Inside the language model too: PyramidDrop makes keys ahead, which its paper's formula does not have.
    assert count(LLAVA, convention="pyramiddrop", reduction="pyramiddrop").total == 1_777_399_234_560
    assert count(LLAVA, reduction="pyramiddrop", include=["reducer"]).total > 0


# --- formula and ops, two ways to one integer


@pytest.mark.parametrize("name", [name for name in convention_names() if load_convention(name).terms])
@pytest.mark.parametrize(
    ("model", "workload"),
    [
        (LLAVA, Workload(576)),
        (LLAVA, Workload(1, 1)),
        (LLAVA, Workload(1152, 77, batch=3, images=2)),
        (LARGE, Workload(576, 124)),
        (NEXT, Workload(2928)),
        (NEXT, Workload(2880, 60, batch=2)),
        (LLAVA, Workload(576, schedule=(LayerGroup(2, 576), LayerGroup(30, 288)))),
        (LLAVA, Workload(576, schedule=(LayerGroup(8, 576), LayerGroup(8, 288), LayerGroup(8, 144), LayerGroup(8, 0)))),
        (LLAVA, Workload(40, 30, schedule=(LayerGroup(31, 33), LayerGroup(1, 1)))),
    ],
)
def test_the_formula_is_the_count(name: str, model: str, workload: Workload) -> None:
    counted = tally(load_model(model), workload, Execution(), load_convention(name))
    explained = explain(counted)
    assert explained.formula_value == counted.total
    assert explained.differences == ()
    assert isinstance(counted.total, int)


# --- PruMerge's table of ops, written out here from its description


class Sums(NamedTuple):
    """Totals of a forward: operations, bytes moved, bytes stored as activations."""

    operations: int
    moved: float
    stored: float


def llm_viewer(shape: Shape, n: int, size: float) -> Sums:
    """A prefill of n tokens in LLM-Viewer's ops, with `size` bytes an element everywhere but the lm_head's weights."""
    h, i, heads = shape.hidden, shape.inner, shape.heads
    projections = [(h, h)] * 4 + [(h, i), (h, i), (i, h)]
    operations = sum(2 * rows * columns * n for rows, columns in projections) + 2 * 2 * n * n * h + 5 * heads * n * n
    operations += 2 * 7 * n * h + 2 * n * h + 2 * n * h  # norms, adds, activation
    loaded = sum(rows * columns + rows * n for rows, columns in projections)
    loaded += 2 * n * h + heads * n * n + n * h + heads * n * n  # qk reads q and k, sv scores and v, softmax scores
    loaded += 2 * n * h + 2 * n * h + 2 * n * h  # norms, adds, activation
    kept = 2 * n * h  # k and v, in the cache
    stored = 2 * n * h + 2 * n * i + n * h  # q and o, gate and up, down
    stored += 2 * heads * n * n + n * h  # qk and softmax, sv
    stored += 2 * n * h + 2 * n * h + n * h  # norms, adds, activation
    head = h * shape.vocabulary
    moved = shape.layers * (loaded + kept + stored) * size + head + (h + shape.vocabulary) * size
    return Sums(shape.layers * operations + head, moved, (shape.layers * stored + shape.vocabulary) * size)


def own_count(model: str, tokens: int, precision: str) -> Count:
    return count(model, text_tokens=tokens, convention="prumerge", precision=precision)


@pytest.mark.parametrize(
    ("model", "tokens", "precision", "tera", "moved_gb", "stored_gb"),
    [
        ("vicuna-7b", 700, "fp16", 9.3276, 23.348, 4.645),
        ("vicuna-7b", 70, "fp16", 0.9095, 13.748, 0.284),
        ("vicuna-7b", 700, "int4", 9.3276 / 4, 5.935, 1.161),
        ("vicuna-7b", 70, "int4", 0.9095 / 4, 3.535, 0.071),
        ("vicuna-13b", 700, "fp16", 18.171, 41.589, 7.265),
        ("vicuna-13b", 70, "fp16", 1.781, 26.580, 0.444),
        ("vicuna-13b", 700, "int4", 18.171 / 4, 10.520, 1.816),
        ("vicuna-13b", 70, "int4", 1.781 / 4, 6.768, 0.111),
    ],
)
def test_prumerges_table(
    model: str, tokens: int, precision: str, tera: float, moved_gb: float, stored_gb: float
) -> None:
    counted, bits = own_count(model, tokens, precision), {"fp16": 16, "int4": 4}[precision]
    sums = llm_viewer(VICUNA[model], tokens, bits / 8)
    assert counted.total == sums.operations * bits // 16
    assert counted.bytes == sums.moved
    stored = sum(op.write_bytes for op in counted.ops)
    assert stored == sums.stored
    assert counted.total / 1e12 == pytest.approx(tera, abs=0.0006)
    assert counted.bytes / 1e9 == pytest.approx(moved_gb, abs=0.0006)
    assert stored / 1e9 == pytest.approx(stored_gb, abs=0.0006)


@pytest.mark.parametrize(
    ("model", "tokens", "precision", "milliseconds"),
    [
        ("vicuna-7b", 700, "fp16", 88.614),
        ("vicuna-7b", 70, "fp16", 15.276),
        ("vicuna-7b", 700, "int4", 151.64),
        ("vicuna-7b", 70, "int4", 14.872),
        ("vicuna-13b", 700, "fp16", 170.527),
        ("vicuna-13b", 70, "fp16", 29.533),
        ("vicuna-13b", 700, "int4", 294.902),
        ("vicuna-13b", 70, "int4", 28.993),
    ],
)
def test_prumerges_roofline_is_the_sum_over_its_ops(
    model: str, tokens: int, precision: str, milliseconds: float
) -> None:
    # 112 TFLOP/s in FP16 and 62 TOP/s in INT8, which INT4 runs on; 900 GB/s
    peak = {"fp16": 112e12, "int4": 62e12}[precision]
    ops = own_count(model, tokens, precision).ops
    assert 1e3 * sum(max(op.flops / peak, op.bytes / 900e9) for op in ops) == pytest.approx(milliseconds, abs=0.002)


def test_prumerges_table_over_a_schedule_and_a_batch() -> None:
    half = (LayerGroup(16, 576), LayerGroup(16, 0))
    spec, execution, convention = load_model("llava-1.5-7b"), stored_execution("fp16"), load_convention("prumerge")
    shape = VICUNA["vicuna-7b"]._replace(vocabulary=32064)
    counted = tally(spec, Workload(576, 124, batch=3, schedule=half), execution, convention)
    head = 4096 * 32064
    layers = [llm_viewer(shape, n, 2).operations - head for n in (700, 124)]
    assert counted.total == 3 * (layers[0] // 2 + layers[1] // 2 + head)
