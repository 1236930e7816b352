"""Fits of attention and element-wise kernels: made-up rows are found again, and judging is honest."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from perfkit.calibration.forms import FORMS, Timed, cross_validate, fit_form, leave_one_out
from perfkit.calibration.thinning import evenly
from perfkit.hardware import load_device
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.forms import form_of, form_s
from perfkit.kernels.limits import Limits, limits_of
from perfkit.units import Precision

LIMITS = Limits(312e12, 2e12, 108, 1.41e9, 40e6)
# Of every form other numbers than it starts at, and as a kernel would reach them.
TRUE: dict[str, dict[str, float]] = {
    "attention_prefill": {"start_s": 5e-6, "peak": 0.6, "bandwidth": 0.8},
    "attention_encoder": {"start_s": 5e-6, "peak": 0.5, "bandwidth": 0.6},
    "attention_decode": {"start_s": 6e-6, "bandwidth": 0.7},
    "elementwise": {"start_s": 3e-6, "bandwidth": 0.7},
}
every_form = pytest.mark.parametrize("name", TRUE)


def shape_of(name: str) -> KernelShape:
    """A few hundred kernels."""
    if name == "elementwise":
        grid = product(map(float, (1, 16, 100, 400, 1000, 3000)), map(float, range(1024, 12288, 512)))
        m, n = (np.array(column) for column in zip(*grid, strict=True))
        return KernelShape("rmsnorm", m, n)
    grid3 = product(map(float, (1, 2, 4, 8, 16)), map(float, (64, 128, 500, 1000, 2000, 4000)), (8.0, 32.0))
    batch, tokens, kv_heads = (np.array(column) for column in zip(*grid3, strict=True))
    queries = tokens**0 if name == "attention_decode" else tokens
    return KernelShape(
        name,
        batch=batch,
        q_tokens=queries,
        kv_tokens=tokens,
        heads=32 * tokens**0,  # type: ignore[arg-type]
        kv_heads=kv_heads,  # type: ignore[arg-type]
        head_dim=128 * tokens**0,  # type: ignore[arg-type]
        causal=int(name == "attention_prefill"),
    )


def timed(name: str, factor: float = 1.0) -> Timed:
    shape = shape_of(name)
    truth = FORMS[name].start._replace(**TRUE[name])
    seconds: Any = form_s(shape, 2, LIMITS, truth)
    return Timed(shape, 2, seconds * factor, LIMITS)


def off(rows: Timed, parameters: Any) -> Any:
    times: Any = form_s(rows.shape, 2, rows.limits, parameters)
    return np.abs(times / rows.seconds - 1)


@every_form
def test_a_fit_to_rows_without_noise_finds_their_times(name: str) -> None:
    rows = timed(name)
    start = off(rows, FORMS[name].start).mean()
    fitted = off(rows, fit_form(FORMS[name], [rows]))
    assert start > 0.05  # so there is something to find
    assert fitted.mean() < 0.02


@every_form
def test_a_fit_does_the_same_twice(name: str) -> None:
    rows = timed(name)
    assert fit_form(FORMS[name], [rows]) == fit_form(FORMS[name], [rows])


def test_one_row_in_ten_that_is_three_times_too_long_hardly_moves_a_fit() -> None:
    rows = timed("attention_decode")
    seconds = rows.seconds.copy()
    seconds[::10] *= 3
    fitted = fit_form(FORMS["attention_decode"], [rows._replace(seconds=seconds)])
    assert off(rows, fitted).mean() < 0.05


def test_few_rows_choose_the_prior_that_they_agree_with() -> None:
    form = FORMS["attention_decode"]
    rows = timed("attention_decode").take(np.arange(0, 60, 5))
    truth = form.start._replace(**TRUE["attention_decode"])
    far = form.start._replace(start_s=30e-6)
    fitted = fit_form(form, [rows], [far, truth])
    assert fitted.start_s == pytest.approx(6e-6, rel=0.02)


@every_form
def test_rows_are_judged_by_fits_that_did_not_see_their_cell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, seen = timed(name), []
    form = FORMS[name]

    def fit(_: object, sets: list[Timed], _priors: object) -> Any:
        seen.append({float(cell) for each in sets for cell in form.cell(each.shape)})
        return form.start

    monkeypatch.setattr("perfkit.calibration.forms.fit_form", fit)
    (held,) = cross_validate(form, [rows], [])
    assert len(seen) == 5
    cells = {float(cell) for cell in form.cell(rows.shape)}
    for number, others in enumerate(seen):
        assert others == {cell for cell in cells if cell % 5 != number}
    assert held.ratios == pytest.approx(1 / rows.seconds * form_s(rows.shape, 2, LIMITS, form.start))


def test_a_device_is_judged_by_fits_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    form, seen = FORMS["attention_decode"], []
    devices = [[timed("attention_decode", factor)] for factor in (1.0, 1.5, 2.0)]

    def fit(_: object, sets: list[Timed]) -> Any:
        seen.append([each.seconds[0] for each in sets])
        return form.start

    monkeypatch.setattr("perfkit.calibration.forms.fit_form", fit)
    assert len(leave_one_out(form, devices)) == 3
    first = [sets[0].seconds[0] for sets in devices]
    assert seen == [[first[1], first[2]], [first[0], first[2]], [first[0], first[1]]]


@pytest.mark.parametrize("period", [2, 3, 5, 8])
def test_a_long_table_is_thinned_out_of_step_with_how_it_repeats(period: int) -> None:
    sizes = np.repeat(np.arange(100.0), 48)
    kept = evenly(sizes, 1000)
    assert len(kept) == pytest.approx(1000, abs=3)
    assert len(set(kept.tolist())) == len(kept)
    # every hundredth of the sizes and every remainder keeps its share: 10 rows, and 1000 / period of all
    assert np.bincount(sizes[kept].astype(int)).tolist() == pytest.approx([10] * 100, abs=1)
    assert np.bincount(kept % period).tolist() == pytest.approx([1000 / period] * period, rel=0.1)


def test_a_fit_to_a_long_table_sees_all_of_its_ops() -> None:
    # 2000 prompts, every other one with heads of 64, which take twice as long as the form says of them
    shape, form = shape_of("attention_prefill"), FORMS["attention_prefill"]
    many: dict[str, Any] = {
        name: np.repeat(size, 12) for name, size in shape._asdict().items() if hasattr(size, "shape")
    }
    many["head_dim"] = np.where(np.arange(len(many["head_dim"])) % 2, 128.0, 64.0)
    rows = Timed(shape._replace(**many), 2, np.ones(len(many["head_dim"])), LIMITS)
    start: Any = form.start
    truth = start._replace(narrow=1.2)
    seconds: Any = form_s(rows.shape, 2, LIMITS, truth)
    fitted: Any = fit_form(form, [rows._replace(seconds=seconds)])
    assert fitted.narrow == pytest.approx(1.2, abs=0.1)


def test_ops_have_their_forms() -> None:
    assert [form_of(op) for op in ("gemm", "bmm", "attention_encoder", "add", "silu_mul")] == [
        "products",
        "products",
        "attention_encoder",
        "elementwise",
        "elementwise",
    ]


def test_nothing_is_found_in_the_cache_of_a_whole_model() -> None:
    limits = limits_of(load_device("a100"), Precision.FP16)
    for name in TRUE:
        shape, start = shape_of(name), FORMS[name].start
        warm, cold = (np.asarray(form_s(shape, 2, limits, start, warm=warm)) for warm in (True, False))
        assert (warm <= cold * (1 + 1e-12)).all()
        assert (warm < 0.99 * cold).any()
