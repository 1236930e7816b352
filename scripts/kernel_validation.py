"""Write reports/validation/kernels.md: the kernel model against measured kernels that no fit saw.

`python -m scripts.kernel_validation DIR`, or `make validation DATA=DIR`. The tables in DIR are not part of perfkit;
their digests stand in the page. All fits are made here; only whole forwards are predicted by the calibrations that come
with perfkit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import click

from perfkit.calibration.forms import Source
from perfkit.calibration.left_out import Sums, predict_left_out, sums_by_size
from perfkit.calibration.protocols import chosen, fitted, fitted_in_turn, from_few, kept_out, strangers, unseen
from perfkit.calibration.sources import read_sources
from perfkit.charts.predicted_kernels import draw_predicted_kernels
from perfkit.kernels.tables import KernelGroup
from perfkit.validation.published import published
from scripts.calibrations import ALL, EAGER
from scripts.eager_times import without_host
from scripts.kernel_page import DRAWS, page, panels_of_others, panels_of_products
from scripts.kernel_views import Judged, judged_shapes
from scripts.pages import ROOT

if TYPE_CHECKING:
    from numpy import ndarray

TARGET = ROOT / "reports" / "validation"
Shape: TypeAlias = tuple[str, int, int | None]  # op, n and k
# Products and element-wise kernels of a layer of Llama-2-7B, and how often each runs in it.
LAYER: dict[Shape, int] = {
    ("gemm", 12288, 4096): 1,
    ("gemm", 4096, 4096): 1,
    ("gemm", 22016, 4096): 1,
    ("gemm", 4096, 11008): 1,
    ("silu_mul", 11008, None): 1,
    ("rmsnorm", 4096, None): 2,
    ("add", 4096, None): 2,
}
LAYER_DEVICE, LAYER_MODEL = "a100-sxm-80gb", "meta-llama/Llama-2-7b-hf"  # where Vidur timed it, and as whose


def judge(sources: Sequence[Source]) -> Iterator[Judged]:
    """The table of every device against fits that did not see what they predict, in three ways."""
    _tell("fits to other families")
    unknown = list(unseen(sources))
    for source, stranger in zip(sources, unknown, strict=True):
        known = fitted_in_turn(_others(source, sources))
        _tell(f"{source.device.id}: fits to a few of its points")
        few = [list(from_few(source, known, judged_shapes, draw)) for draw in range(DRAWS)]
        _tell(f"{source.device.id}: fits to parts of its table")
        yield Judged(source.device, stranger, few, list(kept_out(source, known)))


def add_up_layer(source: Source, others: Sequence[Source]) -> Sums:
    """A layer's kernels, predicted by a fit to the rows of all other shapes."""
    seen = chosen(source, lambda group: ~_is_of_layer(group, LAYER))
    calibration = fitted([seen], fitted_in_turn(others))
    parts = []
    for shape, count in LAYER.items():
        own = chosen(source, partial(_is_timed_as, source, shape))
        (part,) = predict_left_out(own, calibration)
        parts.append((count, part))
    return sums_by_size(parts)


def _others(source: Source, sources: Sequence[Source]) -> list[Source]:
    """Of other families, in the order in which calibrations are made: those with many rows first."""
    order = list(ALL)
    return sorted(strangers(source.device.family, sources), key=lambda found: order.index(found.device.id))


def _is_of_layer(group: KernelGroup, shapes: Iterable[Shape]) -> ndarray:
    """Rows of one of these shapes, whatever their m."""
    import numpy

    found = numpy.zeros(len(group.places), dtype=bool)
    for op, n, k in shapes:
        if op == group.op:
            found |= (group.shape.n == n) & (k is None or group.shape.k == k)
    return found


def _is_timed_as(source: Source, shape: Shape, group: KernelGroup) -> ndarray:
    import numpy

    column = source.table.columns.index("library")
    names = [source.table.rows[place][column] for place in group.places]
    of_model = numpy.array([name.startswith(LAYER_MODEL) for name in names])
    found: ndarray = of_model & _is_of_layer(group, [shape])
    return found


def _tell(what: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {what}", err=True)


def read(folder: Path, bare: Path) -> list[Source]:
    """The tables in a folder, the V100's first; those without the host's time are written to `bare`."""
    gpus = list(ALL)[::-1]
    gpus.sort(key=lambda gpu: not gpu.startswith("v100"))
    tables = [without_host(folder / ALL[gpu], bare) if gpu in EAGER else folder / ALL[gpu] for gpu in gpus]
    return read_sources(tables, gpus).found


def main(folder: Path) -> None:
    """Read the tables in a folder, and write the page and its charts."""
    with TemporaryDirectory() as bare:
        sources = read(folder, Path(bare))
    judged = list(judge(sources))
    _tell("a layer of Llama-2-7B")
    (timed,) = (source for source in sources if source.device.id == LAYER_DEVICE)
    layer = add_up_layer(timed, _others(timed, sources))
    draw_predicted_kernels(panels_of_products(judged), TARGET / "kernels-products.svg", columns=3)
    draw_predicted_kernels(panels_of_others(judged), TARGET / "kernels-others.svg", columns=4)
    (TARGET / "kernels.md").write_text(page(sources, folder, judged, layer, published()), encoding="utf-8")
    _tell("written")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
