"""Reports of a `BreakdownView`: parts of the time to first token and of a decode step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.reports.requests import REQUEST_COLUMNS, request_cells, request_record
from perfkit.tables import Column, Table
from perfkit.views.breakdown import Bar, BreakdownView, Part
from perfkit.views.naming import labels_of

_PART_COLUMNS = (
    Column("phase", "phase"),
    Column("work", "work"),
    Column("roofline_s", "roofline", "s"),
    Column("share", "share", "share"),
)


def document(view: BreakdownView) -> dict[str, Any]:
    """Every request with its parts."""
    return {"perfkit": perfkit.__version__, "requests": [_bar_record(bar) for bar in view.bars]}


def _bar_record(bar: Bar) -> dict[str, Any]:
    first, step = ([part._asdict() for part in parts] for parts in (bar.first, bar.step))
    return {**request_record(bar.prediction), "ttft": first, "tpot": step}


def table(views: Sequence[BreakdownView]) -> Table:
    """A row a part; `total` says of what: ttft or tpot."""
    columns = (*REQUEST_COLUMNS, Column("total", "total"), *_PART_COLUMNS)
    rows = [row for view in views for bar in view.bars for row in _rows(bar)]
    return Table(columns, tuple(tuple(row[column.key] for column in columns) for row in rows))


def _rows(bar: Bar) -> Iterator[dict[str, Any]]:
    for total, parts in (("ttft", bar.first), ("tpot", bar.step)):
        for part in parts:
            yield {**request_cells(bar.prediction), "total": total, **part._asdict()}


def overview(views: Sequence[BreakdownView]) -> list[Table]:
    """Parts of each request."""
    return [found for view in views for found in _requests(view)]


def _requests(view: BreakdownView) -> Iterator[Table]:
    columns = (Column("total", "total"), *_PART_COLUMNS, Column("bar", "", "bar", 8))
    for bar, label in zip(view.bars, labels_of([bar.prediction for bar in view.bars]), strict=True):
        first = "TTFT" if bar.step else "forward"
        rows = [*_parts(first, bar.first), *_parts("TPOT", bar.step)]
        note = "Times: predicted by the roofline; TPOT: a decode step at the mean cache length."
        title = f"{bar.prediction.model.name}: where the time goes, {label}"
        rule = frozenset({len(bar.first)}) if bar.step else frozenset()
        yield Table(columns, tuple(rows), title=title, notes=(note,), rule_before=rule)


def _parts(total: str, parts: Sequence[Part]) -> Iterator[tuple[Any, ...]]:
    for i, part in enumerate(parts):
        yield (total if i == 0 else "", *part, part.share)
