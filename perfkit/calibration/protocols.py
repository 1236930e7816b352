"""How the kernel model is held against kernels that a fit did not see: kept-out parts, a few points, a new family.

Fits are those of `perfkit calibrate`. The same tables give the same figures: draws are numbered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit.calibration.fits import fit_kernels, judge_kernels, measured_products
from perfkit.calibration.fitting import M_ENDS
from perfkit.calibration.forms import FORMS, Source
from perfkit.calibration.judging import FOLDS, fold_of
from perfkit.calibration.left_out import LeftOut, predict_left_out, spread_by_kind, within
from perfkit.calibration.sources import kind_of
from perfkit.kernels.calibrations import Calibration, FittedOn
from perfkit.kernels.forms import PRODUCTS, form_of
from perfkit.kernels.plausibility import shapes_of
from perfkit.kernels.tables import KernelGroup
from perfkit.units import Precision

if TYPE_CHECKING:
    from numpy import ndarray

FEW = 20
Choice: TypeAlias = Callable[[KernelGroup], "ndarray"]  # a mask over the rows of a group
Drawn: TypeAlias = dict[tuple[str, Precision], "ndarray"]  # by op and precision a mask over the rows


def chosen(source: Source, which: Choice) -> Source:
    """Some of the rows of a table."""
    kept = tuple(group.take(mask) for group in source.table.groups if (mask := which(group)).any())
    return source._replace(table=replace(source.table, groups=kept))


def fitted(sources: Sequence[Source], known: Sequence[Calibration]) -> Calibration:
    """Fits to some rows, without errors or spread."""
    products, forms = fit_kernels(sources, known)
    tables = tuple(FittedOn(each.table.file, len(each.table.rows), "", each.device.id) for each in sources)
    return Calibration("left-out", "Fitted to some rows", None, None, tables, "none", products, forms)


def fitted_in_turn(sources: Sequence[Source]) -> list[Calibration]:
    """A calibration of each device; that of few rows lies near those before it."""
    found: list[Calibration] = []
    for source in sources:
        found.append(fitted([source], found))
    return found


# --- kept-out parts


def kept_out(source: Source, known: Sequence[Calibration]) -> Iterator[LeftOut]:
    """Every row predicted by a fit to other parts of the device's table: of products to other weights (n, k).

    The band is that of the other parts, each predicted in the same way.
    """
    parts = [list(_fold(source, known, fold)) for fold in range(FOLDS)]
    for fold, own in enumerate(parts):
        others = [each for number, other in enumerate(parts) if number != fold for each in other]
        spread = spread_by_kind(others)
        yield from (within(each, spread) for each in own)


def _fold(source: Source, known: Sequence[Calibration], fold: int) -> Iterator[LeftOut]:
    calibration = fitted([chosen(source, lambda group: _folds(source, group) != fold)], known)
    yield from predict_left_out(chosen(source, lambda group: _folds(source, group) == fold), calibration)


def _folds(source: Source, group: KernelGroup) -> ndarray:
    if form_of(group.op) == PRODUCTS:
        return fold_of(measured_products(source, group))
    number: ndarray = FORMS[form_of(group.op)].cell(group.shape) % FOLDS
    return number


# --- a few points


def from_few(source: Source, known: Sequence[Calibration], judged: Choice, draw: int) -> Iterator[LeftOut]:
    """Judged rows predicted by a fit to FEW of them of each kind, taken evenly from the ranges of their size.

    Rows of a shape that was drawn are not judged, in whatever precision or layout. The band is what a calibration
    prints that has seen these few.
    """
    drawn = _drawn(source, judged, draw)
    few = chosen(source, lambda group: drawn[group.op, group.precision])
    known_shapes = {shape for group in few.table.groups for shape in shapes_of(group)}
    rest = chosen(source, lambda group: judged(group) & _is_new(group, known_shapes))
    calibration = replace(fitted([few], known), spread=judge_kernels([few], known).spread)
    yield from predict_left_out(rest, calibration)


def _is_new(group: KernelGroup, known: set[tuple[Any, ...]]) -> ndarray:
    import numpy

    return numpy.array([shape not in known for shape in shapes_of(group)])


def _drawn(source: Source, judged: Choice, draw: int) -> Drawn:
    """Of each group the rows that are drawn."""
    import numpy

    found: Drawn = {}
    kinds: dict[str, list[KernelGroup]] = {}
    for group in source.table.groups:
        kinds.setdefault(kind_of(source.device, group), []).append(group)
    for groups in kinds.values():
        masks = [judged(group) for group in groups]
        ranges = numpy.concatenate([_ranges(group)[mask] for group, mask in zip(groups, masks, strict=True)])
        taken = numpy.zeros(len(ranges), dtype=bool)
        taken[_spread_evenly(ranges, draw)] = True
        for group, mask in zip(groups, masks, strict=True):
            rows = numpy.zeros(len(mask), dtype=bool)
            rows[mask], taken = taken[: mask.sum()], taken[mask.sum() :]
            found[group.op, group.precision] = rows
    return found


def _spread_evenly(ranges: ndarray, draw: int) -> list[int]:
    """FEW rows at random, the first of each range before the second of any."""
    import numpy

    taken: dict[int, int] = {}
    turns = []
    for row in numpy.random.default_rng(draw).permutation(len(ranges)).tolist():
        number = int(ranges[row])
        taken[number] = taken.get(number, 0) + 1
        turns.append((taken[number], row))
    turns.sort(key=lambda turn: turn[0])
    return [row for _, row in turns[:FEW]]


def _ranges(group: KernelGroup) -> ndarray:
    """Number of the range in which each row lies."""
    import numpy

    form = FORMS.get(form_of(group.op))
    size: Any = group.shape.m if form is None else form.size(group.shape)
    number: ndarray = numpy.searchsorted(M_ENDS if form is None else form.ends, size)
    return number


# --- other families


def unseen(sources: Sequence[Source]) -> Iterator[list[LeftOut]]:
    """Of every device its rows predicted by a fit to other families; the band is of their rows, predicted alike."""
    families = [source.device.family for source in sources]
    made = {family: fitted(strangers(family, sources), ()) for family in dict.fromkeys(families)}
    parts = [list(predict_left_out(source, made[source.device.family])) for source in sources]
    for own, family in zip(parts, families, strict=True):
        others = [part for part, other in zip(parts, families, strict=True) if other != family]
        spread = spread_by_kind(each for part in others for each in part)
        yield [within(each, spread) for each in own if each.kind in spread]


def strangers(family: str | None, sources: Sequence[Source]) -> list[Source]:
    """Tables of devices of other families."""
    return [source for source in sources if source.device.family != family]
