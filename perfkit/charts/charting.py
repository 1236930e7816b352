"""`chart`: a value as a picture, in a notebook and in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit import reports
from perfkit.charts.rendering import check_matplotlib, figure_bytes, write_figure
from perfkit.charts.sheet import known_width
from perfkit.errors import InvalidValue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from perfkit.planning.planner import Planned
    from perfkit.serving.simulating import Simulated
    from perfkit.validation.judging import Validation
    from perfkit.views.breakdown import BreakdownView
    from perfkit.views.gains import GainsView
    from perfkit.views.roofline import RooflineView
    from perfkit.views.tokens import TokensView

    Chartable: TypeAlias = (
        RooflineView | TokensView | BreakdownView | GainsView | Validation | Planned | Simulated | Sequence[Simulated]
    )

# By name, so that a chart loads only what its own kind of value needs; each module has a `figure_of`.
_MODULES = {
    "RooflineView": "roofline",
    "TokensView": "tokens",
    "BreakdownView": "breakdown",
    "GainsView": "gains",
    "Validation": "accuracy",
    "Planned": "planned",
    "Simulated": "simulated",
}
_OF_SEVERAL = ("Simulated",)  # whose pictures hold several values


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chart:
    """A value as a picture as wide as a paper's column or page; a notebook shows it where it is the value of a cell."""

    value: Chartable
    width: str

    def figure(self) -> Figure:
        """The picture as matplotlib holds it."""
        kind = _kind_of(self.value)
        several = _several(self.value)
        shown = several if kind in _OF_SEVERAL else several[0]
        drawn: Figure = import_module(f"perfkit.charts.{_MODULES[kind]}").figure_of(shown, self.width)
        return drawn

    def save(self, path: Path | str) -> None:
        """Write it as png, svg, pdf or html, by the ending of `path`; html has the tables too.

        Raises:
            UnknownName: another ending.
            MachineError: it cannot be written; nothing is changed then.
        """
        write_figure(Path(path), self.figure, reports.overview(self.value))

    def __repr__(self) -> str:
        return f"<picture of a {_kind_of(self.value)}, {self.width} wide>"

    def _repr_png_(self) -> bytes:
        return figure_bytes(self.figure, "png")


def chart(value: Chartable, width: str = "page") -> Chart:
    """A view, a plan, simulations or a validation as a picture, as wide as a paper's `column` or `page`.

    Raises:
        InvalidValue: nothing of which there is a picture, or several of a kind that has one each.
        UnknownName: no such width.
        MachineError: no matplotlib.

    >>> from perfkit.latency import analyze
    >>> from perfkit.views.breakdown import breakdown_view
    >>> chart(breakdown_view([analyze("v100")]))
    <picture of a BreakdownView, page wide>
    """
    kind = _kind_of(value)
    if kind not in _MODULES:
        raise InvalidValue(f"no picture of {kind}: {', '.join(_MODULES)} have one")
    if len(_several(value)) > 1 and kind not in _OF_SEVERAL:
        raise InvalidValue(f"a picture shows one {kind} at a time")
    check_matplotlib()
    return Chart(value, known_width(width))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _kind_of(value: Any) -> str:
    """Name of a value's kind, or of those of several."""
    return " and ".join(dict.fromkeys(type(one).__name__ for one in _several(value))) or "nothing"
