"""A measurement file against its predictions."""

from __future__ import annotations

from perfkit import reports
from perfkit.web import MEGABYTES, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked
from perfkit.web.uploads import shown_name, validation_of


def show(asked: Asked) -> Asked:
    """Take a file, and say how far its times are from what is predicted."""
    import streamlit as st

    from perfkit.web.figures.validation import validation_figure

    file = st.file_uploader(
        f"Measurement: a JSON file of perfkit measure, up to {MEGABYTES} MB",
        type=["json"],
        key="measurement",
        help="It is read as data, and forgotten when the page is closed.",
    )
    if file is None:
        widgets.command_line("perfkit measure --output llava.json", commands.validate_command("llava.json", None))
        return asked
    name = shown_name(file.name)
    validation = validation_of(file.getvalue(), name)
    widgets.warned(validation.warnings)
    widgets.chart(validation_figure(validation), "Measured against predicted times of each phase", "validation")
    points, *others = reports.overview(validation)
    st.html(tables_html(others[:1]))  # errors: how far off, in a few lines
    for table in [points, *others[1:]]:
        with st.expander(table.title.partition("\n")[0]):
            st.html(tables_html([table]))
    widgets.command_line(commands.validate_command(name, None))
    return asked
