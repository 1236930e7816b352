"""Phases of a request, and the sorts of work that they are made of."""

from __future__ import annotations

from perfkit import reports
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked


def show(asked: Asked) -> Asked:
    """Bars of the first token and of a step; phases and ops of each GPU as tables."""
    import streamlit as st

    from perfkit.web.figures.breakdown import breakdown_figure

    view = answers.breakdown(asked)
    widgets.chart(breakdown_figure(view, step=False), "Parts of the time to the first token", "first")
    if view.bars[0].step:
        widgets.chart(breakdown_figure(view, step=True), "Parts of the time per output token", "step")
    for p in answers.predictions(asked):
        tables = reports.overview(p)
        st.html(tables_html(tables[:1]))
        with st.expander(f"Totals and ops by kind, {p.device.id}"):
            st.html(tables_html(tables[1:]))
    widgets.command_line(commands.roofline_command(asked), commands.plot_command("breakdown", asked))
    return asked
