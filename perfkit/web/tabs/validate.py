"""A measurement file against its predictions."""

from __future__ import annotations

from typing import Any

from perfkit import reports
from perfkit.errors import InvalidSpec
from perfkit.validation.judging import Validation
from perfkit.web import MEGABYTES, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked
from perfkit.web.uploads import judged, shown_name

# Of the tables that can be unfolded. Their titles have words of the file, and a label of Streamlit is Markdown.
_LABELS = ("Each phase", "Where the time goes", "Speed-ups")


def show(asked: Asked) -> Asked:
    """Take a file, and say how far its times are from what is predicted."""
    import streamlit as st

    file = st.file_uploader(
        f"Measurement: a JSON file of perfkit measure, up to {MEGABYTES} MB",
        type=["json"],
        key="measurement",
        help="It is read as data, and forgotten with the session.",
    )
    if file is None:
        widgets.command_line("perfkit measure --output llava.json", commands.validate_command("llava.json", None))
        st.session_state.pop("judged", None)
        return asked
    _draw(_judged_once(file))
    widgets.command_line(commands.validate_command(shown_name(file.name), None))
    return asked


def _judged_once(file: Any) -> Validation:
    """What the file says, worked out once and kept in the session alone.

    Raises:
        InvalidSpec: it says nothing.
    """
    import streamlit as st

    kept, outcome = st.session_state.get("judged", (None, None))
    if kept != file.file_id:
        outcome = judged(file.getvalue(), file.name)
        st.session_state["judged"] = file.file_id, outcome
    if isinstance(outcome, InvalidSpec):
        raise InvalidSpec(str(outcome))
    found: Validation = outcome
    return found


def _draw(validation: Validation) -> None:
    import streamlit as st

    from perfkit.web.figures.validation import validation_figure

    widgets.warned(validation.warnings)
    widgets.chart(validation_figure(validation), "Measured against predicted times of each phase", "validation")
    points, *others = reports.overview(validation)
    st.html(tables_html(others[:1]))  # errors: how far off, in a few lines
    for label, table in zip(_LABELS, [points, *others[1:]], strict=False):
        with st.expander(label):
            st.html(tables_html([table]))
