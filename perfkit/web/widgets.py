"""Widgets whose state is that of `Asked`: what a link says stands in them first, what is chosen in them goes back.

Streamlit forgets widgets of a tab that is not seen, so the choices themselves are kept beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from perfkit.tables.escaping import html
from perfkit.units import MAXIMUM_COUNT
from perfkit.web.state import Asked

_SAME = "as precision"


def key_of(name: str) -> str:
    """Key of the widget of a choice; another one each time that it is emptied."""
    import streamlit as st

    turn = st.session_state.get(f"turn_{name}", 0)
    return f"ask_{name}_{turn}" if turn else f"ask_{name}"


def _held(name: str, value: Any) -> tuple[str, Any]:
    """Key of the widget of a choice, and what stands in it at first: the choice when the widget came to be."""
    import streamlit as st

    key = key_of(name)
    if key not in st.session_state:
        st.session_state[f"first_{name}"] = value
    return key, st.session_state[f"first_{name}"]


def count(asked: Asked, name: str, label: str, *, least: int = 1, **more: Any) -> Asked:
    """A whole number; empty where the choice is None."""
    import streamlit as st

    key, first = _held(name, getattr(asked, name))
    value = st.number_input(label, least, MAXIMUM_COUNT, first, step=1, key=key, **more)
    if first is not None and getattr(Asked(), name) is None:
        # Streamlit lets a field be emptied only where it was empty at first, and a link filled this one.
        st.button(f"Empty {label.lower()}", key=f"empty_{name}", on_click=_empty, args=(name,))
    return replace(asked, **{name: value})


def _empty(name: str) -> None:
    """Take a choice back, and have a new widget in the place of its own."""
    import streamlit as st

    st.session_state["asked"] = replace(st.session_state["asked"], **{name: getattr(Asked(), name)})
    st.session_state[f"turn_{name}"] = st.session_state.get(f"turn_{name}", 0) + 1


def one_of(asked: Asked, name: str, label: str, options: Sequence[str], **more: Any) -> Asked:
    """One of several words; an empty one reads as what it means."""
    import streamlit as st

    key, first = _held(name, getattr(asked, name))
    listed = list(dict.fromkeys([*options, first]))
    named = st.selectbox(label, listed, listed.index(first), key=key, format_func=lambda word: word or _SAME, **more)
    return replace(asked, **{name: named})


def several_of(asked: Asked, name: str, label: str, options: Sequence[str], **more: Any) -> Asked:
    """Several words, in the order in which they were chosen."""
    import streamlit as st

    key, first = _held(name, getattr(asked, name))
    listed = list(dict.fromkeys([*options, *first]))
    chosen: Any = tuple(st.multiselect(label, listed, list(first), key=key, **more))
    return replace(asked, **{name: chosen})


def typed(asked: Asked, name: str, label: str, **more: Any) -> Asked:
    """A text, read by what uses it."""
    import streamlit as st

    key, first = _held(name, getattr(asked, name))
    return replace(asked, **{name: st.text_input(label, first, key=key, max_chars=200, **more).strip()})


def keep(asked: Asked) -> None:
    """Keep choices for the next run, and for the link, whatever comes of them."""
    import streamlit as st

    st.session_state["asked"] = asked


# --- what is said


def refused(line: str) -> None:
    """What cannot be, as a box."""
    _boxed("error", [line])


def warned(lines: Sequence[str]) -> None:
    """Boxes of warnings, each once."""
    _boxed("warning", lines)


def _boxed(kind: str, lines: Sequence[str]) -> None:
    """Lines letter by letter: Streamlit's own boxes make links of addresses and pictures of `:words:`."""
    import streamlit as st

    boxes = [f'<div class="pk-box pk-{kind}" role="alert">{html(line)}</div>' for line in dict.fromkeys(lines)]
    if boxes:
        st.html("\n".join(boxes))


def noted(lines: Sequence[str]) -> None:
    """Notes, small."""
    import streamlit as st

    if lines:
        st.html("\n".join(f'<p class="pk-note">{html(line)}</p>' for line in dict.fromkeys(lines)))


def command_line(*commands: str) -> None:
    """Command lines that give the figures above, to be copied."""
    import streamlit as st

    st.html('<p class="pk-note">The same figures by the command line:</p>')
    st.code("\n".join(commands), language=None, wrap_lines=True)


def chart(figure: Any, alt: str, key: str) -> None:
    """A chart with words for who cannot see it; the same numbers stand below it as a table."""
    import streamlit as st

    from perfkit.web.figures.legend import legend_html
    from perfkit.web.figures.looks import CONFIG
    from perfkit.web.figures.sending import checked

    st.plotly_chart(checked(figure), key=key, config=CONFIG, alt=alt)
    if legend := legend_html(figure):
        st.html(legend)
