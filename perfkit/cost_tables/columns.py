"""The columns that a cost table may have: each with its unit, what it is, and what it rests on.

COLUMNS holds them by their keys; a new one is a line in `_listed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from perfkit.conventions import Convention
from perfkit.errors import UnknownName
from perfkit.latency import Prediction
from perfkit.phases import PhaseTime
from perfkit.totals.counted import Count

COUNTED = "counted"
PREDICTED = "predicted by the roofline"
EXPECTED = "expected, by the kernel model or measured rates"
DATASHEET = "TDP x roofline time; no bound"
BASES = (COUNTED, PREDICTED, EXPECTED, DATASHEET)

DEFAULT_COLUMNS = ("flops", "ttft_ms", "prefill_ms", "decode_ms", "memory")
BY_CONVENTION = ("flops", "macs")  # what a convention counts; all else stands without it


@dataclass(frozen=True, slots=True)
class Point:
    """A row's combination, predicted, and counted where a column shows it (`count` is None elsewhere).

    Its speed-ups stand against the `first` row, or against that of its block.
    """

    prediction: Prediction
    count: Count | None
    first: Prediction
    first_of_block: Prediction


class CostColumn(NamedTuple):
    """A column: `key` names it on the command line, `si_key` in csv and JSON, `header` and `unit` on paper.

    `scale`: SI units in one of `unit`. `si_unit` is a unit of `perfkit.tables.Column`. `basis` is one of BASES, `what`
    says more. `of` gives the figure in SI, None where there is none.
    """

    key: str
    header: str
    unit: str
    scale: float
    si_key: str
    si_unit: str
    basis: str
    what: str
    of: Callable[[Point], Any]


def column_of(key: str) -> CostColumn:
    """The column of a key.

    Raises:
        UnknownName: no such column.

    >>> column_of("prefill_ms").basis
    'predicted by the roofline'
    """
    if key not in COLUMNS:
        raise UnknownName("column", key, COLUMNS, f"; there are {', '.join(COLUMNS)}")
    return COLUMNS[key]


def columns_of(keys: Iterable[str], convention: Convention) -> tuple[CostColumn, ...]:
    """Columns of their keys: what a convention in multiply-adds counts is no FLOPs, and stands under MACs, once.

    Raises:
        UnknownName: no such column.

    >>> from perfkit.conventions import load_convention
    >>> [column.header for column in columns_of(("flops", "macs", "kv"), load_convention("sparsevlm"))]
    ['MACs', 'KV cache']
    """
    counted = "flops" if convention.unit == "flop" else "macs"
    return tuple(dict.fromkeys(column_of(counted if key == "flops" else key) for key in keys))


def _flops(point: Point) -> Any:
    count = point.count
    return count.total if count and count.convention.unit == "flop" else None


def _macs(point: Point) -> Any:
    count = point.count
    if count is None:
        return None
    return count.total if count.convention.unit == "mac" else count.macs


def _phase(point: Point, name: str) -> PhaseTime | None:
    return next((phase for phase in point.prediction.phases if phase.phase == name), None)


def _seconds(name: str) -> Callable[[Point], Any]:
    def of(point: Point) -> Any:
        phase = _phase(point, name)
        return phase.roofline_s if phase else None

    return of


def _energy_j(point: Point) -> float | None:
    tdp = point.prediction.device.tdp
    return None if tdp is None or tdp.value is None else tdp.value * float(point.prediction.request_roofline_s)


def _mean_tokens(point: Point) -> float | None:
    text, workload = point.prediction.model.text, point.prediction.workload
    if text is None:
        return None
    layers = text.stack.layers
    return float(sum(g.layers * g.visual_tokens for g in workload.layer_groups(layers)) / layers)


def _prefill_bytes(point: Point) -> Any:
    phase = _phase(point, "prefill")
    return phase.bytes if phase else None


def _fits(point: Point) -> bool:
    return bool(point.prediction.fits)


def _time(key: str, header: str, basis: str, what: str, of: Callable[[Point], Any]) -> CostColumn:
    kind = "expected" if basis == EXPECTED else "roofline"
    stem = key.removesuffix("_ms").removesuffix("_expected")
    return CostColumn(key, header, "ms", 1e-3, f"{stem}_{kind}_s", "s", basis, what, of)


def _bytes(key: str, header: str, what: str, of: Callable[[Point], Any]) -> CostColumn:
    return CostColumn(key, header, "GB", 1e9, f"{key}_bytes", "B", COUNTED, what, of)


def _plain(key: str, header: str, unit: str, basis: str, what: str, of: Callable[[Point], Any]) -> CostColumn:
    return CostColumn(key, header, "", 1.0, key, unit, basis, what, of)


def _speedups(key: str, header: str, time: str, seconds: Callable[[Prediction], Any]) -> Iterator[CostColumn]:
    """Against the first row of all, and against the first of a block, for a table of several models or GPUs."""

    def against(first: Callable[[Point], Prediction]) -> Callable[[Point], float | None]:
        def of(point: Point) -> float | None:
            before, own = seconds(first(point)), seconds(point.prediction)
            return None if before is None or own is None else before / own

        return of

    def column(name: str, title: str, row: str, of: Callable[[Point], float | None]) -> CostColumn:
        what = f"{time} of {row} / {time}"
        return CostColumn(name, title, f"of {time}", 1.0, name, "x", PREDICTED, what, of)

    yield column(key, header, "the first row", against(lambda point: point.first))
    block = against(lambda point: point.first_of_block)
    yield column(f"block_{key}", f"{header} in block", "the block's first row", block)


def _listed() -> Iterator[CostColumn]:
    yield CostColumn("flops", "FLOPs", "T", 1e12, "flops", "FLOP", COUNTED, "one forward", _flops)
    yield CostColumn("macs", "MACs", "T", 1e12, "macs", "MAC", COUNTED, "one forward, in multiply-adds", _macs)
    yield _time("vision_ms", "Vision", PREDICTED, "vision tower", _seconds("vision"))
    yield _time("reduction_ms", "Reduction", PREDICTED, "reducer before the language model", _seconds("reduction"))
    yield _time("prefill_ms", "Prefill", PREDICTED, "language model alone", _seconds("prefill"))
    ttft = "vision, reduction, projector, prefill"
    yield _time("ttft_ms", "TTFT", PREDICTED, ttft, lambda p: p.prediction.ttft_roofline_s)
    tpot = "TPOT, a mean step"
    yield _time("decode_ms", "Decode", PREDICTED, tpot, lambda p: p.prediction.tpot_roofline_s)
    request = "TTFT and a mean decode step for each new token after the first"
    yield _time("request_ms", "Request", PREDICTED, request, lambda p: p.prediction.request_roofline_s)
    yield _time("ttft_expected_ms", "TTFT exp.", EXPECTED, ttft, lambda p: p.prediction.ttft_expected_s)
    yield _time("decode_expected_ms", "Decode exp.", EXPECTED, tpot, lambda p: p.prediction.tpot_expected_s)
    yield from _speedups("speedup", "Speed-up", "TTFT", lambda p: p.ttft_roofline_s)
    yield from _speedups("decode_speedup", "Decode speed-up", "TPOT", lambda p: p.tpot_roofline_s)
    footprint = "weights, KV cache, activations"
    yield _bytes("memory", "Memory", footprint, lambda p: p.prediction.footprint.total)
    yield _bytes("weights", "Weights", "all parameters as stored", lambda p: p.prediction.footprint.weights)
    yield _bytes("kv", "KV cache", "prompt and new tokens", lambda p: p.prediction.footprint.kv)
    working = "largest working set of any phase"
    yield _bytes("activation", "Activations", working, lambda p: p.prediction.footprint.activations)
    yield _bytes("traffic", "Prefill traffic", "bytes that prefill moves, each tensor once a kernel", _prefill_bytes)
    energy = "of a request: TTFT and a mean decode step for each new token after the first"
    yield CostColumn("energy", "Energy", "J at TDP", 1.0, "energy_at_tdp_j", "J", DATASHEET, energy, _energy_j)
    fits = "the card holds memory plus 1 GiB for the runtime, the context the tokens"
    yield _plain("fits", "Fits", "", COUNTED, fits, _fits)
    entering = "visual tokens that enter layer 0"
    yield _plain("tokens", "Tokens", "n", COUNTED, entering, lambda p: p.prediction.workload.visual_tokens)
    yield _plain("mean_tokens", "Mean tokens", "n", COUNTED, "visual tokens, mean over the layers", _mean_tokens)


COLUMNS = {column.key: column for column in _listed()}
