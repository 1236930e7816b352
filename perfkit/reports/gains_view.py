"""Reports of a `GainsView`: requests with a reduction beside the same without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.reports.requests import REQUEST_COLUMNS, request_cells, request_record
from perfkit.tables import Column, Table
from perfkit.views.gains import Gain, GainsView

_FIGURES = (
    Column("before_roofline_s", "unreduced", "s"),
    Column("after_roofline_s", "reduced", "s"),
    Column("roofline_gain", "times as fast", "x"),
    Column("before_expected_s", "unreduced, expected", "s"),
    Column("after_expected_s", "reduced, expected", "s"),
    Column("expected_gain", "times as fast, expected", "x"),
    Column("room", "fits"),
)


def document(view: GainsView) -> dict[str, Any]:
    """Every pair of requests with its times."""
    return {
        "perfkit": perfkit.__version__,
        "gains": [{**request_record(gain.after), **_figures(gain)} for gain in view.gains],
    }


def table(views: Sequence[GainsView]) -> Table:
    """A row a pair; the request is the reduced one."""
    columns = (*REQUEST_COLUMNS, *_FIGURES)
    rows = [{**request_cells(gain.after), **_figures(gain)} for view in views for gain in view.gains]
    return Table(columns, tuple(tuple(row[column.key] for column in columns) for row in rows))


def _figures(gain: Gain) -> dict[str, Any]:
    return {
        "before_roofline_s": gain.before.request_roofline_s,
        "after_roofline_s": gain.after.request_roofline_s,
        "roofline_gain": gain.roofline,
        "before_expected_s": gain.before.request_expected_s,
        "after_expected_s": gain.after.request_expected_s,
        "expected_gain": gain.expected,
        "room": gain.room,
    }


def overview(views: Sequence[GainsView]) -> list[Table]:
    """Requests of each panel."""
    return [found for view in views for found in _panels(view)]


def _panels(view: GainsView) -> Iterator[Table]:
    columns = (Column("batch", "batch", "n"), Column("new_tokens", "new tokens", "n"), *_FIGURES)
    note = "Times of a whole request: predicted by the roofline, and as expected by the kernel model."
    for panel in view.panels:
        rows = tuple((*place, *_figures(gain).values()) for place, gain in panel.gains.items())
        model = next(iter(panel.gains.values())).after.model.name
        yield Table(columns, rows, title=f"{model}: what {panel.reduction} gains on {panel.device}", notes=(note,))
