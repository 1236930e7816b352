"""Measured kernels that a calibration did not see, and what it says of them, beside two simple predictors.

The roofline takes FLOPs at the datasheet's peak or bytes at its bandwidth, whichever take longer; constant factors
take 0.7 of the peak, 0.8 of the bandwidth, and 3 us of start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.calibration.fitting import M_ENDS, range_weights
from perfkit.calibration.forms import FORMS, Source
from perfkit.calibration.judging import Held, held_by
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.calibrations import Calibration, Spread
from perfkit.kernels.costs import cost_of_shape
from perfkit.kernels.forms import form_of, kind_of
from perfkit.kernels.predicting import expected_s
from perfkit.kernels.rule_of_thumb import BANDWIDTH, PEAK, START_S
from perfkit.kernels.tables import KernelGroup
from perfkit.ops import maximum
from perfkit.roofline import engines_of
from perfkit.units import Precision

if TYPE_CHECKING:
    from numpy import ndarray

EXPECTED = "expected"
PREDICTORS = ("roofline", "constant", EXPECTED)


class LeftOut(NamedTuple):
    """Kernels of one op on one engine of a device: arrays of a row each.

    `kind`: of whose rows the band is. `size`: by which errors are grouped, m of a product; `ends`: last of each range
    of it. `seconds`: by predictor. `low_s` and `high_s`: between them nine of ten measured times are to be expected, by
    the rows of a fit.
    """

    device: str
    op: str
    kind: str
    precisions: tuple[Precision, ...]
    shape: KernelShape
    size: ndarray
    ends: tuple[float, ...]
    measured_s: ndarray
    seconds: dict[str, ndarray]
    low_s: ndarray
    high_s: ndarray

    @property
    def rows(self) -> int:
        """How many kernels there are."""
        return len(self.measured_s)

    def take(self, which: ndarray) -> LeftOut:
        """Some of the rows, by a mask."""
        sizes = {name: size[which] for name, size in self.shape._asdict().items() if hasattr(size, "shape")}
        return self._replace(
            shape=self.shape._replace(**sizes),
            size=self.size[which],
            measured_s=self.measured_s[which],
            seconds={name: seconds[which] for name, seconds in self.seconds.items()},
            low_s=self.low_s[which],
            high_s=self.high_s[which],
        )

    def off(self, predictor: str) -> ndarray:
        """|predicted - measured| / measured of each row."""
        off: ndarray = abs(self.seconds[predictor] / self.measured_s - 1)
        return off

    def error(self, predictor: str) -> float:
        """Mean of `off`, in which ranges of the size weigh alike."""
        import numpy

        return float(numpy.average(self.off(predictor), weights=range_weights(self.size, self.ends)))

    def errors_by_range(self, predictor: str) -> dict[int, float]:
        """Mean of `off` in each range that has rows, by its number."""
        import numpy

        off, number = self.off(predictor), numpy.searchsorted(self.ends, self.size)
        return {int(one): float(off[number == one].mean()) for one in numpy.unique(number)}

    def inside(self) -> float:
        """Share of the measured times that lie within the band."""
        return float(((self.low_s <= self.measured_s) & (self.measured_s <= self.high_s)).mean())


def predict_left_out(source: Source, calibration: Calibration) -> Iterator[LeftOut]:
    """Every group of a table that the calibration has a model of; where it knows no spread, the band is NaN."""
    for group in source.table.groups:
        expected: Any = expected_s(group.shape, group.precision, source.device, calibration)
        if expected is None:
            continue
        engine = source.device.product_peak(group.precision).engine
        low, high = calibration.spread_of(group.op, engine) or (float("nan"), float("nan"))
        size, ends = _sizes(group)
        yield LeftOut(
            device=source.device.id,
            op=group.op,
            kind=kind_of(group.op, engine),
            precisions=(group.precision,),
            shape=group.shape,
            size=size,
            ends=ends,
            measured_s=source.table.measured_s[group.places],  # type: ignore[index]
            seconds={**_simple(source, group), EXPECTED: expected},
            low_s=low * expected,
            high_s=high * expected,
        )


def _sizes(group: KernelGroup) -> tuple[ndarray, tuple[float, ...]]:
    form = FORMS.get(form_of(group.op))
    if form is None:
        m: Any = group.shape.m
        return m, M_ENDS
    return form.size(group.shape), form.ends


def _simple(source: Source, group: KernelGroup) -> dict[str, ndarray]:
    """Seconds by the roofline and by constant factors."""
    cost = cost_of_shape(group.shape, group.precision)
    compute_s: Any = engines_of(source.device, [cost]).compute_s(cost)
    memory_s: Any = cost.bytes / source.device.bytes_per_s
    roofline: Any = maximum(compute_s, memory_s)
    constant: Any = START_S + maximum(compute_s / PEAK, memory_s / BANDWIDTH)
    return {"roofline": roofline, "constant": constant}


def merged(parts: Iterable[LeftOut], key: Callable[[LeftOut], Any]) -> list[LeftOut]:
    """Parts of one key as one, in the order of the keys' first parts; all parts of a key are of one op."""
    found: dict[Any, list[LeftOut]] = {}
    for part in parts:
        found.setdefault(key(part), []).append(part)
    return [_one(same) for same in found.values()]


