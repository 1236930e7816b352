"""What is asked of a sweep: its axes, and which times; refused before any work where it is too large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from perfkit.errors import InvalidValue
from perfkit.sweeping.ranges import Counts, length_of
from perfkit.units import format_quantity, parse_choice
from perfkit.workload import DEFAULT_MODEL, NEW_TOKENS, RUNTIMES, TEXT_TOKENS

Basis = Literal["roofline", "expected"]
BASES: tuple[Basis, ...] = ("roofline", "expected")

MAXIMUM_POINTS = 10**9
# What a point takes, written to a file, on one core, in a grid whose axes are long; `benchmarks/sweep.py` measures it.
SECONDS_A_POINT = {"roofline": 2e-6, "expected": 1e-5}
SECONDS_A_CELL = {"roofline": 1e-3, "expected": 4e-3}  # and a model on a GPU in some formats, however few its counts
BYTES_A_POINT = {"roofline": 30, "expected": 60}

ONE: Counts = (range(1, 2),)
# In the order of the grid's rows, the first the slowest; names are those of the options.
TEXTS = ("model", "gpu", "precision", "weights", "activations", "kv", "attention")
DEGREES = ("tp", "pp")
COUNTS = ("images", "tokens", "text_tokens", "new_tokens", "batch")


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """A grid: a row for each combination of the axes, which are option texts of `perfkit roofline` and counts.

    `weights`, `activations`, `kv`: formats beside the precision, empty for its own. `tokens`: visual tokens that enter
    layer 0, empty for all that a model makes of its images. `basis`: `roofline` alone, or what is to be `expected` too,
    of which `runtime` and `calibration` are.

    Raises:
        UnknownName: no such basis or runtime.
        InvalidValue: an empty axis, an option of expected times without them, or more than 10^9 points.
    """

    gpu: tuple[str, ...]
    model: tuple[str, ...] = (DEFAULT_MODEL,)
    precision: tuple[str, ...] = ("fp16",)
    weights: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    kv: tuple[str, ...] = ()
    attention: tuple[str, ...] = ("fused",)
    tp: Counts = ONE
    pp: Counts = ONE
    images: Counts = ONE
    tokens: Counts = ()
    text_tokens: Counts = (range(TEXT_TOKENS, TEXT_TOKENS + 1),)
    new_tokens: Counts = (range(NEW_TOKENS, NEW_TOKENS + 1),)
    batch: Counts = ONE
    basis: Basis = "roofline"
    runtime: str | None = None
    calibration: str | None = None

    def __post_init__(self) -> None:
        for name in ("gpu", "model", "precision", "attention"):
            if not getattr(self, name):
                raise InvalidValue(f"{name} is empty: a grid needs at least one")
        parse_choice("basis", self.basis, BASES)
        if self.runtime is not None:
            parse_choice("runtime", self.runtime, RUNTIMES)
        for name in ("runtime", "calibration"):
            if self.basis == "roofline" and getattr(self, name) is not None:
                raise InvalidValue(f"{name} is of expected times: leave it out, or ask for basis expected")
        if self.points > MAXIMUM_POINTS:
            raise InvalidValue(_too_many(self))

    @property
    def lengths(self) -> dict[str, int]:
        """How many values each axis has, 1 where it has the default alone."""
        texts = {name: max(1, len(getattr(self, name))) for name in TEXTS}
        return texts | {name: max(1, length_of(getattr(self, name))) for name in (*DEGREES, *COUNTS)}

    @property
    def points(self) -> int:
        """Combinations of the axes; fewer are left where a value is given twice or a GPU lacks an engine."""
        return math.prod(self.lengths.values())

    @property
    def seconds(self) -> float:
        """About how long one core takes for it."""
        cells = math.prod(self.lengths[name] for name in (*TEXTS, *DEGREES))
        return self.points * SECONDS_A_POINT[self.basis] + cells * SECONDS_A_CELL[self.basis]

    @property
    def bytes(self) -> int:
        """About how large it is as Parquet."""
        return self.points * BYTES_A_POINT[self.basis]


def _too_many(request: SweepRequest) -> str:
    lengths = request.lengths
    largest = max(lengths, key=lambda name: lengths[name])
    return (
        f"the grid has {request.points:.3g} points, about {duration(request.seconds)} of work and "
        f"{format_quantity(request.bytes, 'B')} as Parquet; at most {MAXIMUM_POINTS:.0e} are allowed: shorten an axis, "
        f"the longest being {largest.replace('_', '-')} with {lengths[largest]} values"
    )


def duration(seconds: float) -> str:
    """A time that is to be waited, in the largest unit of which there are two.

    >>> duration(40), duration(7200), duration(4e6)
    ('40 s', '2 hours', '46 days')
    """
    for unit, name in ((86400 * 365.25, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(1, round(seconds))} s"
