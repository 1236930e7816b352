"""Where labels can stand: the first place of each that covers nothing; pure geometry, the same result every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import cos, dist, hypot, radians, sin
from typing import NamedTuple

Spot = tuple[float, float]
Line = tuple[Spot, Spot]

SHORTEST = 2.0  # points from which on a leader is drawn
CLEAR = 1.0  # points between a label and a line
DISTANCES = (4.0, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 66.0, 82.0)  # points from a mark to its label, nearest first


class Box(NamedTuple):
    """A rectangle, in points."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge.

        >>> Box(0, 0, 2, 2).overlaps(Box(1, 1, 3, 3)), Box(0, 0, 2, 2).overlaps(Box(2, 0, 3, 2))
        (True, False)
        """
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def within(self, frame: Box) -> bool:
        """Whether no part lies outside of `frame`."""
        return self.x0 >= frame.x0 and self.x1 <= frame.x1 and self.y0 >= frame.y0 and self.y1 <= frame.y1

    def grown(self, by: float) -> Box:
        """Wider by so much on every side."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def nearest(self, spot: Spot) -> Spot:
        """Its point nearest to `spot`."""
        return min(max(spot[0], self.x0), self.x1), min(max(spot[1], self.y0), self.y1)

    @property
    def edges(self) -> tuple[Line, ...]:
        """Its four sides."""
        corners = (self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1)
        return tuple(zip(corners, (*corners[1:], corners[0]), strict=True))

    def meets(self, line: Line) -> bool:
        """Whether a straight line passes through.

        >>> Box(0, 0, 2, 2).meets(((-1, 1), (3, 1))), Box(0, 0, 2, 2).meets(((-1, 1), (1, 4)))
        (True, False)
        """
        # Liang and Barsky: the part of the line that lies between the edges, one pair of them after the other.
        (x, y), (to_x, to_y) = line
        first, last = 0.0, 1.0
        for step, low, high in ((to_x - x, self.x0 - x, self.x1 - x), (to_y - y, self.y0 - y, self.y1 - y)):
            if step == 0:
                if low >= 0 or high <= 0:
                    return False
                continue
            near, far = sorted((low / step, high / step))
            first, last = max(first, near), min(last, far)
        return first < last


class Disc(NamedTuple):
    """A round mark, in points."""

    middle: Spot
    radius: float

    def meets(self, line: Line) -> bool:
        """Whether a straight line passes through.

        >>> Disc((2, 1), 2).meets(((0, 0), (4, 0))), Disc((2, 3), 2).meets(((0, 0), (4, 0)))  # 1 and 3 from the line
        (True, False)
        """
        (x, y), (to_x, to_y) = line
        across, up = to_x - x, to_y - y
        along = ((self.middle[0] - x) * across + (self.middle[1] - y) * up) / hypot(across, up) ** 2
        part = min(max(along, 0.0), 1.0)
        return dist(self.middle, (x + part * across, y + part * up)) < self.radius

    @property
    def box(self) -> Box:
        """The square around it."""
        return Box(*self.middle, *self.middle).grown(self.radius)


class Wish(NamedTuple):
    """A label that wants a place: boxes by preference, and the mark of some radius to which a line leads, if any."""

    boxes: tuple[Box, ...]
    mark: Spot | None = None
    radius: float = 0.0

    def leader(self, box: Box) -> Line | None:
        """Line from the edge of the mark to a box; none to boxes beside it."""
        if self.mark is None:
            return None
        end = box.nearest(self.mark)
        length = dist(self.mark, end)
        if length - self.radius < SHORTEST:
            return None
        (x, y), part = self.mark, self.radius / length
        return (x + part * (end[0] - x), y + part * (end[1] - y)), end


def around(mark: Spot, size: tuple[float, float], radius: float, start: float) -> Wish:
    """Places of a label of `size` around a mark of `radius`, nearest first, then by angle from `start` degrees on."""
    return Wish(tuple(_around(mark, size, radius, start)), mark, radius)


