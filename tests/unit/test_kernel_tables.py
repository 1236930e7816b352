"""Tables of kernels: what is read, what is refused by name and row, and which measured times can be true."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles import MACHINE

from perfkit.errors import InvalidSpec, MachineError, UnsupportedPrecision
from perfkit.hardware import Device, load_device
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.plausibility import FASTEST, check_enough, check_measured, check_times, check_unit
from perfkit.kernels.tables import KernelTable, read_kernels
from perfkit.measuring.kernel_costs import cost_of
from perfkit.measuring.kernels import kernel_cases, kernel_table
from perfkit.measuring.measurement import Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.models import load_model
from perfkit.units import Precision

HEADER = "source,op,precision,m,n,k,batch,kv_tokens,heads,kv_heads,head_dim,measured_s"
GEMM = "mine,gemm,fp16,{m},4096,4096,,,,,,{s}"
V100 = load_device("v100")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kernels.csv"


def read(file: Path, *lines: str, header: str = HEADER) -> KernelTable:
    file.write_text("\n".join([header, *lines]) + "\n")
    return read_kernels(file)


def refusal(file: Path, *lines: str, header: str = HEADER) -> str:
    with pytest.raises(InvalidSpec) as caught:
        read(file, *lines, header=header)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


# --- what is read


def test_cells_stay_as_they_stand_and_sizes_are_columns(file: Path) -> None:
    lines = (
        "a,gemm,fp16,1,4096,11008,,,,,,1e-05",
        "b,add,fp32, 7 ,4096.0,,,,,,,0.5",
        "c,attention_decode,bf16,,,,2,99,8,4,128,1",
        "d,gemm,fp16,3,5,7,,,,,,2",
    )
    table = read(file, *lines)
    assert table.columns == tuple(HEADER.split(","))
    assert [",".join(row) for row in table.rows] == list(lines)
    gemm, add, decode = table.groups
    assert (gemm.op, gemm.precision, gemm.places.tolist()) == ("gemm", Precision.FP16, [0, 3])
    assert [gemm.shape.m.tolist(), gemm.shape.n.tolist(), gemm.shape.k.tolist()] == [[1, 3], [4096, 5], [11008, 7]]
    assert {column.dtype for column in (gemm.shape.m, gemm.shape.n, gemm.shape.k)} == {np.dtype("float64")}
    assert (add.op, add.shape.m.tolist(), add.shape.n.tolist(), add.shape.k) == ("add", [7], [4096], None)
    assert (decode.shape.q_tokens.tolist(), decode.shape.kv_tokens.tolist(), decode.shape.causal) == ([1], [99], 0)
    assert table.measured_s.tolist() == [1e-05, 0.5, 1, 2]
    assert table.where(3) == f"{file}: row 5"


@pytest.mark.parametrize("content", [f"\ufeff{HEADER}\n{GEMM}\n", f"{HEADER}\r\n\r\n{GEMM}\r\n", f"{HEADER}\n{GEMM}"])
@pytest.mark.parametrize("packed", [False, True])
def test_marks_ends_of_lines_and_packing_make_no_difference(content: str, packed: bool, tmp_path: Path) -> None:
    data = content.format(m=1, s=1).encode()
    path = tmp_path / ("kernels.csv.gz" if packed else "kernels.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_kernels(path).groups[0].shape.m.tolist() == [1]


def test_prefill_and_encoder_go_over_as_many_tokens_as_they_have(file: Path) -> None:
    header = "op,precision,batch,kv_tokens,heads,kv_heads,head_dim"
    table = read(file, "attention_prefill,fp16,1,92,8,8,64", "attention_encoder,fp16,1,577,8,8,64", header=header)
    found = [(group.shape.q_tokens.tolist(), group.shape.causal) for group in table.groups]
    assert found == [([92], 1), ([577], 0)]
    assert table.measured_s is None


def test_an_empty_column_of_times_is_none(file: Path) -> None:
    assert read(file, GEMM.format(m=1, s=""), GEMM.format(m=2, s="")).measured_s is None


def test_what_a_machine_measured_is_such_a_table(file: Path) -> None:
    spec = load_model("llava-1.5-7b")
    cases = kernel_cases(spec, tokens=[32], text_tokens=60, batches=[1], precisions=["fp16"])
    points = tuple(Point(case, "ok", Timing((1.0,), 0, stable=True)) for case in cases)
    file.write_text(kernel_table(Measurement(MACHINE, (), points)).render("csv"))
    table = read_kernels(file)
    single = [case for case in cases if case.shape.op not in ("silu_mul", "quick_gelu")]
    assert (len(table.rows), table.launches) == (len(single), 1)
    for group in table.groups:
        costs = cost_of_shape(group.shape, group.precision)
        for i, place in enumerate(group.places):
            cost = cost_of(single[place])
            assert (np.broadcast_to(costs.flops, len(group.places))[i], costs.bytes[i]) == (cost.flops, cost.bytes)


def test_launches_have_no_shape(file: Path) -> None:
    table = read(file, "a,launch,bf16,,,,,,,,,5e-06", GEMM.format(m=1, s=1e-5))
    assert table.launches == 1
    assert [group.op for group in table.groups] == ["gemm"]
    assert table.measured_s.tolist() == [5e-06, 1e-05]


def test_empty_lines_count_as_rows_of_the_file(file: Path) -> None:
    for empty in ("", "  "):
        assert "row 4: m must be" in refusal(file, GEMM.format(m=1, s=1), empty, GEMM.format(m=0, s=1))


def test_a_long_name_is_not_repeated_whole(file: Path) -> None:
    assert refusal(file, f"a,{'x' * 5000},fp16,1,4096,4096,,,,,,1") == f"row 2: unknown op '{'x' * 30}...'"


# --- what is refused


@pytest.mark.parametrize("text", ["0", "-4", "nan", "NaN", "inf", "-inf", "1.5", "1e8", "1_0", "0x10", "many", "٣"])
def test_sizes_are_counts(text: str, file: Path) -> None:
    message = refusal(file, GEMM.format(m=1, s=1), GEMM.format(m=text, s=1))
    assert message == f"row 3: m must be a whole number from 1 to 10000000, not '{text}'"


@pytest.mark.parametrize("text", ["0", "-1e-5", "nan", "inf", "1e999", "10 us"])
def test_times_are_seconds_above_zero(text: str, file: Path) -> None:
    message = refusal(file, GEMM.format(m=1, s=1), GEMM.format(m=2, s=text))
    assert message == f"row 3: measured_s must be a number of seconds above zero, not '{text}'"


def test_a_time_that_is_missing_is_named(file: Path) -> None:
    message = refusal(file, GEMM.format(m=1, s=1), GEMM.format(m=2, s=""))
    assert message == "row 3: measured_s must be a number of seconds above zero, and is empty"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,gemm,fp16,1,4096,,,,,,,1", "row 2: k must be a whole number from 1 to 10000000, and is empty"),
        ("a,gem,fp16,1,4096,4096,,,,,,1", "row 2: unknown op 'gem'; nearest: gemm"),
        ("a,gemm,fp61,1,4096,4096,,,,,,1", "row 2: unknown precision 'fp61'; nearest: fp16"),
        ("a,gemm,int4,1,4096,4096,,,,,,1", "row 2: unknown precision 'int4'; nearest: int8"),
        ("a,gemm,fp16,1,4096,4096,2,,,,,1", "row 2: batch of this gemm must be 1, not '2'"),
        ("a,gemm,fp16,1,4096", "row 2: 5 cells under 12 column names"),
        ("a,attention_decode,bf16,,,,2,99,8,3,128,1", "row 2: kv_heads must divide heads (8), which 3 does not"),
        ('a,gemm,"fp16,1,4096,4096,,,,,,1', "not a csv table: unexpected end of data"),
    ],
)
def test_a_row_that_cannot_be_is_named(line: str, message: str, file: Path) -> None:
    assert refusal(file, line).startswith(message)


@pytest.mark.parametrize(
    ("op", "told", "message"),
    [
        ("attention_decode", "2,0", "row 2: q_tokens of this attention_decode must be 1, not '2'"),
        ("attention_prefill", "3,1", "row 2: q_tokens of this attention_prefill must be 9, not '3'"),
        ("attention_prefill", "9,0", "row 2: causal of this attention_prefill must be 1, not '0'"),
        ("attention_encoder", "9,1", "row 2: causal of this attention_encoder must be 0, not '1'"),
    ],
)
def test_what_an_op_tells_may_not_be_told_otherwise(op: str, told: str, message: str, file: Path) -> None:
    header = "op,precision,batch,kv_tokens,heads,kv_heads,head_dim,q_tokens,causal"
    assert refusal(file, f"{op},fp16,1,9,8,8,64,{told}", header=header) == message


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("op,precision,m,n", "gemm,fp16,1,2", "row 2: gemm needs m, n, k: no column k"),
        ("op,precision,m,n", "bmm,fp16,1,2", "row 2: bmm needs batch, m, n, k: no column batch, k"),
        ("op,precision,m,k", "add,fp16,1,2", "row 2: add needs m, n: no column n"),
        ("op,precision,batch,kv_tokens", "attention_decode,fp16,1,2", "row 2: attention_decode needs batch, kv_tokens"),
        ("op,m,n,k", "gemm,1,2,3", "row 1: no column precision"),
        ("kind,precision,m,n,k", "gemm,fp16,1,2,3", "row 1: no column op"),
        ("op;precision;m;n;k", "gemm;fp16;1;2;3", "row 1: no column op"),
        ("op,precision,m,n,k,m", "gemm,fp16,1,2,3,4", "row 1: two columns are named m"),
    ],
)
def test_a_missing_column_is_named_with_the_op_that_needs_it(header: str, line: str, message: str, file: Path) -> None:
    assert refusal(file, line, header=header).startswith(message)


@pytest.mark.parametrize("content", [b"", b"\n\n", HEADER.encode()])
def test_a_table_without_rows_is_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidSpec, match="no rows: a kernel table has a line of column names and a line a kernel"):
        read_kernels(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\xff\xfe\x00op", "not text in UTF-8"),
        ("a.csv.gz", b"op,precision", "cannot be unpacked: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"op,precision\n" * 99, mtime=0)[:-9], "cannot be unpacked: Compressed file ended"),
        ("a.csv.gz", gzip.compress(b"\xff\xfe", mtime=0), "not text in UTF-8"),
        ("a.csv", b'{"points": []}\n{}\n', "row 1: no column op"),
    ],
)
def test_what_is_no_table_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidSpec, match=message):
        read_kernels(tmp_path / name)


@pytest.mark.parametrize("name", ["none.csv", "none.csv.gz"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=rf"{name}: no such file"):
        read_kernels(tmp_path / name)


def test_numpy_is_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MachineError, match=r"need numpy: pip install 'perfkit\[arrays\]'"):
        read(file, GEMM.format(m=1, s=1))


# --- whether measured times can be true; on a V100 a product of 4096^3 in fp16 takes at least 1.0995 ms

SQUARE_S = 2 * 4096**3 / 125e12


def times(file: Path, seconds: Iterable[float], device: Device = V100) -> KernelTable:
    lines = [GEMM.format(m=4096 + i, s=one) for i, one in enumerate(seconds)]
    return check_measured(read(file, *lines), device).table


def test_believable_times_pass(file: Path) -> None:
    table = times(file, [SQUARE_S / 1.1] * 10)
    assert len(table.groups[0].places) == 10


@pytest.mark.parametrize(
    ("seconds", "words"), [(1e-9, "took 1e-09 s, 1.1e+06 times faster"), (SQUARE_S / 1.16, "1.16 times faster")]
)
def test_products_are_no_faster_than_the_roofline(seconds: float, words: str, file: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"row 2: gemm m=4096 n=4096 k=4096 in fp16") as caught:
        times(file, [seconds, *[2 * SQUARE_S] * 99])
    assert words in str(caught.value)
    assert str(caught.value).endswith("than v100-sxm2-32gb can (0.0011 s): measured_s must be seconds on that device")


def test_more_such_rows_are_counted(file: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"row 3: .*; 2 more such rows"):
        times(file, [1, *[1e-6] * 3, *[1] * 8])


ADD = "mine,add,fp16,{m},4096,,,,,,,{s}"


def added(file: Path, rows: int, seconds: float, others: int) -> KernelTable:
    lines = [ADD.format(m=m + 1, s=1) for m in range(others)]
    return read(file, ADD.format(m=rows, s=seconds), *lines)


def test_what_the_cache_holds_may_be_faster_than_memory(file: Path) -> None:
    # 3 * 240 * 4096 * 2 B = 5.9 MB of 6 MB: 6.55 us from memory at 900 GB/s
    assert len(check_measured(added(file, 240, 2e-6, 9), V100).table.groups[0].places) == 10


def test_even_the_cache_has_a_rate(file: Path) -> None:
    # 80 multiprocessors * 1530 MHz * 128 B = 15.7 TB/s: 5.9 MB take 0.376 us
    with pytest.raises(InvalidSpec, match=r"row 2: add m=240 n=4096 in fp16 took 1e-07 s, 3.76 times faster"):
        check_measured(added(file, 240, 1e-7, 9), V100)


@pytest.mark.parametrize(("unit", "rows"), [(1e3, 12), (1e6, 12), (1e3, 7)])
def test_times_in_another_unit_are_refused(file: Path, unit: float, rows: int) -> None:
    # 2 * 4096^2 B / 900 GB/s = 37 us, so at most 30 * (37 + 100) us = 4.1 ms; 100 us are 0.1 ms
    lines = [GEMM.format(m=m, s=100e-6 * (unit if m > 12 - rows else 1)) for m in range(1, 13)]
    message = f"row {14 - rows}: {rows} of 12 rows, this one first, took more than 30 times as long as v100-sxm2-32gb"
    with pytest.raises(InvalidSpec, match=message):
        check_unit(read(file, *lines), V100)


def test_half_of_the_rows_may_be_slow(file: Path) -> None:
    check_unit(read(file, *[GEMM.format(m=m, s=0.1 if m <= 6 else 100e-6) for m in range(1, 13)]), V100)


def test_a_few_rows_that_memory_cannot_explain_are_left_out_and_named(file: Path) -> None:
    # 3 * 4096 * 4096 * 2 B = 100.7 MB, of which 94.7 MB pass through memory: 105 us
    checked = check_measured(added(file, 4096, 60e-6, 99), V100)
    assert checked.table.groups[0].places.tolist() == list(range(1, 100))
    assert len(checked.table.groups[0].shape.m) == 99
    (warning,) = checked.warnings
    assert warning.startswith(f"{file}: 1 row left out (2): more than {FASTEST} times faster than the memory of v100")


def test_many_of_them_are_refused(file: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"row 2: add m=4096 n=4096 in fp16 took 6e-05 s, 1.75 times faster"):
        check_measured(added(file, 4096, 60e-6, 9), V100)


def test_a_cache_of_unknown_size_may_hold_all(file: Path) -> None:
    checked = check_measured(added(file, 4096, 60e-6, 9), replace(V100, l2=None))
    assert (len(checked.table.groups[0].places), checked.warnings) == (10, ())


def test_causal_attention_may_leave_out_what_is_masked(file: Path) -> None:
    # 4 * 4096^2 * 32 * 128 = 275 GFLOP are counted: 2.2 ms; half of them take 1.1 ms
    line = "mine,attention_{},fp16,,,,1,4096,32,32,128,{}"
    checked = check_times(read(file, line.format("prefill", 1.2e-3)), V100)
    assert len(checked.table.groups[0].places) == 1
    for kind, seconds in (("prefill", 0.9e-3), ("encoder", 1.2e-3)):
        with pytest.raises(InvalidSpec, match=f"attention_{kind}"):
            check_times(read(file, line.format(kind, seconds)), V100)


def test_a_fit_needs_rows(file: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"kernels.csv: 9 rows of kernels; a fit needs at least 10"):
        times(file, [1] * 9)
    one = read(file, *[GEMM.format(m=m, s=1) for m in range(1, 6)])
    check_enough([one, one])  # several tables count together


def test_a_fit_needs_several_shapes(file: Path) -> None:
    table = read(file, *[GEMM.format(m=7, s=1)] * 12)
    with pytest.raises(InvalidSpec, match=r"all 12 rows are of one shape \(gemm m=7 n=4096 k=4096\); a fit needs"):
        check_measured(table, V100)
    two = read(file, *[GEMM.format(m=m, s=1) for m in (7, 7, 7, 7, 7, 7, 7, 7, 7, 8)])
    with pytest.raises(InvalidSpec, match=r"all 10 rows are of 2 shapes \(gemm m=7 .*, gemm m=8 .*\); a fit needs at"):
        check_measured(two, V100)
    three = read(file, *[GEMM.format(m=m, s=1) for m in (7, 7, 7, 7, 7, 7, 7, 7, 8, 9)])
    assert len(check_measured(three, V100).table.rows) == 10


def test_a_fit_needs_times(file: Path) -> None:
    table = read(file, *[GEMM.format(m=m, s="") for m in range(1, 20)])
    with pytest.raises(InvalidSpec, match="no column measured_s with seconds in it: nothing to fit"):
        check_measured(table, V100)


def test_a_precision_that_the_device_lacks_is_named_with_its_row(file: Path) -> None:
    lines = [GEMM.format(m=m, s=1) for m in range(1, 11)]
    table = read(file, *lines, "mine,gemm,bf16,1,2,3,,,,,,1")
    with pytest.raises(UnsupportedPrecision, match=r"row 12: v100-sxm2-32gb has no engine for bf16 products"):
        check_measured(table, V100)
