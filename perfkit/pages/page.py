"""What a report holds, whatever it is written as: sections of text, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from perfkit.tables import Table


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text that wraps."""

    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """Short texts, one below the other; `urgent`: a reader must not miss them."""

    texts: tuple[str, ...]
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart: what draws it, what it shows in words, for who cannot see it, and how to read it.

    `narrow`: what draws it for a phone, None where there is one width.
    """

    draw: Callable[[], Any]
    alt: str
    caption: str
    narrow: Callable[[], Any] | None = None


Block: TypeAlias = Paragraph | Points | Command | Picture | Table


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A report: its title, of what kind it is and what it is of, and its sections."""

    title: str
    kind: str
    subtitle: str
    sections: tuple[Section, ...]


def section(title: str, *blocks: Block | None) -> Section | None:
    """A section of the blocks that there are, None where there is none.

    >>> section("Notes", None) is None
    True
    """
    found = tuple(block for block in blocks if block is not None)
    return Section(title, found) if found else None


def points(texts: list[str] | tuple[str, ...], *, urgent: bool = False) -> Points | None:
    """Different texts as points, None where there is none.

    >>> points(["a", "b", "a"]).texts
    ('a', 'b')
    """
    return Points(tuple(dict.fromkeys(texts)), urgent) if texts else None


def plain(table: Table, title: str = "") -> Table:
    """A table for a page: under another title, every column with a header, without bars, which a picture shows.

    >>> from perfkit.tables import Column
    >>> found = plain(Table((Column("bound", ""), Column("bar", "", "bar")), (("compute", 0.5),)), "All")
    >>> found.title, found.columns[0].header, found.rows
    ('All', 'bound', (('compute',),))
    """
    kept = [i for i, column in enumerate(table.columns) if column.unit != "bar"]
    columns = (table.columns[i] for i in kept)
    return table._replace(
        title=title,
        columns=tuple(column._replace(header=column.header or column.key) for column in columns),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
    )
