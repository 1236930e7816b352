"""Footprints by hand, the boundary of what fits, and remedies that really do fit when they are applied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.hardware import load_device
from perfkit.memory import Footprint, Remedy, footprint, kv_bytes, remedies, working_set_bytes
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.units import Precision
from perfkit.workload import Execution, LayerGroup, Workload

BASE = Execution()
LLAVA = "llava-1.5-7b"
GIB = 1_073_741_824


def needed(spec: ModelSpec, workload: Workload, execution: Execution = BASE) -> Footprint:
    execution = execution_of(spec, execution)
    return footprint(spec, workload, execution, count_ops(spec, workload, execution))


def footprint_of(model: str, execution: Execution = BASE, **workload: Any) -> Footprint:
    spec = load_model(model)
    return needed(spec, workload_of(spec, **workload), execution)


# --- parts


def test_total_is_the_sum() -> None:
    assert Footprint(1, 2, 4).total == 7


def test_one_gib_stays_for_the_runtime() -> None:
    need = Footprint(10, 20, 30)
    assert need.fits(60 + GIB)
    assert not need.fits(60 + GIB - 1)


def test_cache_holds_prompt_and_new_tokens() -> None:
    # keys and values, 32 layers, batch 3, 32 + 60 + 128 tokens, width 4096, 2 bytes
    assert footprint_of(LLAVA, tokens=32, batch=3).kv == 2 * 32 * 3 * 220 * 4096 * 2


def test_cache_in_eight_bits() -> None:
    assert footprint_of(LLAVA, replace(BASE, kv=Precision.INT8), tokens=32).kv == 2 * 32 * 220 * 4096


def test_cache_of_a_schedule_holds_what_each_layer_saw() -> None:
    spec = load_model(LLAVA)
    workload = workload_of(spec, schedule=(LayerGroup(2, 576), LayerGroup(30, 288)))
    # 60 + 128 tokens of text everywhere
    assert kv_bytes(spec, workload, Precision.FP16) == 2 * (2 * 764 + 30 * 476) * 4096 * 2


@pytest.mark.parametrize("model", ["bert-base", "clip-vit-l-14-336"])
def test_models_that_keep_no_cache(model: str) -> None:
    assert footprint_of(model).kv == 0


@pytest.mark.parametrize(
    ("tokens", "execution", "expected"),
    [
        # In the tower: 577 rows; the activation reads and writes 4096 a row, the stream is 1024 a row:
        # 577 * (2 * 4096 + 1024) * 2
        (32, BASE, 10_635_264),
        # In prefill: 636 rows; the gated activation reads 2 * 11008 and writes 11008 a row, the stream is 4096:
        # 636 * (3 * 11008 + 4096) * 2
        (576, BASE, 47_216_640),
        # lm_head on every row reads 4096 and writes 32064: 636 * (4096 + 32064 + 4096) * 2
        (576, replace(BASE, logits="all"), 51_205_632),
        # The softmax of 32 heads reads and writes 636 scores a row and head: 636 * (2 * 32 * 636 + 4096) * 2
        (576, replace(BASE, attention="eager"), 56_985_600),
    ],
)
def test_activations_are_the_largest_working_set_of_any_phase(tokens: int, execution: Execution, expected: int) -> None:
    assert footprint_of(LLAVA, execution, tokens=tokens).activations == expected


def test_working_set_of_one_launch_and_the_stream_beside_it() -> None:
    wide = OpCost("prefill", "wide", "linear", 4, Precision.FP16, read_bytes=400, write_bytes=800)
    stream = OpCost("prefill", "sum", "add", 4, Precision.FP16, read_bytes=80, write_bytes=40)
    other = OpCost("decode", "wide", "linear", 1, Precision.FP16, read_bytes=305, write_bytes=0)
    # One of 4 launches: 100 + 200, and a stream of 10; the other phase needs 305.
    assert working_set_bytes([wide, stream, other]) == 310
    assert working_set_bytes([wide, other]) == 305
    assert working_set_bytes([]) == 0


# --- remedies


def applied(spec: ModelSpec, workload: Workload, execution: Execution, remedy: Remedy, capacity: float) -> bool:
    """Whether `remedy` makes it fit."""
    change = {remedy.change: remedy.value}
    if remedy.change in ("weights", "kv"):
        return needed(spec, workload, replace(execution, **change)).fits(capacity)
    if remedy.change == "batch":
        return needed(spec, replace(workload, **change), execution).fits(capacity)
    assert remedy.change == "capacity"
    return needed(spec, workload, execution).fits(remedy.value)


CASES = [
    ("llava-1.5-7b", "v100-sxm2-16gb", {"batch": 4}),
    ("llava-1.5-7b", "v100-sxm2-16gb", {"batch": 400}),
    ("llava-1.5-13b", "v100-sxm2-16gb", {}),
    ("llava-1.5-13b", "v100-sxm2-32gb", {"batch": 8}),
    ("llava-1.5-13b", "v100-sxm2-32gb", {"text_tokens": 3000, "batch": 2}),
    ("llama-3-8b", "v100-sxm2-16gb", {}),
    ("llama-3-8b", "a100-sxm-80gb", {"text_tokens": 4000, "batch": 200}),
    ("mixtral-8x7b", "h100-sxm-80gb", {"batch": 2}),
    ("mixtral-8x7b", "t4", {}),
    ("llama-2-70b", "a100-sxm-80gb", {"batch": 3}),
    ("bert-base", "t4", {"text_tokens": 512, "batch": 9000}),
    ("siglip-so400m", "t4", {"batch": 2000}),
]
EXECUTIONS = [BASE, replace(BASE, attention="eager"), replace(BASE, logits="all"), Execution(*[Precision.FP32] * 3)]


@pytest.mark.parametrize("execution", EXECUTIONS, ids=["fused", "eager", "all-logits", "fp32"])
@pytest.mark.parametrize(("model", "device", "counts"), CASES)
def test_every_remedy_makes_it_fit(model: str, device: str, counts: dict[str, int], execution: Execution) -> None:
    spec, capacity = load_model(model), load_device(device).memory_bytes
    execution, workload = execution_of(spec, execution), workload_of(spec, **counts)
    need = needed(spec, workload, execution)
    assert not need.fits(capacity), "this case is to test remedies"
    found = remedies(spec, workload, execution, need, capacity)
    assert found[-1].change == "capacity"
    assert not need.fits(found[-1].value - 1)
    for remedy in found:
        assert applied(spec, workload, execution, remedy, capacity), remedy


@pytest.mark.parametrize(("model", "device", "counts"), CASES)
def test_a_batch_is_the_largest_that_fits(model: str, device: str, counts: dict[str, int]) -> None:
    spec, capacity = load_model(model), load_device(device).memory_bytes
    workload = workload_of(spec, **counts)
    found = remedies(spec, workload, BASE, needed(spec, workload), capacity)
    batches = [remedy.value for remedy in found if remedy.change == "batch"]
    fitting = [b for b in (1, *batches) if needed(spec, replace(workload, batch=b)).fits(capacity)]
    if not batches:
        assert not fitting or workload.batch == 1
    for batch in batches:
        assert not needed(spec, replace(workload, batch=batch + 1)).fits(capacity)


def test_what_would_not_help_is_not_offered() -> None:
    spec, capacity = load_model("llama-2-70b"), load_device("v100-sxm2-16gb").memory_bytes
    workload = workload_of(spec)
    # 69 G parameters are 35 GB even in four bits.
    assert len(remedies(spec, workload, BASE, needed(spec, workload), capacity)) == 1


def test_what_is_narrow_already_is_not_offered() -> None:
    spec, capacity = load_model("llava-1.5-13b"), load_device("v100-sxm2-16gb").memory_bytes
    workload = workload_of(spec, batch=16)
    narrow = Execution(Precision.INT4, Precision.FP16, Precision.INT4)
    found = remedies(spec, workload, narrow, needed(spec, workload, narrow), capacity)
    assert not [remedy for remedy in found if remedy.change in ("weights", "kv")]
