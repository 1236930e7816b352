"""The page of the kernel model against measured kernels: its words and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from perfkit.calibration.fitting import M_ENDS
from perfkit.calibration.forms import FORMS, Source
from perfkit.calibration.left_out import EXPECTED, PREDICTORS, Sums
from perfkit.calibration.protocols import FEW
from perfkit.charts.predicted_kernels import Panel
from perfkit.metrics import mape, percentile
from perfkit.tables import Column, Table, render_for_people
from perfkit.validation.published import PublishedPoint, PublishedValidation
from scripts.kernel_views import (
    ALL_PRODUCTS,
    ATTENTION,
    COLUMNS,
    GEMM,
    OTHERS,
    ROWWISE,
    Judged,
    Row,
    View,
    every,
    rows_of,
)
from scripts.pages import WIDTH

DRAWS = 10
SOURCES = {
    "deepbench": "Baidu DeepBench (commit da81ba7), cuBLAS of CUDA 10.1 on a DGX-1: layouts NN, NT and TN",
    "aiconfigurator": "NVIDIA aiconfigurator (commit 095f58a), median over versions of serving libraries",
    "vidur": "Microsoft Vidur (commit 7d47513), to the microsecond",
    "neusight": "NeuSight (commit 6945927), PyTorch eager; less the host's time, as `scripts/eager_times.py` tells",
}
WITHOUT_HOST = "neusight"  # whose table is written anew
INTRODUCTION = f"""
Made by `make validation DATA=DIR` from tables of measured kernels that are not part of perfkit; do not edit.
[What the model is, and how it is fitted](../../docs/calibrating.md).

No figure here is of rows that a fit saw. Fits are made in three ways, which are columns below:

- **other families**: the fit saw the tables of the GPUs of all other families, and no row of the family that it is
  judged on.
- **{FEW} points**: the fit saw {FEW} rows of each kind of that GPU, drawn evenly from the ranges of m (of tokens, of
  cache) among the judged shapes, and began at calibrations of the other families' GPUs, made here from their tables
  alone. Judged are all rows of other shapes than drawn; the error is the mean over {DRAWS} draws.
- **own**: each fifth of the rows is predicted by a fit to the other four fifths. A fifth has all rows of its weights
  (n, k), of attention all of its batches and tokens, of element-wise kernels all of its widths. Below 200 rows such a
  fit too begins at the other families' GPUs.

Beside them stand two predictors that see nothing: **roofline**, FLOPs at the datasheet's peak or bytes at its
bandwidth, whichever take longer; and **constant**, 0.7 of the peak, 0.8 of the bandwidth, and 3 us, one set for all.

Errors are means of |predicted - measured| / measured in percent, in which ranges of m (1-16, 17-128, 129-512, 513-1536,
1537-4096, more) weigh alike, and so do ranges of an attention's tokens or cache. A kind is the products of one engine
(tensor or vector), attention of prompts, of encoders or of new tokens, or all element-wise kernels. A dash: no such
rows, or no other family that has such kernels.

