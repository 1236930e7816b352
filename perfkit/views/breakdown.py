"""What a request is made of: its time by phase and by sort of work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perfkit.latency import Prediction, mean_step
from perfkit.roofline import OpTime
from perfkit.views.naming import check_several

MOST_BARS = 12  # that one picture holds

# Kinds of ops as people speak of them, in the order in which they are stacked.
WORK = {
    "linear layers": ("linear", "convolution"),
    "attention": ("attention", "softmax"),
    "element-wise": ("norm", "add", "activation", "rotary"),
    "token selection": ("selection", "merging"),
    "copies": ("embedding", "copy", "kv_write"),
    "communication": ("communication",),
}
_WORK_OF = {kind: work for work, kinds in WORK.items() for kind in kinds}


class Part(NamedTuple):
    """Time that one sort of work takes in a phase; `share` of the bar that it is a part of."""

    phase: str
    work: str
    roofline_s: float
    share: float


class Bar(NamedTuple):
    """A prediction; parts of its time to first token, and of a mean decode step (none where it makes no tokens)."""

    prediction: Prediction
    first: tuple[Part, ...]
    step: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class BreakdownView:
    """Requests side by side."""

    bars: tuple[Bar, ...]


def breakdown_view(predictions: Sequence[Prediction]) -> BreakdownView:
    """Parts of each prediction.

    Raises:
        InvalidValue: none, or more than a picture holds.
    """
    what = f"a breakdown shows at most {MOST_BARS} requests"
    check_several(what, [(p.model.name, p.device.id, p.workload) for p in predictions], MOST_BARS)
    return BreakdownView(tuple(map(_bar, predictions)))


def _bar(p: Prediction) -> Bar:
    before = [time for time in p.ops if time.cost.phase != "decode"]
    step = mean_step(p)
    return Bar(p, tuple(_parts(before)), tuple(_parts(step)))


def _parts(times: Sequence[OpTime]) -> Iterator[Part]:
    whole = sum(time.roofline_s for time in times)
    for phase in dict.fromkeys(time.cost.phase for time in times):
        members = [time for time in times if time.cost.phase == phase]
        for work in (*WORK, *_unsorted(members)):
            seconds = sum(time.roofline_s for time in members if work_of(time) == work)
            if seconds:
                yield Part(phase, work, seconds, seconds / whole)


def _unsorted(times: Iterable[OpTime]) -> list[str]:
    return [work for work in dict.fromkeys(map(work_of, times)) if work not in WORK]


def work_of(time: OpTime) -> str:
    """Sort of work of an op: one of WORK, or its kind where that is not among them."""
    return _WORK_OF.get(time.cost.kind, time.cost.kind)
