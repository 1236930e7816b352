"""Figures as Streamlit sends them, without what Plotly would check again at every change.

Plotly checks each key of each trace, which takes longer than the figures themselves. What keys there are does not hang
on what is asked, and tests hold every figure against what Plotly makes of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from perfkit.web.figures.looks import Figure


def checked(figure: Figure) -> Any:
    """The figure with the look that Streamlit has registered, of a kind that Plotly takes for its own."""
    import plotly.io

    look = _look(plotly.io.templates.default)
    return _kind()({**figure, "layout": {**figure["layout"], "template": look}})


@lru_cache(maxsize=4)
def _look(name: str) -> Any:
    import plotly.io

    return plotly.io.templates[name].to_plotly_json()


@lru_cache(maxsize=1)
def _kind() -> Any:
    from plotly.basedatatypes import BaseFigure

    class Checked(BaseFigure):  # type: ignore[misc]  # Plotly has no types
        """A figure that needs no check: Plotly asks one of its own for nothing but its plain data."""

        def __init__(self, plain: Figure) -> None:
            self._plain = plain

        def to_dict(self) -> Figure:
            """The plain data."""
            return self._plain

    return Checked
