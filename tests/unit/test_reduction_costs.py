"""What reductions cost: each selector's ops by hand arithmetic, eager layers, cache, memory, and what people see."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main
from perfkit.counting import count_ops, decode_ops, execution_of, workload_of
from perfkit.memory import kv_bytes, working_set_bytes
from perfkit.models import load_model
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution

LLAVA = "llava-1.5-7b"
BASE = Execution()
EAGER = replace(BASE, attention="eager")
H, FFN, V, HEADS = 4096, 11008, 32064, 32
INSIDE = ["fastv", "pyramiddrop", "vtw", "sparsevlm", "layers:2=288,16=144"]
BEFORE = ["prumerge", "prumerge+", "sequential:n=64", "spatial:n=64", "random:n=64"]


def forward(reduction: str | None, execution: Execution = BASE, model: str = LLAVA, **asked: Any) -> tuple[OpCost, ...]:
    spec = load_model(model)
    return count_ops(spec, workload_of(spec, reduction=reduction, **asked), execution_of(spec, execution))


def of(ops: tuple[OpCost, ...], phase: str, kind: str = "") -> list[OpCost]:
    return [op for op in ops if op.phase == phase and kind in ("", op.kind)]


def named(ops: tuple[OpCost, ...], name: str) -> OpCost:
    (found,) = [op for op in ops if op.name == name]
    return found


def total(ops: list[OpCost], figure: str) -> int:
    return sum(getattr(op, figure) for op in ops)


def figures(op: OpCost) -> tuple[int, int, int, int]:
    """Products, element-wise work; elements read and written, of 2 bytes each."""
    return op.matmul_flops, op.vector_flops, op.read_bytes // 2, op.write_bytes // 2


def layer(tokens: int) -> int:
    return 8 * tokens * H**2 + 6 * tokens * H * FFN + 4 * tokens**2 * H


# --- before the language model


def test_phases_in_the_order_of_a_request() -> None:
    for text in BEFORE:
        phases = list(dict.fromkeys(op.phase for op in forward(text)))
        assert phases == ["vision", "reduction", "projector", "prefill", "decode"]
    for text in INSIDE:
        phases = list(dict.fromkeys(op.phase for op in forward(text)))
        assert phases == ["vision", "projector", "prefill", "decode"]


def test_prumerge_op_by_op() -> None:
    # One image: 577 positions and 576 patches of width 1024; 32 tokens are 31 kept and one appended.
    ops = forward("prumerge")
    assert figures(named(ops, "class_scores")) == (2 * 577 * 1024, 0, 1024 + 577 * 1024, 577)
    assert figures(named(ops, "class_softmax")) == (0, 5 * 577, 577, 577)
    assert figures(named(ops, "pick_outliers")) == (0, 576, 576, 31)
    assert figures(named(ops, "normalise_keys")) == (0, 3 * 576 * 1024, 576 * 1024, 576 * 1024)
    assert figures(named(ops, "key_similarity")) == (2 * 31 * 576 * 1024, 0, (31 + 576) * 1024, 31 * 576)
    assert figures(named(ops, "pick_neighbours")) == (0, 31 * 576, 31 * 576, 31 * 32)
    # 31 neighbourhoods of 32 stand for more features than the 576 there are, and each is read once.
    assert figures(named(ops, "merge_neighbours")) == (0, (2 * 31 * 32 + 31) * 1024, 576 * 1024 + 31 * 32, 31 * 1024)
    assert figures(named(ops, "append_rest")) == (0, 2 * 545 * 1024, 545 * 1025, 1024)
    assert total(of(ops, "reduction"), "matmul_flops") == 37_750_784  # 1_181_696 + 36_569_088
    assert total(of(ops, "reduction"), "flops") == 42_721_093  # + 2885 + 576 + 1769472 + 17856 + 2063360 + 1116160


def test_few_neighbourhoods_read_only_their_own_features() -> None:
    # 3 tokens: 2 kept, of 32 neighbours each: 64 + 2 features
    assert named(forward("prumerge", tokens=3), "merge_neighbours").read_bytes == 2 * (66 * 1024 + 64)


@pytest.mark.parametrize(("text", "kept"), [("prumerge:k=16", 31), ("prumerge+:k=16", 143)])
def test_half_the_neighbours_are_half_the_terms(text: str, kept: int) -> None:
    ops = forward(text)
    assert figures(named(ops, "pick_neighbours")) == (0, kept * 576, kept * 576, kept * 16)
    # Of 31: 31 * 17 = 527 features, fewer than there are; of 143: all 576. Their weights once for each term.
    features = {31: 527, 143: 576}[kept]
    assert figures(named(ops, "merge_neighbours")) == (
        0,
        (2 * 16 * kept + kept) * 1024,
        features * 1024 + 16 * kept,
        kept * 1024,
    )
    # All else is what it is with 32 neighbours: what is compared does not depend on how many are merged.
    others = [op for op in forward(text.split(":")[0]) if op not in ops]
    assert [op.name for op in others] == ["pick_neighbours", "merge_neighbours"]


def test_prumerge_with_16_neighbours_in_all() -> None:
    # 31 kept: the products of 32 neighbours; 2 * 31 * 16 * 1024 = 1_015_808 FLOPs less of the merging.
    reduction = of(forward("prumerge:k=16"), "reduction")
    assert total(reduction, "matmul_flops") == 37_750_784
    assert total(reduction, "flops") == 41_705_285  # 42_721_093 - 1_015_808


def test_no_patch_has_more_neighbours_than_there_are_others() -> None:
    wide, all_others = (named(forward(f"prumerge:k={k}"), "merge_neighbours") for k in (1000, 575))
    assert wide == all_others
    assert wide.vector_flops == (2 * 31 * 575 + 31) * 1024


def test_prumerge_plus_looks_at_the_patches_once_more() -> None:
    plain, plus = forward("prumerge", tokens=144), forward("prumerge+")
    extra = [op for op in of(plus, "reduction") if op not in plain]
    assert [op.name for op in extra] == ["supplement_grid"]
    assert figures(extra[0]) == (0, 576, 576, 143)


def test_a_reducer_works_image_by_image() -> None:
    # Twice the images of half the sequences are the same work; so are the tokens of two images together.
    one = of(forward("prumerge", batch=2), "reduction")
    two = of(forward("prumerge", images=2), "reduction")
    assert one == two
    single = of(forward("prumerge"), "reduction")
    assert [2 * op.flops for op in single] == [op.flops for op in one]
    assert [2 * op.bytes for op in single] == [op.bytes for op in one]


@pytest.mark.parametrize(
    ("model", "tokens", "tiles", "patches"), [("llava-next-7b", 160, 5, 576), ("video-llava-7b", 256, 8, 256)]
)
def test_every_tile_is_reduced_by_itself(model: str, tokens: int, tiles: int, patches: int) -> None:
    # 32 tokens of a tile: 31 kept, each compared with the patches of its own tile, and one of the rest of that tile
    ops, kept = forward("prumerge", model=model), 31 * tiles
    assert tokens == kept + tiles == workload_of(load_model(model), reduction="prumerge").visual_tokens
    assert named(ops, "class_scores").matmul_flops == 2 * tiles * (patches + 1) * 1024
    assert figures(named(ops, "key_similarity")) == (
        2 * kept * patches * 1024,
        0,
        (kept + tiles * patches) * 1024,
        kept * patches,
    )
    assert figures(named(ops, "pick_neighbours")) == (0, kept * patches, kept * patches, kept * 32)
    rest = tiles * patches - kept
    assert figures(named(ops, "append_rest")) == (0, 2 * rest * 1024, rest * 1025, tiles * 1024)


def test_a_picture_of_tiles_costs_what_as_many_pictures_cost() -> None:
    # 5 tiles of LLaVA-NeXT go through the tower that LLaVA-1.5 has, as 5 pictures do there.
    tiles = of(forward("prumerge", model="llava-next-7b"), "reduction")
    assert tiles == of(forward("prumerge", images=5), "reduction")


@pytest.mark.parametrize("text", ["prumerge", "prumerge+"])
@pytest.mark.parametrize("images", [1, 3])
def test_where_no_patch_is_kept_nothing_is_compared_or_merged(text: str, images: int) -> None:
    ops = of(forward(text, tokens=images, images=images), "reduction")
    picks = ["pick_outliers"] + ["supplement_grid"] * (text == "prumerge+")
    assert [op.name for op in ops] == ["class_scores", "class_softmax", *picks, "append_rest"]
    # All 576 patches of an image go into its appended token.
    rest = 576 * images
    assert figures(named(tuple(ops), "append_rest")) == (0, 2 * rest * 1024, rest * 1025, images * 1024)
    assert all(op.bytes > 0 for op in ops)


@pytest.mark.parametrize("text", ["sequential:n=64", "spatial:n=64"])
def test_sampling_is_a_copy(text: str) -> None:
    (op,) = of(forward(text, batch=3), "reduction")
    assert (op.kind, figures(op)) == ("copy", (0, 0, 3 * 64 * 1024, 3 * 64 * 1024))


def test_random_tokens_are_picked_by_a_draw_each_and_copied() -> None:
    drawn, copied = of(forward("random:n=64", batch=3), "reduction")
    # Three pictures of 576 patches: a comparison a draw, and the 64 largest of each
    assert (drawn.name, drawn.kind, figures(drawn)) == ("pick_random", "selection", (0, 3 * 576, 3 * 576, 3 * 64))
    assert copied == of(forward("sequential:n=64", batch=3), "reduction")[0]
    # Of LLaVA-NeXT's five tiles, 2880 draws for the same 64
    tiles = named(forward("random:n=64", model="llava-next-7b"), "pick_random")
    assert figures(tiles) == (0, 2880, 2880, 64)


@pytest.mark.parametrize("text", BEFORE)
def test_projector_and_language_model_see_what_a_reducer_leaves(text: str) -> None:
    reduced = forward(text)
    tokens = workload_of(load_model(LLAVA), reduction=text).visual_tokens
    plain = forward(None, tokens=tokens)
    assert tuple(op for op in reduced if op.phase != "reduction") == plain
    assert total(of(reduced, "projector"), "matmul_flops") == 2 * tokens * (1024 * H + H**2)
    assert total(of(reduced, "vision"), "matmul_flops") == 381_918_216_192  # the tower sees whole pictures


def test_a_reducer_runs_in_the_activations_precision() -> None:
    ops = of(forward("prumerge", Execution(weights=Precision.INT4)), "reduction")
    assert {op.engine for op in ops} == {Precision.FP16}
    assert total(ops, "bytes") == total(of(forward("prumerge"), "reduction"), "bytes")


# --- inside the language model


def test_fastv_in_figures() -> None:
    # As its schedule alone, for its selector has no products: 2 * 264_048_476_160 + 30 * 142_837_284_864 + 262_668_288
    prefill = of(forward("fastv"), "prefill")
    assert total(prefill, "matmul_flops") == 4_813_478_166_528 == 2 * layer(636) + 30 * layer(348) + 2 * H * V


def test_fastv_op_by_op() -> None:
    ops = forward("fastv", batch=3)
    assert [op.name for op in of(ops, "prefill", "selection")] == ["mean_last_row", "pick_tokens"]
    # The last token's row of 32 heads over 576 visual tokens
    assert figures(named(ops, "mean_last_row")) == (0, 3 * 32 * 576, 3 * 32 * 576, 3 * 576)
    assert figures(named(ops, "pick_tokens")) == (0, 3 * 576, 3 * 576, 3 * 288)
    # 288 visual and 60 text tokens go on.
    assert figures(named(ops, "gather_kept")) == (0, 0, 3 * 348 * H, 3 * 348 * H)


def test_the_layer_before_fastvs_drop_is_eager() -> None:
    ops = forward("fastv:k=2,r=0.5")
    eager = ["attention_qk", "attention_softmax", "attention_pv"]
    kernels = [(op.name, op.repeat) for op in of(ops, "prefill") if op.name in ("attention", *eager)]
    assert kernels == [("attention", 1), *((name, 1) for name in eager), ("attention", 30)]
    # Scores of 32 heads, 636 x 636, pass through memory: written, read and written, read; cache and queries as ever.
    parts = {name: named(ops, name) for name in eager}
    scores = 32 * 636 * 636
    assert figures(parts["attention_qk"]) == (2 * scores * 128, 0, 636 * H, scores)
    assert figures(parts["attention_softmax"]) == (0, 5 * scores, scores, scores)
    assert figures(parts["attention_pv"]) == (2 * scores * 128, 0, scores, 636 * H)
    assert sum(op.kv_read_bytes for op in parts.values()) == 2 * 2 * 636 * H
    # It moves so much more than a fused one, and computes as much.
    (plain,) = of(forward(None), "prefill", "attention")
    assert total(list(parts.values()), "bytes") - plain.bytes // 32 == 2 * 4 * scores
    assert total(list(parts.values()), "flops") == plain.flops // 32


@pytest.mark.parametrize(
    ("text", "fused", "eager", "groups"),
    [
        ("fastv:k=1", [31], [1], [1, 31]),  # the only layer before the drop is the eager one
        ("fastv:k=5", [4, 27], [1], [5, 27]),
        ("sparsevlm", [2, 3, 8, 16], [1, 1, 1], [3, 4, 9, 16]),
        ("sparsevlm:layers=0,tokens=9", [31], [1], [1, 31]),
        ("pyramiddrop", [8, 8, 8, 8], [], [8, 8, 8, 8]),
        ("vtw", [16, 16], [], [16, 16]),
        ("layers:2=288,16=144", [2, 14, 16], [], [2, 14, 16]),
    ],
)
def test_which_layers_stay_fused(text: str, fused: list[int], eager: list[int], groups: list[int]) -> None:
    prefill = of(forward(text), "prefill")
    assert [op.repeat for op in prefill if op.name == "attention"] == fused
    assert [op.repeat for op in prefill if op.name == "attention_softmax"] == eager
    # Where attention is eager throughout, no layer stands apart.
    prefill = of(forward(text, EAGER), "prefill")
    assert [op.repeat for op in prefill if op.name == "attention"] == []
    assert [op.repeat for op in prefill if op.name == "attention_softmax"] == groups


@pytest.mark.parametrize("text", INSIDE)
def test_eager_layers_compute_what_fused_ones_do(text: str) -> None:
    fused, eager = of(forward(text), "prefill"), of(forward(text, EAGER), "prefill")
    for figure in ("matmul_flops", "flops", "weight_bytes", "kv_write_bytes"):
        assert total(fused, figure) == total(eager, figure)
    assert total(of(forward(text), "prefill", "selection"), "bytes") == total(
        of(forward(text, EAGER), "prefill", "selection"), "bytes"
    )


def test_pyramiddrop_op_by_op() -> None:
    # First drop: 576 + 60 tokens; keys of all, the query of the last
    ops = of(forward("pyramiddrop"), "prefill")
    first: dict[str, OpCost] = {}
    for op in ops:
        first.setdefault(op.name, op)
    assert figures(first["rank_norm"]) == (0, 4 * 636 * H, 636 * H, 636 * H)
    assert figures(first["rank_k_proj"]) == (2 * 636 * H * H, 0, 636 * H, 636 * H)
    assert figures(first["rank_q_proj"]) == (2 * H * H, 0, H, H)
    assert first["rank_k_proj"].weight_bytes == first["rank_q_proj"].weight_bytes == 2 * H * H
    assert figures(first["rank_k_rotary"]) == (0, 3 * 636 * H, 636 * H + 2 * 636 * 128, 636 * H)
    assert figures(first["rank_q_rotary"]) == (0, 3 * H, H + 2 * 128, H)
    assert figures(first["rank_scores"]) == (2 * 636 * H, 0, H + 636 * H, 32 * 636)
    assert figures(first["rank_softmax"]) == (0, 5 * 32 * 636, 32 * 636, 32 * 636)
    assert figures(first["mean_over_heads"]) == (0, 32 * 576, 32 * 576, 576)
    assert figures(first["pick_tokens"]) == (0, 576, 576, 288)
    assert figures(first["gather_kept"]) == (0, 0, 348 * H, 348 * H)
    selection = [op for op in ops if op.kind == "selection"]
    assert len(selection) == 3 * 9
    # Three drops, of 636, 348 and 204 tokens: keys 2 n h^2, scores 2 n h; and a query 2 h^2 each
    assert total(selection, "matmul_flops") == 1188 * (2 * H * H + 2 * H) + 3 * 2 * H * H == 39_973_060_608


def test_pyramiddrop_ranks_by_the_heads_that_share_keys() -> None:
    # Qwen2-7B under LLaVA-OneVision: 28 query heads of 128, 4 key heads; biases; 28 layers
    ops = of(forward("pyramiddrop:stages=2", model="llava-onevision-7b", tokens=940), "prefill")
    keys, scores = [next(op for op in ops if op.name == name) for name in ("rank_k_proj", "rank_scores")]
    assert figures(keys) == (2 * 1000 * 3584 * 512, 1000 * 512, 1000 * 3584, 1000 * 512)
    assert figures(scores) == (2 * 1000 * 3584, 0, 3584 + 1000 * 512, 28 * 1000)


def test_selectors_projections_are_quantised_like_the_layers() -> None:
    ops = of(forward("pyramiddrop", Execution(weights=Precision.INT4)), "prefill")
    layer_k, rank_k = (next(op for op in ops if op.name == name) for name in ("k_proj", "rank_k_proj"))
    assert rank_k.weight_bytes == layer_k.weight_bytes // 8 == H * H // 2 + H * H // 128 * 2


def test_sparsevlm_op_by_op() -> None:
    ops = of(forward("sparsevlm"), "prefill")
    assert [op.name for op in ops if op.name.startswith("rater") or op.name == "mean_over_visual"] == [
        "rater_scores",
        "rater_softmax",
        "mean_over_visual",
    ]
    assert [op.name for op in ops][2:6] == ["rater_scores", "rater_softmax", "mean_over_visual", "pick_raters"]
    assert figures(named(tuple(ops), "rater_scores")) == (2 * 576 * 60 * H, 0, (576 + 60) * H, 576 * 60)
    assert figures(named(tuple(ops), "rater_softmax")) == (0, 5 * 576 * 60, 576 * 60, 576 * 60)
    assert figures(named(tuple(ops), "mean_over_visual")) == (0, 576 * 60, 576 * 60, 60)
    first: dict[str, OpCost] = {}
    for op in ops:
        first.setdefault(op.name, op)
    assert figures(first["mean_over_raters"]) == (0, 32 * 60 * 576, 32 * 60 * 576, 576)
    # 300 are kept. 276 are dropped: floor(82.8) + 1 = 83 are recycled into floor(8.3) + 1 = 9; 309 and 60 text go on.
    assert figures(first["pick_tokens"]) == (0, 576, 576, 300)
    assert figures(first["recycle_distances"]) == (2 * 83 * 83 * H, 0, 2 * 83 * H, 83 * 83)
    assert figures(first["recycle_clusters"]) == (0, 6 * 83 * 83, 83 * 83, 83)
    assert figures(first["recycle_means"]) == (0, 83 * H, 83 * H, 9 * H)
    assert figures(first["gather_kept"]) == (0, 0, 369 * H, 369 * H)
    assert sum(op.name == "gather_kept" for op in ops) == 3


@pytest.mark.parametrize(
    ("seen", "kept"),
    [("309/204/113", (300, 200, 110)), ("312/117/39", (303, 110, 36)), ("82/32/18", (66, 30, 17))],
)
def test_sparsevlm_finds_what_its_code_keeps(seen: str, kept: tuple[int, ...]) -> None:
    # score.py keeps these, and recycled tokens join them to what later layers see.
    ops = of(forward(f"sparsevlm:tokens={seen}"), "prefill")
    assert tuple(op.write_bytes // 2 for op in ops if op.name == "pick_tokens") == kept
    joined = [op.write_bytes // 2 // H for op in ops if op.name == "recycle_means"]
    assert "/".join(str(sum(pair)) for pair in zip(kept, joined, strict=True)) == seen


def test_vtw_and_lists_copy_what_goes_on() -> None:
    ops = of(forward("vtw"), "prefill")
    assert figures(named(tuple(ops), "gather_kept")) == (0, 0, 60 * H, 60 * H)
    assert [op for op in ops if op.kind == "selection"] == []
    gathers = [op for op in of(forward("layers:2=288,16=144"), "prefill") if op.name == "gather_kept"]
    assert [op.write_bytes for op in gathers] == [2 * 348 * H, 2 * 204 * H]


@pytest.mark.parametrize("text", INSIDE)
def test_a_pruner_is_its_schedule_and_its_selector(text: str) -> None:
    spec = load_model(LLAVA)
    workload = workload_of(spec, reduction=text)
    reduced = count_ops(spec, workload, BASE)
    scheduled = count_ops(spec, workload_of(spec, schedule=workload.schedule), BASE)
    own = [op for op in reduced if op.kind == "selection"]
    for figure in ("matmul_flops", "flops", "weight_bytes", "kv_write_bytes"):
        assert total(list(reduced), figure) == total(list(scheduled), figure) + total(own, figure)
    assert of(reduced, "decode") == of(scheduled, "decode")
    for phase in ("vision", "projector"):
        assert of(reduced, phase) == of(forward(None), phase)


# --- decode and memory


def test_fastvs_cache_layer_by_layer() -> None:
    spec = load_model(LLAVA)
    workload = workload_of(spec, reduction="fastv", text_tokens=60, new_tokens=128)
    # Two layers hold 576 + 60 + 128 = 764 tokens, thirty 288 + 188 = 476; keys and values of 4096, 2 bytes
    assert kv_bytes(spec, workload, Precision.FP16) == 2 * (2 * 764 + 30 * 476) * 4096 * 2 == 258_998_272
    # The first new token looks back at itself too: 2 * 637 + 30 * 349 = 11744 keys
    step = tuple(decode_ops(spec, workload, BASE))
    assert total(list(step), "kv_read_bytes") == 2 * 11_744 * 4096 * 2
    assert sum(op.matmul_flops for op in step if op.kind == "attention") == 4 * 11_744 * 4096
    # Unreduced, 32 * 637 = 20384: the cache is halved, and the step's 13.2 GB of weights stay.
    plain = tuple(decode_ops(spec, workload_of(spec), BASE))
    assert total(list(plain), "kv_read_bytes") == 2 * 20_384 * 4096 * 2
    assert total(list(plain), "weight_bytes") == total(list(step), "weight_bytes")
    saved = total(list(plain), "bytes") - total(list(step), "bytes")
    assert saved == 2 * 8_640 * 4096 * 2  # 141.6 MB of 13.56 GB: why decode hardly gains
    assert saved / total(list(plain), "bytes") == pytest.approx(0.0104, abs=5e-5)


def test_the_eager_layer_shows_in_memory() -> None:
    fused, reduced = forward(None), forward("fastv")
    # Softmax of the eager layer: 2 * 32 * 636^2 scores of 2 bytes, beside the residual stream of 636 * 4096
    assert working_set_bytes(reduced) == 2 * (2 * 32 * 636**2 + 636 * H) == 56_985_600
    assert working_set_bytes(fused) < working_set_bytes(reduced)
    assert working_set_bytes(forward("vtw")) == working_set_bytes(fused)


# --- what people see


def roofline(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["roofline", "--gpu", "v100", *arguments])


def test_the_json_says_reduction_and_schedule() -> None:
    workload = json.loads(roofline("--reduction", "fastv", "--format", "json").output)["workload"]
    assert (workload["reduction"], workload["visual_tokens"]) == ("fastv:k=2,r=0.5", 576)
    assert workload["schedule"] == [{"layers": 2, "visual_tokens": 576}, {"layers": 30, "visual_tokens": 288}]
    document = json.loads(roofline("--reduction", "prumerge", "--format", "json").output)
    assert (document["workload"]["reduction"], document["workload"]["schedule"]) == ("prumerge", [])
    assert [phase["phase"] for phase in document["phases"]][1] == "reduction"
    assert any("assumed" in line for line in document["warnings"])
    plain = json.loads(roofline("--format", "json").output)["workload"]
    assert (plain["reduction"], plain["schedule"]) == (None, [])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("fastv", "fastv:k=2,r=0.5: 576 visual tokens in 2 layers, 288 in 30; mean over layers 306"),
        ("vtw", "vtw:k=16: 576 visual tokens in 16 layers, 0 in 16; mean over layers 288"),
        # (3 * 576 + 4 * 309 + 9 * 204 + 16 * 113) / 32
        ("sparsevlm", "576 visual tokens in 3 layers, 309 in 4, 204 in 9, 113 in 16; mean over layers 206.5"),
        ("prumerge", "prumerge: 32 of 576 visual tokens enter the language model"),
        ("prumerge:k=16", "prumerge:k=16: 32 of 576 visual tokens enter the language model"),
        ("random:n=64", "random:n=64: 64 of 576 visual tokens enter the language model"),
    ],
)
def test_the_heading_says_what_layers_see(text: str, line: str) -> None:
    shown = roofline("--reduction", text).output.splitlines()
    assert shown[2].endswith(line)
    assert any(line in shown for shown in roofline("--gpu", "h100", "--reduction", text).output.splitlines()[:3])


@pytest.mark.parametrize("name", ["sequential", "spatial", "random"])
def test_tokens_say_how_many_a_sampler_leaves(name: str) -> None:
    bare, told = (roofline("--reduction", text, "--tokens", "64", "--format", "csv") for text in (name, f"{name}:n=64"))
    assert (bare.exit_code, bare.exception) == (0, None)
    assert bare.output.replace(f",{name},", f",{name}:n=64,") == told.output


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_prumerge_that_keeps_no_patch_is_reported(form: str) -> None:
    result = roofline("--reduction", "prumerge", "--tokens", "1", "--format", form)
    assert result.exit_code == 0, result.output
    if form == "json":
        ops = json.loads(result.output)["ops"]
        assert all(op["intensity"] >= 0 for op in ops)


def test_without_visual_tokens_no_image_is_named() -> None:
    heading = "0 visual + 60 text tokens, 128 new, batch 1; fp16; fused attention; logits last"
    assert roofline("--tokens", "0").output.splitlines()[1] == heading
    assert ", 1 image, " in roofline("--tokens", "1").output.splitlines()[1]
    assert ", 2 images, " in roofline("--images", "2").output.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "attention"),
    [
        ([], "fused attention"),
        (["--reduction", "fastv"], "fused attention, 1 layer eager"),
        (["--reduction", "sparsevlm"], "fused attention, 3 layers eager"),
        (["--reduction", "pyramiddrop"], "fused attention"),
        (["--reduction", "fastv", "--include", "vision"], "fused attention"),  # no layer of the language model
    ],
)
def test_count_says_which_attention_its_bytes_are_of(arguments: list[str], attention: str) -> None:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(main, ["count", *arguments])
    (line,) = [line for line in result.stdout.splitlines() if " moved " in line]
    assert line.endswith(f"moved in fp16, with {attention}")


@pytest.mark.parametrize("compared", [[], ["--compare"]])
@pytest.mark.parametrize(("given", "said"), [([], None), (["--reduction", "vtw"], "vtw:k=16")])
def test_count_says_no_reduction_as_roofline_does(compared: list[str], given: list[str], said: str | None) -> None:
    result = CliRunner().invoke(main, ["count", "--format", "json", *compared, *given])
    assert json.loads(result.stdout)["workload"]["reduction"] == said


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("mixtral-8x7b", "pyramiddrop:stages=4,keep=0.5", "mixtral-8x7b sees no images, so"),
        ("llava-1.5-7b", "pyramiddrop:stages=4,keep=0.1", "leaves no tokens of 5; vtw"),
    ],
)
def test_a_method_that_is_refused_is_named_once(model: str, text: str, message: str) -> None:
    asked = ["--gpu", "v100", "--model", model, "--reduction", text]
    for command in ("roofline", "table"):
        error = CliRunner().invoke(main, [command, *asked]).stderr
        assert f"{text}: {message}" in error
        assert error.count("pyramiddrop:") == 1


def test_time_to_the_first_token_has_the_reduction_in_it() -> None:
    prediction = perfkit.analyze("v100", reduction="prumerge")
    phases = {phase.phase: phase.roofline_s for phase in prediction.phases}
    assert prediction.ttft_roofline_s == pytest.approx(sum(phases.values()) - phases["decode"], rel=1e-12)
    assert phases["reduction"] > 0
    assert "vision + reduction + projector + prefill" in roofline("--reduction", "prumerge").output


@pytest.mark.parametrize("text", [*INSIDE, *BEFORE])
@pytest.mark.parametrize("form", ["table", "csv", "markdown", "latex", "html"])
def test_every_method_in_every_format(text: str, form: str) -> None:
    result = roofline("--reduction", text, "--format", form)
    assert (result.exit_code, result.exception) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reduction", "fastv", "--tokens", "0"], "there are no visual tokens to reduce (--tokens 0)"),
        (["--reduction", "fastb"], "unknown reduction 'fastb'; nearest: fastv"),
        (["--reduction", "fastv:k=32"], "the language model has 32 layers: k is from 1 to 31"),
        (["--reduction", "fastv", "--model", "llama-3-8b"], "llama-3-8b sees no images"),
        (["--reduction", ""], "unknown reduction ''"),
        (["--reduction", "sequential"], "sequential needs n, as in sequential:n=64"),
        (["--reduction", "prumerge:k=0"], "prumerge: k must be a whole number from 1 to 10000000, not '0'"),
        (["--reduction", "prumerge:n=3"], "unknown parameter of prumerge 'n'; allowed: k"),
    ],
)
def test_a_reduction_that_cannot_be_is_one_clear_line(arguments: list[str], message: str) -> None:
    result = roofline(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.splitlines()) <= 2


# --- the example of docs/token-reduction.md


def test_where_eager_attention_eats_what_fastv_saves() -> None:
    def prefill(text: str | None, attention: str) -> float:
        prediction = perfkit.analyze("h100", "llava-next-7b", reduction=text, attention=attention)
        (phase,) = [phase for phase in prediction.phases if phase.phase == "prefill"]
        return phase.roofline_s * 1e3

    def layer_us(tokens: int, kernels: str) -> float:
        """Hand arithmetic: products at 989.4 TFLOP/s, all else 3.35 TB/s; scores of 32 heads, 2 bytes."""
        linear = tokens * (8 * H**2 + 6 * H * FFN) / 989.4e6
        fused = 4 * tokens**2 * H / 989.4e6
        scores = 32 * tokens**2
        eager = (2 * 2 * (2 * tokens * H + scores) + 4 * scores) / 3.35e6
        # Norms 4, rotary 4, cache 4, residuals 6 times n h; the activation 3 n i
        rest = 2 * tokens * (18 * H + 3 * FFN) / 3.35e6
        return linear + rest + {"fused": fused, "eager": eager}[kernels]

    # 2928 + 60 tokens; floor(0.2 * 2928) = 585 are dropped
    assert layer_us(2988, "fused") == pytest.approx(1560.6, abs=0.1)
    assert layer_us(2988, "eager") == pytest.approx(2124.3, abs=0.1)
    assert layer_us(2403, "fused") == pytest.approx(1231.8, abs=0.1)
    assert layer_us(2403, "eager") == pytest.approx(1601.0, abs=0.1)
    text = "fastv:k=2,r=0.2"
    for reduction, attention, by_hand, shown in (
        (None, "fused", 32 * 1560.6, 50.1),
        (text, "eager", 2 * 2124.3 + 30 * 1601.0, 52.4),
        (text, "fused", 1560.6 + 2124.3 + 30 * 1231.8, 40.8),
    ):
        assert prefill(reduction, attention) == pytest.approx(by_hand / 1e3, abs=0.2)  # embedding, head, copies
        assert prefill(reduction, attention) == pytest.approx(shown, abs=0.05)
