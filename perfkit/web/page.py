"""The script that Streamlit runs for every change: choices, figures at a glance, the tab that is seen, its link."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from perfkit import remarks
from perfkit.errors import PerfkitError
from perfkit.web import answers, sidebar, widgets
from perfkit.web.markup import STYLE, cards_html
from perfkit.web.state import Asked, link_of, query_of, read_link
from perfkit.web.tabs import TABS, TITLES

_LOG = logging.getLogger(__name__)
_WORDS = (
    "counted: FLOPs and bytes of every op, by formulas. datasheet: rates and capacity as the maker prints them.",
    "predicted by the roofline: counted work over these rates; no run of these kernels is faster. expected: by the "
    "kernel model, in brackets between which nine of ten times should lie. measured: timed by perfkit measure.",
)


def main() -> None:
    """Draw the page."""
    import streamlit as st

    st.set_page_config(page_title="perfkit", layout="wide", initial_sidebar_state="auto")
    st.html(STYLE)
    asked = sidebar.ask(_asked())
    st.markdown("# What a vision-language model costs")
    st.html('<p class="pk-note pk-narrow">Choices are behind » above.</p>')
    _say_problems(asked)
    said: set[str] = set()
    _guarded(lambda: _glance(asked), said)
    asked = _tabs(asked, said)
    _guarded(lambda: _basis(asked), said)
    widgets.keep(asked)
    _share(asked)


def _asked() -> Asked:
    """Choices so far: those of the link when the page is opened."""
    import streamlit as st

    if "asked" not in st.session_state:
        query = {name: st.query_params.get_all(name) for name in st.query_params}
        st.session_state["asked"], st.session_state["problems"] = read_link(query)
        st.session_state["opened"] = st.session_state["asked"]
    asked: Asked = st.session_state["asked"]
    return asked


def _say_problems(asked: Asked) -> None:
    """What the link asked that cannot be, until something is chosen."""
    import streamlit as st

    if replace(asked, view=TABS[0]) == replace(st.session_state["opened"], view=TABS[0]):
        widgets.warned(st.session_state["problems"])


def _guarded(draw: Callable[[], Any], said: set[str]) -> Any:
    """What `draw` returns, or None: what the library refuses is then said in its own words, once on the page."""
    try:
        return draw()
    except PerfkitError as error:
        line = str(error)
    except (ArithmeticError, ValueError) as error:
        _LOG.exception("not drawn")
        line = f"This cannot be drawn: a figure in it is too large, too small or none ({type(error).__name__})"
    if not line.endswith(tuple(said)):  # a tab may say of which row it is
        said.add(line)
        widgets.refused(line)
    return None


def _glance(asked: Asked) -> None:
    import streamlit as st

    predictions = answers.predictions(asked)
    st.html(cards_html(predictions))
    widgets.warned([warning for p in predictions for warning in remarks.warnings(p)])


def _basis(asked: Asked) -> None:
    """What the figures rest on, as the command line notes it."""
    import streamlit as st

    notes = [note for p in answers.predictions(asked) for note in remarks.notes(p, brief=True)]
    with st.expander("What these figures rest on"):
        widgets.noted([*_WORDS, *notes])


def _tabs(asked: Asked, said: set[str]) -> Asked:
    """The tabs; only the one that is seen is computed."""
    import streamlit as st

    opened: Asked = st.session_state["opened"]
    places = st.tabs(list(TITLES.values()), default=TITLES[opened.view], key="view", on_change="rerun")
    for name, place in zip(TABS, places, strict=True):
        if place.open:
            asked = replace(asked, view=name)
            with place:
                asked = _shown(name, asked, said)
    return asked


def _shown(name: str, asked: Asked, said: set[str]) -> Asked:
    """What was asked in a tab; one that can show nothing may have kept what was chosen in it (`widgets.keep`)."""
    import streamlit as st

    widgets.keep(asked)
    show = import_module(f"perfkit.web.tabs.{name}").show
    chosen: Asked = _guarded(lambda: show(asked), said) or st.session_state["asked"]
    return chosen


def _share(asked: Asked) -> None:
    """The link of all this, in the address and to be copied."""
    import streamlit as st

    st.query_params.from_dict(link_of(asked))
    with st.expander("Link to this page"):
        address = (st.context.url or "").partition("?")[0]
        st.code(f"{address}{query_of(asked)}", language=None, wrap_lines=True)
        widgets.noted(["It restores every choice; files stay with whoever has them."])


if __name__ == "__main__":
    main()
