"""Names as papers print them: `llava-1.5-7b` is LLaVA-1.5-7B, int4 weights under fp16 activations are W4A16."""

from __future__ import annotations

import re

from perfkit.models import preset_names
from perfkit.reduction import parse_reduction
from perfkit.workload import Execution

# Words that are not written as their first letter in capitals and the rest as it is.
_WORDS = {
    "bert": "BERT",
    "clip": "CLIP",
    "llava": "LLaVA",
    "next": "NeXT",
    "onevision": "OneVision",
    "siglip": "SigLIP",
    "so400m": "SO400M",
    "vit": "ViT",
}


def model_title(name: str) -> str:
    """A preset as papers call it; a path as it is.

    >>> model_title("llava-1.5-7b"), model_title("mixtral-8x7b"), model_title("clip-vit-l-14-336")
    ('LLaVA-1.5-7B', 'Mixtral-8x7B', 'CLIP-ViT-L-14-336')
    """
    if name not in preset_names():
        return name
    return "-".join(map(_word, name.split("-")))


def _word(word: str) -> str:
    if re.fullmatch(r"[0-9.x]+b", word):
        return word[:-1] + "B"
    return _WORDS.get(word) or word[:1].upper() + word[1:]


def method_title(spec: str) -> str:
    """A reduction as papers call it, with its parameters.

    >>> method_title("prumerge"), method_title("fastv:k=2,r=0.5")
    ('PruMerge', 'FastV (k=2, r=0.5)')
    """
    method = parse_reduction(spec)
    title = method.title or method.name
    parameters = ", ".join(f"{key}={value}" for key, value in method.parameters.items())
    return f"{title} ({parameters})" if parameters else title


def format_title(execution: Execution) -> str:
    """Number formats as papers write them.

    >>> format_title(Execution())
    'FP16'
    """
    return execution.formats.upper()
