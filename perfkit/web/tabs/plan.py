"""Which GPUs, degrees and batches meet goals in time and price."""

from __future__ import annotations

from perfkit import reports
from perfkit.planning.request import RANKS
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import CANDIDATES, Asked


def show(asked: Asked) -> Asked:
    """Goals, a button, and the plans of what it was pressed for: looking takes seconds, so no change starts it."""
    import streamlit as st

    asked = _goals(asked)
    widgets.keep(asked)
    arguments = answers.plan_arguments(asked)
    if asked.reduction != "none":
        widgets.noted(["A plan counts fewer visual tokens, and not what choosing them costs."])
    if st.button("Plan"):
        st.session_state["planned"] = answers.plan_key(asked)
    if st.session_state.get("planned") == answers.plan_key(asked):
        _show_plans(asked)
    else:
        widgets.noted(["Press Plan: all batches and degrees of each GPU are predicted, which takes seconds."])
    widgets.command_line(commands.plan_command(asked, arguments))
    return asked


def _goals(asked: Asked) -> Asked:
    import streamlit as st

    left, middle, right = st.columns(3)
    with left:
        asked = widgets.typed(asked, "ttft", "TTFT at most", help="200ms, 0.2s; empty: no goal.")
        asked = widgets.typed(asked, "tpot", "TPOT at most", help="30ms; empty: no goal.")
    with middle:
        asked = widgets.typed(asked, "budget", "Dollars an hour at most", help="All GPUs together; empty: no goal.")
        asked = widgets.one_of(
            asked, "rank", "Ranked by", RANKS, help="usd: $ a million new tokens; energy: J a token."
        )
    with right:
        asked = widgets.one_of(
            asked, "candidates", "GPUs", CANDIDATES, help="chosen: those of this page; listed: all with a price."
        )
        return widgets.typed(asked, "plan_tokens", "Visual tokens, by commas", placeholder="as chosen")


def _show_plans(asked: Asked) -> None:
    import streamlit as st

    from perfkit.web.figures.plans import front_figure

    with st.spinner("planning"):
        planned = answers.planned(asked)
    widgets.warned([*planned.warnings, *planned.left_out[:3]])
    st.html(tables_html(reports.overview(planned)))
    figure = front_figure(planned)
    if figure is None:
        widgets.noted(["No chart: no price of these GPUs is known."])
    else:
        widgets.chart(figure, "Candidates: cost against time to the first token", "front")
