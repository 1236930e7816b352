"""Whether a model and a case fit the memory that is free, asked before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable

from perfkit.counting import count_ops, workload_of
from perfkit.errors import MachineError
from perfkit.latency import parse_execution
from perfkit.measuring.backend import Backend
from perfkit.measuring.cases import Case, PhaseCase
from perfkit.memory import RUNTIME_RESERVE_BYTES, Footprint, footprint, weight_bytes
from perfkit.models.spec import ModelSpec
from perfkit.units import format_quantity


def check_room(spec: ModelSpec, cases: Iterable[Case], backend: Backend) -> None:
    """Refuse a model whose weights alone do not fit.

    Raises:
        MachineError: with the sizes, and what would fit.
    """
    free = backend.free_bytes()
    for precision in dict.fromkeys(case.precision for case in cases):
        need = weight_bytes(spec, parse_execution(precision)) + RUNTIME_RESERVE_BYTES
        if need > free:
            where = "the card" if backend.device.type == "cuda" else "this machine's memory"
            raise MachineError(
                f"{spec.name} in {precision} needs {format_quantity(need, 'B')} (weights and 1 GiB for the runtime); "
                f"{format_quantity(free, 'B')} of {where} are free: take a smaller model or a narrower --precision"
            )


def shortage(spec: ModelSpec, case: PhaseCase, backend: Backend) -> str | None:
    """Why a case cannot be tried, where trying would end the process; None where it can."""
    if not backend.must_foresee:
        return None
    needed, free = working_bytes(spec, case), backend.free_bytes()
    if needed <= free:
        return None
    sizes = f"cache and activations need {format_quantity(needed, 'B')}, {format_quantity(free, 'B')} are free"
    return f"not tried: {sizes}"


def working_bytes(spec: ModelSpec, case: PhaseCase) -> int:
    """Cache and largest working set of a case, beside the weights."""
    need = _footprint(spec, case)
    return int(need.kv + need.activations)


def _footprint(spec: ModelSpec, case: PhaseCase) -> Footprint:
    attention = "eager" if case.attention == "eager" else "fused"
    execution = parse_execution(case.precision, attention=attention)
    workload = workload_of(
        spec, tokens=case.visual_tokens, text_tokens=case.text_tokens or 1, new_tokens=1, batch=case.batch
    )
    phase = [op for op in count_ops(spec, workload, execution) if op.phase == case.phase]
    return footprint(spec, workload, execution, phase)
