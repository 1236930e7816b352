"""The kernel suite: which kernels of a model are timed, and the table that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.kernel_shapes import LAUNCH, KernelShape, gemm, over_rows
from perfkit.measuring.cases import KernelCase
from perfkit.measuring.kernel_costs import cost_of
from perfkit.measuring.kernel_forms import is_composite
from perfkit.measuring.kernel_steps import kernel_step
from perfkit.measuring.measurement import Measurement
from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost
from perfkit.tables import Column, Table
from perfkit.units import Precision
from perfkit.workload import ATTENTIONS, Execution

__all__ = ["kernel_cases", "kernel_step", "kernel_table"]

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # m of everything that the language model does a token
CONTEXTS = (128, 256, 512, 1024, 2048, 4096)  # tokens that attention goes over
SQUARE = 4096  # of the product that comes near a peak
COPIED = (2**14, 2**13)  # 134 million elements, 0.27 or 0.54 GB: far above any cache


def kernel_cases(
    spec: ModelSpec,
    *,
    tokens: Sequence[int],
    text_tokens: int,
    batches: Sequence[int],
    precisions: Sequence[str],
    flushed: bool = False,
) -> list[KernelCase]:
    """Every kernel that the asked workloads launch, fused attention and eager; and around them a spread of sizes.

    `tokens` are visual tokens a sequence. The language model's products, norms, residuals and activations are spread
    over ROWS, its attention over CONTEXTS. A large copy, a square product and the launch of a tiny operation
    complete them. Precision by precision, op by op, the cheapest first.

    Raises:
        InvalidValue: workloads that the model cannot take.
    """
    cases: dict[KernelCase, None] = {}
    for precision in precisions:
        forward = list(_forward(spec, tokens, text_tokens, batches, Precision(precision)))
        asked = [op.kernel for op in forward if op.kernel is not None]
        machine = [] if cases else [KernelShape(LAUNCH), over_rows("copy", *COPIED)]  # of no precision: once
        shapes = dict.fromkeys([*asked, *_spread(forward), *machine, gemm(SQUARE, SQUARE, SQUARE)])
        cases.update(dict.fromkeys(sorted((_case(shape, precision, flushed) for shape in shapes), key=_order)))
    return list(cases)


def _case(shape: KernelShape, precision: str, flushed: bool) -> KernelCase:
    case = KernelCase(shape, precision, flushed)
    # TF32 is a way to multiply; what has no products is an fp32 kernel.
    return case if precision != "tf32" or cost_of(case).multiplies else case._replace(precision="fp32")


def _forward(
    spec: ModelSpec, tokens: Sequence[int], text_tokens: int, batches: Sequence[int], precision: Precision
) -> Iterator[OpCost]:
    for attention in ATTENTIONS:
        execution = execution_of(spec, Execution(precision, precision, precision, attention))
        for visual in tokens:
            for batch in batches:
                workload = workload_of(spec, tokens=visual, text_tokens=text_tokens, batch=batch)
                yield from count_ops(spec, workload, execution)


def _spread(forward: Iterable[OpCost]) -> Iterator[KernelShape]:
    """Kernels of the language model at other sizes; prefill's attention, which grows with the square, at batch 1."""
    for op in forward:
        shape = op.kernel
        if shape is None or op.phase not in ("prefill", "decode"):
            continue
        if shape.op == "attention_decode":
            yield from (shape._replace(kv_tokens=context) for context in CONTEXTS)
        elif shape.op == "attention_prefill":
            yield from (shape._replace(batch=1, q_tokens=context, kv_tokens=context) for context in CONTEXTS)
        elif op.kind != "attention" and shape.op != "softmax" and shape.m is not None:
            yield from (shape._replace(m=rows) for rows in ROWS)


def _order(case: KernelCase) -> tuple[str, int, int]:
    cost = cost_of(case)
    return case.shape.op, cost.flops, cost.bytes


# --- the table


def is_row(case: KernelCase) -> bool:
    """Whether the time of a case is that of one kernel among others, as tables have it.

    What was timed after an emptied cache is one call by itself, launch included; activations for which torch has no
    kernel of their own are a few.
    """
    return not case.flushed and not is_composite(case.shape.op)


_SHAPE = tuple(Column(key, key, "n") for key in KernelShape._fields if key != "op")
_COLUMNS = (
    Column("source", "source"),
    Column("library", "library"),
    Column("op", "op"),
    Column("precision", "precision"),
    *_SHAPE,
    Column("measured_s", "measured", "s"),
    Column("runs", "runs", "n"),
)


def kernel_table(measurement: Measurement) -> Table:
    """Timed kernels, one row a shape: `measured_s` is the median of one launch.

    `runs` counts the library versions that a time is the median of: always 1 here. What ran out of memory is left out.
    """
    rows = [
        _row(measurement, case, point.timing.median_s)
        for case, point in measurement.kernels.items()
        if point.timing is not None and is_row(case)
    ]
    return Table(_COLUMNS, tuple(rows), title=f"Kernels of {measurement.machine.name}")


def _row(measurement: Measurement, case: KernelCase, measured_s: float) -> tuple[object, ...]:
    versions = ", ".join(dict.fromkeys(run.perfkit for run in measurement.runs))
    library = f"torch {measurement.machine.libraries.get('torch', 'of an unknown version')}"
    sizes = (getattr(case.shape, column.key) for column in _SHAPE)
    return (f"perfkit {versions}", library, case.shape.op, case.precision, *sizes, measured_s, 1)
