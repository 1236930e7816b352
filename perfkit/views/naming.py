"""What several predictions share, and what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.latency import Prediction

Facet: TypeAlias = Callable[[Prediction], str]  # something in which predictions may differ, in words


def tokens_of(p: Prediction) -> str:
    """Its visual tokens in words, or how they are reduced; nothing for models that see no images."""
    if p.model.vision is None:
        return ""
    if p.workload.schedule:  # tokens differ from layer to layer, as the method says
        return p.workload.reduction or "schedule"
    tokens = f"{p.workload.visual_tokens} visual tokens"
    return f"{p.workload.reduction}, {tokens}" if p.workload.reduction else tokens


def _device(p: Prediction) -> str:
    return p.device.id


def _model(p: Prediction) -> str:
    return p.model.name


def _reduction(p: Prediction) -> str:
    return p.workload.reduction or "no reduction"


def _batch(p: Prediction) -> str:
    return f"batch {p.workload.batch}"


FACETS: tuple[Facet, ...] = (_device, _model, tokens_of, _batch)
WORK_FACETS: tuple[Facet, ...] = (tokens_of, _batch)  # of one model, whatever the device
SWEPT_FACETS: tuple[Facet, ...] = (_device, _model, _reduction, _batch)  # where tokens are swept


def labels_of(predictions: Sequence[Prediction], facets: Sequence[Facet] = FACETS) -> tuple[str, ...]:
    """For each prediction in words what tells it from the others; its device where there is nothing."""
    apart = [facet for facet in facets if len({facet(p) for p in predictions}) > 1] or [facets[0]]
    return tuple(", ".join(filter(None, (facet(p) for facet in apart))) for p in predictions)


def check_several(allowed: str, values: Iterable[Hashable], most: int) -> None:
    """Refuse no values, and more than `most` different ones; `allowed` says what is shown.

    Raises:
        InvalidValue: in either case.

    >>> check_several("a chart shows one model at a time", ["llava-1.5-7b", "llava-1.5-7b"], 1)
    """
    different: list[Any] = list(dict.fromkeys(values))
    if not different:
        raise InvalidValue("nothing to show: no prediction")
    if len(different) > most:
        named = f": {', '.join(different)}" if all(isinstance(value, str) for value in different) else ""
        raise InvalidValue(f"{allowed}, not {len(different)}{named}")
