"""docs/when-reducers-pay.md: every figure of its tables made again by the commands above them, or by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import chdir
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import perfkit
from perfkit.cli import main
from perfkit.hardware import load_device
from perfkit.units import Precision, format_quantity

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/when-reducers-pay.md").read_text(encoding="utf-8")
GPUS = {"v100-sxm2-32gb": "V100", "a100-sxm-80gb": "A100", "h100-sxm-80gb": "H100"}
MODELS = {
    "llava-1.5-13b": "LLaVA-1.5-13B",
    "llava-1.5-7b": "LLaVA-1.5-7B",
    "docs/examples/llava-tinyllama-1.1b.json": "TinyLlama-1.1B",
    "docs/examples/llava-qwen2-0.5b.json": "Qwen2-0.5B",
}
Row = dict[str, Any]
Cells = list[str]


# --- the page


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return str(found)


def commands(title: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", section(title), flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def table(title: str, number: int = 0) -> list[Cells]:
    """Rows of a table of a section, without its head."""
    tables = re.findall(r"^\|.*\n\| ?---.*\n((?:\|.*\n)+)", section(title), flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()]


# --- what the commands print


def ran(line: str, form: str, folder: Path) -> str:
    arguments = [*shlex.split(line)[1:], "--format", form]
    with chdir(folder if arguments[0] == "plot" else ROOT):
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(title: str, folder: Path, pattern: str = "perfkit table ") -> list[Row]:
    """Rows of csv of all commands of a section that begin so; with the batch and new tokens that were asked for."""
    found = []
    for line in commands(title):
        if line.startswith(pattern):
            asked = {key: re.search(rf"--{key} (\d+)", line) for key in ("batch", "new-tokens")}
            counts = {key: int(match[1]) if match else None for key, match in asked.items()}
            found += [{**row, **counts} for row in csv.DictReader(io.StringIO(ran(line, "csv", folder)))]
    return found


def crossings(line: str, folder: Path) -> list[str]:
    """Of each curve, the count from which prefill is bound by compute; `all` where it always is."""
    curves = json.loads(ran(line, "json", folder))["curves"]
    found = []
    for curve in curves:
        (*_, last) = curve["crossings"] or [{"bound": "compute", "tokens": "all"}]
        assert last["bound"] == "compute"
        found.append(str(last["tokens"]))
    return found


def seconds(row: Row, what: str) -> float:
    return float(row[f"{what}_roofline_s"])


def time(value: float) -> str:
    return format_quantity(value, "s")


def times(row: Row, what: str) -> str:
    return time(seconds(row, what))


def percent(share: float) -> str:
    """Two digits, or all before the point."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def pairs(found: list[Row]) -> Iterator[tuple[Row, Row]]:
    """A row without a reduction, and the one of PruMerge behind it."""
    for plain, reduced in zip(found[::2], found[1::2], strict=True):
        assert (plain["reduction"], reduced["reduction"]) == ("", "prumerge")
        yield plain, reduced


def gain(plain: Row, reduced: Row, what: str) -> str:
    return f"{seconds(plain, what) / seconds(reduced, what):.2f}"


# --- each table


def fewer_tokens(folder: Path) -> Iterator[Cells]:
    lines = commands("Fewer tokens stop helping")
    starts = [crossings(line, folder) for line in lines if "--batch 1,2,4" in line]
    narrow = crossings(next(line for line in lines if "int4" in line), folder)
    for (device, found), start, int4 in zip(
        groupby(rows("Fewer tokens stop helping", folder), lambda row: row["device"]), starts, narrow, strict=True
    ):
        ridge = load_device(device)
        ratio = ridge.product_peak(Precision.FP16).flops_per_s / ridge.bytes_per_s
        yield [GPUS[device], f"{ratio:.0f}", *start, int4, *(times(row, "prefill") for row in found)]


def batches(folder: Path) -> Iterator[Cells]:
    for plain, reduced in pairs(rows("Batch", folder, "perfkit table --gpu h100")):
        figures = [gain(plain, reduced, what) for what in ("ttft", "decode", "request")]
        yield [str(plain["batch"]), times(plain, "ttft"), times(reduced, "ttft"), *figures]


