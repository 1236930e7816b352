"""Requests as bars: time by phase and sort of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfkit.units import format_quantity
from perfkit.views.breakdown import WORK, Bar, BreakdownView, Part
from perfkit.views.naming import labels_of
from perfkit.web.figures.looks import EDGE, HATCH, Figure, Trace, bar_trace, color_of, figure, ticks

# Beside colours of phases, patterns of sorts of work: told apart without colour too.
PATTERNS = dict(zip(WORK, ("", "/", "-", "x", ".", "+"), strict=True))
ROW, AROUND = 46, 76  # pixels of a bar, and of what stands around them


def breakdown_figure(view: BreakdownView, *, step: bool) -> Figure:
    """Parts of the time to the first token, or of a decode step."""
    bars = [(bar, bar.step if step else bar.first) for bar in view.bars]
    labels = labels_of([bar.prediction for bar in view.bars])
    longest = max(sum(part.roofline_s for part in parts) for _, parts in bars)
    return figure(
        _traces(bars, labels),
        AROUND + ROW * len(bars),
        barmode="stack",
        title={"text": _title(view, step=step), "font": {"size": 14}},
        xaxis={"range": [0, 1.02 * longest], **ticks(longest, "s")},
        yaxis={"autorange": "reversed", "automargin": True},
    )


def _title(view: BreakdownView, *, step: bool) -> str:
    if step:
        return "time per output token (TPOT), predicted by the roofline"
    first = "time to the first token (TTFT)" if view.bars[0].step else "time of the forward"
    return f"{first}, predicted by the roofline"


def _traces(bars: Sequence[tuple[Bar, Sequence[Part]]], labels: Sequence[str]) -> Iterator[Trace]:
    """A trace a phase and sort of work, in the order of the first bar that has it."""
    kinds = dict.fromkeys((part.phase, part.work) for _, parts in bars for part in parts)
    for phase, work in kinds:
        found = [next((part for part in parts if (part.phase, part.work) == (phase, work)), None) for _, parts in bars]
        pattern = {"shape": PATTERNS.get(work, ""), **HATCH}
        yield bar_trace(
            y=list(labels),
            x=[part.roofline_s if part else None for part in found],
            name=f"{phase}: {work}",
            marker={"color": color_of(phase), "line": {"width": 1, "color": EDGE}, "pattern": pattern},
            text=[hover_of(part) if part else "" for part in found],
            textposition="none",
            hovertemplate="%{y}<br>%{text}<extra></extra>",
        )


def hover_of(part: Part) -> str:
    """What a part tells.

    >>> hover_of(Part("prefill", "attention", 0.002, 0.25))
    'prefill: attention<br>2.00 ms (predicted), 25 %'
    """
    return f"{part.phase}: {part.work}<br>{format_quantity(part.roofline_s, 's')} (predicted), {100 * part.share:.2g} %"
