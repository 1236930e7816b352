"""A model on several GPUs: slices, stages, exchanges and memory, with the arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main
from perfkit.counting import count_ops, workload_of
from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.hardware import load_device
from perfkit.kernels.calibrations import read_bundled
from perfkit.kernels.collectives import exchange_s
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES
from perfkit.latency import Prediction
from perfkit.memory import Footprint, max_kv_bytes, stage_weight_bytes, weight_bytes
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec, TextSpec
from perfkit.ops import COMMUNICATION
from perfkit.parallel import (
    NETWORK,
    Exchange,
    Transfer,
    exchanges,
    layout_of,
    part_of,
    pipeline_efficiency,
    pipeline_s,
    stage_layers,
    tensor_degrees,
)
from perfkit.parallel.links import group_of, link_of, neighbours
from perfkit.remarks import notes
from perfkit.roofline import OpTime
from perfkit.workload import Execution

A100 = load_device("a100")
SMALL, LARGE, QWEN, MIXTRAL = (load_model(n) for n in ("llava-1.5-7b", "llava-1.5-13b", "qwen2-7b", "mixtral-8x7b"))


def text_of(spec: ModelSpec) -> TextSpec:
    assert spec.text is not None
    return spec.text


# --- slices


def test_a_slice_has_its_share_of_heads_feed_forward_and_vocabulary() -> None:
    part = text_of(part_of(LARGE, Execution(tp=8)))
    assert part.stack.attention.heads == part.stack.attention.kv_heads == 5  # 40 / 8
    assert part.stack.feed_forward.width == 1728  # 13824 / 8
    assert part.vocab == 4008  # 32064 / 8
    assert (part.stack.hidden, part.stack.layers, part.stack.attention.head_dim) == (5120, 40, 128)  # as they were


def test_one_gpu_has_the_model_itself() -> None:
    assert part_of(LARGE, Execution(pp=4)) is LARGE


def test_key_and_value_heads_that_are_fewer_than_gpus_are_replicated() -> None:
    llama = load_model("llama-3-70b")  # 64 heads, 8 of keys and values, feed-forward 28672
    attention = text_of(part_of(llama, Execution(tp=16))).stack.attention
    assert (attention.heads, attention.kv_heads) == (4, 1)  # 64 / 16; 16 = 2 * 8, so two GPUs share a head


def test_a_vocabulary_that_does_not_split_evenly_is_padded() -> None:
    odd = replace(LARGE, text=text_of(LARGE)._replace(vocab=32001))
    assert text_of(part_of(odd, Execution(tp=8))).vocab == 4001  # ceil(32001 / 8) = ceil(4000.125)


@pytest.mark.parametrize(
    ("spec", "degrees"),
    [
        (SMALL, (1, 2, 4, 8, 16, 32)),  # 32 heads; 11008 = 2^8 43
        (LARGE, (1, 2, 4, 8)),  # 40 heads; 13824 = 2^9 27 is no multiple of 5
        (QWEN, (1, 2, 4)),  # 28 heads, 4 of keys and values: 7 and 14 are no multiples of 4; 18944 = 2^9 37
        (MIXTRAL, (1, 2, 4, 8, 16, 32)),  # 32 heads, 8 of keys and values; 14336 = 2^11 7
    ],
    ids=lambda value: value.name if isinstance(value, ModelSpec) else "",
)
def test_degrees_that_split_evenly(spec: ModelSpec, degrees: tuple[int, ...]) -> None:
    assert tensor_degrees(text_of(spec).stack) == degrees


@pytest.mark.parametrize(
    ("model", "asked", "message"),
    [
        (
            "llava-1.5-13b",
            {"tp": 3},
            "tp 3 does not split llava-1.5-13b evenly: it has 40 heads, and a feed-forward of width 13824; "
            "allowed: 1, 2, 4, 8",
        ),
        (
            "qwen2-7b",
            {"tp": 8},
            "tp 8 does not split qwen2-7b evenly: it has 28 heads and 4 of keys and values, and a feed-forward of "
            "width 18944; allowed: 1, 2, 4",
        ),
        ("llava-1.5-7b", {"pp": 33}, "pp 33: llava-1.5-7b has 32 layers, so pp must be at most 32"),
        ("clip-vit-l-14-336", {"tp": 2}, "a bare vision tower, which every GPU runs whole; tp must be 1"),
        ("clip-vit-l-14-336", {"pp": 2}, "has no language model, so pp must be at most 1"),
        ("llava-1.5-7b", {"tp": 0}, "tp must be a whole number from 1"),
        ("llava-1.5-7b", {"pp": 1.5}, "pp must be a whole number from 1"),
    ],
)
def test_degrees_that_cannot_be_are_refused(model: str, asked: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        perfkit.analyze("a100", model, **asked)  # type: ignore[arg-type]
    assert message in str(raised.value)


# --- stages


@pytest.mark.parametrize(
    ("layers", "pp", "stages"),
    [(32, 1, (32,)), (32, 4, (8, 8, 8, 8)), (32, 3, (11, 11, 10)), (40, 3, (13, 14, 13)), (5, 5, (1, 1, 1, 1, 1))],
)
def test_layers_are_spread_evenly(layers: int, pp: int, stages: tuple[int, ...]) -> None:
    assert stage_layers(layers, pp) == stages


def test_a_bubble_is_what_filling_and_draining_takes() -> None:
    assert pipeline_efficiency(1, 4) == 1 / 4
    assert pipeline_efficiency(12, 4) == 12 / 15
    assert pipeline_s(4.0, 1, 4) == 4.0  # one micro-batch gains nothing
    assert pipeline_s(4.0, 12, 4) == pytest.approx(15.0)  # 12 + 3 stage times of 1 s


@pytest.mark.parametrize(
    ("tp", "pp", "nodes"),
    [(1, 8, [1] * 7), (2, 4, [1] * 3), (4, 4, [1, 2, 1]), (8, 3, [2, 2]), (1, 10, [1] * 7 + [2, 1])],
)
def test_stages_beyond_a_node_send_over_the_network(tp: int, pp: int, nodes: list[int]) -> None:
    layout = layout_of(SMALL, Execution(tp=tp, pp=pp), A100)
    assert layout is not None
    assert [group.nodes for group in layout.boundaries] == nodes


# --- links


def test_links_of_devices() -> None:
    assert link_of(A100, 8).name == "NVLink3"
    bridged = load_device("a100-pcie-80gb")
    assert (link_of(bridged, 2).name, link_of(bridged, 4).name) == ("NVLink3 bridge", "PCIe 4")
    assert link_of(load_device("l40s"), 2).bandwidth.value == 31.5e9
    assert NETWORK.bandwidth.value == 200e9 / 8


def test_a_device_without_a_link_is_refused() -> None:
    alone = replace(A100, links=(), pcie=None)
    with pytest.raises(InvalidSpec, match="no link to other GPUs is known of it, so tp and pp must be 1"):
        layout_of(SMALL, Execution(tp=2), alone)


@pytest.mark.parametrize(("workers", "of_node", "nodes"), [(2, 2, 1), (8, 8, 1), (16, 8, 2), (12, 6, 2)])
def test_groups_fill_as_few_nodes_as_hold_them(workers: int, of_node: int, nodes: int) -> None:
    group = group_of(A100, workers)
    assert (group.of_node, group.nodes, group.workers) == (of_node, nodes, workers)


def test_roofline_of_exchanges() -> None:
    size, one = 64e6, group_of(A100, 8)
    assert Exchange("all_reduce", size, one).roofline_s == pytest.approx(2 * 7 / 8 * 64e6 / 300e9)
    assert Exchange("all_gather", size, one).roofline_s == pytest.approx(7 / 8 * 64e6 / 300e9)
    assert Exchange("send", size, neighbours(A100, same_node=True)).roofline_s == pytest.approx(64e6 / 300e9)
    assert Exchange("send", size, neighbours(A100, same_node=False)).roofline_s == pytest.approx(64e6 / 25e9)
    # Of two nodes each sends all of the sum through 8 ports: 64e6 / 200e9; inside, as above, takes longer.
    assert Exchange("all_reduce", size, group_of(A100, 16)).roofline_s == pytest.approx(2 * 7 / 8 * 64e6 / 300e9)
    slow = group_of(A100, 2)._replace(of_node=1, nodes=2)
    assert Exchange("all_reduce", size, slow).roofline_s == pytest.approx(64e6 / 25e9)


# --- exchanges of a forward


def transfers_of(spec: ModelSpec, **asked: int) -> list[tuple[str, str, int, float]]:
    """Phase, name, how often, and bytes of each message."""
    execution = Execution(**asked)
    layout = layout_of(spec, execution, A100)
    assert layout is not None
    forward = count_ops(spec, workload_of(spec), execution)
    return [
        (t.cost.phase, t.cost.name, t.cost.repeat, t.exchange.size_bytes)
        for t in exchanges(forward, layout)
        if isinstance(t, Transfer)
    ]


def test_two_sums_a_layer_one_of_the_embedding_and_the_logits() -> None:
    prefill = [each for each in transfers_of(LARGE, tp=4) if each[0] == "prefill"]
    hidden = 636 * 5120 * 2  # 576 + 60 tokens, fp16
    assert prefill == [
        ("prefill", "embed_tokens_all_reduce", 1, hidden),
        ("prefill", "attention_all_reduce", 40, hidden),
        ("prefill", "ffn_all_reduce", 40, hidden),
        ("prefill", "lm_head_all_gather", 1, 32064 * 2),
    ]


def test_experts_are_summed_once_a_layer() -> None:
    found = [(name, times) for phase, name, times, _ in transfers_of(MIXTRAL, tp=2) if phase == "decode"]
    assert found == [
        ("embed_tokens_all_reduce", 1),
        ("attention_all_reduce", 32),
        ("ffn_all_reduce", 32),
        ("lm_head_all_gather", 1),
    ]


def test_stages_hand_on_their_activations() -> None:
    assert transfers_of(LARGE, pp=4) == [
        ("prefill", "stage_send", 3, 636 * 5120 * 2),
        ("decode", "stage_send", 3, 5120 * 2),
    ]


def test_stages_hand_on_fewer_tokens_once_these_are_dropped() -> None:
    workload, execution = workload_of(SMALL, reduction="fastv:k=2,r=0.5"), Execution(pp=4)
    layout = layout_of(SMALL, execution, A100)
    assert layout is not None
    found = [t for t in exchanges(count_ops(SMALL, workload, execution), layout) if isinstance(t, Transfer)]
    assert [(t.cost.repeat, t.exchange.size_bytes) for t in found] == [
        (3, (288 + 60) * 4096 * 2),  # stages end after layers 8, 16 and 24
        (3, 4096 * 2),
    ]


# --- times


def analyze(**asked: int) -> Prediction:
    return perfkit.analyze("a100", "llava-1.5-13b", **asked)


def named(p: Prediction, phase: str, name: str) -> OpTime:
    (found,) = [time for time in p.ops if (time.cost.phase, time.cost.name) == (phase, name)]
    return found


def test_costs_are_of_the_whole_and_times_of_a_slice() -> None:
    one, four = analyze(), analyze(tp=4)
    alone, shared = named(one, "prefill", "down_proj"), named(four, "prefill", "down_proj")
    assert shared.cost.flops == alone.cost.flops
    assert shared.cost.bytes == alone.cost.bytes
    assert shared.compute_s == pytest.approx(2 * 636 * 13824 * 5120 * 40 / 4 / 312e12, rel=1e-12)
    assert shared.cost.kernel == (alone.cost.kernel and alone.cost.kernel._replace(k=13824 // 4))
    attention = named(four, "prefill", "attention").cost.kernel
    assert attention is not None
    assert (attention.heads, attention.kv_heads) == (10, 10)


def test_vision_tower_and_projector_take_as_long_as_on_one_gpu() -> None:
    one, eight = analyze(), analyze(tp=8, pp=2)
    assert eight.phases[:2] == one.phases[:2]
    assert [phase.phase for phase in one.phases[:2]] == ["vision", "projector"]


def test_a_pipeline_adds_its_sends_to_the_time_of_one_gpu() -> None:
    one, four = analyze(), analyze(pp=4)
    sends = 3 * 636 * 5120 * 2 / 300e9
    assert four.ttft_roofline_s == pytest.approx(one.ttft_roofline_s + sends, rel=1e-12)
    assert four.tpot_roofline_s == pytest.approx(one.tpot_roofline_s + 3 * 5120 * 2 / 300e9, rel=1e-12)


def test_communication_is_an_op_that_bounds_itself() -> None:
    time = named(analyze(tp=2), "prefill", "attention_all_reduce")
    assert (time.cost.kind, time.bound, time.cost.flops, time.cost.bytes) == (COMMUNICATION, "communication", 0, 0)
    assert time.roofline_s == pytest.approx(40 * 2 * 1 / 2 * 636 * 5120 * 2 / 300e9, rel=1e-12)
    forms = read_bundled("a100-sxm-80gb").forms
    exchange = Exchange("all_reduce", 636 * 5120 * 2, group_of(A100, 2))
    one_s = exchange_s(exchange, forms[COLLECTIVES], forms[BETWEEN_NODES])  # type: ignore[arg-type]
    assert time.expected_s == pytest.approx(40 * one_s)
    assert time.expected_low_s is not None
    assert time.expected_high_s is not None
    assert time.expected_low_s < time.expected_s < time.expected_high_s


def test_a_phase_can_be_bound_by_communication() -> None:
    slow = perfkit.analyze("l40s", "llava-1.5-13b", tp=8)  # PCIe: 31.5 GB/s
    prefill = next(phase for phase in slow.phases if phase.phase == "prefill")
    assert prefill.bound == "communication"
    assert prefill.communication_s > prefill.roofline_s / 2


def test_heads_that_are_no_longer_shared_are_not_copied_out() -> None:
    alone = perfkit.analyze("a100", "mixtral-8x7b", attention="eager", tp=4)
    each = perfkit.analyze("a100", "mixtral-8x7b", attention="eager", tp=32)  # one head a GPU
    assert named(alone, "prefill", "attention_repeat_kv").roofline_s > 0
    assert named(each, "prefill", "attention_repeat_kv").expected_s == 0


def test_eager_exchanges_are_launched_too() -> None:
    assert named(perfkit.analyze("a100", tp=2, runtime="eager"), "decode", "attention_all_reduce").launches == 32


# --- memory


def test_weights_of_a_slice() -> None:
    # A layer 4 * 5120^2 + 3 * 5120 * 13824 of products and 2 * 5120 of norms; tables 2 * 32064 * 5120; a norm more.
    tower, projector = 303_507_456, (1024 + 5120 + 2) * 5120
    layer, table = 4 * 5120**2 + 3 * 5120 * 13824, 32064 * 5120
    whole = 2 * (tower + projector + 40 * (layer + 2 * 5120) + 2 * table + 5120)
    assert weight_bytes(LARGE, Execution()) == whole == 26_702_989_312
    slice_bytes = 2 * (tower + projector + 40 * (layer // 8 + 2 * 5120) + 2 * table // 8 + 5120)
    assert weight_bytes(LARGE, Execution(tp=8)) == slice_bytes == 3_924_805_632


def test_stages_hold_the_whole_model_once() -> None:
    for pp in (1, 2, 3, 40):
        assert sum(stage_weight_bytes(LARGE, Execution(pp=pp))) == weight_bytes(LARGE, Execution())


def test_a_tied_head_is_there_twice_in_a_pipeline() -> None:
    tied = replace(QWEN, text=text_of(QWEN)._replace(tied=True))
    table = 2 * text_of(tied).vocab * text_of(tied).embedding_width
    assert sum(stage_weight_bytes(tied, Execution(pp=2))) == weight_bytes(tied, Execution()) + table


def test_the_cache_is_split_by_heads_and_layers() -> None:
    workload = workload_of(QWEN, text_tokens=96, new_tokens=4)
    whole = 2 * 28 * 4 * 128 * 100 * 2  # keys and values, layers, heads, width, tokens, fp16
    assert max_kv_bytes(QWEN, workload, Execution()) == whole
    assert max_kv_bytes(QWEN, workload, Execution(tp=4)) == whole // 4
    assert max_kv_bytes(QWEN, workload, Execution(tp=2, pp=3)) == 2 * 10 * 2 * 128 * 100 * 2  # 28 layers: 9, 10, 9
    llama = load_model("llama-3-70b")  # 8 heads of keys and values, 80 layers
    assert max_kv_bytes(llama, workload, Execution(tp=16)) == 2 * 80 * 1 * 128 * 100 * 2  # one on each GPU


def test_the_stage_with_most_cache_counts() -> None:
    workload = workload_of(SMALL, text_tokens=60, new_tokens=40, reduction="fastv:k=2,r=0.5")
    # The first of 4 stages has 2 layers of 576 + 100 tokens and 6 of 288 + 100.
    assert max_kv_bytes(SMALL, workload, Execution(pp=4)) == 2 * 4096 * 2 * (2 * 676 + 6 * 388)


def test_fits_is_of_one_gpu() -> None:
    alone, shared = (perfkit.analyze("v100-sxm2-16gb", "llava-1.5-13b", tp=tp) for tp in (1, 2))
    assert (bool(alone.fits), bool(shared.fits)) == (False, True)
    assert isinstance(shared.footprint, Footprint)
    assert shared.footprint.kv * 2 == alone.footprint.kv


# --- what people are told


def test_notes_say_how_a_model_is_split() -> None:
    found = notes(analyze(tp=8, pp=3))
    assert "tp 8 over NVLink3, 300 GB/s each way (datasheet); vision tower and projector run whole on each GPU" in found
    assert (
        "pp 3: stages of 13+14+13 layers, one after the other, over HDR InfiniBand, 25 GB/s each way "
        "(assumed: one 200 Gb/s port a GPU, as in a DGX A100)"
    ) in found
    assert not any("per GPU" in note for note in notes(analyze()))


def test_the_json_has_the_degrees() -> None:
    from perfkit.reports.roofline import document

    found = document(analyze(tp=2, pp=2))
    assert (found["execution"]["tp"], found["execution"]["pp"]) == (2, 2)
    ops = [op for op in found["ops"] if op["kind"] == COMMUNICATION]
    assert {op["phase"] for op in ops} == {"prefill", "decode"}
    assert {op["bound"] for op in ops} == {COMMUNICATION}
    assert set(ops[0]) == set(found["ops"][0])


def test_a_roofline_chart_shows_one_gpu() -> None:
    from perfkit.views.roofline import roofline_view

    with pytest.raises(InvalidValue, match="leave out --tp"):
        roofline_view([analyze(tp=2)])
    assert roofline_view([analyze(pp=2)]).roofs


def test_a_breakdown_shows_communication() -> None:
    from perfkit.views.breakdown import breakdown_view

    (bar,) = breakdown_view([analyze(tp=2)]).bars
    assert any(part.work == COMMUNICATION for part in bar.first)


# --- the command line


def test_the_command_line_takes_both_degrees() -> None:
    asked = ["roofline", "--gpu", "a100", "--model", "llava-1.5-13b", "--tp", "2", "--pp", "2"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, asked)
    assert result.output.startswith("llava-1.5-13b on 4 x a100-sxm-80gb")
    assert "logits last; tp 2, pp 2" in result.output
    assert "per GPU: weights " in result.output
    assert "FLOPs, bytes and times are of the whole model, memory is per GPU" in result.output


def test_the_command_line_refuses_what_does_not_split() -> None:
    result = CliRunner().invoke(main, ["roofline", "--gpu", "a100", "--model", "llava-1.5-13b", "--tp", "3"])
    assert result.exit_code == 1
    assert "allowed: 1, 2, 4, 8" in result.output


def test_what_does_not_fit_is_said_of_each_gpu() -> None:
    asked = ["roofline", "--gpu", "t4", "--model", "llama-3-70b", "--tokens", "0", "--tp", "2"]
    result = CliRunner().invoke(main, asked)
    assert "per GPU with the runtime's reserve" in result.output
