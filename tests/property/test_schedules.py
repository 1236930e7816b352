"""What must hold of every reduction: tokens never grow, layers add up, dropping more never costs more, sweeps agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from perfkit.counting import count_ops, workload_of
from perfkit.errors import InvalidValue, UnknownName
from perfkit.hardware import choose_device
from perfkit.latency import predict
from perfkit.memory import footprint
from perfkit.models import load_model
from perfkit.ops import OpCost
from perfkit.reduction import METHODS, Pruner, Reducer, parse_reduction
from perfkit.reduction.parameters import decimal, listed
from perfkit.workload import Execution, Workload

LLAVA = load_model("llava-1.5-7b")
LAYERS, MOST = 32, 576
FIGURES = (
    "matmul_flops",
    "vector_flops",
    "weight_bytes",
    "read_bytes",
    "write_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
    "repeat",
)

REDUCING = ("prumerge", "prumerge:k=5", "prumerge+", "sequential", "spatial:n=64", "random:n=9")

fractions = st.integers(0, 10**6).map(lambda parts: Fraction(parts, 10**6))
executions = st.builds(Execution, attention=st.sampled_from(["fused", "eager"]))


@st.composite
def falling(draw: Callable[..., Any], first: int) -> tuple[list[int], list[int]]:
    """Increasing layers, the first at least `first`, and as many token counts that do not grow."""
    layers = sorted(draw(st.sets(st.integers(first, LAYERS - 2), min_size=1, max_size=4)))
    tokens = draw(st.lists(st.integers(1, MOST), min_size=len(layers), max_size=len(layers)))
    return layers, sorted(tokens, reverse=True)


@st.composite
def texts(draw: Callable[..., Any]) -> str:
    """A pruner with parameters that some count of tokens allows."""
    name = draw(st.sampled_from(["fastv", "pyramiddrop", "vtw", "sparsevlm", "layers"]))
    if name == "fastv":
        r = draw(fractions.filter(lambda r: r < 1))
        return f"fastv:k={draw(st.integers(1, LAYERS - 1))},r={decimal(r)}"
    if name == "pyramiddrop":
        keep = draw(fractions.filter(lambda keep: keep > 0))
        return f"pyramiddrop:stages={draw(st.integers(2, LAYERS))},keep={decimal(keep)}"
    if name == "vtw":
        return f"vtw:k={draw(st.integers(1, LAYERS - 1))}"
    layers, tokens = draw(falling(0 if name == "sparsevlm" else 1))
    if name == "sparsevlm":
        return f"sparsevlm:layers={listed(tuple(layers))},tokens={listed(tuple(tokens))}"
    return "layers:" + ",".join(f"{layer}={left}" for layer, left in zip(layers, tokens, strict=True))


def pruner(text: str) -> Pruner:
    method = parse_reduction(text)
    assert isinstance(method, Pruner)
    return method


def workload_if_allowed(text: str, **asked: Any) -> Workload:
    """The workload, or another example where these tokens do not allow it."""
    try:
        return workload_of(LLAVA, reduction=text, **asked)
    except InvalidValue as refused:
        assume(not re.search("leaves no tokens|cannot grow", str(refused)))
        raise


def flops(ops: tuple[OpCost, ...], *, selection: bool = True) -> int:
    return sum(op.flops for op in ops if selection or op.kind != "selection")


# --- texts


@given(texts())
def test_canonical_texts_are_their_own(text: str) -> None:
    method = parse_reduction(text)
    assert parse_reduction(method.text) == method
    assert parse_reduction(method.text).text == method.text


@given(st.text(alphabet="fastvlyerpmdqunicl+:=,./0123456789 kr-", max_size=30))
def test_no_text_brings_more_than_a_clear_error(text: str) -> None:
    try:
        method = parse_reduction(text)
    except (InvalidValue, UnknownName):
        return
    assert method.name in METHODS
    assert parse_reduction(method.text) == method


# --- schedules


@given(texts(), st.integers(1, MOST))
def test_tokens_never_grow_and_layers_add_up(text: str, tokens: int) -> None:
    schedule = workload_if_allowed(text, tokens=tokens).schedule
    seen = [group.visual_tokens for group in schedule]
    assert seen[0] == tokens
    assert seen == sorted(seen, reverse=True)
    assert min(seen) >= (0 if text.startswith("vtw") else 1)
    assert sum(group.layers for group in schedule) == LAYERS
    assert all(type(number) is int and group.layers > 0 for group in schedule for number in group)


@given(fractions, fractions, st.integers(1, MOST), st.integers(1, LAYERS - 1))
def test_fastv_drops_no_less_at_a_higher_ratio(one: Fraction, other: Fraction, tokens: int, k: int) -> None:
    low, high = sorted((one, other))
    assume(high < 1)
    kept = [pruner(f"fastv:k={k},r={decimal(r)}").schedule(LAYERS, tokens)[1].visual_tokens for r in (low, high)]
    assert kept[0] >= kept[1] >= 1
    assert kept[0] == tokens - int(low * tokens)  # exact, unlike a float's product


@given(fractions, st.integers(1, LAYERS - 2), st.integers(1, MOST), executions)
def test_dropping_later_never_costs_less(r: Fraction, k: int, tokens: int, execution: Execution) -> None:
    assume(r < 1)
    early, late = (
        count_ops(LLAVA, workload_of(LLAVA, tokens=tokens, reduction=f"fastv:k={k + more},r={decimal(r)}"), execution)
        for more in (0, 1)
    )
    assert flops(early) <= flops(late)
    # Traffic may only lose what the eager layer, one in either case, moves of the same tokens.
    assert sum(op.bytes for op in early) <= sum(op.bytes for op in late)


@given(texts(), st.integers(1, MOST), st.integers(1, 500), executions)
def test_a_pruner_costs_no_more_than_the_whole_and_its_selector(
    text: str, tokens: int, text_tokens: int, execution: Execution
) -> None:
    asked = {"tokens": tokens, "text_tokens": text_tokens}
    reduced = count_ops(LLAVA, workload_if_allowed(text, **asked), execution)
    whole = count_ops(LLAVA, workload_of(LLAVA, **asked), execution)
    assert flops(reduced, selection=False) <= flops(whole)
    by_phase = [sum(op.flops for op in ops if op.phase == "decode") for ops in (reduced, whole)]
    assert by_phase[0] <= by_phase[1]
    assert all(op.repeat >= 1 and op.flops >= 0 and op.bytes > 0 for op in reduced)
    assert all(type(op.matmul_flops) is type(op.vector_flops) is type(op.bytes) is int for op in reduced)


@given(st.sampled_from(REDUCING), st.integers(1, MOST), st.data())
def test_a_reducer_costs_no_more_for_fewer_tokens(text: str, tokens: int, data: Any) -> None:
    fewer = data.draw(st.integers(1, tokens))
    more_ops, fewer_ops = (
        count_ops(LLAVA, workload_of(LLAVA, tokens=count, reduction=text), Execution()) for count in (tokens, fewer)
    )
    assert flops(fewer_ops) <= flops(more_ops)
    assert all(op.repeat == 1 or op.phase != "reduction" for op in fewer_ops)
    assert all(op.bytes > 0 and op.flops >= 0 for op in fewer_ops)


# --- sweeps


def element(value: Any, index: int) -> float:
    return float(value[index]) if isinstance(value, np.ndarray) and value.ndim else float(value)


POINT = st.fixed_dictionaries(
    {"text_tokens": st.integers(1, 300), "batch": st.integers(1, 16), "tokens": st.integers(1, MOST)}
)


@given(texts() | st.sampled_from(REDUCING), st.lists(POINT, min_size=1, max_size=4))
@example("prumerge", [{"text_tokens": 60, "batch": batch, "tokens": tokens} for batch, tokens in ((2, 1), (1, 40))])
@example("prumerge+", [{"text_tokens": 60, "batch": 3, "tokens": 1}])
def test_a_sweep_is_its_points(text: str, points: list[dict[str, int]]) -> None:
    asked = {name: np.array([float(point[name]) for point in points]) for name in points[0]}
    workload = workload_if_allowed(text, **asked)
    swept = count_ops(LLAVA, workload, Execution())
    need = footprint(LLAVA, workload, Execution(), swept)
    for index, point in enumerate(points):
        one = workload_of(LLAVA, reduction=text, **point)
        single = count_ops(LLAVA, one, Execution())
        # Where a reducer keeps no patch, what compares and merges is there in a sweep, launched no times.
        here, gone = ([op for op in swept if bool(element(op.repeat, index)) == there] for there in (True, False))
        assert [op.name for op in here] == [op.name for op in single]
        assert all(element(op.bytes, index) == element(op.flops, index) == 0 for op in gone)
        for many, op in zip(here, single, strict=True):
            for figure in FIGURES:
                assert element(getattr(many, figure), index) == pytest.approx(getattr(op, figure), rel=1e-12, abs=0)
        assert element(need.total, index) == footprint(LLAVA, one, Execution(), single).total


def test_a_swept_prediction() -> None:
    tokens, choice = np.array([100.0, 288.0, 576.0]), choose_device("v100")
    for text in ("fastv", "pyramiddrop", "prumerge+", "vtw:k=2"):
        swept = predict(LLAVA, choice, workload_of(LLAVA, tokens=tokens, reduction=text), Execution())
        for index, count in enumerate((100, 288, 576)):
            one = predict(LLAVA, choice, workload_of(LLAVA, tokens=count, reduction=text), Execution())
            assert element(swept.ttft_roofline_s, index) == pytest.approx(one.ttft_roofline_s, rel=1e-12)
            assert element(swept.tpot_roofline_s, index) == pytest.approx(one.tpot_roofline_s, rel=1e-12)
            assert element(swept.footprint.total, index) == one.footprint.total


def test_a_sweep_is_refused_where_one_of_its_points_is() -> None:
    with pytest.raises(InvalidValue, match="no visual tokens to reduce"):
        workload_of(LLAVA, tokens=np.array([0.0, 576.0]), reduction="fastv")
    with pytest.raises(InvalidValue, match="cannot grow"):
        workload_of(LLAVA, tokens=np.array([200.0, 576.0]), reduction="sparsevlm")
    with pytest.raises(InvalidValue, match="leaves no tokens"):
        workload_of(LLAVA, tokens=np.array([4.0, 576.0]), reduction="pyramiddrop")


def test_images_of_a_sweep_set_the_tokens_of_a_reducer() -> None:
    workload = workload_of(LLAVA, images=np.array([1.0, 3.0]), reduction="prumerge")
    assert isinstance(parse_reduction("prumerge"), Reducer)
    assert workload.visual_tokens.tolist() == [32.0, 96.0]
