"""Where a long command is, on stderr: a bar with the time left on a terminal, else a line an item, if wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import click


class Labelled(Protocol):
    """What can be shown."""

    @property
    def label(self) -> str:
        """One short line."""


Item = TypeVar("Item", bound=Labelled)


class Progress:
    """Goes through items and counts those that were begun.

    `doing`: what stands before the bar; `lines`: whether an item has a line of its own where there is no terminal.
    """

    def __init__(self, doing: str = "measuring", *, lines: bool = True) -> None:
        self._doing = doing
        self._lines = lines
        self.begun = 0
        self.total = 0

    @contextmanager
    def __call__(self, items: Sequence[Item]) -> Iterator[Iterable[Item]]:
        """The items, shown as they come."""
        self.total = len(items)
        if not sys.stderr.isatty():
            yield self._counted(self._told(items) if self._lines else items)
            return
        with click.progressbar(
            items,
            label=self._doing,
            file=sys.stderr,
            show_pos=True,
            item_show_func=lambda item: item.label if item else "",
        ) as bar:
            yield self._counted(bar)

    def _counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.begun += 1
            yield item

    def _told(self, items: Iterable[Item]) -> Iterator[Item]:
        for number, item in enumerate(items, 1):
            click.echo(f"{number}/{self.total} {item.label}", err=True)
            yield item
