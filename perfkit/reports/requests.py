"""What a prediction was asked for, as JSON and as the first columns of tables in which requests stand side by side."""

from __future__ import annotations

from typing import Any

from perfkit.latency import Prediction
from perfkit.tables import Column

REQUEST_COLUMNS = (
    Column("device", "device"),
    Column("model", "model"),
    Column("visual_tokens", "visual tokens", "n"),
    Column("text_tokens", "text tokens", "n"),
    Column("new_tokens", "new tokens", "n"),
    Column("batch", "batch", "n"),
    Column("images", "images", "n"),
    Column("reduction", "reduction"),
    Column("weights", "weights"),
    Column("activations", "activations"),
    Column("kv", "KV"),
    Column("attention", "attention"),
    Column("runtime", "runtime"),
    Column("tp", "TP", "n"),
    Column("pp", "PP", "n"),
)


def request_cells(p: Prediction) -> dict[str, Any]:
    """Cells of REQUEST_COLUMNS by their keys."""
    w, e = p.workload, p.execution
    return {
        "device": p.device.id,
        "model": p.model.name,
        "visual_tokens": w.visual_tokens,
        "text_tokens": w.text_tokens,
        "new_tokens": w.new_tokens,
        "batch": w.batch,
        "images": w.images,
        "reduction": w.reduction,
        "weights": e.weights.value,
        "activations": e.activations.value,
        "kv": e.kv.value,
        "attention": e.attention,
        "runtime": e.runtime,
        "tp": e.tp,
        "pp": e.pp,
    }


def request_record(p: Prediction) -> dict[str, Any]:
    """Model, device, workload and execution as the contract's JSON has them."""
    w, e = p.workload, p.execution
    return {
        "model": p.model.name,
        "device": p.device.id,
        "calibration": p.expectation.id,
        "workload": {
            "batch": w.batch,
            "images": w.images,
            "visual_tokens": w.visual_tokens,
            "text_tokens": w.text_tokens,
            "new_tokens": w.new_tokens,
            "reduction": w.reduction or None,
            "schedule": [group._asdict() for group in w.schedule],
        },
        "execution": {
            "weights": e.weights.value,
            "activations": e.activations.value,
            "kv": e.kv.value,
            "attention": e.attention,
            "logits": e.logits,
            "tp": e.tp,
            "pp": e.pp,
            "runtime": e.runtime,
        },
    }
