"""The kernel suite: every kernel of the asked workloads once; steps that make what their op makes; the table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import pytest

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.errors import InvalidValue
from perfkit.kernel_shapes import LAUNCH, KernelShape, bmm, gemm, over_rows
from perfkit.measuring.backend import Backend, Step
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.counters import Watch
from perfkit.measuring.kernel_costs import cost_of, timed_ops
from perfkit.measuring.kernel_forms import form_of
from perfkit.measuring.kernel_steps import LAUNCHES, MOST_CALLS, MOST_COPIES, count_copies
from perfkit.measuring.kernels import CONTEXTS, ROWS, is_row, kernel_cases, kernel_step, kernel_table
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.protocol import Timing
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.units import Precision
from perfkit.workload import ATTENTIONS, Execution

torch = pytest.importorskip("torch")

LLAVA = load_model("llava-1.5-7b")
CACHE = 2**20


class Double:
    """A backend on the CPU that says what it is told to, and records what it is asked to capture."""

    def __init__(self, *, graphs: bool = False, free: int = 2**30, foresees: bool = True) -> None:
        self.device = torch.device("cpu")
        self.precisions: tuple[str, ...] = ("fp32", "bf16")
        self.runtimes: tuple[str, ...] = ("eager", "graph") if graphs else ("eager",)
        self.must_foresee = foresees
        self.free = free
        self.captured: list[Step] = []

    def machine(self) -> Machine:
        return Machine("cpu", "Double", "none", 2**33, 2, "none", {}, cache_bytes=CACHE)

    def free_bytes(self) -> int:
        return self.free

    def capture(self, step: Step) -> Step:
        self.captured.append(step)
        return Step(lambda: "replayed")

    def sampler(self, step: Step, *, flush: bool) -> Callable[[], float]:
        raise NotImplementedError

    def watch(self) -> AbstractContextManager[Watch | None]:
        return nullcontext(None)

    def synchronize(self) -> None:
        raise NotImplementedError

    def peak_bytes(self) -> int | None:
        return None

    def release(self) -> None:
        raise NotImplementedError

    def ran_out(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)


def cases_of(spec: ModelSpec = LLAVA, **asked: Any) -> list[KernelCase]:
    given = {"tokens": [576, 32], "text_tokens": 60, "batches": [1, 4], "precisions": ["fp16"], **asked}
    return kernel_cases(spec, **given)


# --- which kernels


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("model", ["llava-1.5-7b", "llava-onevision-7b", "mixtral-8x7b", "bert-base", "siglip-so400m"])
def test_every_kernel_of_the_asked_workloads_is_there(model: str, attention: str) -> None:
    spec = load_model(model)
    tokens = [spec.visual_tokens, 32] if spec.vision and spec.text else [spec.visual_tokens]
    cases = set(cases_of(spec, tokens=tokens))
    half = Precision.FP16
    execution = execution_of(spec, Execution(half, half, half, attention))  # type: ignore[arg-type]
    for visual in tokens:
        for batch in (1, 4):
            workload = workload_of(spec, tokens=visual, text_tokens=60, batch=batch)
            for op in count_ops(spec, workload, execution):
                assert op.kernel is None or KernelCase(op.kernel, "fp16") in cases, op.name


def test_no_case_is_twice_and_the_order_is_always_the_same() -> None:
    cases = cases_of(precisions=["fp16", "fp32", "tf32", "fp16"])
    assert len(set(cases)) == len(cases)
    assert cases == cases_of(precisions=["fp16", "fp32", "tf32", "fp16"])


def test_cases_stand_by_precision_then_op_the_cheapest_first() -> None:
    cases = cases_of(precisions=["fp32", "fp16"])
    keys = [(case.precision == "fp16", case.shape.op, cost_of(case).flops) for case in cases]
    assert keys == sorted(keys)


def test_products_of_the_language_model_are_spread_over_rows() -> None:
    cases = cases_of()
    for n, k in ((4096, 4096), (11008, 4096), (4096, 11008), (32064, 4096)):
        rows = {case.shape.m for case in cases if case.shape.op == "gemm" and case.shape[2:4] == (n, k)}
        assert rows >= {*ROWS, 1, 4} if n == 32064 else rows >= {*ROWS, 92, 368, 636, 2544}
    assert {case.shape.m for case in cases if case.shape == gemm(case.shape.m, 1024, 588)} == {
        576,
        2304,
    }  # 24^2 patches


def test_attention_is_spread_over_contexts() -> None:
    cases = [case.shape for case in cases_of()]
    for batch in (1, 4):
        over = {s.kv_tokens for s in cases if s.op == "attention_decode" and s.batch == batch}
        assert over == {*CONTEXTS, 93, 637}
    assert {s.kv_tokens for s in cases if s.op == "attention_prefill" and s.batch == 1} == {*CONTEXTS, 92, 636}
    assert {s.kv_tokens for s in cases if s.op == "attention_prefill" and s.batch == 4} == {92, 636}


def test_the_machine_itself_is_timed_once() -> None:
    cases = cases_of(precisions=["bf16", "fp32"])
    assert [case.precision for case in cases if case.shape.op in ("copy", LAUNCH)] == ["bf16", "bf16"]
    assert KernelCase(gemm(4096, 4096, 4096), "fp32") in cases


def test_tf32_is_for_products_only() -> None:
    cases = cases_of(precisions=["tf32"])
    products = {case.shape.op for case in cases if case.precision == "tf32"}
    assert products == {"gemm", "bmm", "attention_prefill", "attention_decode", "attention_encoder"}
    assert {case.precision for case in cases if case.shape.op not in products} == {"fp32"}


def test_flushed_cases_say_so() -> None:
    assert all(case.flushed for case in cases_of(flushed=True))


# --- costs


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_kernel_costs_what_its_op_costs(attention: str) -> None:
    half = Precision.FP16
    execution = execution_of(LLAVA, Execution(half, half, half, attention))  # type: ignore[arg-type]
    for op in count_ops(LLAVA, workload_of(LLAVA, tokens=32, batch=2), execution):
        if op.kernel is None:
            continue
        cost = cost_of(KernelCase(op.kernel, "fp16"))
        assert op.matmul_flops == op.repeat * cost.matmul_flops, op.name
        bias = op.kernel.m * op.kernel.n if op.kernel.op == "gemm" and op.vector_flops else 0
        assert op.vector_flops == op.repeat * (cost.vector_flops + bias), op.name
        assert op.bytes == op.repeat * (cost.bytes + (2 * op.kernel.n if bias else 0)), op.name


def test_a_launch_costs_nothing() -> None:
    cost = cost_of(KernelCase(KernelShape(LAUNCH), "fp32"))
    assert (cost.flops, cost.bytes) == (0, 0)


# --- steps


def attention(kind: str, q: int, kv: int, heads: int = 4, kv_heads: int = 4) -> KernelShape:
    return KernelShape(f"attention_{kind}", None, None, None, 2, q, kv, heads, kv_heads, 8, int(kind == "prefill"))


SHAPES = [
    (gemm(3, 5, 7), (3, 5)),
    (bmm(2, 3, 5, 7), (2, 3, 5)),
    (attention("prefill", 6, 6), (2, 4, 6, 8)),
    (attention("prefill", 6, 6, 4, 2), (2, 4, 6, 8)),
    (attention("decode", 1, 9), (2, 4, 1, 8)),
    (attention("decode", 1, 9, 4, 1), (2, 4, 1, 8)),
    (attention("encoder", 5, 5), (2, 4, 5, 8)),
    *(
        (over_rows(op, 3, 5), (3, 5))
        for op in timed_ops()
        if op not in ("gemm", "bmm", LAUNCH) and "attention" not in op
    ),
]


@pytest.mark.parametrize(("shape", "size"), SHAPES, ids=lambda value: getattr(value, "op", ""))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_makes_what_its_op_makes(shape: KernelShape, size: tuple[int, ...], precision: str) -> None:
    step, calls = kernel_step(Double(), KernelCase(shape, precision))
    made: Any = step.call()
    assert made.shape == size
    assert made.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert bool(made.isfinite().all())
    assert 1 <= calls <= MOST_CALLS


def test_every_known_op_has_a_step() -> None:
    assert {shape.op for shape, _ in SHAPES} | {LAUNCH} == set(timed_ops())


def test_products_are_those_of_a_linear_layer() -> None:
    x, weight = torch.ones(3, 7), torch.arange(35.0).reshape(5, 7)
    form = form_of(gemm(3, 5, 7))
    assert (form.warm, form.cold) == (((3, 7),), ((5, 7),))
    assert form.run(x, weight)[0].tolist() == [21.0, 70.0, 119.0, 168.0, 217.0]  # sums of rows of 7: 0 + .. + 6, ...


def test_prefill_sees_no_later_token_and_an_encoder_sees_all() -> None:
    q, k = torch.zeros(2, 4, 3, 8), torch.zeros(2, 4, 3, 8)
    v = torch.arange(3.0)[None, None, :, None].expand(2, 4, 3, 8)  # the value of a token is its position
    assert form_of(attention("prefill", 3, 3)).run(q, k, v)[0, 0, :, 0].tolist() == [0.0, 0.5, 1.0]
    assert form_of(attention("encoder", 3, 3)).run(q, k, v)[0, 0, :, 0].tolist() == [1.0, 1.0, 1.0]


def test_activations_by_hand() -> None:
    one = torch.ones(1, 1)
    assert form_of(over_rows("silu_mul", 1, 1)).run(one, 3 * one).item() == pytest.approx(3 / (1 + 2.718281828**-1))
    assert form_of(over_rows("quick_gelu", 1, 1)).run(one).item() == pytest.approx(1 / (1 + 2.718281828**-1.702))


def test_an_op_that_has_no_form_is_refused_with_those_that_have() -> None:
    with pytest.raises(InvalidValue, match=r"no kernel 'conv' can be timed; allowed: launch, gemm, bmm, .*silu_mul"):
        kernel_step(Double(), KernelCase(over_rows("conv", 1, 1), "fp32"))


def test_a_launch_is_many_tiny_operations_that_no_graph_captures() -> None:
    backend = Double(graphs=True)
    _, calls = kernel_step(backend, KernelCase(KernelShape(LAUNCH), "fp32"))
    assert calls == LAUNCHES
    assert backend.captured == []


# --- copies and calls


def copies_of(backend: Backend, shape: KernelShape, precision: str = "fp32", *, flushed: bool = False) -> int:
    return count_copies(backend, KernelCase(shape, precision, flushed), form_of(shape))


@pytest.mark.parametrize(
    ("shape", "cold_bytes", "copies"),
    [
        (gemm(1, 512, 512), 2**20, 5),  # a weight of 1 MiB and a cache of 1 MiB: five copies exceed four of it
        (gemm(1, 4096, 2048), 2**25, 1),
        (attention("decode", 1, 1024), 2 * 2 * 4 * 1024 * 8 * 4, 9),  # keys and values: 0.5 MiB
        (over_rows("add", 64, 512), 2 * 2**17, 17),
    ],
)
def test_copies_exceed_four_caches(shape: KernelShape, cold_bytes: int, copies: int) -> None:
    assert sum(4 * prod(size) for size in form_of(shape).cold) == cold_bytes
    assert copies_of(Double(), shape) == copies
    assert copies * cold_bytes > 4 * CACHE
    assert (copies - 1) * cold_bytes <= 4 * CACHE


def test_tiny_rows_have_copies_without_end_no_more() -> None:
    assert copies_of(Double(), over_rows("rmsnorm", 1, 64)) == MOST_COPIES


def test_copies_keep_within_the_free_memory() -> None:
    # Half of 5 MiB holds two weights of 1 MiB; there is always one.
    assert copies_of(Double(free=5 * 2**20), gemm(1, 512, 512)) == 2
    assert copies_of(Double(free=2**20, foresees=False), gemm(1, 512, 512)) == 1


def test_what_cannot_fit_is_not_tried_where_trying_would_end_the_process() -> None:
    with pytest.raises(MemoryError, match=r"not tried: 1.05 MB are needed, 1.05 MB free"):  # 2^20 + 2 * 2048 B
        kernel_step(Double(free=2**20), KernelCase(gemm(1, 512, 512), "fp32"))


def test_a_flushed_case_is_one_call_on_one_copy() -> None:
    assert copies_of(Double(), gemm(1, 512, 512), flushed=True) == 1
    for backend in (Double(), Double(graphs=True)):
        assert kernel_step(backend, KernelCase(gemm(1, 512, 512), "fp32", flushed=True))[1] == 1


def test_calls_take_the_copies_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfkit.measuring.kernel_steps.SAMPLE_S", 1e-5)
    seen: list[int] = []

    def spy(_: Any, weight: Any) -> None:
        seen.append(weight.data_ptr())

    form = form_of(gemm(1, 512, 512))._replace(run=spy)
    monkeypatch.setattr("perfkit.measuring.kernel_steps.form_of", lambda _: form)
    step, calls = kernel_step(Double(), KernelCase(gemm(1, 512, 512), "fp32"))
    assert calls == 1  # 1.05 MB / 100 GB/s = 10.5 us
    for _ in range(10):
        step.call()
    assert len(set(seen)) == 5
    assert seen[:5] == seen[5:]


def test_a_graph_holds_every_copy_and_its_time_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfkit.measuring.kernel_steps.FASTEST", {"cpu": (1e15, 4e12, 1e-3)})  # two calls a sample
    backend = Double(graphs=True)
    step, calls = kernel_step(backend, KernelCase(gemm(1, 512, 512), "fp32"))
    assert calls == 5  # not two: a graph repeats the same calls
    assert len(backend.captured) == 1
    assert step.call() == "replayed"


# --- the table


def point(case: Any, *samples: float) -> Point:
    if not samples:
        return Point(case, "out of memory", note="too large")
    return Point(case, "ok", Timing(samples, 3, stable=True))


def test_the_table_has_the_columns_of_a_kernel_table() -> None:
    cases = [
        point(KernelCase(gemm(1, 4096, 11008), "bf16"), 3.0, 1.0, 2.0),
        point(KernelCase(gemm(2, 4096, 11008), "bf16")),
        point(KernelCase(attention("prefill", 6, 6), "bf16"), 0.5),
        point(PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "bf16"), 1.0),
    ]
    machine = Double().machine()._replace(libraries={"torch": "2.13.0+cpu"})
    measurement = Measurement(machine, (Run("2026-01-02", "measure", "0.1.0"),), tuple(cases))
    assert kernel_table(measurement).render("csv").splitlines() == [
        "source,library,op,precision,m,n,k,batch,q_tokens,kv_tokens,heads,kv_heads,head_dim,causal,measured_s,runs",
        "perfkit 0.1.0,torch 2.13.0+cpu,gemm,bf16,1,4096,11008,,,,,,,,2.0,1",
        "perfkit 0.1.0,torch 2.13.0+cpu,attention_prefill,bf16,,,,2,6,6,4,4,8,1,0.5,1",
    ]


def test_what_torch_runs_as_several_kernels_is_no_row_of_a_table() -> None:
    assert is_row(KernelCase(over_rows("gelu", 4, 8), "fp16"))
    assert not is_row(KernelCase(over_rows("silu_mul", 4, 8), "fp16"))
    assert not is_row(KernelCase(over_rows("quick_gelu", 4, 8), "fp16"))
    assert not is_row(KernelCase(over_rows("gelu", 4, 8), "fp16", flushed=True))
