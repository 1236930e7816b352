"""Ops under the roofs of the GPUs."""

from __future__ import annotations

from perfkit import reports
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked


def show(asked: Asked) -> Asked:
    """A mark a group of ops; its table below."""
    import streamlit as st

    from perfkit.web.figures.roofline import roofline_figure

    view = answers.roofline(asked)
    widgets.chart(roofline_figure(view), "Ops under the roofline: rate against arithmetic intensity", "roofline")
    widgets.noted(
        [
            "Point at a mark for op, FLOPs, bytes, time and bound. Discs: share of TTFT, in decode of a step. "
            "Marks lie on the roof because times are predicted by it."
        ]
    )
    widgets.command_line(commands.roofline_command(asked), commands.plot_command("roofline", asked))
    with st.expander("The same as a table"):
        st.html(tables_html(reports.overview(view)))
    return asked
