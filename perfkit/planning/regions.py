"""Around the best plan: where over visual tokens and batch its goals are met, and which limit binds elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from perfkit.planning.candidates import Candidates, candidates_of
from perfkit.planning.goals import limits_of
from perfkit.planning.planner import Planned
from perfkit.planning.request import PlanRequest

STEPS = 16  # of the model's own visual tokens
MET = -1


@dataclass(frozen=True, eq=False)
class Region:
    """The GPUs, formats and degrees of one plan over `tokens` (columns) and `batches` (rows).

    `binding`: of each point the place in `names` of the limit that it misses most, MET where it misses none.
    `ttft_s`, `tpot_s`: the times of each point.
    """

    title: str
    tokens: Any
    batches: Any
    names: tuple[str, ...]
    binding: Any
    ttft_s: Any
    tpot_s: Any


def region_of(planned: Planned) -> Region:
    """The region of the first plan: its own GPU alone, tokens from 0 in steps, the batches that were asked for.

    >>> from perfkit.planning.planner import plan
    >>> region = region_of(plan("v100", tp=1, batch=(1, 4), ttft_s=0.1, basis="roofline"))
    >>> region.names, region.binding[:, -1].tolist()  # with 576 tokens: batch 1 takes 77 ms, batch 4 misses the TTFT
    (('memory', 'context', 'TTFT'), [-1, 2])
    """
    import numpy

    request = planned.request
    candidates = candidates_of(_around(planned))
    limits = limits_of(candidates.figures, request.goals)
    tokens, batches = (numpy.unique(values) for values in (candidates.visual_tokens, candidates.batch))
    shape = (len(batches), len(tokens))
    every = numpy.array([numpy.broadcast_to(limit.excess, candidates.batch.shape) for limit in limits])
    binding = numpy.where(every.max(axis=0) > 0, every.argmax(axis=0), MET)
    order = numpy.lexsort((candidates.visual_tokens, candidates.batch))
    figures = candidates.figures
    shaped = [numpy.asarray(values)[order].reshape(shape) for values in (binding, figures.ttft_s, figures.tpot_s)]
    return Region(_title(candidates), tokens, batches, tuple(limit.name for limit in limits), *shaped)


def _around(planned: Planned) -> PlanRequest:
    point, grid = planned.plans[0].point, planned.request.grid
    e, own = point.cell.execution, point.cell.spec.visual_tokens * planned.plans[0].prediction.workload.images
    tokens = {0, *(round(own * step / STEPS) for step in range(STEPS + 1)), point.visual_tokens}
    alone = replace(
        grid,
        gpu=(point.cell.choice.name,),
        precision=(e.activations.value,),
        weights=(e.weights.value,),
        activations=(e.activations.value,),
        kv=(e.kv.value,),
        tp=_singles([e.tp]),
        pp=_singles([e.pp]),
        tokens=_singles(sorted(tokens)),
    )
    return replace(planned.request, grid=alone)


def _singles(counts: Iterable[int]) -> tuple[range, ...]:
    return tuple(range(count, count + 1) for count in counts)


def _title(candidates: Candidates) -> str:
    text, _, _ = str(candidates.point(0)).partition(",")
    return text