def largest_batch(gpu: str, **asked: Any) -> int:
    def fits(batch: int) -> bool:
        return bool(perfkit.analyze(gpu, batch=batch, **asked).fits)

    low, high = 1, 4096
    assert fits(low)
    assert not fits(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fitting(folder: Path) -> Iterator[Cells]:  # noqa: ARG001  # as the others
    for gpu in ("v100", "a100"):
        for weights in ("fp16", "int4"):
            plain, reduced = (largest_batch(gpu, weights=weights, reduction=text) for text in (None, "prumerge"))
            yield [gpu.upper(), weights, str(plain), str(reduced)]


def answers(folder: Path) -> Iterator[Cells]:
    found = {gpu: list(pairs(rows("Long answers", folder, f"perfkit table --gpu {gpu}"))) for gpu in ("v100", "h100")}
    for v100, h100 in zip(*found.values(), strict=True):
        cells = []
        for plain, reduced in (v100, h100):
            share = percent(seconds(plain, "ttft") / seconds(plain, "request"))
            cells += [times(plain, "request"), share, gain(plain, reduced, "request")]
        yield [str(v100[0]["new-tokens"]), *cells]


def small_models(folder: Path) -> Iterator[Cells]:
    for plain, reduced in pairs(rows("Small models", folder)):
        vision = seconds(plain, "vision")
        share = percent(vision / seconds(plain, "ttft"))
        most = f"{seconds(plain, 'ttft') / vision:.2f}"
        names = [GPUS[plain["device"]], MODELS[plain["model"]]]
        first = [times(row, "ttft") for row in (plain, reduced)]
        yield [*names, time(vision), share, *first, gain(plain, reduced, "ttft"), most]


# Of the published loop: launches, and elements that they move at least, for each kept patch: features and keys of the
# 575 other patches copied together (read, written), and those keys read by the product.
LAUNCHES, MOVED = 11, 5 * 575 * 1024
# Of its attention over all positions: 2 * 577^2 * 1024 FLOPs; then scaled and normalised, each read and written.
PEAKS = {"V100": (125e12, 900e9), "H100": (989.4e12, 3350e9)}


def published_s(gpu: str, kept: int) -> float:
    peak, bandwidth = PEAKS[gpu]
    product = max(2 * 577**2 * 1024 / peak, 2 * (2 * 577 * 1024 + 577**2) / bandwidth)
    return product + 2 * 4 * 577**2 / bandwidth + kept * 2 * MOVED / bandwidth


def own_costs(folder: Path) -> Iterator[Cells]:
    found = rows("What the reducer itself costs", folder)
    for plain, *reduced in zip(found[::3], found[1::3], found[2::3], strict=True):
        for row in reduced:
            gpu, kept = GPUS[row["device"]], int(row["visual_tokens"]) - 1
            saved = seconds(plain, "ttft") - seconds(row, "ttft")
            method = {"prumerge": "PruMerge", "prumerge+": "PruMerge+"}[row["reduction"]]
            published = published_s(gpu, kept)
            yield [
                *(gpu, MODELS[row["model"]], method),
                *(time(saved), times(row, "reduction"), time(published), percent(published / saved)),
                *(str(LAUNCHES * kept), time(saved / (LAUNCHES * kept))),
            ]


def narrow_weights(folder: Path) -> Iterator[Cells]:
    for plain, reduced in pairs(rows("Narrow weights", folder)):
        names = [GPUS[plain["device"]], plain["weights"]]
        prefill = [times(row, "prefill") for row in (plain, reduced)]
        yield [*names, *prefill, *(gain(plain, reduced, what) for what in ("prefill", "ttft", "decode", "request"))]


TABLES: dict[tuple[str, int], Callable[[Path], Iterator[Cells]]] = {
    ("Fewer tokens stop helping", 0): fewer_tokens,
    ("Batch", 0): batches,
    ("Batch", 1): fitting,
    ("Long answers", 0): answers,
    ("Small models", 0): small_models,
    ("What the reducer itself costs", 0): own_costs,
    ("Narrow weights", 0): narrow_weights,
}


@pytest.mark.parametrize(("title", "number"), TABLES)
def test_every_table_is_what_its_commands_give(title: str, number: int, tmp_path: Path) -> None:
    assert table(title, number) == list(TABLES[title, number](tmp_path))


def test_no_table_is_left_out() -> None:
    assert len(re.findall(r"^\| ?---", PAGE, flags=re.MULTILINE)) == len(TABLES)


def test_figures_of_the_summary_are_those_of_the_tables() -> None:
    summary = PAGE.split("A reducer pays least where")[1].split("## ")[0]
    links = r"\]\([^)]*\)|(?<=[A-Za-z])[\d.-]+"  # and numbers of names
    stated = re.findall(r"\d+(?:\.\d+)?", re.sub(links, "", summary))
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("|")) + " 32 GB"
    shown = set(re.findall(r"(?<![\d.])\d+(?:\.\d+)?", tables))
    assert [figure for figure in stated if figure not in shown] == []
    assert len(stated) > 20