What flatters the figures: the forms of the model, and where fits of attention and element-wise kernels begin, were
found with these tables at hand, which matters most for attention under "other families". What spoils them: library
versions differ by 3-20 % in products and by 10-60 % in attention; and what Vidur lists for phi-2 (element-wise, widths
of 2560 and 10240) are, by their times, other kernels than their names say. They are fitted all the same here, and
judged with and without; the calibrations that come with perfkit leave them out.
""".strip()


# --- tables


def _data(source: Source, folder: Path) -> str:
    """What a table is, as an item of a list; its digest is that of the file in `folder`."""
    table, file = source.table, Path(source.table.file).name
    kept = "source" in table.columns
    names = dict.fromkeys(row[table.columns.index("source")] for row in table.rows) if kept else [WITHOUT_HOST]
    told = "; ".join(SOURCES.get(name, name) for name in names)
    rows = sum(len(group.places) for group in table.groups)
    digest = sha256((folder / file).read_bytes()).hexdigest()
    return f"- {source.device.name}: `{file}`, {rows} rows. {told}. SHA-256 `{digest}`."


MEAN = "mean: of 16-bit products"
HEADERS = {"unseen": "other families", "few": f"{FEW} points"}


def _errors(rows: Sequence[Row], title: str, mean_of: Callable[[Row], bool], note: str = "") -> Table:
    """A row a GPU, and the mean of those that `mean_of` takes, which `note` names."""
    columns = (
        Column("gpu", "GPU"),
        Column("rows", "rows", "n"),
        *(Column(name, HEADERS.get(name, name), "x") for name in COLUMNS),
    )
    cells = [(row.label, row.own.rows, *(row.error(name) for name in COLUMNS)) for row in rows]
    some = [row for row in rows if mean_of(row)]
    means = (_mean(row.error(name) for row in some) for name in COLUMNS)
    mean = [("mean", sum(row.own.rows for row in some), *means)] if len(some) > 1 else []
    notes = (note,) if mean and note else ()
    return Table(columns, (*cells, *mean), title, notes, frozenset({len(cells)} if mean else ()))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _by_range(rows: Sequence[Row], ends: Sequence[float], title: str) -> Table:
    columns = (
        Column("gpu", "GPU"),
        Column("by", "by"),
        *(Column(f"range_{i}", label, "x") for i, label in enumerate(_range_labels(ends))),
    )
    cells = [cell for row in rows for cell in _range_cells(row, len(ends) + 1)]
    starts = frozenset(i for i in range(1, len(cells)) if cells[i][0])
    return Table(columns, tuple(cells), title=title, rule_before=starts)


def _range_cells(row: Row, ranges: int) -> Iterator[tuple[Any, ...]]:
    found = {name: row.own.errors_by_range(name) for name in ("roofline", "constant")}
    found["unseen"] = row.unseen.errors_by_range(EXPECTED) if row.unseen else {}
    few = [part.errors_by_range(EXPECTED) for part in row.few]
    found["few"] = {i: _mean(draw.get(i) for draw in few) or 0.0 for i in range(ranges) if any(i in d for d in few)}
    found["own"] = row.own.errors_by_range(EXPECTED)
    for name in COLUMNS:
        if found[name]:
            values = (found[name].get(i) for i in range(ranges))
            label = row.label if name == COLUMNS[0] else ""
            yield (label, HEADERS.get(name, name), *(None if value is None else 100 * value for value in values))


def _range_labels(ends: Sequence[float]) -> list[str]:
    firsts = [1, *(int(end) + 1 for end in ends)]
    if ends[0] >= 10**6:
        return [*(f"to {int(end) // 10**6}e6" for end in ends), f"over {int(ends[-1]) // 10**6}e6"]
    return [*(f"{first}-{int(last)}" for first, last in zip(firsts, ends, strict=False)), f"from {firsts[-1]}"]


def _layer(sums: Sums) -> Table:
    columns = (
        Column("by", "by"),
        Column("mean", "mean", "x"),
        Column("p90", "nine of ten below", "x"),
        Column("worst", "worst", "x"),
    )
    off = {name: (100 * sums.off(name)).tolist() for name in PREDICTORS}
    rows = [(name, sum(v) / len(v), percentile(v, 90), max(v)) for name, v in off.items()]
    first, last = int(sums.tokens[0]), int(sums.tokens[-1])
    title = (
        f"Sum of products and element-wise kernels of a layer of Llama-2-7B on A100-SXM: {len(sums.tokens)} counts of\n"
        f"tokens, {first} to {last}; no row of these shapes, of whatever model and source, was fitted"
    )
    return Table(columns, tuple(rows), title=title)


def _coverage(rows: Sequence[tuple[View, Row]]) -> Table:
    names = ("unseen", "few", "own")
    columns = (
        Column("gpu", "GPU"),
        Column("kernels", "kernels"),
        *(Column(name, HEADERS.get(name, name), "x") for name in names),
    )
    cells = [(row.label, view.name, *(row.inside(name) for name in names)) for view, row in rows]
    notes = (
        "No row is counted that its own band was made of. other families: made of their errors, each predicted by fits "
        f"to its others. {FEW} points: what `perfkit calibrate` says after these {FEW}. own: of the errors of the "
        "other four fifths.",
    )
    return Table(columns, tuple(cells), title="Share of left-out rows inside the 90 % band, in percent", notes=notes)


def _forwards(validation: PublishedValidation) -> Table:
    groups = [points for points in validation.by_source() if points[0].expected_s is not None]
    predictors = tuple(dict.fromkeys(name for points in groups for name in points[0].predictions))
    columns = (
        Column("paper", "source"),
        Column("device", "GPU"),
        Column("points", "forwards", "n"),
        *(Column(name, name, "x") for name in predictors),
        Column("inside", "inside band", "x"),
    )
    notes = (
        "expected, and its band: by the calibrations that come with perfkit, none of which saw a whole forward. Other "
        "predictors: as their source printed them.",
    )
    rows = tuple((*_forward_cells(points, predictors), _inside(points)) for points in groups)
    return Table(columns, rows, title="Whole forwards that others measured", notes=notes)


def _forward_cells(points: Sequence[PublishedPoint], predictors: Sequence[str]) -> Iterator[Any]:
    yield from (points[0].paper.name, points[0].device, len(points))
    for name in predictors:
        pairs = [(point.predictions[name], point.measured_s) for point in points if name in point.predictions]
        yield 100 * mape(pairs) if pairs else None


def _inside(points: Sequence[PublishedPoint]) -> float:
    inside = [p for p in points if (p.expected_low_s or 0) <= p.measured_s <= (p.expected_high_s or 0)]
    return 100 * len(inside) / len(points)


# --- the page


def page(
    sources: Sequence[Source], folder: Path, judged: Sequence[Judged], layer: Sums, forwards: PublishedValidation
) -> str:
    """Markdown of the page; `folder` holds the tables as they were published."""
    gemm = list(rows_of(judged, GEMM))
    others = [(view, row) for view in OTHERS for row in rows_of(judged, view)]
    parts = [
        "# The kernel model against measured kernels",
        INTRODUCTION,
        "## What was measured",
        "\n".join(_data(source, folder) for source in sources),
        "## Products",
        f"{GEMM.name}; predicted by **own**.",
        "![predicted against measured products](kernels-products.svg)",
        _text(*_products(judged, gemm)),
        "## Attention and element-wise kernels",
        "All heads, all widths; predicted by **own**. Dots at the lower edge lie below it.",
        "![predicted against measured attention and element-wise kernels](kernels-others.svg)",
        _text(*_others_tables(judged)),
        "## Sums of kernels",
        _text(_layer(layer), _forwards(forwards)),
        "## The 90 % band",
        _text(_coverage([*((GEMM, row) for row in gemm), *others])),
    ]
    return "\n\n".join(parts) + "\n"


def _products(judged: Sequence[Judged], gemm: Sequence[Row]) -> Iterator[Table]:
    yield _errors(gemm, GEMM.name, _is_16_bit, MEAN)
    for view in ALL_PRODUCTS:
        if rows := list(rows_of(judged, view)):
            yield _errors(rows, view.name, _is_16_bit, MEAN)
    yield _by_range(gemm, M_ENDS[:-1], f"{GEMM.name}, by range of m")


def _is_16_bit(row: Row) -> bool:
    return row.own.precisions[0].bits == 16


def _others_tables(judged: Sequence[Judged]) -> Iterator[Table]:
    for view in OTHERS:
        if rows := list(rows_of(judged, view)):
            yield _errors(rows, view.name, lambda _: True)
    for op, size in zip(ATTENTION, ("tokens", "cache in bytes", "tokens"), strict=True):
        if rows := list(rows_of(judged, View("", (op,), every))):
            yield _by_range(rows, FORMS[op].ends, f"{op}, all heads, by {size}")
    if rows := list(rows_of(judged, View("", ROWWISE, every))):
        yield _by_range(rows, M_ENDS, "element-wise kernels, by range of m")


def _text(*tables: Table) -> str:
    return f"```text\n{render_for_people(tables, width=WIDTH)}\n```"


def panels_of_products(judged: Sequence[Judged]) -> list[Panel]:
    """Judged products of each device, left out of fits to its own."""
    return [Panel(row.label, row.own) for row in rows_of(judged, GEMM)]


def panels_of_others(judged: Sequence[Judged]) -> list[Panel]:
    """Attention of each device, and the element-wise kernels together, left out of fits to its own."""
    views = [View(op.replace("attention_", ""), (op,), every) for op in ATTENTION]
    views.append(View("element-wise", ROWWISE, every))
    return [Panel(f"{row.device.name}\n{view.name}", row.own) for view in views for row in rows_of(judged, view)]
