"""A figure as a file: png, svg, pdf, or a page that holds the svg; the same figure gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.charts.page import page
from perfkit.errors import MachineError, UnknownName
from perfkit.files import write_whole
from perfkit.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUETYPE = 42  # letters of a pdf as publishers take them
PNG_DPI = 144  # twice the 72 points of an inch: sharp on today's screens
# Dates and versions would make two files of one figure differ. A key without value is left out.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
}
ENDINGS = (*(f".{form}" for form in _METADATA), ".html")


def check_chart(path: Path) -> None:
    """Refuse what cannot be drawn, before any work is done for it.

    Raises:
        UnknownName: the file's ending says no format that is known.
        MachineError: matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UnknownName("ending of a chart", path.suffix, ENDINGS)
    check_matplotlib()


def check_matplotlib() -> None:
    """Refuse to draw where nothing can.

    Raises:
        MachineError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError:
        raise MachineError("charts need matplotlib: pip install 'perfkit[charts]'") from None


def write_figure(path: Path, draw: Callable[[], Figure], tables: Sequence[Table]) -> None:
    """Draw and write a figure in the format of the path's ending; a page has the `tables` below it.

    Raises:
        UnknownName, MachineError: as `check_chart`; or it cannot be written, and what stood there stays.
    """
    check_chart(path)
    form = path.suffix.lower().removeprefix(".")
    drawn = figure_bytes(draw, "svg" if form == "html" else form)
    write_whole(path, page(drawn.decode(), tables) if form == "html" else drawn)


def figure_bytes(draw: Callable[[], Figure], form: str, dpi: int = PNG_DPI) -> bytes:
    """A figure as the bytes of a png (of `dpi` dots an inch), svg or pdf."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with (
        rc_context({"svg.hashsalt": "perfkit", "pdf.fonttype": TRUETYPE}),
        # A name may have dollars in it, and no chart has formulas: its ticks are plain text.
        rc_context({"font.family": ["DejaVu Sans"], "hatch.linewidth": 0.6, "text.parse_math": False}),
    ):
        draw().savefig(buffer, format=form, dpi=dpi, metadata=_METADATA[form])
    return buffer.getvalue()


def font_file(name: str) -> str:
    """Path of a font that matplotlib brings: of the letters of all charts, say, which are `DejaVuSans`."""
    from matplotlib import get_data_path

    return str(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf"))
