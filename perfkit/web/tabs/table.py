"""The cost table of a paper, ready to be copied as LaTeX."""

from __future__ import annotations

from perfkit.cost_tables.columns import COLUMNS
from perfkit.cost_tables.request import command_of
from perfkit.models import preset_names
from perfkit.reports.cost_tables import for_paper
from perfkit.web import answers, widgets
from perfkit.web.markup import framed
from perfkit.web.sidebar import REDUCTIONS
from perfkit.web.state import Asked

_FORMS = {"latex": ("LaTeX", "tex"), "markdown": ("Markdown", "md"), "html": ("HTML", "html")}


def show(asked: Asked) -> Asked:
    """Axes and columns, the table, its LaTeX."""
    import streamlit as st

    asked = _axes(asked)
    widgets.keep(asked)
    request = answers.table_request(asked)
    paper = for_paper(answers.cost_table(request))
    st.html("\n".join(framed("Paper table", [paper.render("html")])))
    latex = paper.render("latex")
    st.code(latex, language=None, wrap_lines=True)
    places = st.columns(len(_FORMS))
    for place, (form, (title, ending)) in zip(places, _FORMS.items(), strict=True):
        with place:
            st.download_button(f"Download {title}", paper.render(form), f"cost.{ending}", on_click="ignore")
    widgets.command_line(f"{command_of(request)} --format latex")
    return asked


def _axes(asked: Asked) -> Asked:
    import streamlit as st

    left, right = st.columns(2)
    with left:
        asked = widgets.several_of(asked, "table_model", "Models", preset_names(), placeholder=asked.model)
        asked = widgets.several_of(
            asked, "table_reduction", "Reductions", REDUCTIONS, placeholder=asked.reduction, accept_new_options=True
        )
    with right:
        asked = widgets.typed(asked, "table_tokens", "Visual tokens, by commas", placeholder="as chosen")
        return widgets.several_of(asked, "columns", "Columns", tuple(COLUMNS))
