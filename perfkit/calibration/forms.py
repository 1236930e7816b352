"""Fits of attention and element-wise kernels, on the lines of those of products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.calibration import parameters as known
from perfkit.calibration.descending import descend
from perfkit.calibration.fitting import FEWEST, LOOSE, M_ENDS, MANY, MOST, NOISE, range_weights
from perfkit.calibration.judging import FOLDS, Held
from perfkit.calibration.parameters import Parameter
from perfkit.calibration.thinning import evenly
from perfkit.hardware import Device
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.forms import ELEMENTWISE, FormParameters, form_of, form_s
from perfkit.kernels.limits import Limits, limits_of
from perfkit.kernels.tables import KernelGroup, KernelTable

if TYPE_CHECKING:
    from numpy import ndarray

TOKENS = (128, 1024, 8192, 32768)  # last of each range: of all prompts together
CACHE_BYTES = (10**6, 8 * 10**6, 64 * 10**6, 512 * 10**6)


class Form(NamedTuple):
    """What a fit of a form moves, where it begins, and by which sizes its rows are grouped."""

    parameters: tuple[Parameter, ...]
    start: FormParameters
    size: Callable[[Any], ndarray]
    ends: tuple[float, ...]
    cell: Callable[[Any], ndarray]


def _tokens(shape: Any) -> ndarray:
    tokens: ndarray = shape.batch * shape.kv_tokens
    return tokens


def _cache(shape: Any) -> ndarray:
    """Bytes of 16-bit keys and values."""
    size: ndarray = 4 * shape.batch * shape.kv_tokens * shape.kv_heads * shape.head_dim
    return size


def _rows(shape: Any) -> ndarray:
    rows: ndarray = shape.m
    return rows


def _requests(shape: Any) -> ndarray:
    """One number for each (batch, tokens): all head counts of a cell fall into one fold."""
    cell: ndarray = shape.batch * 7919 + shape.kv_tokens * 104729
    return cell


def _width(shape: Any) -> ndarray:
    width: ndarray = shape.n * 7919
    return width


FORMS = {
    "attention_prefill": Form(known.ATTENTION_PREFILL, known.ATTENTION_PREFILL_START, _tokens, TOKENS, _requests),
    "attention_encoder": Form(known.ATTENTION_ENCODER, known.ATTENTION_ENCODER_START, _tokens, TOKENS, _requests),
    "attention_decode": Form(known.ATTENTION_DECODE, known.ATTENTION_DECODE_START, _cache, CACHE_BYTES, _requests),
    ELEMENTWISE: Form(known.ELEMENTWISE, known.ELEMENTWISE_START, _rows, M_ENDS, _width),
}


class Timed(NamedTuple):
    """Kernels of one op in one precision on a device: arrays of sizes, and the seconds that they took."""

    shape: KernelShape
    element_bytes: float
    seconds: ndarray
    limits: Limits

    @property
    def rows(self) -> int:
        """How many kernels there are."""
        return len(self.seconds)

    def take(self, which: ndarray) -> Timed:
        """Some of the rows, by their numbers or by a mask."""
        sizes = {name: size[which] for name, size in self.shape._asdict().items() if hasattr(size, "shape")}
        return self._replace(shape=self.shape._replace(**sizes), seconds=self.seconds[which])


def fit_form(form: Form, sets: Sequence[Timed], priors: Sequence[FormParameters] = ()) -> FormParameters:
    """Parameters that fit measured kernels best, near the one of `priors` that they agree with most.

    With MANY rows, or without priors, the fit begins at the form's start and moves LOOSE times as freely. Without any
    row it stays where it begins, at the first.
    """
    if not sets:
        return priors[0] if priors else form.start
    many = sum(each.rows for each in sets) >= MANY
    starts, spread = ((form.start,), LOOSE) if many or not priors else (priors, 1.0)
    some = [_thinned(form, each) for each in sets]
    return min((_descend(form, some, start, spread) for start in starts), key=lambda pair: pair[0])[1]


def _thinned(form: Form, timed: Timed) -> Timed:
    return timed if timed.rows <= MOST else timed.take(evenly(form.size(timed.shape), MOST))


def _descend(form: Form, sets: Sequence[Timed], start: FormParameters, spread: float) -> tuple[float, FormParameters]:
    import numpy

    names = [parameter.name for parameter in form.parameters]

    def misfit(values: list[float]) -> ndarray:
        moved = start._replace(**dict(zip(names, values, strict=True)))
        return numpy.concatenate([_misfit(form, each, moved) / numpy.sqrt(len(sets)) for each in sets])

    first = [getattr(start, name) for name in names]
    cost, values = descend(misfit, form.parameters, first, [p.spread * spread for p in form.parameters])
    return cost, start._replace(**dict(zip(names, values, strict=True)))


def _ratios(timed: Timed, parameters: FormParameters) -> ndarray:
    times: Any = form_s(timed.shape, timed.element_bytes, timed.limits, parameters)
    ratios: ndarray = times / timed.seconds
    return ratios


def _misfit(form: Form, timed: Timed, parameters: FormParameters) -> ndarray:
    import numpy

    weights = range_weights(form.size(timed.shape), form.ends)
    misfit: ndarray = numpy.log(_ratios(timed, parameters)) / NOISE * numpy.sqrt(weights)
    return misfit


# --- how good it is


def cross_validate(form: Form, sets: Sequence[Timed], priors: Sequence[FormParameters]) -> list[Held]:
    """Of each set every row predicted by a fit to the rows of other cells, in all sets."""
    import numpy

    numbers = [(form.cell(each.shape) % FOLDS).astype(int) for each in sets]
    ratios = [numpy.empty(each.rows) for each in sets]
    for fold in range(FOLDS):
        rest = [each.take(number != fold) for each, number in zip(sets, numbers, strict=True)]
        fitted = fit_form(form, [each for each in rest if each.rows], priors)
        for each, number, ratio in zip(sets, numbers, ratios, strict=True):
            inside = number == fold
            if inside.any():
                ratio[inside] = _ratios(each.take(inside), fitted)
    return [_held(form, each, ratio) for each, ratio in zip(sets, ratios, strict=True)]


def leave_one_out(form: Form, devices: Sequence[Sequence[Timed]]) -> list[Held]:
    """Of each set of every device the rows predicted by a fit to the other devices."""
    held = []
    for number, own in enumerate(devices):
        fitted = fit_form(form, [each for other, sets in enumerate(devices) if other != number for each in sets])
        held += [_held(form, each, _ratios(each, fitted)) for each in own]
    return held


def _held(form: Form, timed: Timed, ratios: ndarray) -> Held:
    size = form.size(timed.shape)
    return Held(size, ratios, range_weights(size, form.ends))


# --- tables


class Source(NamedTuple):
    """A table of measured kernels, and the device that was measured."""

    table: KernelTable
    device: Device

    @property
    def kin(self) -> str:
        """What is judged together: the family, else the device."""
        return self.device.family or self.device.id


def kernels_by_form(sources: Iterable[Source]) -> dict[str, list[list[Timed]]]:
    """Kernels that are no products, by form and family; only forms that have as many rows as a fit needs."""
    found: dict[str, dict[str, list[Timed]]] = {}
    for source in sources:
        for group in source.table.groups:
            if (name := form_of(group.op)) in FORMS:
                found.setdefault(name, {}).setdefault(source.kin, []).append(_timed(source, group))
    rows = {name: sum(each.rows for sets in families.values() for each in sets) for name, families in found.items()}
    return {name: list(families.values()) for name, families in found.items() if rows[name] >= FEWEST}


def _timed(source: Source, group: KernelGroup) -> Timed:
    assert source.table.measured_s is not None  # noqa: S101  # checked when it was read
    seconds = source.table.measured_s[group.places]
    return Timed(group.shape, group.precision.bits / 8, seconds, limits_of(source.device, group.precision))
