"""The symbols that formulas of conventions may use, and their values for a model and a workload."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from perfkit.conventions.convention import Scope
from perfkit.models.spec import ModelSpec, TextSpec
from perfkit.units import Amount, Precision
from perfkit.workload import Execution, Workload

_LANGUAGE: Mapping[str, str] = {
    "d": "hidden width",
    "m": "width of the feed-forward",
    "h": "query heads",
    "k": "width of all keys of a token (d, unless query heads share keys)",
    "V": "vocabulary",
    "B": "sequences",
    "w": "bytes of a weight",
    "a": "bytes of an activation",
    "c": "bytes of a cached element",
}
# What a formula of each scope is over. The language model's layers come in groups that see equally many tokens.
SYMBOLS: Mapping[Scope, Mapping[str, str]] = {
    "vision": {
        "T": "passes through the tower: sequences x images x tiles",
        "P": "patches of a tile",
        "N": "positions of a tile: patches and class token",
        "e": "elements of a patch: channels x height x width",
        "D": "layers of the tower",
        "v": "hidden width of the tower",
        "u": "width of the tower's feed-forward",
    },
    "projector": {
        "B": "sequences",
        "p": "tokens that the projector makes, a sequence",
        "i": "inputs of the projector",
        "d": "hidden width of the language model",
    },
    "layer": {"L": "layers that see n tokens", "n": "tokens counted, a sequence", **_LANGUAGE},
    "head": {"t": "positions with logits, a sequence", **_LANGUAGE},
}

# How often the formula of a scope counts: it is of one tile, one sequence, or one layer of one sequence.
TIMES: Mapping[Scope, tuple[str, ...]] = {"vision": ("T",), "projector": ("B",), "layer": ("L", "B"), "head": ("B",)}


def symbols_of(
    scope: Scope, spec: ModelSpec, workload: Workload, execution: Execution, *, layers: int = 0, tokens: Amount = 0
) -> dict[str, Amount]:
    """Values of the symbols of a scope; empty where the model lacks that part.

    `layers` and `tokens` (counted, a sequence) are those of a group of layers, and for the head of the last group.

    >>> from perfkit.models import load_model
    >>> llava = load_model("llava-1.5-7b")
    >>> symbols_of("projector", llava, Workload(576), Execution())
    {'B': 1, 'p': 576, 'i': 1024, 'd': 4096}
    """
    if scope == "vision":
        return _vision(spec, workload)
    if scope == "projector":
        return _projector(spec, workload)
    if spec.text is None:
        return {}
    language = _language(spec.text, workload, execution)
    if scope == "layer":
        return {"L": layers, "n": tokens, **language}
    logits = execution.logits if spec.text.lm_head else "none"
    return {"t": {"none": 0, "last": 1, "all": tokens}[logits], **language}


def _language(text: TextSpec, workload: Workload, execution: Execution) -> dict[str, Amount]:
    attention = text.stack.attention
    return {
        "d": text.stack.hidden,
        "m": text.stack.feed_forward.width,
        "h": attention.heads,
        "k": attention.kv_width,
        "V": text.vocab,
        "B": workload.batch,
        "w": bytes_of(execution.weights),
        "a": bytes_of(execution.activations),
        "c": bytes_of(execution.kv),
    }


def bytes_of(precision: Precision) -> Amount:
    """Bytes of one element, half a byte of INT4 too.

    >>> bytes_of(Precision.FP16), bytes_of(Precision.INT4)
    (2, Fraction(1, 2))
    """
    size = Fraction(precision.bits, 8)
    return size.numerator if size.denominator == 1 else size


def _vision(spec: ModelSpec, workload: Workload) -> dict[str, Amount]:
    if spec.vision is None or not workload.visual_tokens:
        return {}
    vision = spec.vision
    return {
        "T": workload.batch * workload.images * spec.tiles,
        "P": vision.patches,
        "N": vision.positions,
        "e": vision.patch_elements,
        "D": vision.stack.layers,
        "v": vision.stack.hidden,
        "u": vision.stack.feed_forward.width,
    }


def _projector(spec: ModelSpec, workload: Workload) -> dict[str, Amount]:
    if spec.projector is None or not workload.visual_tokens:
        return {}
    return {
        "B": workload.batch,
        "p": min(workload.visual_tokens, workload.images * spec.projected_tokens),
        "i": spec.projector.inputs,
        "d": spec.projector.outputs,
    }
