"""Labels of a chart of tokens: methods at their counts, where prefill changes its bound, parts and limits of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from perfkit.charts.curves import Series, memory_of, rooms_of
from perfkit.charts.labelling import Label, frame_of, spots_of, text_size, write_labels
from perfkit.charts.placing import Box, Line, Obstacles, Spot, Wish, around
from perfkit.charts.style import FAINT
from perfkit.units import Amount, format_quantity
from perfkit.views.tokens import Crossing, Mark, TokensView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 2.0  # points between a line and its label
STEPS = 24  # places tried along a line
PIECES = 64  # of a curve, that labels keep clear of
MARK = 3.5  # points from the middle of a mark to its edge
ABOVE = 100.0  # degrees from a change of bound to where its label is tried first


def name_tokens(axes: Axes, view: TokensView, series: Sequence[Series]) -> None:
    """Methods at the top of a panel beside their lines; where prefill changes its bound, for a curve alone."""
    labels = [_method(axes, mark) for mark in view.marks]
    labels += [_change(axes, one, crossing) for one in series if one.alone for crossing in one.curve.crossings]
    curves = [
        (one, figure) for one in series for figure in (one.curve.swept.ttft_roofline_s, one.curve.prefill.roofline_s)
    ]
    lines = [line for one, figure in curves for line in _pieces(axes, one, figure)]
    marks = [Box(*spot, *spot).grown(MARK) for one in series for spot in _changes(axes, one)]
    write_labels(axes, labels, Obstacles(boxes=tuple(marks), lines=tuple(lines)))


def _method(axes: Axes, mark: Mark) -> Label:
    (width, height), top = text_size(mark.name), frame_of(axes).y1 - GAP
    left = spots_of(axes)(mark.tokens, 0)[0] + GAP
    return Label(mark.name, Wish((Box(left, top - height, left + width, top),)), FAINT)


def _change(axes: Axes, one: Series, crossing: Crossing) -> Label:
    text = f"{crossing.bound}-bound\nfrom {crossing.tokens} tokens"
    spot = spots_of(axes)(crossing.tokens, crossing.prefill_s)
    return Label(text, around(spot, text_size(text), MARK, ABOVE), one.color)


def _changes(axes: Axes, one: Series) -> list[Spot]:
    return [spots_of(axes)(crossing.tokens, crossing.prefill_s) for crossing in one.curve.crossings]


def _pieces(axes: Axes, one: Series, figure: Amount) -> Iterator[Line]:
    spot, curve = spots_of(axes), one.curve
    step = max(1, len(curve.tokens) // PIECES)
    spots = [spot(float(x), float(y)) for x, y in zip(curve.tokens, curve.along(figure), strict=True)]
    yield from pairwise([*spots[:-1:step], spots[-1]])


# --- memory


def name_memory(axes: Axes, apart: Sequence[Series], series: Sequence[Series]) -> None:
    """Parts of the memory where it is the same for all, and how much room there is where a line says so."""
    labels = list(_parts(axes, apart[0])) if len(apart) == 1 else []
    labels += _rooms(axes, series)
    lines = [line for one in apart for line in _pieces(axes, one, memory_of(one.curve))]
    limits = [_across(axes, room.bytes) for room in rooms_of(series) if room.drawn]
    write_labels(axes, labels, Obstacles(lines=(*lines, *limits)))


def _rooms(axes: Axes, series: Sequence[Series]) -> Iterator[Label]:
    for room in rooms_of(series):
        if room.drawn:
            text = f"room: {format_quantity(room.bytes, 'B')}"
            yield Label(text, Wish(tuple(_along(_across(axes, room.bytes), text))))


def _across(axes: Axes, value: float) -> Line:
    spot, (left, right) = spots_of(axes), axes.get_xlim()
    return spot(left, value), spot(right, value)


def _along(line: Line, text: str) -> Iterator[Box]:
    """Below and above a level line, then in rows further above; at its right end first."""
    (x0, y), (x1, _) = line
    width, height = text_size(text)
    for rows in ((-1, 0), (1,), (2,)):
        for step in range(STEPS):
            left = x1 - GAP - width - step * (x1 - x0 - width - 2 * GAP) / (STEPS - 1)
            for row in rows:
                low = y + row * height + (GAP if row >= 0 else -GAP)
                yield Box(left, low, left + width, low + height)


def _parts(axes: Axes, one: Series) -> Iterator[Label]:
    """Weights in their area; cache and activations in theirs where there is room, else above it."""
    need = one.curve.swept.footprint
    rest = one.curve.along(need.kv + need.activations)
    low, high = (format_quantity(float(value), "B") for value in (rest.min(), rest.max()))
    weights, text = float(need.weights), f"KV cache and activations: {low} to {high}"
    levels = _across(axes, weights), _across(axes, weights + float(rest.max()))
    above = [box for level in levels for box in _along(level, text) if box.y0 > level[0][1]]
    yield Label(text, Wish(tuple(above)))
    text = f"weights: {format_quantity(weights, 'B')}"
    (x0, y), (x1, _) = _across(axes, weights / 2)
    width, height = text_size(text)
    middle = (x0 + x1) / 2
    yield Label(text, Wish((Box(middle - width / 2, y - height / 2, middle + width / 2, y + height / 2),)))
