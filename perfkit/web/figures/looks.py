"""How charts of the page look: colours of `perfkit.charts`, axes with plain quantities, nothing of one theme alone.

Figures are Plotly's as plain data: as its objects they would be checked and copied three times, and take longer than
the prediction that they show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, log10
from typing import Any, TypeAlias

from perfkit.charts.style import PHASES, SERIES, tick_text

Trace: TypeAlias = dict[str, Any]
Figure: TypeAlias = dict[str, Any]

EDGE = "#808080"  # of marks and bars: at least three to one against both themes' ground
DEVICES = (*SERIES[:6], "#8C8C8C", "#A65628", "#4DAF4A", "#984EA3", "#B8B83A", "#F781BF")  # as many as a page compares
SYMBOLS = {
    "vision": "circle",
    "reduction": "triangle-down",
    "projector": "diamond",
    "prefill": "square",
    "decode": "triangle-up",
}
HATCH = {"fgcolor": "#FFFFFF", "fillmode": "overlay", "fgopacity": 1, "size": 6, "solidity": 0.3}
CONFIG = {"displaylogo": False, "displayModeBar": False, "scrollZoom": False}


def color_of(phase: str) -> str:
    """Colour of a phase."""
    return PHASES[phase].color


def ticks(most: float, unit: str, parts: int = 5) -> dict[str, Any]:
    """Round ticks from 0 to `most`, each with its unit.

    >>> ticks(0.04, "s")["ticktext"]
    ['0', '10 ms', '20 ms', '30 ms', '40 ms']
    """
    if most <= 0:
        return {}
    rough = most / parts
    scale = 10.0 ** floor(log10(rough))
    step = next(scale * nice for nice in (1, 2, 2.5, 5, 10) if scale * nice >= rough)
    values = [step * i for i in range(int(most / step + 1e-9) + 1)]
    return {"tickmode": "array", "tickvals": values, "ticktext": [tick_text(value, unit) for value in values]}


def decades(low: float, high: float, unit: str, within: Sequence[int] = (1,)) -> dict[str, Any]:
    """A tick at each tenfold between two values of a logarithmic axis, and at multiples of it that are `within`.

    >>> decades(0.5, 200, "")["ticktext"]
    ['1', '10', '100']
    >>> decades(0.015, 0.06, "s", (1, 2, 5))["ticktext"]
    ['20 ms', '50 ms']
    """
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    values = [step * 10.0**power for power in powers for step in within if low <= step * 10.0**power <= high]
    texts = [tick_text(value, unit).strip() if unit or value >= 1e3 else f"{value:g}" for value in values]
    return {"tickmode": "array", "tickvals": values, "ticktext": texts}


def figure(traces: Iterable[Any], height: int, **layout: Any) -> Figure:
    """A figure with small margins that does not move under a finger."""
    base: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "showlegend": False,  # it stands below, as text
        "dragmode": False,
        "hoverlabel": {"align": "left"},
    }
    return {"data": list(traces), "layout": base | layout}


def point_trace(**given: Any) -> Trace:
    """A trace of marks or lines."""
    return {"type": "scatter", **given}


def bar_trace(**given: Any) -> Trace:
    """A trace of bars from the left."""
    return {"type": "bar", "orientation": "h", **given}
