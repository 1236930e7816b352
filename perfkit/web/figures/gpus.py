"""GPUs side by side: times by the roofline, and what is to be expected with its range; memory against the cards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from perfkit.latency import Prediction
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.reports.expected import expected_in_words
from perfkit.units import Amount, format_quantity
from perfkit.web.figures.looks import DEVICES, EDGE, HATCH, Figure, Trace, bar_trace, figure, point_trace, ticks

ROW, AROUND = 58, 76  # pixels of a GPU, and of what stands around them

Range = tuple[Amount, Amount] | None


def times_figure(predictions: Sequence[Prediction], *, step: bool) -> Figure:
    """Time to the first token, or per output token, of each GPU."""
    times = [_step(p) if step else (p.ttft_roofline_s, p.ttft_expected_s, p.ttft_range_s) for p in predictions]
    most = max(max(roofline, (high_of(expected, known) or 0)) for roofline, expected, known in times)
    what = "time per output token (TPOT)" if step else "time to the first token (TTFT)"
    return figure(
        _bars([p.device.id for p in predictions], times),
        AROUND + ROW * len(predictions),
        barmode="group",
        title={"text": what, "font": {"size": 14}},
        xaxis={"range": [0, 1.05 * most], **ticks(1.05 * most, "s")},
        yaxis={"autorange": "reversed", "automargin": True},
    )


def _step(p: Prediction) -> tuple[Amount, Amount, Range]:
    step = p.mean_decode
    assert step is not None  # noqa: S101  # asked of models that make tokens
    known = None if step.expected_low_s is None else (step.expected_low_s, step.expected_high_s)
    return step.roofline_s, step.expected_s, known


def high_of(expected: Amount | None, known: Range) -> Any:
    """The high end of an expected time, or the time where no range is known."""
    return known[1] if known else expected


def _bars(names: list[str], times: Sequence[tuple[Amount, Amount, Range]]) -> Iterator[Trace]:
    line = {"width": 1, "color": EDGE}
    yield bar_trace(
        y=names,
        x=[roofline for roofline, _, _ in times],
        name="roofline (predicted; no run is faster)",
        marker={"color": DEVICES[0], "line": line},
        text=[format_quantity(roofline, "s") for roofline, _, _ in times],
        textposition="auto",
        hovertemplate="%{y}<br>roofline %{text}<extra></extra>",
    )
    if any(expected is None for _, expected, _ in times):
        return
    low, high = ([abs(known[i] - expected) if known else 0 for _, expected, known in times] for i in (0, 1))
    yield bar_trace(
        y=names,
        x=[expected for _, expected, _ in times],
        name="expected (predicted; nine of ten should lie within the line)",
        marker={"color": DEVICES[5], "line": line, "pattern": {"shape": "/", **HATCH}},
        error_x={"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": EDGE},
        text=[expected_in_words(expected, *(known or ())) for _, expected, known in times],
        textposition="none",
        hovertemplate="%{y}<br>expected %{text}<extra></extra>",
    )


# --- memory

_PARTS: tuple[tuple[str, str, Callable[[Prediction], Amount]], ...] = (
    ("weights", DEVICES[0], lambda p: p.footprint.weights),
    ("KV cache", DEVICES[5], lambda p: p.footprint.kv),
    ("activations", DEVICES[2], lambda p: p.footprint.activations),
    ("kept for the runtime", "#9A9A9A", lambda _: RUNTIME_RESERVE_BYTES),
)


def memory_figure(predictions: Sequence[Prediction]) -> Figure:
    """What must lie on each card (counted), against what it has (datasheet)."""
    names = [p.device.id for p in predictions]
    most = 1.05 * max(max(p.footprint.needed, p.device.memory_bytes) for p in predictions)
    patterns = ("", "/", "x", ".")
    bars = [
        bar_trace(
            y=names,
            x=[float(of(p)) for p in predictions],
            name=name,
            marker={"color": color, "line": {"width": 1, "color": EDGE}, "pattern": {"shape": pattern, **HATCH}},
            text=[format_quantity(of(p), "B") for p in predictions],
            textposition="none",
            hovertemplate="%{y}<br>" + name + " %{text}<extra></extra>",
        )
        for (name, color, of), pattern in zip(_PARTS, patterns, strict=True)
    ]
    mark = {"symbol": "line-ns", "size": 34, "line": {"width": 3, "color": DEVICES[1]}}
    cards = point_trace(
        y=names,
        x=[p.device.memory_bytes for p in predictions],
        mode="markers",
        name="the card has (datasheet)",
        marker=mark,
        text=[format_quantity(p.device.memory_bytes, "B") for p in predictions],
        hovertemplate="%{y}<br>the card has %{text}<extra></extra>",
    )
    return figure(
        [*bars, cards],
        AROUND + ROW * len(predictions),
        barmode="stack",
        title={"text": "memory (counted) against the card", "font": {"size": 14}},
        xaxis={"range": [0, most], **ticks(most, "B")},
        yaxis={"autorange": "reversed", "automargin": True},
    )
