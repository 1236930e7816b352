"""Where the figures of a report come from: documents of a device's figures, calibrations, and how everything counts."""

from __future__ import annotations

from collections.abc import Iterator

from perfkit.documents import shortened
from perfkit.hardware import Figure
from perfkit.kernels import Expectation, has_measured_rates
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.pages.page import Points, Section
from perfkit.parallel import Layout
from perfkit.remarks import figures_used
from perfkit.roofline import Engines
from perfkit.tables import Column, Table

CONVENTIONS = (
    "counted: FLOPs and bytes of every op, by formulas of its shape; a multiply-add is 2 FLOPs, the causal mask is "
    "counted in full, element-wise work counts, and each tensor is moved once a kernel.",
    "datasheet: what the maker of a device prints, dense, without sparsity. measured: what was timed on a machine.",
    "predicted: roofline times are sums over ops, each the larger of its compute and its memory time; expected times "
    "come from a model of kernels that was fitted to measured ones, and nine of ten times should lie in their "
    "brackets.",
    "TTFT, time to first token: every phase before decode. TPOT, time per output token: one decode step, at the mean "
    "length of the cache over the new tokens.",
    "Memory: weights with embedding and output head, the cache of prompt and new tokens, and the largest working set "
    f"of any phase; it fits where {RUNTIME_RESERVE_BYTES / 2**30:g} GiB for the runtime is left.",
    "Prefixes are decimal: 1 GB is 10^9 bytes.",
)
_COLUMNS = (
    Column("figure", "figure"),
    Column("printed", "as printed"),
    Column("source", "source", "prose"),
    Column("confidence", "confidence"),
    Column("note", "note", "prose"),
)


def conventions() -> Section:
    """What words and figures of a report mean."""
    return Section("Conventions", (Points(CONVENTIONS),))


def origin_of(engines: Engines) -> str:
    """What rates and bandwidths of a device are."""
    return "measured" if has_measured_rates(engines.device) else "datasheet"


def sources_of(engines: Engines, layout: Layout | None = None) -> Table:
    """Figures of a device that times rest on, with the documents that they stand in."""
    device = engines.device
    rows = [
        (
            what,
            figure.printed,
            device.sources.get(figure.source, figure.source),
            figure.confidence or device.confidence,
            figure.note or "",
        )
        for what, figure in (*figures_used(engines), *_measured(engines), *_links(layout))
    ]
    noted = any(row[-1] for row in rows)
    columns = _COLUMNS if noted else _COLUMNS[:-1]
    title = f"{device.id}: {shortened(device.name)}{f', read from {device.file}' if device.file else ''}"
    return Table(columns, tuple(row[: len(columns)] for row in rows), title=title)


def _measured(engines: Engines) -> Iterator[tuple[str, Figure]]:
    """Rates that expected times rest on, in the precisions of the products."""
    for precision in engines.peaks:
        for what, figures in (
            ("rate of large products", engines.device.gemm),
            ("bandwidth of one-row products", engines.device.gemv),
        ):
            if precision in figures:
                yield f"{precision} {what}", figures[precision]


def _links(layout: Layout | None) -> Iterator[tuple[str, Figure]]:
    groups = () if layout is None else (layout.tensor, *layout.boundaries)
    links = dict.fromkeys(group.link for group in groups if group is not None)
    yield from ((f"{link.name}, each direction", link.bandwidth) for link in links)


def calibration_in_words(expectation: Expectation) -> str:
    """What expected times rest on, and how far that is off where it was not fitted."""
    device, calibration = expectation.device.id, expectation.calibration
    if calibration is None or expectation.problem:
        return f"Expected times of {device}: {expectation.id}."
    errors = ", ".join(f"{error.op} {100 * error.mape:.0f} %" for error in calibration.errors)
    unseen = f" Mean errors on kernels that its fit did not see: {errors}." if errors else ""
    return f"Expected times of {device}: calibration {calibration.id}, {calibration.title}.{unseen}"
