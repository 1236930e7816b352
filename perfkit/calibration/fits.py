"""Every kind of kernel of some tables fitted, and held against rows that its fit did not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from perfkit.calibration.fitting import M_ENDS, Measured, fit_near, fit_products, range_weights
from perfkit.calibration.forms import FORMS, Source, Timed, fit_form, kernels_by_form
from perfkit.calibration.forms import cross_validate as cross_validate_form
from perfkit.calibration.forms import leave_one_out as leave_one_out_form
from perfkit.calibration.judging import Fit, Held, cross_validate, held_by, judge, leave_one_out
from perfkit.calibration.ranges import SIZES, Judged, RangeErrors, parted, range_errors
from perfkit.kernels.calibrations import Calibration, FitError, Spread
from perfkit.kernels.forms import PRODUCTS, FormParameters, form_of, form_s, kind_of
from perfkit.kernels.limits import limits_of
from perfkit.kernels.products import Product, ProductParameters
from perfkit.kernels.tables import KernelGroup

Rows = TypeVar("Rows")


class Parameters(NamedTuple):
    """Of products by engine, of other kernels by form."""

    products: Mapping[str, ProductParameters]
    forms: Mapping[str, FormParameters]


class Judgement(NamedTuple):
    """Errors and spreads of rows kept out of a fit."""

    errors: tuple[FitError, ...]
    spread: Mapping[str, Spread]
    ranges: tuple[RangeErrors, ...]


def fit_kernels(sources: Sequence[Source], known: Sequence[Calibration]) -> Parameters:
    """Fits to all that the tables hold, where rows are few near a calibration of other devices (`known`)."""
    products = {
        engine: fit_products([each.measured for each in _flat(families)], _priors_of_products(engine, known))
        for engine, families in _products_by_engine(sources).items()
    }
    forms = {
        name: fit_form(FORMS[name], _flat(families), _priors_of_form(name, known))
        for name, families in kernels_by_form(sources).items()
    }
    return Parameters(products, forms)


def judge_kernels(
    sources: Sequence[Source], known: Sequence[Calibration], before: Calibration | None = None
) -> Judgement:
    """How good such fits are on rows that they do not see; `before`: a calibration that is held against all rows too.

    Of one family rows are judged by fits to other sizes of it, of several by fits to the other families.
    """
    products, forms = _judge_products(sources, known, before), _judge_forms(sources, known, before)
    return Judgement(
        (*products.errors, *forms.errors), {**products.spread, **forms.spread}, (*products.ranges, *forms.ranges)
    )


def _priors_of_products(engine: str, known: Iterable[Calibration]) -> list[ProductParameters]:
    return [c.products[engine] for c in known if engine in c.products]


def _priors_of_form(name: str, known: Iterable[Calibration]) -> list[FormParameters]:
    return [c.forms[name] for c in known if name in c.forms]


# --- products


class _Op(NamedTuple):
    """Products of one op."""

    op: str
    measured: Measured


def _judge_products(sources: Sequence[Source], known: Sequence[Calibration], before: Calibration | None) -> Judgement:
    errors: list[FitError] = []
    spread: dict[str, Spread] = {}
    ranges: list[RangeErrors] = []
    for engine, families in _products_by_engine(sources).items():
        sets = [[each.measured for each in own] for own in families]
        # What is left when some rows are kept out may be few: then the priors say the more.
        held = _held(sets, partial(fit_near, priors=_priors_of_products(engine, known)))
        kind = kind_of("gemm", engine)
        errors.append(held.error(kind))
        spread[kind] = held.spread()
        earlier = None if before is None else before.products.get(engine)
        ranges += _ranges_of_products(engine, _flat(families), held, earlier)
    return Judgement(tuple(errors), spread, tuple(ranges))


def _products_by_engine(sources: Iterable[Source]) -> dict[str, list[list[_Op]]]:
    """Products of each engine by family, one set for each op, table and precision."""
    found: dict[str, dict[str, list[_Op]]] = {}
    for source in sources:
        for group in source.table.groups:
            if form_of(group.op) == PRODUCTS:
                engine = source.device.product_peak(group.precision).engine
                families = found.setdefault(engine, {})
                families.setdefault(source.kin, []).append(_Op(group.op, measured_products(source, group)))
    return {engine: list(families.values()) for engine, families in found.items()}


def measured_products(source: Source, group: KernelGroup) -> Measured:
    """A group of products with the seconds that they took."""
    import numpy

    shape = group.shape
    batch = numpy.ones(len(group.places)) if shape.batch is None else shape.batch
    assert source.table.measured_s is not None  # noqa: S101  # checked when it was read
    seconds = source.table.measured_s[group.places]
    product = Product(shape.m, shape.n, shape.k, batch, group.precision.bits / 8)
    return Measured(product, seconds, limits_of(source.device, group.precision))


def _held(families: Sequence[Sequence[Measured]], fit: Fit) -> Held:
    return leave_one_out(families, fit) if len(families) > 1 else cross_validate(families[0], fit)


def _ranges_of_products(
    engine: str, sets: Sequence[_Op], held: Held, before: ProductParameters | None
) -> Iterator[RangeErrors]:
    parts = list(parted(held, [each.measured.rows for each in sets]))
    earlier = [None if before is None else judge(each.measured, before) for each in sets]
    yield from _by_op([each.op for each in sets], engine, M_ENDS, parts, earlier)


# --- other kernels


def _judge_forms(sources: Sequence[Source], known: Sequence[Calibration], before: Calibration | None) -> Judgement:
    judged = Judgement((), {}, ())
    for name, families in kernels_by_form(sources).items():
        form, sets = FORMS[name], _flat(families)
        priors = _priors_of_form(name, known)
        # Of several families each by the others; of one its rows by those of other cells.
        several = len(families) > 1
        held = leave_one_out_form(form, families) if several else cross_validate_form(form, sets, priors)
        ops = [each.shape.op for each in sets]
        earlier = [_before(each, None if before is None else before.forms.get(name)) for each in sets]
        judged = Judgement(
            (*judged.errors, *(held_by(_of(op, ops, held)).error(op) for op in dict.fromkeys(ops))),
            {**judged.spread, name: held_by(held).spread()},
            (*judged.ranges, *_by_op(ops, None, form.ends, held, earlier)),
        )
    return judged


def _before(timed: Timed, parameters: FormParameters | None) -> Held | None:
    if parameters is None:
        return None
    times: Any = form_s(timed.shape, timed.element_bytes, timed.limits, parameters)
    size = FORMS[form_of(timed.shape.op)].size(timed.shape)
    return Held(size, times / timed.seconds, range_weights(size, FORMS[form_of(timed.shape.op)].ends))


# --- both


def _by_op(
    ops: Sequence[str], engine: str | None, ends: Sequence[float], held: Sequence[Held], before: Sequence[Held | None]
) -> Iterator[RangeErrors]:
    for op in dict.fromkeys(ops):
        earlier = [each for each in _of(op, ops, before) if each is not None]
        judged = held_by(_of(op, ops, held))
        size = SIZES[form_of(op)]
        yield from range_errors(Judged(op, engine, size, ends, judged, held_by(earlier) if earlier else None))


def _of(op: str, ops: Sequence[str], sets: Sequence[Rows]) -> list[Rows]:
    return [each for each, known in zip(sets, ops, strict=True) if known == op]


def _flat(families: Iterable[Iterable[Rows]]) -> list[Rows]:
    return [each for sets in families for each in sets]
