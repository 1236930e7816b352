"""The page of the kernel model: figures under their columns, made of what fits did not see."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from perfkit.calibration.left_out import LeftOut, Sums
from perfkit.calibration.sources import read_sources
from perfkit.hardware import load_device
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.forms import kind_of
from perfkit.units import Precision
from perfkit.validation.published import published
from scripts.kernel_page import page, panels_of_others, panels_of_products
from scripts.kernel_views import GEMM, Judged, rows_of

V100 = load_device("v100")


def left_out(
    ratios: list[float], m: list[float], op: str = "gemm", precision: Precision = Precision.FP16, n: float = 4096
) -> LeftOut:
    """Rows that took 1 s; the roofline says half of it, constant factors twice."""
    expected, sizes = np.array(ratios), np.array(m)
    attention = op.startswith("attention")
    width, one = n * sizes**0, sizes**0
    shape = KernelShape(op, sizes, width, width if op == "gemm" else None)  # type: ignore[arg-type]
    if attention:
        shape = KernelShape(op, batch=one, q_tokens=sizes, kv_tokens=sizes, heads=32 * one, kv_heads=8 * one)  # type: ignore[arg-type]
        shape = shape._replace(head_dim=128 * one)  # type: ignore[arg-type]
    return LeftOut(
        device=V100.id,
        op=op,
        kind=kind_of(op, "tensor"),
        precisions=(precision,),
        shape=shape,
        size=sizes,
        ends=(128.0,) if attention else (16.0, 128.0, 512.0, 1536.0, 4096.0),
        measured_s=one,
        seconds={"roofline": 0.5 * one, "constant": 2 * one, "expected": expected},
        low_s=0.9 * expected,
        high_s=1.1 * expected,
    )


JUDGED = Judged(
    V100,
    unseen=[left_out([1.5, 1.5], [1, 20])],
    few=[[left_out([1.2], [1])], [left_out([1.4, 1.0], [1, 20])]],
    own=[
        left_out([1.1], [1]),
        left_out([0.7], [20]),
        left_out([2.0, 2.0], [8192, 16]),
        left_out([9.0], [16], n=512),  # narrower than what is judged
        left_out([1.25], [1], precision=Precision.FP32),
        left_out([1.05], [64], "attention_prefill"),
        left_out([1.02], [64], "add"),
    ],
)
SUMS = Sums(
    np.array([1, 4096]), np.ones(2), {name: np.array([1.1, 1.3]) for name in ("roofline", "constant", "expected")}
)


def test_rows_are_of_judged_shapes_by_engine() -> None:
    half, full = rows_of([JUDGED], GEMM)
    assert (half.label, half.own.rows) == ("V100-SXM2-32GB, fp16", 3)  # m of 8192 is left out
    assert (full.label, full.unseen, full.few) == ("V100-SXM2-32GB, fp32", None, [])
    # m of 1 and 16: 0.1 and 1; of 20: 0.3
    assert half.error("own") == pytest.approx(100 * (1.1 / 2 + 0.3) / 2)
    assert half.error("unseen") == pytest.approx(50)
    assert half.error("few") == pytest.approx(100 * (0.2 + (0.4 + 0.0) / 2) / 2)  # draws alike
    assert (half.error("roofline"), half.error("constant")) == (pytest.approx(50), pytest.approx(100))
    assert full.error("few") is None
    # 0.9 * 1.1 = 0.99 to 1.21 holds 1; 0.77 and 1.8 do not
    assert half.inside("own") == pytest.approx(100 / 3)
    assert half.inside("few") == pytest.approx(100 * (0 + 1 / 2) / 2)


def test_the_page_has_every_part(tmp_path: Path) -> None:
    path = tmp_path / "kernels.csv"
    rows = [f"deepbench,x,gemm,fp16,{m},1024,1024,1e-4" for m in range(1, 13)]
    path.write_text("\n".join(["source,library,op,precision,m,n,k,measured_s", *rows]))
    text = page(read_sources([path], ["v100"]).found, tmp_path, [JUDGED], SUMS, published())
    assert sha256(path.read_bytes()).hexdigest() in text
    assert "Baidu DeepBench" in text
    lines = text.splitlines()
    (first, *_) = (line for line in lines if line.startswith("V100-SXM2-32GB, fp16    "))
    assert first.split()[2:] == ["3", "50", "100", "50", "20", "42.5"]
    assert "nan" not in text
    # of 0.1 and 0.3: mean, nine tenths of the way, worst
    assert next(line.split() for line in lines if line.startswith("expected  ")) == ["expected", "20", "28", "30"]
    for title in ("attention_prefill, 32 and 40 heads", "Whole forwards", "90 % band", "add"):
        assert title in text
    assert all(chart in text for chart in ("](kernels-products.svg)", "](kernels-others.svg)"))


def test_panels_are_what_own_fits_left_out() -> None:
    assert [panel.title for panel in panels_of_products([JUDGED])] == ["V100-SXM2-32GB, fp16", "V100-SXM2-32GB, fp32"]
    assert [panel.title.splitlines()[1] for panel in panels_of_others([JUDGED])] == ["prefill", "element-wise"]
