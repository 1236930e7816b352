"""Plans: looser goals lose nothing, the front is what its definition says, figures are those of single predictions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perfkit import analyze, plan
from perfkit.planning.candidates import Candidates, candidates_of
from perfkit.planning.fronts import front_of
from perfkit.planning.goals import Goals
from perfkit.planning.planner import Planned

GPUS, TOKENS, BATCHES = ("v100", "a100-sxm-40gb", "l4"), (32, 576), (1, 8, 64)
ASKED: dict[str, Any] = {"tokens": TOKENS, "batch": BATCHES, "tp": (1, 2), "precision": ("fp16", "int8")}
GOALS = st.builds(
    Goals,
    st.none() | st.floats(0.01, 2),
    st.none() | st.floats(0.003, 0.1),
    st.none() | st.floats(5e9, 50e9),
    st.none() | st.floats(0.5, 5),
)


@cache
def everything(basis: str) -> Planned:
    """Plans without any goal but the cards' own."""
    return plan(GPUS, basis=basis, rank="latency", top=1000, **ASKED)  # type: ignore[arg-type]


@cache
def candidates(basis: str) -> Candidates:
    return candidates_of(everything(basis).request)


@given(GOALS, st.sampled_from(Goals._fields), st.none() | st.floats(1, 3))
def test_a_looser_goal_never_loses_a_plan(tight: Goals, name: str, factor: float | None) -> None:
    limit = getattr(tight, name)
    assume(limit is not None)
    loose = tight._replace(**{name: None if factor is None else factor * limit})
    before, after = (candidates("roofline").excess(goals) <= 0 for goals in (tight, loose))
    assert not (before & ~after).any()


@given(GOALS, st.sampled_from(["roofline", "expected"]))
def test_what_is_feasible_meets_every_goal_and_what_is_not_says_why(goals: Goals, basis: str) -> None:
    found = candidates(basis)
    feasible = found.excess(goals) <= 0
    times = (found.figures.ttft_s, found.figures.tpot_s, found.figures.memory_bytes, found.figures.usd_per_hour)
    for limit, values in zip(goals, times, strict=True):
        assert limit is None or (values[feasible] <= limit).all()
    asked = replace(everything(basis), request=replace(everything(basis).request, goals=goals), feasible=feasible)
    rejected = list(asked.rejected())
    assert len(rejected) == int((~feasible).sum())
    assert all(one.why for one in rejected)


@pytest.mark.parametrize("basis", ["roofline", "expected"])
def test_figures_are_exactly_those_of_a_single_prediction(basis: str) -> None:
    found = everything(basis)
    assert len(found.plans) > 20
    for one in found.plans:
        e = one.point.cell.execution
        alone = analyze(
            one.point.cell.choice.name,
            tokens=one.point.visual_tokens,
            batch=one.point.batch,
            precision=e.activations.value,
            tp=e.tp,
        )
        times = {
            "roofline": (alone.ttft_roofline_s, alone.tpot_roofline_s),
            "expected": (alone.ttft_expected_s, alone.tpot_expected_s),
        }
        assert (one.figures.ttft_s, one.figures.tpot_s) == times[basis]
        assert one.figures.memory_bytes == alone.footprint.needed


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_the_front_is_what_no_other_beats(rows: list[tuple[int, int, int]]) -> None:
    figures = np.array(rows, float)
    beaten = [((figures <= row).all(axis=1) & (figures < row).any(axis=1)).any() for row in figures]
    assert front_of(figures).tolist() == [not one for one in beaten]
