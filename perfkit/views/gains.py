"""Does a token reducer pay: how many times as fast a whole request is with it, over batch, answer length and GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.latency import Prediction
from perfkit.views.naming import check_several

MOST_PANELS = 6  # that one picture holds
Room: TypeAlias = Literal["both", "only reduced", "neither"]


class Gain(NamedTuple):
    """A request without reduction, and the same with it."""

    before: Prediction
    after: Prediction

    @property
    def roofline(self) -> float:
        """How many times as fast the whole request is, by the roofline."""
        return float(self.before.request_roofline_s / self.after.request_roofline_s)

    @property
    def expected(self) -> float | None:
        """The same as it is to be expected, None where that is not known."""
        before, after = self.before.request_expected_s, self.after.request_expected_s
        return None if before is None or after is None else float(before / after)

    @property
    def room(self) -> Room:
        """Which of the two the card holds. Times of what it does not hold are of a card that would."""
        if self.before.fits:
            return "both"
        return "only reduced" if self.after.fits else "neither"


class Panel(NamedTuple):
    """Gains by a method on a device, by (batch, new tokens)."""

    device: str
    reduction: str
    gains: dict[tuple[int, int], Gain]


@dataclass(frozen=True, slots=True)
class GainsView:
    """Panels side by side, over the same batches and numbers of new tokens, both rising."""

    panels: tuple[Panel, ...]
    batches: tuple[int, ...]
    new_tokens: tuple[int, ...]

    @property
    def gains(self) -> tuple[Gain, ...]:
        """All of them, panel by panel."""
        return tuple(gain for panel in self.panels for gain in panel.gains.values())


def gains_view(predictions: Sequence[Prediction]) -> GainsView:
    """Each prediction with a reduction beside the one that differs from it in nothing else.

    Raises:
        InvalidValue: nothing to compare, a reduction without its request unreduced, several models, or more GPUs and
            methods than a picture holds.

    >>> from perfkit.latency import analyze
    >>> view = gains_view([analyze("v100", reduction=method) for method in (None, "prumerge")])
    >>> # 76.6 + 127 * 15.08 ms over 19.7 + 127 * 14.79 ms
    >>> f"{view.gains[0].roofline:.2f}"
    '1.05'
    """
    check_several("a chart of gains shows one model", [p.model.name for p in predictions], 1)
    unreduced = {_request(p): p for p in predictions if not p.workload.reduction}
    gains = tuple(_gains(predictions, unreduced))
    if not gains:
        raise InvalidValue("nothing to compare: no prediction has a reduction")
    panels: dict[tuple[str, str], dict[tuple[int, int], Gain]] = {}
    for gain in gains:
        w = gain.after.workload
        place = (int(w.batch), int(w.new_tokens))
        panels.setdefault((gain.after.device.id, w.reduction), {})[place] = gain
    check_several(f"a chart of gains shows at most {MOST_PANELS} GPUs and methods", panels, MOST_PANELS)
    places = {place for found in panels.values() for place in found}
    return GainsView(
        tuple(Panel(*of, found) for of, found in panels.items()),
        tuple(sorted({batch for batch, _ in places})),
        tuple(sorted({new_tokens for _, new_tokens in places})),
    )


def _request(p: Prediction) -> tuple[object, ...]:
    """What a request without a reduction and one with it have in common."""
    w = p.workload
    return p.device, p.execution, p.expectation.id, w.text_tokens, w.images, w.batch, w.new_tokens


def _gains(predictions: Sequence[Prediction], unreduced: dict[tuple[object, ...], Prediction]) -> Iterator[Gain]:
    for after in predictions:
        if after.workload.reduction:
            if (before := unreduced.get(_request(after))) is None:
                w = after.workload
                what = f"{w.reduction} on {after.device.id}, batch {w.batch}, {w.new_tokens} new tokens"
                raise InvalidValue(f"{what}: the same without a reduction is missing")
            yield Gain(before, after)
