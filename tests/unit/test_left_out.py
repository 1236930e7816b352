"""Kernels that a fit did not see: what is predicted of them, errors by hand, which rows each way of fitting sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfkit.calibration import protocols
from perfkit.calibration.fits import Parameters
from perfkit.calibration.forms import FORMS, Source
from perfkit.calibration.left_out import (
    LeftOut,
    merged,
    predict_left_out,
    spread_by_kind,
    sums_by_size,
    within,
)
from perfkit.calibration.parameters import STARTS
from perfkit.calibration.protocols import FEW, chosen, fitted_in_turn, from_few, kept_out, unseen
from perfkit.calibration.sources import read_sources
from perfkit.charts.predicted_kernels import DRAWN, Panel, draw_predicted_kernels
from perfkit.hardware import load_device
from perfkit.kernel_shapes import KernelShape, gemm, over_rows
from perfkit.kernels.calibrations import Calibration, Spread
from perfkit.kernels.forms import kind_of
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.tables import KernelGroup
from perfkit.units import Precision

KNOWN = Calibration(
    "known",
    "Known",
    None,
    None,
    (),
    "none",
    {"tensor": STARTS[0], "vector": STARTS[0]},
    {"elementwise": FORMS["elementwise"].start},
    spread={"tensor products": Spread(0.8, 1.25)},
)
WEIGHTS = tuple(product((1024, 2048, 3072, 4096, 5120), (1024, 2048)))  # n, k
M = (1, 8, 100, 300, 1000, 4000, 8000)
SHAPES = tuple(gemm(m, n, k) for (n, k), m in product(WEIGHTS, M))


def line(shape: KernelShape, gpu: str, factor: float = 1.0, precision: str = "fp16") -> str:
    seconds: Any = expected_s(shape, Precision(precision), load_device(gpu), KNOWN)
    sizes = ",".join("" if size is None else str(size) for size in (shape.m, shape.n, shape.k))
    return f"{shape.op},{precision},{sizes},{factor * seconds!r}"


def source(path: Path, gpu: str, lines: Sequence[str]) -> Source:
    path.write_text("\n".join(["op,precision,m,n,k,measured_s", *lines]) + "\n")
    (found,) = read_sources([path], [gpu]).found
    return found


@pytest.fixture
def v100(tmp_path: Path) -> Source:
    return source(tmp_path / "v100.csv", "v100", [line(shape, "v100", 1.25) for shape in SHAPES])


def part(ratios: Sequence[float], size: Sequence[float], op: str = "gemm", device: str = "v100") -> LeftOut:
    """Rows that took 1 s, and were expected to take `ratios`; the band is a tenth about it."""
    expected, sizes = np.array(ratios), np.array(size, dtype=float)
    return LeftOut(
        device=device,
        op=op,
        kind=kind_of(op, "tensor"),
        precisions=(Precision.FP16,),
        shape=KernelShape(op, sizes, sizes, sizes),  # type: ignore[arg-type]
        size=sizes,
        ends=(16.0, 128.0),
        measured_s=np.ones(len(expected)),
        seconds={"roofline": 0.5 * expected, "constant": 2 * expected, "expected": expected},
        low_s=0.9 * expected,
        high_s=1.1 * expected,
    )


# --- what is predicted


def test_predictors_of_a_square_and_of_one_row(tmp_path: Path) -> None:
    lines = [line(gemm(m, n, n), "v100") for m, n in ((4096, 4096), (1, 4096), *((8, 64 * i) for i in range(1, 9)))]
    (found,) = predict_left_out(source(tmp_path / "two.csv", "v100", lines), KNOWN)
    # 2 * 4096^3 / 125 TFLOP/s; 2 (4096^2 + 2 * 4096) B / 900 GB/s
    square_s, row_s = 137438953472 / 125e12, 33570816 / 900e9
    assert found.seconds["roofline"][:2] == pytest.approx([square_s, row_s])
    assert found.seconds["constant"][:2] == pytest.approx([square_s / 0.7 + 3e-6, row_s / 0.8 + 3e-6])
    assert found.seconds["expected"] == pytest.approx(found.measured_s)
    assert found.low_s == pytest.approx(0.8 * found.measured_s)
    assert found.high_s == pytest.approx(1.25 * found.measured_s)
    assert (found.device, found.op, found.precisions) == ("v100-sxm2-32gb", "gemm", (Precision.FP16,))


def test_a_kernel_without_a_model_is_left_out_and_one_without_spread_has_no_band(tmp_path: Path) -> None:
    lines = [line(gemm(m, 1024, 1024), "v100") for m in range(1, 9)] + [line(over_rows("add", 8, 64), "v100")] * 3
    table = source(tmp_path / "both.csv", "v100", lines)
    products, added = predict_left_out(table, KNOWN)
    assert (products.op, added.op, added.rows) == ("gemm", "add", 3)
    assert np.isnan(added.low_s).all()
    assert added.inside() == 0
    bare = Calibration("bare", "Bare", None, None, (), "none", KNOWN.products)
    assert [found.op for found in predict_left_out(table, bare)] == ["gemm"]


# --- errors


def test_ranges_weigh_alike() -> None:
    found = part([1.1, 1.3, 0.6], [1, 16, 17])
    assert found.error("expected") == pytest.approx((0.2 + 0.4) / 2)  # (0.1 + 0.3) / 2 to 16, 0.4 beyond
    assert found.errors_by_range("expected") == pytest.approx({0: 0.2, 1: 0.4})
    # |0.55 - 1|, |0.65 - 1|, |0.3 - 1|
    assert found.error("roofline") == pytest.approx(((0.45 + 0.35) / 2 + 0.7) / 2)
    assert found.errors_by_range("constant") == pytest.approx({0: (1.2 + 1.6) / 2, 1: 0.2})


def test_the_band_holds_what_lies_between_its_ends() -> None:
    # 0.9 r <= 1 <= 1.1 r: r of 0.909... to 1.111...
    assert part([0.90, 0.92, 1.10, 1.12], [1] * 4).inside() == 0.5
    wide = within(part([0.90, 0.92, 1.10, 1.12], [1] * 4), {"tensor products": Spread(0.8, 1.2)})
    assert wide.inside() == 1  # 0.8 * 1.12 = 0.896, 1.2 * 0.9 = 1.08
    assert wide.low_s == pytest.approx([0.72, 0.736, 0.88, 0.896])


def test_a_spread_is_of_all_ops_of_a_form() -> None:
    parts = [part([1.25], [1]), part([0.5], [1], "bmm"), part([2.0], [1], "add")]
    # measured over expected: 1 / 1.25 and 1 / 0.5; a band reaches to 1 at least
    assert spread_by_kind(parts) == {"tensor products": Spread(0.8, 2.0), "elementwise": Spread(0.5, 1.0)}


def test_some_rows_keep_their_order() -> None:
    found = part([1.1, 1.3, 0.6], [1, 16, 17]).take(np.array([False, True, True]))
    assert found.rows == 2
    assert found.size.tolist() == [16, 17]
    assert found.seconds["expected"].tolist() == [1.3, 0.6]
    assert np.asarray(found.shape.m).tolist() == [16, 17]


def test_parts_of_a_key_become_one() -> None:
    other = part([0.9], [3])._replace(precisions=(Precision.BF16,))
    one, add = merged([part([1.1], [1]), part([2.0], [1], "add"), other], lambda each: each.op)
    assert (one.rows, one.precisions, add.rows) == (2, (Precision.FP16, Precision.BF16), 1)
    assert one.size.tolist() == [1, 3]
    assert np.asarray(one.shape.n).tolist() == [1, 3]
    assert one.seconds["roofline"].tolist() == [0.55, 0.45]
    assert one.inside() == 0.5  # 1.1 * 0.9 = 0.99 is below the measured 1, 0.9 * 1.1 = 0.99 above none


def test_sums_are_of_sizes_that_all_parts_have() -> None:
    sums = sums_by_size([(1, part([1.5, 1.0, 9.0], [4, 1, 7])), (2, part([0.8, 1.2], [1, 4], "add"))])
    assert sums.tokens.tolist() == [1, 4]
    assert sums.measured_s.tolist() == [3, 3]
    # 1.0 + 2 * 0.8; 1.5 + 2 * 1.2, of 3 s each
    assert sums.seconds["expected"] == pytest.approx([2.6, 3.9])
    assert sums.off("expected") == pytest.approx([0.4 / 3, 0.9 / 3])
    assert sums.off("roofline") == pytest.approx([1.7 / 3, 1.05 / 3])


# --- which rows a fit sees


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[Source]]:
    """What each fit was shown, which finds what is known."""
    found: list[list[Source]] = []

    def fit(sources: Sequence[Source], _known: Sequence[Calibration]) -> Parameters:
        found.append(list(sources))
        return Parameters(KNOWN.products, KNOWN.forms)

    monkeypatch.setattr(protocols, "fit_kernels", fit)
    return found


def shapes_of(group: KernelGroup | LeftOut) -> list[tuple[float, ...]]:
    s: Any = group.shape
    return list(zip(s.m.tolist(), s.n.tolist(), s.k.tolist(), strict=True))


def weights_of(source: Source) -> set[tuple[float, ...]]:
    return {shape[1:] for group in source.table.groups for shape in shapes_of(group)}


def test_each_part_is_predicted_by_fits_to_other_weights(v100: Source, seen: list[list[Source]]) -> None:
    found = list(kept_out(v100, []))
    assert sorted(shape for each in found for shape in shapes_of(each)) == sorted(
        (float(s.m), float(s.n), float(s.k))  # type: ignore[arg-type]
        for s in SHAPES
    )
    fits = [weights_of(sources[0]) for sources in seen]
    assert len(found) > 1
    for each in found:
        own = {shape[1:] for shape in shapes_of(each)}
        assert any(own.isdisjoint(fit) and len(own | fit) == len(WEIGHTS) for fit in fits)


@pytest.mark.usefixtures("seen")
def test_a_band_is_of_the_other_parts(tmp_path: Path) -> None:
    # fold of a weight: (7919 n + 104729 k) modulo 5; of multiples of 1024 the one with n = k = 5120 is 0
    shapes = [gemm(m, n, 5120) for m, n in product(M, (1024, 2048, 3072, 4096, 5120))]
    lines = [line(shape, "v100", 3.0 if shape.n == 5120 else 1.5) for shape in shapes]
    parts = list(kept_out(source(tmp_path / "odd.csv", "v100", lines), []))
    odd = {round(float(each.measured_s[0] / each.seconds["expected"][0]), 6): each for each in parts}
    assert sorted(odd) == [1.5, 3.0]
    slow, usual = odd[3.0], odd[1.5]
    assert slow.high_s == pytest.approx(1.5 * slow.seconds["expected"])  # which its own rows would have made 3
    assert slow.inside() == 0
    assert usual.high_s == pytest.approx(3.0 * usual.seconds["expected"])


def judged(group: KernelGroup) -> Any:
    return group.shape.m <= 4096


def test_a_few_points_are_drawn_evenly_and_never_judged(v100: Source, seen: list[list[Source]]) -> None:
    found = list(from_few(v100, [KNOWN], judged, draw=0))
    few = [shape for group in seen[0][0].table.groups for shape in shapes_of(group)]
    rest = [shape for each in found for shape in shapes_of(each)]
    assert len(set(few)) == len(few) == FEW
    # five ranges of m up to 4096, of which the first has two m: of each 4 of 20
    assert [sum(low <= m <= high for m, _, _ in few) for low, high in ((1, 16), (17, 128), (129, 512))] == [4, 4, 4]
    assert set(few).isdisjoint(rest)
    assert len(few) + len(rest) == sum(s.m <= 4096 for s in SHAPES)  # type: ignore[operator]
    again = list(from_few(v100, [KNOWN], judged, draw=0))
    assert [shapes_of(each) for each in again] == [shapes_of(each) for each in found]
    other = list(from_few(v100, [KNOWN], judged, draw=1))
    assert [shapes_of(each) for each in other] != [shapes_of(each) for each in found]
    assert np.isfinite(found[0].low_s).all()


def test_every_kind_has_its_few(tmp_path: Path, seen: list[list[Source]]) -> None:
    lines = [line(shape, "v100", 1.1, p) for shape in SHAPES for p in ("fp16", "fp32")]
    lines += [line(over_rows(op, m, 1024), "v100") for op in ("add", "rmsnorm") for m in range(1, 15)]
    found = list(from_few(source(tmp_path / "all.csv", "v100", lines), [KNOWN], judged, draw=3))
    drawn = {(g.op, g.precision.value): len(g.places) for g in seen[0][0].table.groups}
    assert (drawn["gemm", "fp16"], drawn["gemm", "fp32"]) == (FEW, FEW)
    assert drawn["add", "fp16"] + drawn["rmsnorm", "fp16"] == FEW  # one form
    assert sum(each.rows for each in found if each.op in ("add", "rmsnorm")) == 28 - FEW


def test_a_family_is_predicted_by_the_others(tmp_path: Path, seen: list[list[Source]]) -> None:
    factors = {"v100": 1.25, "t4": 2.0, "a100": 1.0, "v100-pcie-32gb": 4.0}
    sources = [
        source(tmp_path / f"{gpu}.csv", gpu, [line(shape, gpu, factor) for shape in SHAPES])
        for gpu, factor in factors.items()
    ]
    found = list(unseen(sources))
    assert [[each.device for each in own] for own in found] == [[s.device.id] for s in sources]
    volta, turing, ampere = ([s.device.id for s in shown] for shown in seen)
    assert volta == ["t4", "a100-sxm-80gb"]
    assert turing == ["v100-sxm2-32gb", "a100-sxm-80gb", "v100-pcie-32gb"]
    assert ampere == ["v100-sxm2-32gb", "t4", "v100-pcie-32gb"]
    # the band of the V100s is of the T4 (measured twice as long as expected) and of the A100 (as long)
    for own, inside in ((found[0], 1), (found[3], 0)):  # 1.25, 4 of a band to 2
        (v100,) = own
        assert v100.high_s == pytest.approx(2 * v100.seconds["expected"])
        assert v100.inside() == inside


def test_calibrations_in_turn_know_those_before(v100: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[int] = []

    def fit(_sources: Sequence[Source], before: Sequence[Calibration]) -> Parameters:
        known.append(len(before))
        return Parameters(KNOWN.products, {})

    monkeypatch.setattr(protocols, "fit_kernels", fit)
    other = source(tmp_path / "t4.csv", "t4", [line(shape, "t4") for shape in SHAPES])
    made = fitted_in_turn([v100, other])
    assert known == [0, 1]
    assert [each.fitted_on[0].device for each in made] == ["v100-sxm2-32gb", "t4"]


def test_a_group_without_chosen_rows_is_gone(tmp_path: Path) -> None:
    lines = [line(gemm(m, 1024, 1024), "v100") for m in range(1, 10)] + [line(over_rows("add", 8, 64), "v100")]
    some = chosen(source(tmp_path / "both.csv", "v100", lines), lambda group: group.shape.m == 3)
    assert [(group.op, shapes_of(group)) for group in some.table.groups] == [("gemm", [(3, 1024, 1024)])]


def test_fits_are_those_of_calibrate(v100: Source) -> None:
    few = list(from_few(v100, [KNOWN], judged, draw=0))
    # 20 points a quarter slower than what is known: the fit goes most of the way
    assert sum(each.error("expected") for each in few) < 0.1


# --- the picture


def test_a_panel_a_part_in_few_bytes_and_the_same_twice(tmp_path: Path) -> None:
    many = part(np.linspace(0.5, 2, 5000).tolist(), np.linspace(1, 4096, 5000).tolist())
    panels = [Panel(name, many) for name in ("one", "two", "three")]
    first, again = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, again):
        draw_predicted_kernels(panels, path, columns=2)
    text = first.read_text()
    assert text == again.read_text()
    assert len(text) < 150_000  # 3 panels of 2 * 150 dots
    dots = [shape for shape in text.split("<path ") if shape.count("M ") == shape.count("L ") > 20]
    assert [dot.count("M ") for dot in dots] == pytest.approx([DRAWN] * 6, abs=3)


def test_a_roofline_far_below_is_drawn_at_the_edge(tmp_path: Path) -> None:
    deep = part([1.0, 1.2], [1, 20])
    deep.seconds["roofline"][0] = 1e-6
    path = tmp_path / "deep.svg"
    draw_predicted_kernels([Panel("deep", deep)], path, columns=1)
    text = path.read_text()
    # 1 s / 30 / 1.3 = 26 ms is the lower edge
    assert "<!-- 50 ms -->" in text
    assert "<!-- 20 ms -->" not in text


def test_a_page_has_the_errors_too(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    draw_predicted_kernels([Panel("squares", part([1.25], [1]))], path, columns=1)
    text = path.read_text()
    assert "<td>squares</td>" in text
    assert '<td class="number">25 %</td>' in text  # and 0.625 - 1 of the roofline
    assert '<td class="number">38 %</td>' in text
