"""Fewer visual tokens: the speed-up that the roofline promises, and the one that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from perfkit.measuring.cases import PhaseCase
from perfkit.validation.comparing import ComparedPoint

NEW_TOKENS = (1, 8, 32, 128, 512)  # output lengths of whole requests
LEAST_PROMISE = 0.05  # a smaller gain drowns in the spread of timings, and its share would be noise


class Speedup(NamedTuple):
    """Time of `case` over time of the same at `to_tokens` visual tokens: a phase, or a request of `new_tokens`.

    The case of a request is its decode step. `promised` by the roofline, `expected` where that is known, `got` as
    measured.
    """

    case: PhaseCase
    to_tokens: int
    new_tokens: int | None
    promised: float
    expected: float | None
    got: float

    @property
    def what(self) -> str:
        """The phase, or `request`."""
        return self.case.phase if self.new_tokens is None else "request"

    @property
    def share(self) -> float | None:
        """Part of the promised gain that came, None where hardly any was promised.

        >>> case = PhaseCase("llava-1.5-7b", "prefill", 576, 60, 1, "fp16", "sdpa")
        >>> Speedup(case, 32, None, promised=5.0, expected=None, got=3.0).share  # (3 - 1) / (5 - 1)
        0.5
        """
        return (self.got - 1) / (self.promised - 1) if self.promised >= 1 + LEAST_PROMISE else None


class _Times(NamedTuple):
    """Seconds of one piece of work: by roofline, expected, measured."""

    roofline_s: float
    expected_s: float | None
    measured_s: float


_Timed: TypeAlias = Mapping[PhaseCase, _Times]


def find_speedups(points: Iterable[ComparedPoint]) -> tuple[Speedup, ...]:
    """Wherever equal work was timed at two counts of visual tokens or more: the largest against the smallest.

    A request of N new tokens is vision, projector, prefill, which gives the first of them, and N - 1 decode
    steps, each as long as the one that was timed, whose cache holds the prompt. Vision runs at full tokens in either
    request.
    """
    timed = {
        point.case: _Times(point.roofline_s, point.expected_s, point.measured_s)
        for point in points
        if point.measured_s is not None
    }
    pairs = _pairs(timed)
    phases = [_speedup(more, fewer, None, [timed[more]], [timed[fewer]]) for more, fewer in pairs]
    requests = [found for more, fewer in pairs if more.phase == "decode" for found in _requests(more, fewer, timed)]
    return (*phases, *requests)


def _pairs(timed: Iterable[PhaseCase]) -> list[tuple[PhaseCase, PhaseCase]]:
    """Cases that differ in visual tokens alone: the one with most, and the one with fewest, but some."""
    counts: dict[PhaseCase, list[int]] = {}
    for case in timed:
        if case.phase != "vision" and case.visual_tokens:
            counts.setdefault(case._replace(visual_tokens=0), []).append(case.visual_tokens)
    return [
        (alike._replace(visual_tokens=max(tokens)), alike._replace(visual_tokens=min(tokens)))
        for alike, tokens in counts.items()
        if len(tokens) > 1
    ]


def _requests(more: PhaseCase, fewer: PhaseCase, timed: _Timed) -> Iterator[Speedup]:
    for new_tokens in NEW_TOKENS:
        slow, fast = _request(more, new_tokens, timed), _request(fewer, new_tokens, timed)
        if slow and fast:
            yield _speedup(more, fewer, new_tokens, slow, fast)


def _request(decode: PhaseCase, new_tokens: int, timed: _Timed) -> list[_Times] | None:
    """Times of all that a request runs, None where a part of it was not timed."""
    first = [
        *(case for case in timed if _sees_for(case, decode)),
        decode._replace(phase="projector", text_tokens=0, attention=None, runtime="eager"),
        decode._replace(phase="prefill", runtime="eager"),
    ]
    if len(first) != 3 or not all(case in timed for case in first):
        return None
    return [*(timed[case] for case in first), *[timed[decode]] * (new_tokens - 1)]


def _sees_for(vision: PhaseCase, decode: PhaseCase) -> bool:
    """Whether this is the vision phase of a request with that decode step."""
    alike = vision._replace(phase="decode", text_tokens=decode.text_tokens, runtime=decode.runtime)
    return vision.phase == "vision" and alike._replace(visual_tokens=decode.visual_tokens) == decode


def _speedup(
    more: PhaseCase, fewer: PhaseCase, new_tokens: int | None, slow: Sequence[_Times], fast: Sequence[_Times]
) -> Speedup:
    expected = [_total([times.expected_s for times in request]) for request in (slow, fast)]
    return Speedup(
        case=more,
        to_tokens=fewer.visual_tokens,
        new_tokens=new_tokens,
        promised=sum(times.roofline_s for times in slow) / sum(times.roofline_s for times in fast),
        expected=expected[0] / expected[1] if expected[0] and expected[1] else None,
        got=sum(times.measured_s for times in slow) / sum(times.measured_s for times in fast),
    )


def _total(seconds: Sequence[float | None]) -> float | None:
    """Sum of what is all known."""
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None
