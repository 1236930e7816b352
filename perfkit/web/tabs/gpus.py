"""The chosen GPUs side by side."""

from __future__ import annotations

from perfkit import reports
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked


def show(asked: Asked) -> Asked:
    """Times of each GPU, by the roofline and as expected."""
    import streamlit as st

    from perfkit.web.figures.gpus import times_figure

    predictions = answers.predictions(asked)
    if len(predictions) == 1:
        st.info("Choose more GPUs to compare them.")
    widgets.chart(times_figure(predictions, step=False), "Time to the first token of each GPU", "ttft")
    if predictions[0].mean_decode is not None:
        widgets.chart(times_figure(predictions, step=True), "Time per output token of each GPU", "tpot")
    st.html(tables_html(reports.overview(predictions)[:1]))
    widgets.command_line(commands.roofline_command(asked))
    return asked
