"""Legends as text below a chart: they wrap on a phone, and can be read aloud; Plotly's own would cover the chart."""

from __future__ import annotations

from html import escape

from perfkit.web.figures.looks import Figure, Trace

_GLYPHS = {
    "circle": "●",
    "circle-open": "○",
    "square": "■",
    "square-open": "□",
    "diamond": "◆",
    "diamond-open": "◇",
    "triangle-up": "▲",
    "triangle-up-open": "△",
    "triangle-down": "▼",
    "triangle-down-open": "▽",
    "x": "✖",
    "line-ns": "┃",
}
_DASHES = {"solid": "solid", "dash": "dashed", "dashdot": "dashed", "dot": "dotted"}
_LINES = "repeating-linear-gradient({angle}, transparent 0 3px, #FFFFFF 3px 4.5px)"
_PATTERNS = {
    "/": _LINES.format(angle="135deg"),
    "-": _LINES.format(angle="0deg"),
    "x": f"{_LINES.format(angle='45deg')}, {_LINES.format(angle='135deg')}",
    ".": "radial-gradient(#FFFFFF 30%, transparent 34%) 0 0 / 5px 5px",
    "+": f"{_LINES.format(angle='0deg')}, {_LINES.format(angle='90deg')}",
}


def legend_html(figure: Figure) -> str:
    """A list of the traces that have a name; nothing where there is only one."""
    entries = [entry for trace in figure["data"] if (entry := _entry(trace))]
    return f'<ul class="pk-legend" aria-label="Legend">{"".join(entries)}</ul>' if len(entries) > 1 else ""


def _entry(trace: Trace) -> str:
    if "name" not in trace:
        return ""
    return f'<li><span aria-hidden="true" {_sign(trace)}</span>{escape(trace["name"])}</li>'


def _sign(trace: Trace) -> str:
    """The rest of the span that shows a trace as the chart does."""
    if trace["type"] == "bar":
        color, pattern = trace["marker"]["color"], _PATTERNS.get(trace["marker"].get("pattern", {}).get("shape", ""))
        return f'class="pk-swatch" style="background: {f"{pattern}, {color}" if pattern else color}">'
    if trace["mode"] == "lines":
        line = trace["line"]
        return f'class="pk-line" style="border-top: 3px {_DASHES[line["dash"]]} {line["color"]}">'
    marker = trace["marker"]
    color = marker.get("color") or marker["line"]["color"]
    return f'class="pk-glyph" style="color: {color}">{_GLYPHS[marker.get("symbol", "circle")]}'
