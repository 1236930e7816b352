"""Workloads and executions: counts that are checked, and what follows from them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from perfkit.errors import InvalidValue
from perfkit.units import Precision
from perfkit.workload import Execution, Workload

COUNTS = ("visual_tokens", "text_tokens", "new_tokens", "batch", "images")


def workload(**counts: object) -> Workload:
    return Workload(**{"visual_tokens": 32, **counts})  # type: ignore[arg-type]


def test_prompt_is_visual_and_text_tokens() -> None:
    assert Workload(visual_tokens=32, text_tokens=60).prompt_tokens == 92


def test_defaults_are_those_of_the_command_line() -> None:
    base = Workload(visual_tokens=576)
    assert (base.text_tokens, base.new_tokens, base.batch, base.images, base.schedule) == (60, 128, 1, 1, ())


@pytest.mark.parametrize(
    ("new_tokens", "mean"),
    [
        (1, 0),  # one step, its cache holds the prompt alone
        (2, 0.5),  # 0 and 1
        (128, 63.5),  # 0, 1, ... 127
    ],
)
def test_mean_extra_tokens(new_tokens: int, mean: float) -> None:
    assert workload(new_tokens=new_tokens).mean_extra_tokens == mean


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("wrong", [-1, 1.5, 2.0, True, "3", None, 10_000_001, float("nan")])
def test_a_count_must_be_a_whole_number_in_range(name: str, wrong: object) -> None:
    with pytest.raises(InvalidValue, match=name.replace("_", " ")):
        workload(**{name: wrong})


def test_one_is_the_least_batch() -> None:
    with pytest.raises(InvalidValue, match="from 1 to"):
        workload(batch=0)
    workload(batch=1)


def test_scales_belong_to_quantised_weights_only() -> None:
    fp32, fp16, bf16, tf32 = Precision.FP32, Precision.FP16, Precision.BF16, Precision.TF32
    assert not Execution(weights=fp16, activations=fp32).weight_only  # narrower, but no format that needs a scale
    assert not Execution(weights=bf16, activations=tf32).weight_only
    assert Execution(weights=Precision.FP8, activations=bf16).weight_only
    assert Execution(weights=Precision.INT4, activations=Precision.INT8).weight_only
    assert not Execution(weights=Precision.INT8, activations=Precision.INT8).weight_only


@pytest.mark.parametrize("name", COUNTS)
def test_ten_million_is_the_most(name: str) -> None:
    assert getattr(workload(**{name: 10_000_000}), name) == 10_000_000


@pytest.mark.parametrize("name", ["visual_tokens", "text_tokens", "new_tokens"])
def test_token_counts_may_be_zero(name: str) -> None:
    assert getattr(workload(**{name: 0}), name) == 0


def test_arrays_of_whole_numbers_are_taken() -> None:
    tokens = np.array([0.0, 32.0, 576.0])
    assert workload(visual_tokens=tokens).prompt_tokens.tolist() == [60.0, 92.0, 636.0]


@pytest.mark.parametrize("wrong", [[1.0, -1.0], [1.0, 1.5], [1.0, 1e7 + 1], [1.0, float("nan")]])
def test_arrays_are_checked_in_every_element(wrong: list[float]) -> None:
    with pytest.raises(InvalidValue, match="batch"):
        workload(batch=np.array(wrong))


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        workload().batch = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Execution().kv = Precision.FP32  # type: ignore[misc]


@pytest.mark.parametrize(
    ("weights", "activations", "product", "weight_only"),
    [
        ("fp16", "fp16", "fp16", False),
        ("int4", "fp16", "fp16", True),  # W4A16: fp16 rate, 4-bit bytes
        ("int8", "fp16", "fp16", True),
        ("int8", "int8", "int8", False),
        ("fp4", "fp8", "fp8", True),
        ("fp32", "fp16", "fp32", False),
        ("fp16", "int8", "fp16", False),
        ("tf32", "tf32", "tf32", False),
        ("fp8", "fp8", "fp8", False),
    ],
)
def test_products_run_in_the_wider_of_weights_and_activations(
    weights: str, activations: str, product: str, weight_only: bool
) -> None:
    execution = Execution(Precision(weights), Precision(activations))
    assert execution.product is Precision(product)
    assert execution.weight_only is weight_only
