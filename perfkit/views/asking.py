"""Predictions of all that a chart is asked to compare."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from perfkit.latency import Prediction, analyze
from perfkit.models import DEFAULT_MODEL

NO_REDUCTION = "none"  # beside reductions: the request without any


def predictions_of(
    gpus: Sequence[str],
    models: Sequence[str] = (DEFAULT_MODEL,),
    *,
    reductions: Sequence[str] = (NO_REDUCTION,),
    tokens: Sequence[int] = (),
    batches: Sequence[int] = (),
    **asked: Any,
) -> tuple[Prediction, ...]:
    """One prediction for each combination, in this order; `asked` is what all share, as `analyze` takes it.

    What comes out twice, as two names of one device do, counts once.

    Raises:
        UnknownName, InvalidValue, InvalidSpec, UnsupportedPrecision: as `analyze`.

    >>> [p.workload.visual_tokens for p in predictions_of(["v100", "v100-sxm2-32gb"], tokens=[576, 32])]
    [576, 32]
    """
    found: dict[Any, Prediction] = {}
    for gpu, model, reduction, count, batch in product(gpus, models, reductions, tokens or (None,), batches or (1,)):
        method = None if reduction == NO_REDUCTION else reduction
        p = analyze(gpu, model, reduction=method, tokens=count, batch=batch, **asked)
        found.setdefault((p.device.id, p.device.file, p.model.name, p.workload), p)
    return tuple(found.values())