# --- by hand


@pytest.mark.parametrize(("gpu", "ridge", "rows"), [("v100", 125e3 / 900, 146), ("a100", 312e3 / 2039, 162)])
def test_where_prefill_becomes_bound_by_compute(gpu: str, ridge: float, rows: int) -> None:
    h, i = 4096, 11008
    assert ceil(ridge * h * i / (h * i - ridge * (h + i))) == rows
    (row,) = [row for row in table("Fewer tokens stop helping") if row[0] == gpu.upper()]
    assert int(row[2]) == rows - 60
    assert row[1] == f"{ridge:.0f}"
    # Two sequences have the rows together: 146 of 2 (60 + 13), and 162 of 2 (60 + 21).
    assert int(row[3]) == rows // 2 - 60


def test_prefill_of_few_tokens_reads_all_weights() -> None:
    # 32 layers of 202,375,168 weights and lm_head's 131,334,144, 2 bytes each, at 3350 GB/s: 3.94 ms
    weights_s = 2 * (32 * 202_375_168 + 32_064 * 4096) / 3350e9
    assert weights_s == pytest.approx(3.94e-3, abs=0.005e-3)
    (h100,) = [row for row in table("Fewer tokens stop helping") if row[0] == "H100"]
    for shown in (h100[-1], h100[-2], h100[-3]):
        assert weights_s < float(shown.removesuffix(" ms")) / 1e3 < 1.25 * weights_s


def test_requests_that_a_v100_holds() -> None:
    # 32e9 B less 1 GiB and 14.127 GB of weights; a request keeps 2 * 32 * 4096 * 2 B of each of its tokens.
    room, token = 32e9 - 2**30 - 14_126_854_144, 2 * 32 * 4096 * 2
    for tokens, column in ((576, 2), (32, 3)):
        most = room / (token * (tokens + 60 + 128))
        shown = int(table("Batch", 1)[0][column])
        assert 0.85 * most < shown < most  # activations take the rest


def test_what_the_published_code_takes_on_a_v100() -> None:
    # 2 * 577^2 * 1024 / 125e12 = 5.45 us; 4 * 577^2 elements of 2 bytes at 900 GB/s = 2.96 us
    attention_s = 681_838_592 / 125e12 + 2 * 4 * 332_929 / 900e9
    assert attention_s == pytest.approx(8.4e-6, abs=0.05e-6)
    loop_s = 31 * 2 * 2_944_000 / 900e9  # so many elements of 2 bytes at 900 GB/s
    assert loop_s == pytest.approx(202.8e-6, abs=0.05e-6)
    assert published_s("V100", 31) == pytest.approx(211.2e-6, abs=0.05e-6)
    assert "elements scaled and normalised      8.4 µs" in PAGE
    assert "elements                                           202.8 µs" in PAGE


def test_launches_of_a_turn_of_the_loop() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    launched: list[str] = []
    views = ("aten.view", "aten.slice", "aten.select", "aten.unsqueeze", "aten.transpose", "aten._unsafe_view")

    class Launches(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not str(func).startswith(views):
                launched.append(str(func))
            return func(*args, **(kwargs or {}))

    keys, features, attention, merged = (torch.rand(1, 576, width) for width in (1024, 1024, 1, 1024))
    with Launches():
        others = [torch.cat([whole[:, :7], whole[:, 8:]], dim=1) for whole in (keys, features, attention)]
        near = torch.bmm(keys[:, 7:8], others[0].transpose(1, 2)).topk(32, dim=2).indices
        weighted = others[1][:, near[0, 0]] * others[2][:, near[0, 0]]
        merged[:, 7] = weighted.sum(dim=1) + features[:, 7]
    assert len(launched) == LAUNCHES, launched
    assert others[0].shape == (1, 575, 1024)
    assert 2 * sum(whole.numel() for whole in others[:2]) + others[0].numel() == MOVED
