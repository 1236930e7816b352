"""Labels of a roofline: ceilings named where they end, ridges below, ops beside their marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from perfkit.charts.headings import short_name
from perfkit.charts.labelling import Label, Spots, frame_of, settle, spots_of, text_size, write_labels
from perfkit.charts.placing import Box, Disc, Line, Obstacles, Spot, Wish, around, spread
from perfkit.charts.roofs import MARK, Series, diameter, of_devices, points_of, segments_of
from perfkit.charts.sheet import wrapped
from perfkit.charts.style import FAINT, INK, TEXT, shade
from perfkit.views.roofline import NEAR, RoofPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED = 0.02  # share of the time from which on a point has a label; of several devices or workloads, twice that
WIDEST = {"column": 72.0, "page": 125.0}  # points that a label of ops takes before it breaks
GAP, MOST_STEPS = 3.0, 24  # points between a line and its label; places tried along it
RIGHT_BELOW, LEFT_ABOVE = -60.0, 120.0  # degrees: the sides of a roof's slope


def write_ends(axes: Axes, series: Sequence[Series]) -> None:
    """At the right end of each ceiling its rate, or of several devices their names; then the axes keep their place."""
    ends = list(_ends(series))
    texts = [axes.text(1.01, 0.5, end.text, transform=axes.transAxes, fontsize=TEXT, color=end.color) for end in ends]
    settle(axes)
    frame, spot = frame_of(axes), spots_of(axes)
    heights = [text_size(end.text)[1] for end in ends]
    middles = spread([spot(1, end.flops_per_s)[1] for end in ends], heights, frame.y1)
    for text, y in zip(texts, middles, strict=True):
        text.set(y=(y - frame.y0) / (frame.y1 - frame.y0), va="center", linespacing=1.1)


class _End(NamedTuple):
    flops_per_s: float
    text: str
    color: str


def _ends(series: Sequence[Series]) -> Iterator[_End]:
    devices = of_devices(series)
    for one in devices:
        for ceiling in one.roof.ceilings:
            peak = ceiling.peak
            if len(devices) == 1:
                yield _End(peak.flops_per_s, f"{peak.rate.printed}\n{peak.precision} ({peak.engine})", INK)
            elif ceiling.products:
                yield _End(peak.flops_per_s, short_name(one.roof.prediction), shade(one.color or INK))


def write_names(axes: Axes, series: Sequence[Series], width: str) -> None:
    """Ridges, bandwidth of a single device, and ops whose share matters, in this order as far as there is room."""
    spot = spots_of(axes)
    devices = of_devices(series)
    labels = [*_bounds(axes, devices), *_ridges(axes, devices), *_ops(spot, series, width)]
    write_labels(axes, labels, _obstacles(axes, series, width))


def _obstacles(axes: Axes, series: Sequence[Series], width: str) -> Obstacles:
    """Discs, lines of roofs and ceilings, and among them roofs, which no leader crosses; lines below ridges."""
    spot = spots_of(axes)

    def drawn(lines: Iterable[Line]) -> tuple[Line, ...]:
        return tuple((spot(*start), spot(*end)) for start, end in lines)

    segments = [segments_of(axes, one.roof) for one in of_devices(series)]
    discs = tuple(
        Disc(spot(point.intensity, point.flops_per_s), _radius(point, width)) for _, point in points_of(series)
    )
    return Obstacles(
        boxes=tuple(disc.box for disc in discs),
        # Between several roofs there is too little room to keep clear of dotted and dashed lines too.
        lines=tuple(line for one in segments for line in drawn(one.level if len(segments) == 1 else one.roof)),
        walls=tuple(line for one in segments for line in drawn(one.roof)),
        discs=discs,
        drops=tuple(drawn(line for _, line in segments[0].drops)) if len(segments) == 1 else (),
    )


def _radius(point: RoofPoint, width: str) -> float:
    return max(MARK, diameter(point.share, width)) / 2


# --- ridges and bounds


def _ridges(axes: Axes, devices: Sequence[Series]) -> Iterator[Label]:
    """Values of ridge points, beside the lines that lead down from them; of several devices with their names."""
    spot = spots_of(axes)
    drops = [(one, *drop) for one in devices for drop in segments_of(axes, one.roof).drops]
    lines = [(spot(*start), spot(*end)) for _, _, (start, end) in drops]
    for (one, ceiling, _), line in zip(drops, lines, strict=True):
        if len(devices) == 1:
            text = f"ridge {ceiling.ridge:.3g} FLOP/B"
            yield Label(text, Wish(tuple(_beside(line[0], text))))
        else:
            text = f"{short_name(one.roof.prediction)}\n{ceiling.ridge:.3g}"
            others = [other for other in lines if other != line]
            yield Label(text, Wish(tuple(_outwards(line[0], others, text))), shade(one.color or INK))


def _outwards(foot: Spot, others: Sequence[Line], text: str) -> Iterator[Box]:
    """Places beside a line clear of the others, else on the side on which fewer of them stand, low places first."""
    places = list(_beside(foot, text))
    yield from (box for box in places[:2] if not any(box.meets(other) for other in others))
    left = 2 * sum(x < foot[0] for (x, _), _ in others) < len(others)
    yield from (*places[left::2], *places[1 - left :: 2])


def _beside(foot: Spot, text: str) -> Iterator[Box]:
    """Right and left of a line that rises from `foot`, low places first."""
    (x, y), (width, height) = foot, text_size(text)
    for step in range(MOST_STEPS):
        low = y + GAP + step * height
        for left in (x + GAP, x - GAP - width):
            yield Box(left, low, left + width, low + height)


def _bounds(axes: Axes, devices: Sequence[Series]) -> Iterator[Label]:
    """Of a single device: its bandwidth along the slope, and what bounds ops on either side of its ridge."""
    if len(devices) > 1:
        return
    spot, roof = spots_of(axes), devices[0].roof
    segments = segments_of(axes, roof)
    start, end = (spot(*place) for place in segments.slope)
    text = roof.prediction.device.bandwidth.printed
    yield Label(text, Wish(tuple(_along(start, end, text))))
    for _, ((x, bottom), _) in segments.drops:
        right, left = next(_beside(spot(x, bottom), "compute-bound")), [*_beside(spot(x, bottom), "memory-bound")][1]
        if right.within(frame_of(axes)) and left.within(frame_of(axes)):
            yield Label("compute-bound", Wish((right,)), FAINT)
            yield Label("memory-bound", Wish((left,)), FAINT)


def _along(start: Spot, end: Spot, text: str) -> Iterator[Box]:
    """Above a rising line, low places first."""
    width, height = text_size(text)
    for step in range(MOST_STEPS):
        part = step / MOST_STEPS
        x, y = (start[i] + part * (end[i] - start[i]) for i in range(2))
        yield Box(x - GAP - width, y + GAP, x - GAP, y + GAP + height)


# --- ops


def _ops(spot: Spots, series: Sequence[Series], width: str) -> Iterator[Label]:
    """Ops of a share that matters, the largest first; of several devices with their names."""
    several = len(of_devices(series)) > 1
    least = LABELLED if len(series) == 1 else 2 * LABELLED
    highest = max(of_devices(series), key=lambda one: one.roof.prediction.device.bytes_per_s)
    for group in sorted(_together(series, least), key=lambda group: -group[0][1].share):
        one, point = group[0]
        text = _text(point, [other.share for _, other in group])
        named = f"{short_name(one.roof.prediction)} {text}" if several else text
        text = "\n".join(wrapped(named, WIDEST[width], TEXT))
        above = several and one.roof.prediction.device == highest.roof.prediction.device
        wish = around(
            spot(point.intensity, point.flops_per_s),
            text_size(text),
            _radius(point, width),
            LEFT_ABOVE if above else RIGHT_BELOW,
        )
        yield Label(text, wish, shade(one.color or INK))


def _together(series: Sequence[Series], least: float) -> list[list[tuple[Series, RoofPoint]]]:
    """Points that one label names: of a device, a phase and the same ops, at nearly the same place; largest first."""
    groups: list[list[tuple[Series, RoofPoint]]] = []
    for one, point in sorted(points_of(series), key=lambda pair: -pair[1].share):
        if point.share < least:
            continue
        found = next((group for group in groups if _alike(group[0], (one, point))), None)
        if found:
            found.append((one, point))
        else:
            groups.append([(one, point)])
    return groups


def _alike(first: tuple[Series, RoofPoint], second: tuple[Series, RoofPoint]) -> bool:
    (one, point), (other, place) = first, second
    same = (point.phase, point.label) == (place.phase, place.label)
    apart = max(point.intensity, place.intensity) / min(point.intensity, place.intensity)
    return same and apart <= NEAR and one.roof.prediction.device == other.roof.prediction.device


def _text(point: RoofPoint, shares: Sequence[float]) -> str:
    """Phase, ops and share, which does not part from its unit."""
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    share = high if low == high else f"{low}-{high}"
    return f"{point.phase}: {point.label}, {share}\N{NO-BREAK SPACE}%"