def _around(mark: Spot, size: tuple[float, float], radius: float, start: float) -> Iterator[Box]:
    turns = sorted(range(0, 360, 15), key=lambda turn: (min(turn, 360 - turn), turn))
    for distance in DISTANCES:
        for turn in turns:
            angle = radians(start + turn)
            x = mark[0] + cos(angle) * (size[0] / 2 + radius + distance)
            y = mark[1] + sin(angle) * (size[1] / 2 + radius + distance)
            yield Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


class Obstacles(NamedTuple):
    """What labels keep clear of: boxes and lines that no label covers, and among the lines those no leader crosses.

    Discs are what a leader passes through, and drops lines that a label covers, only where there is no other place.
    """

    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    walls: tuple[Line, ...] = ()
    discs: tuple[Disc, ...] = ()
    drops: tuple[Line, ...] = ()

    def free(self, wish: Wish, box: Box) -> bool:
        """Whether a box and the leader to it are clear of all."""
        if any(box.overlaps(other) for other in self.boxes) or any(box.grown(CLEAR).meets(line) for line in self.lines):
            return False
        leader = wish.leader(box)
        return leader is None or not any(cross(leader, wall) for wall in self.walls)

    def faults(self, wish: Wish, box: Box) -> int:
        """How many discs of other marks the leader to a box passes through, and drops that the box covers."""
        leader = wish.leader(box)
        crossed = sum(disc.middle != wish.mark and disc.meets(leader) for disc in self.discs) if leader else 0
        return crossed + sum(box.grown(CLEAR).meets(line) for line in self.drops)


def place(wishes: Sequence[Wish], frame: Box, obstacles: Obstacles) -> list[Box | None]:
    """A box for each wish, in their order, or None: within `frame`, clear of all obstacles, labels and leaders.

    >>> place([Wish((Box(0, 0, 2, 2),))] * 2, Box(0, 0, 9, 9), Obstacles())
    [Box(x0=0, y0=0, x1=2, y1=2), None]
    """
    placed: list[Box | None] = []
    labels: list[Box] = []
    leaders: list[Line] = []
    for wish in wishes:
        taken = obstacles._replace(
            boxes=(*obstacles.boxes, *labels),
            lines=(*obstacles.lines, *leaders),
            walls=(*obstacles.walls, *leaders, *(edge for label in labels for edge in label.edges)),
        )
        box = _best(wish, frame, taken)
        placed.append(box)
        if box:
            labels.append(box)
            leader = wish.leader(box)
            leaders += [leader] if leader else []
    return placed


def _best(wish: Wish, frame: Box, taken: Obstacles) -> Box | None:
    """The first free box without faults, else the first of those with the fewest."""
    best: tuple[int, Box] | None = None
    for box in wish.boxes:
        if not box.within(frame) or not taken.free(wish, box):
            continue
        faults = taken.faults(wish, box)
        if faults == 0:
            return box
        if best is None or faults < best[0]:
            best = faults, box
    return best[1] if best else None


def cross(one: Line, other: Line) -> bool:
    """Whether two straight lines cross, touch, or lie on one line.

    >>> cross(((0, 0), (2, 2)), ((0, 2), (2, 0))), cross(((0, 0), (2, 2)), ((0, 1), (1, 2)))
    (True, False)
    """
    return _side(one, other[0]) * _side(one, other[1]) <= 0 and _side(other, one[0]) * _side(other, one[1]) <= 0


def _side(line: Line, spot: Spot) -> float:
    """Above zero on the left of a line, below on its right."""
    (x, y), (to_x, to_y) = line
    return (to_x - x) * (spot[1] - y) - (to_y - y) * (spot[0] - x)


def spread(centers: Sequence[float], heights: Sequence[float], top: float) -> list[float]:
    """Centers moved as little upwards, then down from `top`, as keeps things of these heights off each other.

    >>> spread([10, 12, 40], [8, 8, 8], 50)
    [10, 18.0, 40]
    """
    order = sorted(range(len(centers)), key=lambda i: centers[i])
    found = list(centers)
    for lower, upper in pairwise(order):
        found[upper] = max(found[upper], found[lower] + (heights[lower] + heights[upper]) / 2)
    for i in reversed(order):
        found[i] = min(found[i], top - heights[i] / 2)
        top = found[i] - heights[i] / 2
    return found
