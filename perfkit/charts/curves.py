"""Parts of a chart of tokens and how they look: series, and which of them are drawn apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from perfkit.charts.style import INK, MARKERS, SERIES
from perfkit.units import Amount
from perfkit.views.naming import SWEPT_FACETS, labels_of
from perfkit.views.tokens import Curve, TokensView

BEYOND = 2.5  # times the memory in use: more room than that is named, and only the smallest drawn


class Series(NamedTuple):
    """A curve, what it is called beside the others, and how it looks; a curve `alone` is drawn by its phases."""

    curve: Curve
    label: str
    color: str
    marker: str
    alone: bool


def series_of(view: TokensView) -> list[Series]:
    """Series of a view, one colour and marker each."""
    labels = labels_of([curve.swept for curve in view.curves], SWEPT_FACETS)
    if len(labels) == 1:
        return [Series(view.curves[0], labels[0], INK, "o", alone=True)]
    looks = zip(view.curves, labels, SERIES, MARKERS, strict=False)
    return [Series(*look, alone=False) for look in looks]


def drawn_apart(series: Sequence[Series], figure: Callable[[Curve], Amount]) -> list[Series]:
    """The first of those whose figure is the same at all counts; in ink where it is that of all."""
    found: dict[tuple[Any, ...], Series] = {}
    for one in series:
        found.setdefault((*one.curve.tokens, *one.curve.along(figure(one.curve))), one)
    apart = list(found.values())
    return apart if len(apart) > 1 else [apart[0]._replace(color=INK)]


# --- memory


class Room(NamedTuple):
    """Bytes that some devices have for a request, and whether a panel of memory reaches so far."""

    bytes: float
    devices: tuple[str, ...]
    drawn: bool


def memory_of(curve: Curve) -> Amount:
    """Weights, cache and activations."""
    return curve.swept.footprint.total


def rooms_of(series: Sequence[Series]) -> list[Room]:
    """Rooms of all devices; the smallest, and those that are not far beyond what is used, are drawn."""
    most = max(float(one.curve.along(memory_of(one.curve)).max()) for one in series)
    rooms = sorted({one.curve.room_bytes for one in series})
    devices = {room: [one.curve.swept.device.id for one in series if one.curve.room_bytes == room] for room in rooms}
    return [
        Room(room, tuple(dict.fromkeys(devices[room])), drawn=room == rooms[0] or room <= BEYOND * most)
        for room in rooms
    ]
