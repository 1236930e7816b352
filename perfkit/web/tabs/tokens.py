"""Costs against visual tokens."""

from __future__ import annotations

from perfkit import reports
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked


def show(asked: Asked) -> Asked:
    """A panel a figure over all counts of visual tokens that the model takes."""
    import streamlit as st

    from perfkit.web.figures.tokens import panels_of, tokens_figure

    view, chosen = answers.tokens(asked), answers.predictions(asked)[0].workload.visual_tokens
    for i, panel in enumerate(panels_of(view)):
        if i % 2 == 0:  # a row of two, which on a phone stand one below the other
            places = st.columns(2)
        with places[i % 2]:
            alt = f"{panel.title} against visual tokens"
            widgets.chart(tokens_figure(view, panel, chosen), alt, f"tokens-{i}")
    widgets.noted(
        [
            f"The line: {chosen} visual tokens, as chosen. Dotted: averages that methods leave, as their papers print. "
            "Without an image (0 tokens) there is no vision phase."
        ]
    )
    with st.expander("The same as a table"):
        st.html(tables_html(reports.overview(view)))
    widgets.command_line(commands.plot_command("tokens", asked))
    return asked
