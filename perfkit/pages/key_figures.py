"""What a reader looks for first in an analysis: its times, its memory, and whether it fits; each with its origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from perfkit.charts.headings import listed
from perfkit.latency import Prediction
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.pages.sources import origin_of
from perfkit.remarks import figures_used
from perfkit.reports.expected import expected_in_words
from perfkit.reports.roofline_overview import fits_in_words
from perfkit.tables import Column, Table
from perfkit.units import format_quantity


class _Figure(NamedTuple):
    """A row: what it is called, how it comes about, what it is of a prediction, and what it means."""

    name: str
    origin: str
    read: Callable[[Prediction], str | None]
    means: str


def key_figures(predictions: Sequence[Prediction]) -> Table:
    """A row a figure, a column a device."""
    columns = (
        Column("figure", "figure"),
        *(Column(p.device.id, p.device.id) for p in predictions),
        Column("origin", "origin"),
        Column("means", "what it is", "prose"),
    )
    figures = [*_times(predictions[0]), *_counts(predictions[0]), *_rates(predictions)]
    rows = [(f.name, *(f.read(p) or "-" for p in predictions), f.origin, f.means) for f in figures]
    return Table(columns, tuple(rows))


def in_short(p: Prediction) -> str:
    """The main figures of a prediction as a sentence."""
    return f"{p.device.id}: {'; '.join(_facts(p))}."


def _facts(p: Prediction) -> Iterator[str]:
    first = "first token" if p.model.has_decoder else "a forward"
    yield f"{first} in {_together(_ttft(p), format_quantity(p.ttft_roofline_s, 's'))}"
    if p.tpot_roofline_s is not None:
        yield f"each output token in {_together(_tpot(p), format_quantity(p.tpot_roofline_s, 's'))}"
    for bound in dict.fromkeys(phase.bound for phase in p.phases):
        yield f"{bound} bounds {listed(phase.phase for phase in p.phases if phase.bound == bound)}"
    need, card = format_quantity(p.footprint.total, "B"), format_quantity(p.device.memory_bytes, "B")
    each = " on each GPU" if p.execution.gpus > 1 else ""
    fits = fits_in_words(p)
    yield f"{need} of {card} of memory{each}: {'fits' if fits == 'yes' else f'does not fit ({fits[4:]})'}"


def _together(expected: str | None, roofline: str) -> str:
    return f"{roofline} at best" if expected is None else f"{expected} expected, {roofline} at best"


def _ttft(p: Prediction) -> str | None:
    return expected_in_words(p.ttft_expected_s, *(p.ttft_range_s or ()))


def _tpot(p: Prediction) -> str | None:
    step = p.mean_decode
    return None if step is None else expected_in_words(step.expected_s, step.expected_low_s, step.expected_high_s)


# --- rows


def _times(p: Prediction) -> Iterator[_Figure]:
    phases = " + ".join(phase.phase for phase in p.phases if phase.phase != "decode")
    first = "TTFT" if p.model.has_decoder else "forward"
    means = "time to the first token" if p.model.has_decoder else "time of the forward"
    brackets = "nine of ten times should lie in brackets"
    yield _Figure(f"{first}, expected", "predicted", _ttft, f"{means}: {phases}; {brackets}")
    yield _Figure(f"{first}, roofline", "predicted", _ttft_at_best, f"{means} that no run of these kernels beats")
    if p.mean_decode is not None:
        new = p.workload.new_tokens
        mean = f"time per output token, mean of {new} new {'token' if new == 1 else 'tokens'}"
        yield _Figure("TPOT, expected", "predicted", _tpot, mean)
        yield _Figure("TPOT, roofline", "predicted", _tpot_at_best, f"{mean}, that no run of these kernels beats")
        yield _Figure("decode rate, expected", "predicted", _rate, "batch over TPOT")


def _counts(p: Prediction) -> Iterator[_Figure]:
    phases = "to the first token" if p.model.has_decoder else "of the forward"
    yield _Figure(f"FLOPs {phases}", "counted", _flops, "multiply-add = 2, element-wise work too")
    if p.mean_decode is not None:
        yield _Figure("FLOPs of an output token", "counted", _step_flops, "of the whole batch, a mean decode step")
    each, cache = ", per GPU" if p.execution.gpus > 1 else "", "KV cache + " if p.model.has_decoder else ""
    yield _Figure(f"memory{each}", "counted", lambda p: _bytes(p.footprint.total), f"weights + {cache}activations")
    yield _Figure("weights", "counted", lambda p: _bytes(p.footprint.weights), "with embedding and output head")
    if p.model.has_decoder:
        yield _Figure("KV cache", "counted", lambda p: _bytes(p.footprint.kv), "of prompt and new tokens")
    yield _Figure("activations", "counted", lambda p: _bytes(p.footprint.activations), "largest working set of a phase")
    yield _Figure(
        "fits", "counted, datasheet", fits_in_words, f"with {RUNTIME_RESERVE_BYTES / 2**30:g} GiB kept for the runtime"
    )


def _rates(predictions: Sequence[Prediction]) -> Iterator[_Figure]:
    """Figures of the devices, as their sources print them."""
    origins = " and ".join(dict.fromkeys(origin_of(p.engines) for p in predictions))
    used = dict.fromkeys(what for p in predictions for what, _ in figures_used(p.engines))
    for what in used:
        yield _Figure(what, origins, lambda p, what=what: _printed(p, what), "as its source prints it")  # type: ignore[misc]


def _printed(p: Prediction, what: str) -> str | None:
    return next((figure.printed for name, figure in figures_used(p.engines) if name == what), None)


def _ttft_at_best(p: Prediction) -> str:
    return format_quantity(p.ttft_roofline_s, "s")


def _tpot_at_best(p: Prediction) -> str:
    return format_quantity(p.tpot_roofline_s, "s")


def _rate(p: Prediction) -> str | None:
    return f"{p.workload.batch / p.tpot_expected_s:.1f} tokens/s" if p.tpot_expected_s else None


def _flops(p: Prediction) -> str:
    return format_quantity(sum(phase.flops for phase in p.phases if phase.phase != "decode"), "FLOP")


def _step_flops(p: Prediction) -> str | None:
    return None if p.mean_decode is None else format_quantity(p.mean_decode.flops, "FLOP")


def _bytes(amount: float) -> str:
    return format_quantity(amount, "B")
