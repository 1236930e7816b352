"""Columns of a sweep: names, units, and the figure of a prediction that each shows; SI units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from perfkit.latency import Prediction
from perfkit.phases import PhaseTime
from perfkit.sweeping.grid import Box, Grid
from perfkit.sweeping.request import Basis
from perfkit.units import Amount

Kind = Literal["text", "count", "number", "flag"]
TYPES: dict[Kind, str] = {"text": "int32", "count": "int64", "number": "float64", "flag": "bool"}  # text: its place


class Field(NamedTuple):
    """A column: `key` for machines, `header` and `unit` for people; `figure` is None where there is none."""

    key: str
    header: str
    unit: str
    kind: Kind
    figure: Callable[[Prediction], Any]


class Text(NamedTuple):
    """A column of text: `places` are int32 indices of `words`."""

    words: tuple[str, ...]
    places: Any


Columns = dict[str, Any]  # a Text, or an array of one of TYPES, by key; NaN where a number is not known


def _seconds(prediction: Prediction, phase: str) -> Amount:
    """Roofline time of a phase, 0 where the request has none."""
    return sum(found.roofline_s for found in prediction.phases if found.phase == phase)


def _of(phase: str, figure: Callable[[PhaseTime], Amount]) -> Callable[[Prediction], Amount | None]:
    """A figure of a phase, None for models that have no such phase."""
    return lambda p: next((figure(found) for found in p.phases if found.phase == phase), None)


def _end(times: tuple[Amount, Amount] | None, which: int) -> Amount | None:
    return None if times is None else times[which]


def _tokens_per_s(p: Prediction, ttft_s: Amount | None, tpot_s: Amount | None) -> Amount | None:
    """New tokens of all sequences over the time of the request: the first after prefill, the others a step each."""
    if ttft_s is None or tpot_s is None:
        return None
    return p.workload.batch * p.workload.new_tokens / (ttft_s + (p.workload.new_tokens - 1) * tpot_s)


_POINT = (
    Field("model", "model", "", "text", lambda p: p.model.name),
    Field("device", "GPU", "", "text", lambda p: p.device.id),
    Field("visual_tokens", "visual", "n", "count", lambda p: p.workload.visual_tokens),
    Field("text_tokens", "text", "n", "count", lambda p: p.workload.text_tokens),
    Field("new_tokens", "new", "n", "count", lambda p: p.workload.new_tokens),
    Field("batch", "batch", "n", "count", lambda p: p.workload.batch),
    Field("images", "images", "n", "count", lambda p: p.workload.images),
    Field("weights", "weights", "", "text", lambda p: p.execution.weights.value),
    Field("activations", "act.", "", "text", lambda p: p.execution.activations.value),
    Field("kv", "KV", "", "text", lambda p: p.execution.kv.value),
    Field("attention", "attention", "", "text", lambda p: p.execution.attention),
    Field("tp", "tp", "n", "count", lambda p: p.execution.tp),
    Field("pp", "pp", "n", "count", lambda p: p.execution.pp),
)
_ROOFLINE = (
    Field("ttft_roofline_s", "TTFT", "s", "number", lambda p: p.ttft_roofline_s),
    Field("tpot_roofline_s", "TPOT", "s", "number", lambda p: p.tpot_roofline_s),
    Field(
        "tokens_per_s_roofline",
        "tokens/s",
        "x",
        "number",
        lambda p: _tokens_per_s(p, p.ttft_roofline_s, p.tpot_roofline_s),
    ),
)
_EXPECTED = (
    Field("runtime", "runtime", "", "text", lambda p: p.execution.runtime),
    Field("calibration", "calibration", "", "text", lambda p: p.expectation.id),
    Field("ttft_expected_s", "TTFT exp.", "s", "number", lambda p: p.ttft_expected_s),
    Field("ttft_expected_low_s", "low", "s", "number", lambda p: _end(p.ttft_range_s, 0)),
    Field("ttft_expected_high_s", "high", "s", "number", lambda p: _end(p.ttft_range_s, 1)),
    Field("tpot_expected_s", "TPOT exp.", "s", "number", lambda p: p.tpot_expected_s),
    Field("tpot_expected_low_s", "low", "s", "number", lambda p: p.mean_decode and p.mean_decode.expected_low_s),
    Field("tpot_expected_high_s", "high", "s", "number", lambda p: p.mean_decode and p.mean_decode.expected_high_s),
    Field(
        "tokens_per_s_expected",
        "tokens/s exp.",
        "x",
        "number",
        lambda p: _tokens_per_s(p, p.ttft_expected_s, p.tpot_expected_s),
    ),
)
_PARTS = (
    Field("vision_roofline_s", "vision", "s", "number", lambda p: _seconds(p, "vision")),
    Field("projector_roofline_s", "projector", "s", "number", lambda p: _seconds(p, "projector")),
    Field("prefill_roofline_s", "prefill", "s", "number", lambda p: _seconds(p, "prefill")),
    Field("prefill_flops", "prefill FLOPs", "FLOP", "number", _of("prefill", lambda phase: phase.flops)),
    Field("prefill_bytes", "prefill bytes", "B", "number", _of("prefill", lambda phase: phase.bytes)),
    Field("decode_roofline_s", "decode", "s", "number", _of("decode", lambda phase: phase.roofline_s)),
    Field("decode_flops", "decode FLOPs", "FLOP", "number", _of("decode", lambda phase: phase.flops)),
    Field("decode_bytes", "decode bytes", "B", "number", _of("decode", lambda phase: phase.bytes)),
    Field("memory_weights_bytes", "weights", "B", "number", lambda p: p.footprint.weights),
    Field("memory_kv_bytes", "KV cache", "B", "number", lambda p: p.footprint.kv),
    Field("memory_activations_bytes", "activations", "B", "number", lambda p: p.footprint.activations),
    Field("memory_total_bytes", "memory", "B", "number", lambda p: p.footprint.total),
    Field("fits", "fits", "", "flag", lambda p: p.fits),
)


def fields_of(basis: Basis) -> tuple[Field, ...]:
    """Columns of a sweep, in their order.

    >>> [field.key for field in fields_of("roofline")][:3]
    ['model', 'device', 'visual_tokens']
    """
    return (*_POINT, *_ROOFLINE, *(_EXPECTED if basis == "expected" else ()), *_PARTS)


def columns_of(grid: Grid, start: int, stop: int) -> Columns:
    """Rows `start` to `stop` of a grid.

    >>> from perfkit.sweeping.grid import grid_of
    >>> from perfkit.sweeping.request import SweepRequest
    >>> grid = grid_of(SweepRequest(("v100",), tokens=(range(32, 33),)))
    >>> columns_of(grid, 0, 1)["tpot_roofline_s"].round(5).tolist()  # 14.79 ms, as of `perfkit.analyze`
    [0.01479]
    """
    import numpy

    fields = fields_of(grid.request.basis)
    columns: Columns = {field.key: numpy.empty(stop - start, TYPES[field.kind]) for field in fields}
    words: dict[str, dict[str, int]] = {field.key: {} for field in fields if field.kind == "text"}
    row = 0
    for box in grid.boxes(start, stop):
        _fill(columns, words, fields, grid.predict(box), box, row)
        row += box.points
    return columns | {key: Text(tuple(known), columns[key]) for key, known in words.items()}


def _fill(
    columns: Columns,
    words: dict[str, dict[str, int]],
    fields: Iterable[Field],
    prediction: Prediction,
    box: Box,
    row: int,
) -> None:
    """Figures of a box, spread over its shape, into its rows."""
    for field in fields:
        figure = field.figure(prediction)
        if field.kind == "text":
            figure = words[field.key].setdefault(figure, len(words[field.key]))
        rows = columns[field.key][row : row + box.points].reshape(box.shape)  # a view
        rows[...] = float("nan") if figure is None else figure
