"""Whether the request fits each card, and what would make it fit."""

from __future__ import annotations

from collections.abc import Sequence

from perfkit import remarks
from perfkit.latency import Prediction
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.tables import Column, Table
from perfkit.web import answers, commands, widgets
from perfkit.web.markup import tables_html
from perfkit.web.state import Asked

_COLUMNS = (
    Column("device", "GPU"),
    Column("weights", "weights", "B"),
    Column("kv", "KV cache", "B"),
    Column("activations", "activations", "B"),
    Column("reserve", "kept for the runtime", "B"),
    Column("needed", "needed", "B"),
    Column("card", "card", "B"),
    Column("fits", "fits"),
)


def show(asked: Asked) -> Asked:
    """Weights, cache and activations against the card."""
    import streamlit as st

    from perfkit.web.figures.gpus import memory_figure

    predictions = answers.predictions(asked)
    widgets.chart(memory_figure(predictions), "Memory against the card of each GPU", "memory")
    st.html(tables_html([memory_table(predictions)]))
    widgets.command_line(commands.roofline_command(asked))
    return asked


def memory_table(predictions: Sequence[Prediction]) -> Table:
    """A row a GPU; a note what would fit where something does not."""
    rows = tuple(_row(p) for p in predictions)
    notes = [warning for p in predictions for warning in remarks.memory_warnings(p)]
    what = "Weights, cache (prompt and all new tokens) and activations: counted. Card: datasheet."
    return Table(_COLUMNS, rows, title="Does it fit", notes=(what, *notes))


def _row(p: Prediction) -> tuple[object, ...]:
    need = p.footprint
    fits = "yes" if need.fits(p.device.memory_bytes) else "no"
    parts = need.weights, need.kv, need.activations, RUNTIME_RESERVE_BYTES
    return p.device.id, *parts, need.needed, p.device.memory_bytes, fits
