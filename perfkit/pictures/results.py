"""What a run over pictures holds: what was kept of each, how long it took, and what the tokens cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from perfkit.latency import Prediction
from perfkit.measuring.measurement import Machine
from perfkit.measuring.protocol import Timing
from perfkit.pictures.distribution import Bin, Distribution, distribution_of, histogram
from perfkit.pictures.finding import shown
from perfkit.pictures.preprocessing import Preprocessing
from perfkit.units import Amount

MEANS_NOTHING = "random weights: which patches are kept, and how many, means nothing"
ALL_KEPT = "{} of {} pictures keep all patches and one token more: costed as the {} that the model takes"


class TowerRun(NamedTuple):
    """The tower that saw the pictures. `source`: whose weights; `random`: whether they are random.

    `grid`: patches of a side, each of `patch_size` x `patch_size` pixels; `batch`: pictures that were timed at once,
    with `timing` for all of them.
    """

    source: str
    random: bool
    preprocessing: Preprocessing
    grid: int
    patch_size: int
    feature_layer: int
    precision: str
    batch: int
    timing: Timing

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return self.grid**2


class Kept(NamedTuple):
    """Of a picture: the patches that were kept, row by row from 0, and the tokens that go on."""

    path: Path
    patches: tuple[int, ...]
    tokens: int

    @property
    def picture(self) -> str:
        """Its name."""
        return shown(self.path)


class LeftOut(NamedTuple):
    """A picture that has no count, and why."""

    path: Path
    why: str

    @property
    def picture(self) -> str:
        """Its name."""
        return shown(self.path)


class Figure(NamedTuple):
    """A cost: key and unit as in tables, how people call it, and how it is read."""

    key: str
    title: str
    unit: str
    of: Callable[[Prediction], Amount]


def _prefill_flops(p: Prediction) -> Amount:
    return next(phase.flops for phase in p.phases if phase.phase == "prefill")


FIGURES = (
    Figure("prefill_flops", "prefill FLOPs", "FLOP", _prefill_flops),
    Figure("ttft_roofline_s", "TTFT", "s", lambda p: p.ttft_roofline_s),
    Figure("kv_bytes", "KV cache", "B", lambda p: p.footprint.kv),
    Figure("request_roofline_s", "request", "s", lambda p: p.request_roofline_s),
)


@dataclass(frozen=True)
class MethodRun:
    """A method over all pictures. `text`: its name and parameters; `ratio`: the share asked for, None where adaptive.

    `timing`: of the reducer alone, on the batch that the tower was timed with. `predictions`: for each device, by its
    id, one for each count of tokens, which is at most what the model takes.
    """

    text: str
    ratio: float | None
    strict_reference: bool
    kept: tuple[Kept, ...]
    left_out: tuple[LeftOut, ...]
    timing: Timing
    predictions: dict[str, dict[int, Prediction]]

    @property
    def settings(self) -> tuple[str, ...]:
        """How it was asked to work, where its text does not say it: a ratio of 0.25 says how many are kept."""
        ratio = () if self.ratio is None else (f"ratio {self.ratio:g}",)
        return (*ratio, "as published") if self.strict_reference else ratio

    @property
    def label(self) -> str:
        """Its text and its settings."""
        return ", ".join((self.text, *self.settings))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Tokens of each picture."""
        return tuple(kept.tokens for kept in self.kept)

    @cached_property
    def tokens(self) -> Distribution:
        """How the counts are distributed."""
        return distribution_of(self.counts)

    @property
    def bins(self) -> tuple[Bin, ...]:
        """Their histogram."""
        return histogram(self.counts)

    def prediction(self, device: str, tokens: int) -> Prediction:
        """What so many tokens cost there."""
        costs = self.predictions[device]
        return costs[min(tokens, max(costs))]

    def cost(self, device: str, figure: Figure) -> Distribution:
        """How a cost is distributed over the pictures."""
        values = {tokens: figure.of(self.prediction(device, tokens)) for tokens in set(self.counts)}
        return distribution_of([values[tokens] for tokens in self.counts])


@dataclass(frozen=True)
class ReducedPictures:
    """A run of one or several methods over pictures; `unreduced`: the prediction of each device without a reducer.

    `unreadable`: pictures that no method saw.
    """

    tower: TowerRun
    machine: Machine
    methods: tuple[MethodRun, ...]
    unreadable: tuple[LeftOut, ...]
    unreduced: dict[str, Prediction]

    @property
    def model(self) -> str:
        """Whose language model is costed."""
        return next(iter(self.unreduced.values())).model.name

    def share(self, method: MethodRun) -> float:
        """Part of a reducer in the time of tower and reducer together."""
        reducer_s = method.timing.median_s
        return reducer_s / (self.tower.timing.median_s + reducer_s)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the figures."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        most = max(p.workload.visual_tokens for p in self.unreduced.values())
        for method in self.methods:
            over = sum(tokens > most for tokens in method.counts)
            if over:
                yield f"{method.text}: {ALL_KEPT.format(over, len(method.counts), most)}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to worry about: random weights, pictures that were left out."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if self.tower.random:
            yield MEANS_NOTHING
        for left in self.unreadable:
            yield f"left out: {left.picture}: {left.why}"
        for method in self.methods:
            for left in method.left_out:
                yield f"{method.text}: left out: {left.picture}: {left.why}"
