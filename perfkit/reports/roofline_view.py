"""Reports of a `RooflineView`: points and ceilings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.reports.requests import REQUEST_COLUMNS, request_cells, request_record
from perfkit.tables import Column, Table
from perfkit.views.naming import labels_of
from perfkit.views.roofline import Ceiling, Roof, RooflineView, RoofPoint

_POINT_COLUMNS = (
    Column("phase", "phase"),
    Column("ops", "ops", "prose"),
    Column("kind", "kind", "", 4),
    Column("launches", "launches", "n", 3),
    Column("flops", "FLOPs", "FLOP", 6),
    Column("bytes", "bytes", "B", 6),
    Column("intensity", "FLOP/B", "x"),
    Column("flops_per_s", "rate", "FLOP/s"),
    Column("roofline_s", "roofline", "s"),
    Column("share", "share", "share"),
    Column("bound", "bound", "", 7),
)


def document(view: RooflineView) -> dict[str, Any]:
    """Every roof with its ceilings and points."""
    return {"perfkit": perfkit.__version__, "roofs": [_roof_record(roof) for roof in view.roofs]}


def _roof_record(roof: Roof) -> dict[str, Any]:
    return {
        **request_record(roof.prediction),
        "bytes_per_s": roof.prediction.device.bytes_per_s,
        "ceilings": [_ceiling_record(ceiling) for ceiling in roof.ceilings],
        "points": [{**_cells(point), "ops": list(point.names)} for point in roof.points],
        "unplaced_share": roof.unplaced_share,
    }


def _ceiling_record(ceiling: Ceiling) -> dict[str, Any]:
    return {
        "engine": ceiling.peak.engine,
        "precision": ceiling.peak.precision.value,
        "flops_per_s": ceiling.peak.flops_per_s,
        "ridge": ceiling.ridge,
        "products": ceiling.products,
    }


def table(views: Sequence[RooflineView]) -> Table:
    """A row a point."""
    columns = (*REQUEST_COLUMNS, *_POINT_COLUMNS)
    rows = [
        {**request_cells(roof.prediction), **_cells(point)}
        for view in views
        for roof in view.roofs
        for point in roof.points
    ]
    return Table(columns, tuple(tuple(row[column.key] for column in columns) for row in rows))


def _cells(point: RoofPoint) -> dict[str, Any]:
    return {
        "phase": point.phase,
        "ops": ", ".join(point.names),
        "kind": point.kind,
        "launches": point.launches,
        "flops": point.flops,
        "bytes": point.bytes,
        "intensity": point.intensity,
        "flops_per_s": point.flops_per_s,
        "roofline_s": point.roofline_s,
        "share": point.share,
        "bound": point.bound,
    }


def overview(views: Sequence[RooflineView]) -> list[Table]:
    """Points of each roof, and the ceilings of all."""
    return [found for view in views for found in (*_points(view), _ceilings(view))]


def _points(view: RooflineView) -> Iterator[Table]:
    predictions = [roof.prediction for roof in view.roofs]
    for roof, label in zip(view.roofs, labels_of(predictions), strict=True):
        rows = [tuple(_cells(point)[column.key] for column in _POINT_COLUMNS) for point in roof.points]
        starts = frozenset(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0])
        title = f"{roof.prediction.model.name}: ops under the roofline, {label}"
        yield Table(_POINT_COLUMNS, tuple(rows), title=title, notes=tuple(_notes(roof)), rule_before=starts)


def _notes(roof: Roof) -> Iterator[str]:
    whole = "time to first token, in decode of its step" if roof.prediction.model.has_decoder else "time of the forward"
    yield f"share: of the {whole}. Ops of a kind, a bound and nearly one intensity are one point."
    yield "FLOPs: products, or element-wise work of ops without any; counted. Rates, times: predicted by the roofline."
    unplaced = f"{100 * roof.unplaced_share:.2g} % of the time"
    yield f"Ops without FLOPs (copies, cache writes) are no points; they take {unplaced}.{_pointless(roof)}"


def _pointless(roof: Roof) -> str:
    """Phases that are made of such ops alone."""
    placed = {point.phase for point in roof.points}
    names = [phase.phase for phase in roof.prediction.phases if phase.phase not in placed]
    return f" The phase {' and '.join(names)} is made of them alone." if names else ""


def _ceilings(view: RooflineView) -> Table:
    columns = (
        Column("device", "device"),
        Column("engine", "engine"),
        Column("precision", "precision"),
        Column("flops_per_s", "ceiling", "FLOP/s"),
        Column("bytes_per_s", "bandwidth", "B/s"),
        Column("ridge", "ridge, FLOP/B", "x"),
    )
    rows = {
        (p.device.id, c.peak.engine, c.peak.precision.value, c.peak.flops_per_s, p.device.bytes_per_s, c.ridge): None
        for p, c in ((roof.prediction, ceiling) for roof in view.roofs for ceiling in roof.ceilings)
    }
    return Table(columns, tuple(rows), title="Ceilings")
