"""Reports of `ReducedPictures`: tokens of each picture, their distribution, times, and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import perfkit
from perfkit.latency import Prediction
from perfkit.measuring.protocol import Timing
from perfkit.pictures.distribution import QUANTILES, Distribution
from perfkit.pictures.results import FIGURES, MEANS_NOTHING, LeftOut, MethodRun, ReducedPictures
from perfkit.reports.reduced_pictures_overview import overview
from perfkit.reports.requests import request_record
from perfkit.tables import Column, Table

__all__ = ["document", "overview", "table"]

_COLUMNS = (
    Column("picture", "picture"),
    Column("method", "method"),
    Column("ratio", "ratio", "share"),
    Column("strict_reference", "as published"),
    Column("status", "status"),
    Column("kept_patches", "kept patches", "n"),
    Column("patches", "patches", "n"),
    Column("tokens", "tokens", "n"),
    Column("tower_weights", "weights of the tower"),
    Column("model", "model"),
    Column("device", "device"),
    *(Column(figure.key, figure.title, figure.unit) for figure in FIGURES),
)


# --- JSON


def document(run: ReducedPictures) -> dict[str, Any]:
    """Everything: how it was run, tokens of each picture, distributions, times with samples, costs."""
    tower = run.tower
    return {
        "perfkit": perfkit.__version__,
        "tower": {
            "weights": tower.source,
            "random_weights": tower.random,
            "preprocessing": tower.preprocessing.source,
            "image_size": tower.preprocessing.side,
            "grid": tower.grid,
            "patches": tower.patches,
            "feature_layer": tower.feature_layer,
            "precision": tower.precision,
            "batch": tower.batch,
            "timing": _timing_record(tower.timing),
        },
        "machine": run.machine._asdict(),
        "methods": [_method_record(run, method) for method in run.methods],
        "unreduced": [{**request_record(p), **_figures(p)} for p in run.unreduced.values()],
        "unreadable": [_left_out_record(left) for left in run.unreadable],
        "warnings": [*run.notes, *run.warnings],
    }


def _method_record(run: ReducedPictures, method: MethodRun) -> dict[str, Any]:
    return {
        "method": method.text,
        "ratio": method.ratio,
        "strict_reference": method.strict_reference,
        "pictures": [
            {"picture": kept.picture, "kept_patches": len(kept.patches), "tokens": kept.tokens} for kept in method.kept
        ],
        "left_out": [_left_out_record(left) for left in method.left_out],
        "tokens": _distribution_record(method.tokens),
        "histogram": [found._asdict() for found in method.bins],
        "timing": _timing_record(method.timing),
        "share_of_time": run.share(method),
        "costs": [
            {"device": device} | {f.key: _distribution_record(method.cost(device, f)) for f in FIGURES}
            for device in run.unreduced
        ],
    }


def _left_out_record(left: LeftOut) -> dict[str, str]:
    return {"picture": left.picture, "why": left.why}


def _distribution_record(found: Distribution) -> dict[str, Any]:
    return {**found._asdict(), "quantiles": dict(zip((f"{q}%" for q in QUANTILES), found.quantiles, strict=True))}


def _timing_record(timing: Timing) -> dict[str, Any]:
    return {
        "median_s": timing.median_s,
        "half_width": timing.half_width,
        "spread": timing.spread,
        "stable": timing.stable,
        "samples_s": list(timing.samples_s),
    }


def _figures(p: Prediction) -> dict[str, Any]:
    return {figure.key: figure.of(p) for figure in FIGURES}


# --- one tidy table


def table(runs: Sequence[ReducedPictures]) -> Table:
    """A row for each picture, method and device; pictures that were left out have no counts."""
    rows = (
        row for run in runs for method in run.methods for device in run.unreduced for row in _rows(run, method, device)
    )
    return Table(_COLUMNS, tuple(tuple(row.get(column.key) for column in _COLUMNS) for row in rows))


def _rows(run: ReducedPictures, method: MethodRun, device: str) -> Iterator[dict[str, Any]]:
    weights = MEANS_NOTHING if run.tower.random else run.tower.source
    asked = {"method": method.text, "ratio": method.ratio, "strict_reference": method.strict_reference}
    shared = {**asked, "tower_weights": weights, "model": run.model, "device": device}
    for kept in method.kept:
        yield {
            **shared,
            "picture": kept.picture,
            "status": "ok",
            "kept_patches": len(kept.patches),
            "patches": run.tower.patches,
            "tokens": kept.tokens,
            **_figures(method.prediction(device, kept.tokens)),
        }
    for left in (*method.left_out, *run.unreadable):
        yield {**shared, "picture": left.picture, "status": left.why}
