"""A request row by row: each combination predicted as by `perfkit roofline`, and counted as by `perfkit count`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from perfkit.conventions import Convention, load_convention
from perfkit.cost_tables.columns import BY_CONVENTION, Point
from perfkit.cost_tables.request import NO_REDUCTION, USUAL_LOGITS, TableRequest, command_of
from perfkit.errors import InvalidSpec, InvalidValue, UnsupportedPrecision
from perfkit.hardware import choose_device
from perfkit.latency import Prediction, analyze
from perfkit.models import load_model
from perfkit.reduction import parse_reduction
from perfkit.totals.asked import text_tokens_of
from perfkit.totals.counted import Count, tally
from perfkit.units import parse_choice
from perfkit.workload import LOGITS


@dataclass(frozen=True, slots=True)
class CostTable:
    """A request and its rows, in the order model, GPU, formats, reduction, tokens.

    `convention`: with the logits that were asked for, where it counts a column.
    `block`: rows in a row that share all axes but the innermost that varies, between two lines.
    `commands`: command lines that make the table again.
    """

    request: TableRequest
    convention: Convention
    points: tuple[Point, ...]
    block: int
    commands: tuple[str, ...]


class _Formats(NamedTuple):
    precision: str
    weights: str | None
    activations: str | None
    kv: str | None


class _Combination(NamedTuple):
    model: str
    gpu: str
    formats: _Formats
    reduction: str | None
    tokens: int | None

    def __str__(self) -> str:
        """As an error names it."""
        names = zip(("weights", "activations", "KV"), self.formats[1:], strict=True)
        parts = [f"{self.model} on {self.gpu}", self.formats.precision]
        parts += [f"{name} {value}" for name, value in names if value]
        parts += [self.reduction or "no reduction"]
        parts += [f"{self.tokens} tokens"] if self.tokens is not None else []
        return ", ".join(parts)


def build_table(request: TableRequest, commands: tuple[str, ...] = ()) -> CostTable:
    """The table of a request; `commands` say how it was asked for, else the command line that asks the same.

    Raises:
        UnknownName: no such model, GPU, reduction, precision, convention, attention or logits.
        InvalidValue, InvalidSpec, UnsupportedPrecision: a combination that cannot be; it is named.

    >>> table = build_table(TableRequest(("v100",), tokens=(576, 32)))
    >>> [point.count.total for point in table.points][1]  # vision 381.918 G + projector 1.342 G + prefill 1196.285 G
    1579545624576
    """
    convention = _convention(request)
    _check_names(request)
    rows = [_row(combination, request, convention) for combination in _combinations(request)]
    block = _block(request)
    points = tuple(Point(*row, rows[0][0], rows[i - i % block][0]) for i, row in enumerate(rows))
    return CostTable(request, convention, points, block, commands or (command_of(request),))


def _counts(request: TableRequest) -> bool:
    """Whether a column shows what the convention counts."""
    return any(key in BY_CONVENTION for key in request.columns)


def _convention(request: TableRequest) -> Convention:
    convention = load_convention(request.convention)
    if request.logits is None or not _counts(request):
        return convention
    return convention.switched(logits=parse_choice("logits", request.logits, LOGITS))


def _check_names(request: TableRequest) -> None:
    """Refuse a name by itself, before any combination."""
    for model in request.model:
        load_model(model)
    for gpu in request.gpu:
        choose_device(gpu)
    for spec in request.reduction:
        if spec != NO_REDUCTION:
            parse_reduction(spec)


def _combinations(request: TableRequest) -> Iterator[_Combination]:
    formats = product(
        request.precision, request.weights or (None,), request.activations or (None,), request.kv or (None,)
    )
    reductions = [None if spec == NO_REDUCTION else spec for spec in request.reduction]
    for model, gpu, four, reduction, tokens in product(
        request.model, request.gpu, list(formats), reductions, request.tokens or (None,)
    ):
        yield _Combination(model, gpu, _Formats(*four), reduction, tokens)


def _block(request: TableRequest) -> int:
    """Size of the innermost axis that varies; a reduction and its tokens are one axis."""
    formats = (request.precision, request.weights, request.activations, request.kv)
    for axes in ((request.reduction, request.tokens), formats, (request.gpu,), (request.model,)):
        size = 1
        for axis in axes:
            size *= max(1, len(axis))
        if size > 1:
            return size
    return 1


def _row(combination: _Combination, request: TableRequest, convention: Convention) -> tuple[Prediction, Count | None]:
    try:
        prediction = analyze(
            combination.gpu,
            combination.model,
            **combination.formats._asdict(),
            reduction=combination.reduction,
            tokens=combination.tokens,
            text_tokens=text_tokens_of(convention, request.text_tokens),
            new_tokens=request.new_tokens,
            batch=request.batch,
            images=request.images,
            attention=request.attention,
            runtime=request.runtime,
            calibration=request.calibration,
            logits=request.logits or USUAL_LOGITS,
        )
        return prediction, _count(prediction, convention) if _counts(request) else None
    except (InvalidValue, InvalidSpec, UnsupportedPrecision) as error:
        method = parse_reduction(combination.reduction).text if combination.reduction else ""
        raise type(error)(f"{combination}: {str(error).removeprefix(f'{method}: ')}") from None  # it is named already


def _count(prediction: Prediction, convention: Convention) -> Count:
    return tally(prediction.model, prediction.workload, prediction.execution, convention)
