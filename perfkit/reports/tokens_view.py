"""Reports of a `TokensView`: costs at every count of visual tokens, and where prefill changes its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import perfkit
from perfkit.reports.requests import REQUEST_COLUMNS, request_cells, request_record
from perfkit.tables import Column, Table
from perfkit.units import Amount
from perfkit.views.naming import SWEPT_FACETS, labels_of
from perfkit.views.tokens import Curve, TokensView

_FIGURES: tuple[tuple[Column, Callable[[Curve], Amount]], ...] = (
    (Column("first_flops", "FLOPs", "FLOP", 6), lambda curve: curve.first_flops),
    (Column("prefill_flops", "of prefill", "FLOP", 4), lambda curve: curve.prefill.flops),
    (Column("ttft_roofline_s", "TTFT", "s"), lambda curve: curve.swept.ttft_roofline_s),
    (Column("prefill_roofline_s", "prefill", "s", 7), lambda curve: curve.prefill.roofline_s),
    (Column("tpot_roofline_s", "TPOT", "s"), lambda curve: curve.swept.tpot_roofline_s),
    (Column("weight_bytes", "weights", "B", 3), lambda curve: curve.swept.footprint.weights),
    (Column("kv_bytes", "KV", "B", 5), lambda curve: curve.swept.footprint.kv),
    (Column("activation_bytes", "activations", "B", 2), lambda curve: curve.swept.footprint.activations),
    (Column("memory_bytes", "memory", "B"), lambda curve: curve.swept.footprint.total),
)
_COLUMNS = tuple(column for column, _ in _FIGURES)
PARTS = 4  # of the range, whose ends people see beside the marks


def document(view: TokensView) -> dict[str, Any]:
    """Every curve as lists over its counts, its crossings, and the marks."""
    return {
        "perfkit": perfkit.__version__,
        "curves": [_curve_record(curve) for curve in view.curves],
        "marks": [mark._asdict() for mark in view.marks],
    }


def _curve_record(curve: Curve) -> dict[str, Any]:
    request = request_record(curve.swept)
    swept = {"visual_tokens": _plain(curve, curve.tokens, whole=True), "schedule": None}
    return {
        **request,
        "workload": {**request["workload"], **swept},
        **{column.key: _plain(curve, read(curve), whole=column.unit != "s") for column, read in _FIGURES},
        "room_bytes": curve.room_bytes,
        "crossings": [crossing._asdict() for crossing in curve.crossings],
    }


def _plain(curve: Curve, figure: Amount, *, whole: bool) -> list[int | float]:
    """A figure at every count as Python's own numbers; FLOPs and bytes are whole."""
    return [int(value) if whole else float(value) for value in curve.along(figure)]


def table(views: Sequence[TokensView]) -> Table:
    """A row a count of tokens of each curve."""
    rows = [row for view in views for curve in view.curves for row in _rows(curve)]
    columns = (*REQUEST_COLUMNS, *_COLUMNS, Column("prefill_bound", "bound"))
    return Table(columns, tuple(tuple(row[column.key] for column in columns) for row in rows))


def _rows(curve: Curve) -> Iterator[dict[str, Any]]:
    figures = {column.key: _plain(curve, read(curve), whole=column.unit != "s") for column, read in _FIGURES}
    compute = curve.along(curve.prefill.compute_bound)
    for i, tokens in enumerate(curve.tokens):
        yield {
            **request_cells(curve.swept),
            "visual_tokens": int(tokens),
            **{key: values[i] for key, values in figures.items()},
            "prefill_bound": "compute" if compute[i] else "memory",
        }


def overview(views: Sequence[TokensView]) -> list[Table]:
    """Some counts of each curve, and all changes of bound."""
    return [found for view in views for found in (*_some(view), *_changes(view))]


def _labels(view: TokensView) -> tuple[str, ...]:
    return labels_of([curve.swept for curve in view.curves], SWEPT_FACETS)


def _some(view: TokensView) -> Iterator[Table]:
    marks = {mark.tokens: mark.name for mark in view.marks}
    columns = (Column("visual_tokens", "visual tokens", "n"), *_COLUMNS, Column("prefill_bound", "prefill bound"))
    for curve, label in zip(view.curves, _labels(view), strict=True):
        last = len(curve.tokens) - 1
        shown = {round(last * part / PARTS) for part in range(PARTS + 1)}
        rows = [row for i, row in enumerate(_rows(curve)) if i in shown or row["visual_tokens"] in marks]
        cells = tuple(tuple(row[column.key] for column in columns) for row in rows)
        notes = ("FLOPs and bytes counted; times predicted by the roofline.", *(_named(marks)))
        yield Table(columns, cells, title=f"{curve.swept.model.name}: cost of visual tokens, {label}", notes=notes)


def _named(marks: dict[int, str]) -> Iterator[str]:
    if marks:
        yield "averages that papers print: " + ", ".join(f"{name} {tokens}" for tokens, name in marks.items())


def _changes(view: TokensView) -> Iterator[Table]:
    columns = (
        Column("curve", "curve"),
        Column("tokens", "visual tokens", "n"),
        Column("bound", "prefill is bound by"),
        Column("prefill_s", "prefill", "s"),
    )
    labelled = zip(_labels(view), view.curves, strict=True)
    rows = tuple((label, *crossing) for label, curve in labelled for crossing in curve.crossings)
    note = "From so many tokens on; a phase is bound by what bounds the ops that take at least half of its time."
    yield Table(columns, rows, title="Where prefill changes its bound", notes=(note,) if rows else ("Nowhere.",))
