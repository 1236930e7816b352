"""Costs against visual tokens, a panel a figure; where the page's own count stands, and where methods leave theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from perfkit.units import Amount
from perfkit.views.naming import SWEPT_FACETS, labels_of
from perfkit.views.tokens import Curve, TokensView
from perfkit.web.figures.looks import DEVICES, EDGE, Figure, Trace, figure, point_trace, ticks

HEIGHT = 300


class Panel(NamedTuple):
    """A figure of curves: its title with what it rests on, its unit, and how a curve gives it."""

    title: str
    unit: str
    of: Callable[[Curve], Amount]


PANELS = (
    Panel("FLOPs to the first token (counted)", "FLOP", lambda curve: curve.first_flops),
    Panel("TTFT (predicted by the roofline)", "s", lambda curve: curve.swept.ttft_roofline_s),
    Panel("TPOT (predicted by the roofline)", "s", lambda curve: curve.swept.tpot_roofline_s),
    Panel("memory (counted)", "B", lambda curve: curve.swept.footprint.total),
)


def panels_of(view: TokensView) -> tuple[Panel, ...]:
    """Panels of which every curve has the figure: a model that makes no tokens has no TPOT."""
    return tuple(panel for panel in PANELS if all(panel.of(curve) is not None for curve in view.curves))


def tokens_figure(view: TokensView, panel: Panel, chosen: int) -> Figure:
    """A panel of a view; `chosen` is the page's own count of visual tokens."""
    alone = [curve.along(panel.of(curve)) for curve in view.curves]
    most = max(float(figures.max()) for figures in alone)
    return figure(
        [*_curves(view, panel), *_crossings(view, panel)],
        HEIGHT,
        title={"text": panel.title, "font": {"size": 14}},
        xaxis={"title": {"text": "visual tokens"}, "range": [0, max(float(curve.tokens[-1]) for curve in view.curves)]},
        yaxis={"range": [0, 1.12 * most], **ticks(1.12 * most, panel.unit)},
        hovermode="x unified",
        shapes=[_line(chosen, "solid"), *(_line(mark.tokens, "dot") for mark in view.marks)],
        annotations=[_named(mark.tokens, f"{mark.name} {mark.tokens}") for mark in view.marks],
    )


def _curves(view: TokensView, panel: Panel) -> Iterator[Trace]:
    labels = labels_of([curve.swept for curve in view.curves], SWEPT_FACETS)
    dashes = ("solid", "dash", "dashdot", "dot")
    for curve, label, color, dash in zip(view.curves, labels, DEVICES, dashes, strict=False):
        figures = curve.along(panel.of(curve))
        yield point_trace(
            x=curve.tokens,
            y=figures,
            mode="lines",
            name=label,
            line={"color": color, "width": 2, "dash": dash},
            hovertemplate="%{y:.3s}" + f"{panel.unit}<extra>{label}</extra>",  # with its prefix, by the browser
        )


def _crossings(view: TokensView, panel: Panel) -> Iterator[Trace]:
    """Where prefill changes its bound, on the curves of the first token's time."""
    if panel.title != PANELS[1].title:
        return
    found = [(curve, crossing) for curve in view.curves for crossing in curve.crossings]
    if found:
        yield point_trace(
            x=[crossing.tokens for _, crossing in found],
            y=[_at(curve, panel, crossing.tokens) for curve, crossing in found],
            mode="markers",
            name="prefill changes its bound",
            marker={"symbol": "x", "size": 9, "color": EDGE},
            text=[f"{crossing.bound}-bound from {crossing.tokens} tokens" for _, crossing in found],
            hovertemplate="%{text}<extra>prefill</extra>",
        )


def _at(curve: Curve, panel: Panel, tokens: int) -> float:
    """A figure at a count of tokens, or at the next one that was predicted."""
    return float(curve.along(panel.of(curve))[curve.tokens.searchsorted(tokens)])


def _line(tokens: int, dash: str) -> dict[str, Any]:
    style = {"color": EDGE, "width": 1.5, "dash": dash}
    return {"type": "line", "x0": tokens, "x1": tokens, "y0": 0, "y1": 1, "yref": "paper", "line": style}


def _named(tokens: int, text: str) -> dict[str, Any]:
    place = {"x": tokens, "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "top", "textangle": -90}
    return {**place, "text": text, "showarrow": False, "font": {"size": 11}}