def _one(parts: Sequence[LeftOut]) -> LeftOut:
    import numpy

    first = parts[0]
    arrays = [name for name, size in first.shape._asdict().items() if hasattr(size, "shape")]
    sizes: dict[str, Any] = {name: numpy.concatenate([getattr(part.shape, name) for part in parts]) for name in arrays}
    return first._replace(
        precisions=tuple(dict.fromkeys(precision for part in parts for precision in part.precisions)),
        shape=first.shape._replace(**sizes),
        size=numpy.concatenate([part.size for part in parts]),
        measured_s=numpy.concatenate([part.measured_s for part in parts]),
        seconds={name: numpy.concatenate([part.seconds[name] for part in parts]) for name in PREDICTORS},
        low_s=numpy.concatenate([part.low_s for part in parts]),
        high_s=numpy.concatenate([part.high_s for part in parts]),
    )


def within(part: LeftOut, spread: Mapping[str, Spread]) -> LeftOut:
    """The same rows with the band of their kind."""
    low, high = spread[part.kind]
    return part._replace(low_s=low * part.seconds[EXPECTED], high_s=high * part.seconds[EXPECTED])


def spread_by_kind(parts: Iterable[LeftOut]) -> dict[str, Spread]:
    """Band of each kind, as a calibration prints it of rows that its fit did not see."""
    held: dict[str, list[Held]] = {}
    for part in parts:
        rows = Held(part.size, part.seconds[EXPECTED] / part.measured_s, range_weights(part.size, part.ends))
        held.setdefault(part.kind, []).append(rows)
    return {kind: held_by(rows).spread() for kind, rows in held.items()}


# --- sums


class Sums(NamedTuple):
    """Kernels that run one after the other, added up for each count of rows (tokens): arrays over these."""

    tokens: ndarray
    measured_s: ndarray
    seconds: dict[str, ndarray]

    def off(self, predictor: str) -> ndarray:
        """|predicted - measured| / measured of each sum."""
        off: ndarray = abs(self.seconds[predictor] / self.measured_s - 1)
        return off


def sums_by_size(parts: Iterable[tuple[int, LeftOut]]) -> Sums:
    """So many times each part, added up for every size (m) that each of them has."""
    import numpy

    counted = list(parts)
    places = [{size: row for row, size in enumerate(part.size.tolist())} for _, part in counted]
    shared = sorted(set.intersection(*map(set, places)))
    measured_s = numpy.zeros(len(shared))
    seconds = {name: numpy.zeros(len(shared)) for name in PREDICTORS}
    for (count, part), where in zip(counted, places, strict=True):
        rows = [where[size] for size in shared]
        measured_s += count * part.measured_s[rows]
        for name in PREDICTORS:
            seconds[name] += count * part.seconds[name][rows]
    return Sums(numpy.array(shared), measured_s, seconds)
