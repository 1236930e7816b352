"""The points of a grid: which there are, in which order, and how boxes cover them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from perfkit.errors import InvalidSpec, InvalidValue, UnknownName, UnsupportedPrecision
from perfkit.kernels.calibrations import calibration_ids
from perfkit.sweeping.columns import TYPES, Text, columns_of, fields_of
from perfkit.sweeping.formats import plain
from perfkit.sweeping.grid import Grid, grid_of
from perfkit.sweeping.ranges import Counts, parse_counts
from perfkit.sweeping.request import MAXIMUM_POINTS, SweepRequest, duration


def counts(text: str) -> Counts:
    return parse_counts("count", text, 0)


def small() -> Grid:
    return grid_of(
        SweepRequest(
            ("v100", "h100"),
            ("llava-1.5-7b", "llama-3-8b"),
            precision=("fp16", "int8"),
            tp=counts("1,2"),
            tokens=counts("0"),
            text_tokens=counts("7,60"),
            new_tokens=counts("1:3"),
            batch=counts("4,1"),
        )
    )


def test_rows_stand_in_the_order_of_the_axes() -> None:
    grid = small()
    columns = {key: plain(column).tolist() for key, column in columns_of(grid, 0, grid.points).items()}
    keys = ("model", "device", "weights", "tp", "text_tokens", "new_tokens", "batch")
    expected = product(
        ("llava-1.5-7b", "llama-3-8b"),
        ("v100-sxm2-32gb", "h100-sxm-80gb"),
        ("fp16", "int8"),
        (1, 2),
        (7, 60),
        (1, 2, 3),
        (4, 1),
    )
    assert list(zip(*(columns[key] for key in keys), strict=True)) == list(expected)
    assert grid.points == 192  # 2 * 2 * 2 * 2 * 2 * 3 * 2


@pytest.mark.parametrize("most", [1, 2, 5, 12, 1000])
@pytest.mark.parametrize(("start", "stop"), [(0, 192), (0, 1), (7, 100), (11, 13), (191, 192)])
def test_boxes_cover_any_rows_in_their_order(most: int, start: int, stop: int) -> None:
    grid = small()
    boxes = list(grid.boxes(start, stop, most))
    assert sum(box.points for box in boxes) == stop - start
    assert max(box.points for box in boxes) <= most
    rows = []
    for box in boxes:
        spread = [np.broadcast_to(box.counts[name], box.shape).ravel() for name in grid.axes]
        rows += [(box.cell, *map(int, point)) for point in zip(*spread, strict=True)]
    every = [(cell, *map(int, point)) for cell in grid.cells for point in product(*grid.axes.values())]
    assert rows == every[start:stop]


def test_single_points_are_python_ints() -> None:
    (box,) = grid_of(SweepRequest(("v100",))).boxes(0, 1)
    assert box.shape == ()
    assert {type(count) for count in box.counts.values()} == {int}


def test_cuts_change_no_figure() -> None:
    grid = small()
    whole = columns_of(grid, 0, grid.points)
    halves = [columns_of(grid, 0, 101), columns_of(grid, 101, 192)]
    for key, column in whole.items():
        joined = np.concatenate([plain(half[key]) for half in halves])
        assert (joined == plain(column)).all(), key


def test_columns_have_the_types_of_their_kinds() -> None:
    columns = columns_of(small(), 0, 192)
    for field in fields_of("roofline"):
        column = columns[field.key]
        assert str((column.places if isinstance(column, Text) else column).dtype) == TYPES[field.kind]


def test_a_model_without_a_decoder_has_no_time_per_token() -> None:
    columns = columns_of(grid_of(SweepRequest(("v100",), ("bert-base", "llama-3-8b"))), 0, 2)
    unknown = [key for key, column in columns.items() if not isinstance(column, Text) and column[0] != column[0]]
    assert unknown == [
        "tpot_roofline_s",
        "tokens_per_s_roofline",
        "decode_roofline_s",
        "decode_flops",
        "decode_bytes",
    ]
    assert not any(np.isnan(columns[key][1]) for key in unknown)
    assert columns["new_tokens"].tolist() == [0, 128]


def test_tokens_per_second_are_those_of_the_whole_request() -> None:
    columns = columns_of(grid_of(SweepRequest(("v100",), batch=counts("8"))), 0, 1)
    seconds = columns["ttft_roofline_s"][0] + 127 * columns["tpot_roofline_s"][0]  # the first token comes of prefill
    assert columns["tokens_per_s_roofline"][0] == pytest.approx(8 * 128 / seconds, rel=1e-14)


def test_the_default_of_tokens_is_all_that_the_images_make() -> None:
    grid = grid_of(SweepRequest(("v100",), ("llava-1.5-7b", "llama-3-8b"), images=counts("1:3")))
    assert columns_of(grid, 0, 6)["visual_tokens"].tolist() == [576, 1152, 1728, 0, 0, 0]


def test_what_memory_or_context_cannot_hold_does_not_fit() -> None:
    grid = grid_of(SweepRequest(("v100",), text_tokens=counts("60,4000"), batch=counts("1,64")))
    columns = columns_of(grid, 0, 4)
    assert columns["fits"].tolist() == [True, False, False, False]  # 64 sequences are 25.6 GB; 4704 tokens exceed 4096


def test_two_names_of_one_format_are_one_row() -> None:
    grid = grid_of(SweepRequest(("v100", "v100"), precision=("fp16", "int8"), weights=("int4",), activations=("fp16",)))
    formats = {(cell.execution.weights.value, cell.execution.kv.value) for cell in grid.cells}
    assert len(grid.cells) == len(formats) == 2  # they differ in the cache alone


# --- what is left out


def test_a_device_without_an_engine_is_left_out_and_named() -> None:
    grid = grid_of(SweepRequest(("v100", "h100"), precision=("fp16", "fp8")))
    assert [(c.choice.device.id, c.execution.weights.value) for c in grid.cells] == [
        ("v100-sxm2-32gb", "fp16"),
        ("h100-sxm-80gb", "fp16"),
        ("h100-sxm-80gb", "fp8"),
    ]
    (line,) = grid.left_out
    assert line.startswith("llava-1.5-7b on v100-sxm2-32gb in fp8 is left out: v100-sxm2-32gb has no engine for fp8")


def test_a_degree_that_does_not_split_a_model_is_left_out_and_named() -> None:
    grid = grid_of(SweepRequest(("h100",), tp=counts("1:3")))
    assert [cell.execution.tp for cell in grid.cells] == [1, 2]
    assert "llava-1.5-7b on h100-sxm-80gb in fp16, tp 3, pp 1 is left out: tp 3 does not split" in grid.left_out[0]


def test_a_grid_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(UnsupportedPrecision, match=r"^nothing is left of the grid: .* in fp8 is left out: v100"):
        grid_of(SweepRequest(("v100",), precision=("fp8",)))
    with pytest.raises(InvalidValue, match=r"^nothing is left of the grid: .* tp 3 does not split"):
        grid_of(SweepRequest(("v100",), tp=counts("3")))


# --- what is refused


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"tokens": counts("0:577")}, InvalidValue, "577 visual tokens: llava-1.5-7b makes at most 576 of 1 image"),
        (
            {"tokens": counts("0:1152"), "images": counts("2,1")},
            InvalidValue,
            "1152 visual tokens: llava-1.5-7b makes at most 576 of 1 image",
        ),
        (
            {"tokens": counts("0,8"), "model": ("llava-1.5-7b", "llama-3-8b")},
            InvalidValue,
            "8 visual tokens: llama-3-8b sees no images: use 0",
        ),
        ({"tokens": counts("8"), "model": ("clip-vit-l-14-336",)}, InvalidValue, "bare vision tower"),
        ({"gpu": ("v10",)}, UnknownName, "nearest: .*v100"),
        ({"model": ("lava",)}, UnknownName, "unknown model 'lava'"),
        ({"precision": ("fp17",)}, UnknownName, "unknown precision 'fp17'"),
        ({"attention": ("flash",)}, UnknownName, "unknown attention 'flash'"),
        ({"basis": "guess"}, UnknownName, "unknown basis 'guess'; allowed: expected, roofline"),
        ({"runtime": "eager"}, InvalidValue, "runtime is of expected times: leave it out, or ask for basis expected"),
        ({"calibration": "x.yaml"}, InvalidValue, "calibration is of expected times"),
        ({"basis": "expected", "runtime": "quick"}, UnknownName, "unknown runtime 'quick'"),
        ({"basis": "expected", "calibration": "none.yaml"}, InvalidSpec, "none.yaml"),
        ({"gpu": ()}, InvalidValue, "gpu is empty: a grid needs at least one"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        grid_of(SweepRequest(**{"gpu": ("v100",), **asked}))
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_too_large_is_refused_with_an_estimate_before_any_work() -> None:
    with pytest.raises(InvalidValue) as caught:
        SweepRequest(("v100",), batch=counts("1:1000000"), text_tokens=counts("1:1000001"))
    # 10^12 points at 2 us and 30 bytes.
    assert str(caught.value) == (
        "the grid has 1e+12 points, about 23 days of work and 30.0 TB as Parquet; at most 1e+09 are allowed: shorten "
        "an axis, the longest being text-tokens with 1000001 values"
    )
    assert SweepRequest(("v100",), batch=counts("1:1000"), text_tokens=counts("1:1000000")).points == MAXIMUM_POINTS


def test_cells_count_in_the_estimate() -> None:
    # 40 000 cells of 25 000 points and one more batch: 1.00004e9 points at 2 us, and 40 000 cells at 1 ms.
    with pytest.raises(InvalidValue, match=r"the grid has 1e\+09 points, about 34 minutes of work"):
        SweepRequest(("v100",), tp=counts("1:200"), pp=counts("1:200"), batch=counts("1:25001"))
    # 10^9 cells and one more degree, of a point each: nearly all of it is the cells, 10^6 s.
    with pytest.raises(InvalidValue, match=r"the grid has 1e\+09 points, about 12 days of work"):
        SweepRequest(("v100",), tp=counts("1:100001"), pp=counts("1:10000"))


def test_a_calibration_of_another_device_is_refused() -> None:
    assert "v100-sxm2-32gb" in calibration_ids()
    path = "hardware_specs/calibrations/v100-sxm2-32gb.yaml"
    request = SweepRequest(("v100", "h100"), basis="expected", calibration=path)
    with pytest.raises(InvalidValue, match="not of h100"):
        grid_of(request)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (119, "119 s"), (120, "2 minutes"), (7199, "120 minutes"), (172800, "2 days"), (1e9, "32 years")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
