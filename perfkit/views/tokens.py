"""Costs against visual tokens: one prediction over all counts of a model, and where prefill changes its bound."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.latency import Prediction, predict
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.phases import PhaseTime
from perfkit.reduction import Reducer, parse_reduction
from perfkit.units import Amount
from perfkit.views.naming import check_several
from perfkit.workload import Workload

MOST_CURVES = 4  # that a reader can tell apart
MOST_COUNTS = 4096  # of visual tokens that are predicted; more are taken in equal steps
KNOWN = ("prumerge", "prumerge+")  # methods whose papers print an average count
KNOWN_OF = 576  # visual tokens of an image that these averages are of: LLaVA-1.5's


class Crossing(NamedTuple):
    """Prefill is bound by `bound` from `tokens` visual tokens on, the first count of which that is true."""

    tokens: int
    bound: str
    prefill_s: float


class Mark(NamedTuple):
    """A count of visual tokens that a method leaves, on average."""

    name: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A prediction whose visual tokens are an array: every figure of it is one too, or the same at every count."""

    swept: Prediction
    crossings: tuple[Crossing, ...]

    @property
    def tokens(self) -> Any:
        """Visual tokens, rising to as many as were asked for."""
        return self.swept.workload.visual_tokens

    @property
    def prefill(self) -> PhaseTime:
        """The prompt through the language model."""
        return next(phase for phase in self.first if phase.phase == "prefill")

    @property
    def first(self) -> tuple[PhaseTime, ...]:
        """All phases before decode."""
        return tuple(phase for phase in self.swept.phases if phase.phase != "decode")

    @property
    def first_flops(self) -> Amount:
        """FLOPs to the first token."""
        return sum(phase.flops for phase in self.first)

    @property
    def room_bytes(self) -> float:
        """What the card has for weights, cache and activations, the runtime's reserve left aside."""
        return self.swept.device.memory_bytes - RUNTIME_RESERVE_BYTES

    def along(self, figure: Amount) -> Any:
        """A figure of it at every count of tokens, also where it is the same at all of them."""
        return figure + 0 * self.tokens


@dataclass(frozen=True, slots=True)
class TokensView:
    """Costs against visual tokens on one or several devices, of one or several models; marks of known methods."""

    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]


def tokens_view(predictions: Sequence[Prediction]) -> TokensView:
    """Curves of predictions over all counts of visual tokens that model, images and reduction allow.

    Raises:
        InvalidValue: none, one without visual tokens, or more than a picture can tell apart.

    >>> from perfkit.latency import analyze
    >>> view = tokens_view([analyze("v100")])
    >>> # gate, up, down at n rows: 2 n 4096 * 11008 FLOP over 2 (15104 n + 4096 * 11008) B reach 138.9 at n = 146
    >>> [crossing[:2] for crossing in view.curves[0].crossings]  # 146 rows are 86 visual tokens and 60 of text
    [(86, 'compute')]
    """
    for p in predictions:
        if p.model.projector is None or p.model.text is None or not p.workload.visual_tokens:
            raise InvalidValue(f"{p.model.name}: there are no visual tokens to vary")
    # Predictions that differ in their visual tokens alone are one curve.
    curves = {(p.model.name, p.device, replace(p.workload, visual_tokens=0, schedule=())): p for p in predictions}
    check_several(f"a chart of tokens shows at most {MOST_CURVES} curves", curves, MOST_CURVES)
    marks = tuple(_marks(predictions))
    return TokensView(tuple(_curve(p, marks) for p in curves.values()), marks)


def _curve(p: Prediction, marks: Sequence[Mark]) -> Curve:
    allowed = _allowed(p)
    step = -(-len(allowed) // MOST_COUNTS)
    marked = [mark.tokens for mark in marks if mark.tokens in allowed]
    curve = Curve(_swept(p, [*allowed[::step], allowed[-1], *marked]), ())
    return replace(curve, crossings=tuple(_crossings(curve)))


def _swept(p: Prediction, counts: Sequence[int]) -> Prediction:
    import numpy as np

    tokens = np.unique(counts).astype(np.float64)
    return predict(p.model, p.choice, _with_tokens(p, tokens), p.execution, p.expectation.calibration)


def _with_tokens(p: Prediction, tokens: Amount) -> Workload:
    """Its workload with other visual tokens, reduced by the same method."""
    w = p.workload
    return workload_of(
        p.model,
        tokens=tokens,
        text_tokens=w.text_tokens,
        new_tokens=w.new_tokens,
        batch=w.batch,
        images=w.images,
        reduction=w.reduction or None,
    )


def _allowed(p: Prediction) -> range:
    """Counts that its model and reduction take: some reductions need more than one, some take no learned row ends."""
    counts = range(p.workload.images * p.model.visual_tokens + 1)
    counts = counts[bisect_left(counts, True, hi=p.workload.visual_tokens, key=lambda n: _takes(p, n)) :]
    return counts[: bisect_left(counts, True, lo=1, key=lambda n: not _takes(p, n))]


def _takes(p: Prediction, tokens: int) -> bool:
    try:
        _with_tokens(p, tokens)
    except InvalidValue:
        return False
    return True


def _crossings(curve: Curve) -> Iterator[Crossing]:
    tokens, compute = curve.tokens, curve.prefill.compute_bound
    for i in range(1, len(tokens)):
        if compute[i] != compute[i - 1]:
            # Between two counts that were predicted may lie some that were not.
            between = Curve(_swept(curve.swept, range(int(tokens[i - 1]) + 1, int(tokens[i]) + 1)), ())
            first = list(between.prefill.compute_bound).index(compute[i])
            seconds = float(between.prefill.roofline_s[first])
            yield Crossing(int(between.tokens[first]), "compute" if compute[i] else "memory", seconds)


def _marks(predictions: Sequence[Prediction]) -> Iterator[Mark]:
    """Averages that papers print, where every model makes the tokens of an image that theirs makes, none reduced."""
    images = predictions[0].workload.images
    like_theirs = KNOWN_OF, images, ""
    if any((p.model.visual_tokens, p.workload.images, p.workload.reduction) != like_theirs for p in predictions):
        return
    for method in map(parse_reduction, KNOWN):
        if isinstance(method, Reducer):
            yield Mark(method.title, images * method.image_tokens(predictions[0].model))
