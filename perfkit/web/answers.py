"""What the library answers, kept for who asks the same again.

Answers are frozen values and the same for everyone, so they are shared by all sessions as they are; Streamlit's own
cache would copy each at every look. What is kept is bounded.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from perfkit.cost_tables.building import CostTable, build_table
from perfkit.cost_tables.request import NO_REDUCTION, TableRequest
from perfkit.errors import InvalidValue
from perfkit.latency import Prediction
from perfkit.planning.planner import Planned, plan
from perfkit.views.asking import predictions_of
from perfkit.views.breakdown import BreakdownView, breakdown_view
from perfkit.views.roofline import RooflineView, roofline_view
from perfkit.views.tokens import TokensView, tokens_view
from perfkit.web.state import Asked, counts_typed, dollars_typed, seconds_typed
from perfkit.workload import TEXT_TOKENS


def request_of(asked: Asked) -> Asked:
    """What of the choices decides a prediction: others must not make it be computed again."""
    names = ("model", "gpu", "tokens", "reduction", "text_tokens", "new_tokens", "batch", "images")
    formats = ("precision", "weights", "kv", "attention", "runtime")
    return Asked(**{name: getattr(asked, name) for name in (*names, *formats)})


def _with_gpu(asked: Asked) -> Asked:
    if not asked.gpu:
        raise InvalidValue("choose a GPU")
    return request_of(asked)


def predictions(asked: Asked) -> tuple[Prediction, ...]:
    """A prediction for each GPU, as `perfkit roofline` makes it.

    Raises:
        InvalidValue, UnsupportedPrecision: as `perfkit.analyze`; or no GPU.

    >>> predictions(Asked(tokens=32))[0].workload.visual_tokens
    32
    """
    return _predictions(_with_gpu(asked))


@lru_cache(maxsize=256)
def _predictions(asked: Asked) -> tuple[Prediction, ...]:
    return predictions_of(
        asked.gpu,
        (asked.model,),
        reductions=(asked.reduction,),
        tokens=() if asked.tokens is None else (asked.tokens,),
        batches=(asked.batch,),
        **execution_of(asked),
        attention=asked.attention,
        runtime=asked.runtime,
        text_tokens=asked.text_tokens,
        new_tokens=asked.new_tokens,
        images=asked.images,
    )


def execution_of(asked: Asked) -> dict[str, Any]:
    """Formats, as the library's functions take them."""
    return {"precision": asked.precision, "weights": asked.weights or None, "kv": asked.kv or None}


@lru_cache(maxsize=256)
def _roofline(asked: Asked) -> RooflineView:
    return roofline_view(_predictions(asked))


def roofline(asked: Asked) -> RooflineView:
    """Points under roofs; raises as `roofline_view`."""
    return _roofline(_with_gpu(asked))


@lru_cache(maxsize=64)
def _breakdown(asked: Asked) -> BreakdownView:
    return breakdown_view(_predictions(asked))


def breakdown(asked: Asked) -> BreakdownView:
    """Parts of each request."""
    return _breakdown(_with_gpu(asked))


@lru_cache(maxsize=64)
def _tokens(asked: Asked) -> TokensView:
    return tokens_view(_predictions(asked))


def tokens(asked: Asked) -> TokensView:
    """Costs against visual tokens: the same whatever count is chosen, unless that is none."""
    request = _with_gpu(asked)
    return _tokens(request if request.tokens == 0 else replace(request, tokens=None))


@lru_cache(maxsize=64)
def cost_table(request: TableRequest) -> CostTable:
    """A table for a paper; raises as `build_table`."""
    return build_table(request)


def table_request(asked: Asked) -> TableRequest:
    """The paper table that the page asks for: its models, reductions and tokens, or those of the page's request.

    Raises:
        InvalidValue: no GPU, or tokens that are none.
    """
    own = () if asked.tokens is None else (asked.tokens,)
    return TableRequest(
        gpu=_with_gpu(asked).gpu,
        model=asked.table_model or (asked.model,),
        precision=(asked.precision,),
        weights=(asked.weights,) if asked.weights else (),
        kv=(asked.kv,) if asked.kv else (),
        reduction=asked.table_reduction or (asked.reduction,),
        tokens=counts_typed("tokens of the table", asked.table_tokens) or own,
        text_tokens=None if asked.text_tokens == TEXT_TOKENS else asked.text_tokens,
        new_tokens=asked.new_tokens,
        batch=asked.batch,
        images=asked.images,
        attention=asked.attention,
        runtime=asked.runtime,
        columns=asked.columns,
    )


def plan_arguments(asked: Asked) -> dict[str, Any]:
    """Arguments of `perfkit.plan`: the page's model, lengths and formats, and the goals as typed.

    Raises:
        InvalidValue: a goal that is none.
    """
    formats = {name: (value,) for name, value in execution_of(asked).items() if value}
    listed = counts_typed("visual tokens of the plan", asked.plan_tokens) or _entering(asked)
    return {
        "gpu": asked.gpu if asked.candidates == "chosen" else (),
        "model": asked.model,
        "ttft_s": seconds_typed("TTFT", asked.ttft),
        "tpot_s": seconds_typed("TPOT", asked.tpot),
        "usd_per_hour": dollars_typed("budget", asked.budget),
        **({"tokens": listed} if listed else {}),
        "text_tokens": asked.text_tokens,
        "new_tokens": asked.new_tokens,
        "images": asked.images,
        **formats,
        "attention": asked.attention,
        "runtime": asked.runtime,
        "rank": asked.rank,
    }


def _entering(asked: Asked) -> tuple[int, ...]:
    """Visual tokens that enter the language model, where that is not what the model makes: plans know no reductions."""
    if asked.tokens is None and asked.reduction == NO_REDUCTION:
        return ()
    return (predictions(asked)[0].workload.visual_tokens,)


@lru_cache(maxsize=16)
def _planned(asked: Asked) -> Planned:
    return plan(**plan_arguments(asked))


def plan_key(asked: Asked) -> Asked:
    """What of the choices decides a plan."""
    names = ("ttft", "tpot", "budget", "rank", "candidates", "plan_tokens")
    return replace(request_of(asked), batch=1, **{name: getattr(asked, name) for name in names})


def planned(asked: Asked) -> Planned:
    """Plans; raises as `perfkit.plan`."""
    return _planned(plan_key(asked))
