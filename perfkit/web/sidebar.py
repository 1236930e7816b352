"""Choices that all tabs share: what is asked of which model, on which GPUs, and how it runs."""

from __future__ import annotations

from perfkit.cost_tables.request import NO_REDUCTION
from perfkit.hardware import device_ids
from perfkit.models import preset_names
from perfkit.units import COMPUTE_PRECISIONS, STORAGE_PRECISIONS
from perfkit.web import widgets
from perfkit.web.state import MOST_GPUS, SAME, Asked
from perfkit.workload import ATTENTIONS, RUNTIMES

# Methods with parameters that their papers use; others can be typed.
REDUCTIONS = (
    NO_REDUCTION,
    "prumerge",
    "prumerge+",
    "fastv:k=2,r=0.5",
    "pyramiddrop:stages=4,keep=0.5",
    "sparsevlm:layers=2/6/15,tokens=300/200/110",
    "vtw:k=16",
    "sequential:n=64",
    "spatial:n=64",
    "random:n=64",
)


def ask(asked: Asked) -> Asked:
    """Draw the choices, and return what is chosen."""
    import streamlit as st

    with st.sidebar:
        st.markdown("## What is asked")
        asked = _request(asked)
        with st.expander("Formats and kernels"):
            return _execution(asked)


def _request(asked: Asked) -> Asked:
    asked = widgets.one_of(asked, "model", "Model", preset_names())
    asked = widgets.several_of(asked, "gpu", "GPUs", device_ids(), max_selections=MOST_GPUS)
    asked = widgets.count(
        asked,
        "tokens",
        "Visual tokens",
        least=0,
        placeholder="the model's own",
        help="That enter the language model, a sequence. Empty: the model's own, or what the reduction leaves.",
    )
    asked = widgets.one_of(
        asked,
        "reduction",
        "Token reduction",
        REDUCTIONS,
        accept_new_options=True,
        help="Others can be typed as the command line takes them, such as fastv:k=3,r=0.75.",
    )
    asked = widgets.count(asked, "text_tokens", "Text tokens", help="Of the prompt, a sequence.")
    asked = widgets.count(asked, "new_tokens", "New tokens", help="That are generated, a sequence.")
    asked = widgets.count(asked, "batch", "Batch", help="Sequences at once.")
    return widgets.one_of(asked, "precision", "Precision", [p.value for p in COMPUTE_PRECISIONS])


def _execution(asked: Asked) -> Asked:
    stored = [SAME, *(p.value for p in STORAGE_PRECISIONS)]
    asked = widgets.count(asked, "images", "Images", help="Of a sequence.")
    asked = widgets.one_of(asked, "weights", "Weights", stored, help="Of the language model's linear layers.")
    asked = widgets.one_of(asked, "kv", "KV cache", stored)
    asked = widgets.one_of(asked, "attention", "Attention", ATTENTIONS)
    return widgets.one_of(
        asked,
        "runtime",
        "Runtime",
        RUNTIMES,
        help="Of expected times. graph: fused kernels without launch gaps; eager: Hugging Face's, launched one by one; "
        "captured: these in a CUDA graph.",
    )
