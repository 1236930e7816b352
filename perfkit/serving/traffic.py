"""Requests as arrays: how long each is, and when it arrives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from perfkit.serving.request import ServingRequest


@dataclass(frozen=True, eq=False)
class Traffic:
    """Requests in the order in which they arrive: seconds, and tokens as float64 arrays of whole numbers."""

    arrival_s: Any
    text_tokens: Any
    visual_tokens: Any
    new_tokens: Any

    @property
    def prompt_tokens(self) -> Any:
        """Visual and text tokens."""
        return self.text_tokens + self.visual_tokens

    @property
    def context_tokens(self) -> Any:
        """What the cache holds on average over the new tokens, as of a mean decode step: prompt + (new - 1) / 2."""
        return self.prompt_tokens + (self.new_tokens - 1) / 2

    @property
    def total_tokens(self) -> Any:
        """Prompt and new tokens."""
        return self.prompt_tokens + self.new_tokens

    @property
    def rate(self) -> float | None:
        """Requests a second between the first and the last, None where all arrive at once."""
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self.arrival_s) - 1) / span if span else None

    def at_once(self) -> Traffic:
        """The same requests, all there from the start."""
        return replace(self, arrival_s=0 * self.arrival_s)


def draw_traffic(request: ServingRequest, rate: float | None, requests: int, seed: int) -> Traffic:
    """`requests` of the kind that is asked for, at a rate; as the file has them where it is None. The first comes at 0.

    Lengths and gaps come from seeds of their own: at another rate the same requests arrive, nearer together.
    """
    import numpy

    rows = request.rows
    if rows is None:
        asked = (request.text_tokens, request.visual_tokens, request.new_tokens)
        lengths = [one.draw(requests, (seed, place)) for place, one in enumerate(asked)]
    else:
        columns = numpy.array([rows.text_tokens, rows.visual_tokens, rows.new_tokens], float)
        count = columns.shape[1]
        drawn = numpy.random.default_rng((seed, 0)).integers(0, count, requests) if rate else numpy.arange(count)
        lengths = list(columns[:, drawn])
    if rate is None:
        played = numpy.array(request.played, float)
        return Traffic(played - played[0], *lengths)
    gaps = numpy.ones(requests)
    if request.arrivals == "poisson":
        gaps = numpy.random.default_rng((seed, 3)).exponential(1.0, requests)
    return Traffic((numpy.cumsum(gaps) - gaps[0]) / rate, *lengths)


def extremes_of(request: ServingRequest) -> Traffic:
    """Requests between which all lie that can be drawn: those of a file, or the shortest and the longest."""
    import numpy

    if request.rows is not None:
        lengths = [request.rows.text_tokens, request.rows.visual_tokens, request.rows.new_tokens]
    else:
        asked = (request.text_tokens, request.visual_tokens, request.new_tokens)
        lengths = [(one.least, one.most) for one in asked]
    columns = numpy.array(lengths, float)
    return Traffic(numpy.zeros(columns.shape[1]), *columns)
