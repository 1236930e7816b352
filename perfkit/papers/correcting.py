"""The whole model's cost beside a published row: vision tower, reducer, projector and language model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from perfkit.latency import Prediction, analyze
from perfkit.papers.published import Request
from perfkit.totals.counted import Count, count


@dataclass(frozen=True, slots=True)
class Correction:
    """What perfkit says of a row's request, and the command that prints it.

    `matmul_flops` and `bytes` are of one forward up to the first token, a multiply-add as 2 FLOPs; so are
    `stored_bytes`, those that are written as activations. Times are rooflines, the prefill's that of the language model
    alone; they, memory and `fits` are None where the paper names no device, TPOT also for models that make no tokens.
    """

    row: str
    command: str
    matmul_flops: int
    bytes: int
    stored_bytes: int
    by_phase: dict[str, int] = field(hash=False)
    prefill_roofline_s: float | None = None
    ttft_roofline_s: float | None = None
    tpot_roofline_s: float | None = None
    memory_bytes: int | None = None
    fits: bool | None = None


def correct(request: Request) -> Correction:
    """Roofline of the request where it names a device, else its count.

    Raises:
        PerfkitError: as `analyze` and `count`.

    >>> found = correct(Request("vanilla", None, {"model": "llava-1.5-7b", "tokens": 32}))
    >>> found.command
    'perfkit count --model llava-1.5-7b --tokens 32'
    >>> found.matmul_flops == 381918216192 + 2 * 32 * (1024 * 4096 + 4096**2) + 1196285231104
    True
    """
    options: dict[str, Any] = request.options
    if request.gpu is None:
        return _counted(request, count(**options))
    return _timed(request, analyze(request.gpu, **options))


def command_of(request: Request) -> str:
    """The command line of a request.

    >>> command_of(Request("a", "v100", {"tokens": 40, "text_tokens": 40}))
    'perfkit roofline --gpu v100 --tokens 40 --text-tokens 40'
    """
    start = ["perfkit count"] if request.gpu is None else [f"perfkit roofline --gpu {request.gpu}"]
    return " ".join([*start, *(f"--{key.replace('_', '-')} {value}" for key, value in request.options.items())])


def _counted(request: Request, counted: Count) -> Correction:
    stored = sum(op.write_bytes for op in counted.ops)
    return Correction(
        request.row, command_of(request), counted.total, counted.bytes, stored, by_phase=dict(counted.by_phase)
    )


def _timed(request: Request, prediction: Prediction) -> Correction:
    phases = [phase for phase in prediction.phases if phase.phase != "decode"]
    return Correction(
        row=request.row,
        command=command_of(request),
        matmul_flops=sum(phase.matmul_flops for phase in phases),
        bytes=sum(phase.bytes for phase in phases),
        stored_bytes=sum(phase.write_bytes for phase in phases),
        by_phase={phase.phase: phase.matmul_flops for phase in phases},
        prefill_roofline_s=sum(phase.roofline_s for phase in phases if phase.phase == "prefill"),
        ttft_roofline_s=prediction.ttft_roofline_s,
        tpot_roofline_s=prediction.tpot_roofline_s,
        memory_bytes=prediction.footprint.total,
        fits=bool(prediction.fits),
    )
