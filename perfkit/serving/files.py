"""Files of requests and of counted tokens: csv with a head, every field checked, errors that name the row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perfkit.documents import read_text
from perfkit.errors import InvalidSpec
from perfkit.units import MAXIMUM_COUNT

FIELDS = {"text_tokens": 1, "visual_tokens": 0, "new_tokens": 1}  # and the least of each
ARRIVAL = "arrival_s"
COUNTS = ("tokens", "visual_tokens")  # `perfkit reduce` prints the first
LATEST_S = 1e10  # beyond it a microsecond is lost in the rounding of the clock
MOST_BYTES = 256 * 2**20


class Rows(NamedTuple):
    """Requests of a file, field by field; `arrival_s` None where the file has no such column, else never falling."""

    path: Path
    text_tokens: tuple[int, ...]
    visual_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    arrival_s: tuple[float, ...] | None


def read_requests(path: Path) -> Rows:
    """Requests of a csv with the columns text_tokens, visual_tokens, new_tokens and, if wanted, arrival_s in seconds.

    Raises:
        InvalidSpec: a column that is missing, no rows, or a field that is empty, no number, or below its least.
    """
    found: dict[str, list[float]] = {name: [] for name in (*FIELDS, ARRIVAL)}
    timed = False
    for place, row in _rows(path, tuple(FIELDS)):
        timed = ARRIVAL in row
        for name, least in FIELDS.items():
            found[name].append(_count(row, name, least, place))
        if timed:
            found[ARRIVAL].append(_arrival(row, found[ARRIVAL], place))
    text, visual, new = (tuple(map(int, found[name])) for name in FIELDS)
    return Rows(path, text, visual, new, tuple(found[ARRIVAL]) if timed else None)


def read_counts(path: Path, minimum: int) -> tuple[int, ...]:
    """Counts of tokens of a csv: of `perfkit reduce --format csv`, or any with a column `tokens` or `visual_tokens`.

    Rows without a count, such as those of pictures that were left out, are passed over.

    Raises:
        InvalidSpec: no such column, no counts, one that is no whole number from `minimum`, or several methods.
    """
    counts, methods = [], set()
    for place, row in _rows(path, ()):
        name = next((name for name in COUNTS if name in row), None)
        if name is None:
            raise InvalidSpec(f"{path}: needs a column {' or '.join(COUNTS)}, and has {', '.join(row)}")
        if row[name]:
            counts.append(_count(row, name, minimum, place))
            methods.add(row.get("method"))
    if len(methods) > 1:
        raise InvalidSpec(
            f"{path}: holds several methods: {', '.join(sorted(map(str, methods)))}; keep the rows of one"
        )
    if not counts:
        raise InvalidSpec(f"{path}: no row has a count")
    return tuple(counts)


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows by column, each with how a message names it."""
    reader = csv.reader(read_text(path, MOST_BYTES).splitlines())
    head = [name.strip() for name in next(reader, [])]
    missing = [name for name in needed if name not in head]
    if missing:
        raise InvalidSpec(f"{path}: no column {', '.join(missing)}; needed: {', '.join(needed)}, and {ARRIVAL} at will")
    rows = 0
    for row in reader:
        if row:
            rows += 1
            cells = dict(zip(head, (cell.strip() for cell in [*row, *[""] * (len(head) - len(row))]), strict=False))
            yield f"{path}, row {rows}", cells
    if not rows:
        raise InvalidSpec(f"{path}: no rows")


def _count(row: dict[str, str], name: str, least: int, place: str) -> int:
    text = row[name]
    if not text:
        raise InvalidSpec(f"{place}: {name} is missing")
    if not text.removeprefix("-").isdecimal() or not least <= int(text) <= MAXIMUM_COUNT:
        raise InvalidSpec(f"{place}: {name} must be a whole number from {least} to {MAXIMUM_COUNT}, not {text[:30]!r}")
    return int(text)


def _arrival(row: dict[str, str], before: list[float], place: str) -> float:
    text = row[ARRIVAL]
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LATEST_S:
        said = f"must be seconds from 0 to {LATEST_S:g}, not {text[:30]!r}" if text else "is missing"
        raise InvalidSpec(f"{place}: {ARRIVAL} {said}")
    if before and seconds < before[-1]:
        raise InvalidSpec(
            f"{place}: {ARRIVAL} {seconds:g} is before that of the row above, {before[-1]:g}: sort the rows"
        )
    return seconds
