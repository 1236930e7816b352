"""Expected time of ops: what is to be expected of a device, where the roofline says what it cannot beat.

    op = repeat x sum over its kernels of what the kernel model says of each, by a calibration

A device with measured rates takes those instead (`measured_rates`), unless a calibration is asked for; one of which too
little is known for the model a rule of thumb (`rule_of_thumb`). In a whole model weights and cache come from memory:
other kernels have washed them out of the L2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from perfkit.errors import InvalidSpec
from perfkit.hardware import Device
from perfkit.kernels.attention import attention_s
from perfkit.kernels.calibrations import CAUTIOUS, Calibration, Spread, calibration_for, complete
from perfkit.kernels.elementwise import GATED, ElementwiseParameters, bytes_s, over_rows_s
from perfkit.kernels.forms import ELEMENTWISE, PRODUCTS, form_of
from perfkit.kernels.launching import Launch, launches_of
from perfkit.kernels.limits import Limits, limits_of
from perfkit.kernels.measured_rates import has_measured_rates, rated
from perfkit.kernels.products import Product, large_flop_s, product_s
from perfkit.kernels.rule_of_thumb import by_rule_of_thumb
from perfkit.ops import OpCost, maximum
from perfkit.roofline import Engines, OpTime
from perfkit.units import Amount, Precision
from perfkit.workload import Runtime

RULE_OF_THUMB = "rule of thumb"
UNKNOWN = Spread(1.0, 1.0)  # of what a calibration does not say: no band, rather than a wrong one


class Expectation(NamedTuple):
    """What expected times of a device rest on.

    `calibration`: None where its measured rates are taken. `problem`: why it is a rule of thumb, else empty. `asked`:
    whether anybody asks for expected times; they take most of the time of a prediction.
    """

    device: Device
    calibration: Calibration | None
    problem: str = ""
    asked: bool = True

    @property
    def id(self) -> str:
        """As JSON names it."""
        if not self.asked:
            return "none"
        if self.problem:
            return RULE_OF_THUMB
        return f"measured rates of {self.device.id}" if self.calibration is None else self.calibration.id

    @property
    def is_borrowed(self) -> bool:
        """Whether the cautious default stands in, there being no calibration of the device or its family."""
        if self.calibration is None or self.calibration.id != CAUTIOUS:
            return False
        return calibration_for(self.device).id == CAUTIOUS


def expectation_of(engines: Engines, calibration: Calibration | None = None) -> Expectation:
    """What is to be expected of a device: by `calibration`, or its measured rates, or the best that there is for it.

    Raises:
        InvalidValue: a calibration of another device.
    """
    device = engines.device
    if calibration is not None:
        calibration.check_device(device)
        found = complete(calibration, device)
    elif has_measured_rates(device):
        return Expectation(device, None)
    else:
        found = calibration_for(device)
    try:
        for precision in engines.peaks:
            limits_of(device, precision)
    except InvalidSpec as why:
        return Expectation(device, found, str(why))
    return Expectation(device, found)


def expect_ops(
    expectation: Expectation, engines: Engines, times: Iterable[OpTime], runtime: Runtime = "graph"
) -> tuple[OpTime, ...]:
    """`times` with what is expected of each.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.ops import Place, linear
    >>> from perfkit.roofline import engines_of, time_ops
    >>> product = linear(Place("prefill", 32, *[Precision.FP16] * 4), "q_proj", 636, 4096, 4096)
    >>> engines = engines_of(load_device("a100"), [product])
    >>> (time,) = expect_ops(expectation_of(engines), engines, time_ops(engines, [product]))
    >>> time.roofline_s < time.expected_low_s < time.expected_s < time.expected_high_s
    True
    """
    if not expectation.asked:
        return tuple(times)
    if expectation.problem:
        return by_rule_of_thumb(engines, times, runtime)
    if expectation.calibration is None:
        return rated(engines, times)
    model = _Model(expectation.device, expectation.calibration, runtime, {})
    return tuple(model.expect(time) for time in times)


class _Model(NamedTuple):
    """The kernel model of one device under one runtime; limits and engines are looked up once a precision."""

    device: Device
    calibration: Calibration
    runtime: Runtime
    limits: dict[Precision, tuple[Limits, str]]

    def expect(self, time: OpTime) -> OpTime:
        """An op's time: the sum of its kernels', as often as it runs. What is off is off in all of its runs alike."""
        op, launches = time.cost, launches_of(time.cost, self.runtime)
        _, engine = self._limits_of(op.engine)
        expected: Amount = 0.0
        low: Amount = 0.0
        high: Amount = 0.0
        for launch in launches:
            seconds = op.repeat * self.launch_s(op, launch)
            spread = self.calibration.spread_of(_name(launch), engine) or UNKNOWN
            expected, low, high = expected + seconds, low + spread.low * seconds, high + spread.high * seconds
        return time._replace(
            expected_s=expected, expected_low_s=low, expected_high_s=high, launches=op.repeat * len(launches)
        )

    def launch_s(self, op: OpCost, launch: Launch) -> Amount:
        """Seconds of one launch."""
        limits, _ = self._limits_of(op.engine)
        if launch.multiplies and (launch.kernel is None or form_of(launch.kernel.op) == PRODUCTS):
            return self._products_s(op, launch)
        parameters: Any = self.calibration.forms[form_of(_name(launch))]
        if launch.kernel is None:
            return bytes_s(launch.bytes, limits, parameters, launch.clocks)
        if isinstance(parameters, ElementwiseParameters):
            return over_rows_s(launch.kernel, _row_bytes(launch), limits, parameters)
        # A prompt's keys and values were just written, a cache was washed out of the L2 since the last token.
        warm = launch.kernel.op != "attention_decode"
        return attention_s(launch.kernel, _cached_bytes(op), limits, parameters, warm=warm, writes_cache=False)

    def _products_s(self, op: OpCost, launch: Launch) -> Amount:
        """Of no one shape, as experts are: the larger of compute and memory at the rates of large products."""
        limits, engine = self._limits_of(op.engine)
        parameters = self.calibration.products[engine]._replace(warm=0.0)
        if launch.kernel is not None:
            return product_s(_product(op, launch.kernel), limits, parameters)
        compute_s = op.matmul_flops / maximum(op.repeat, 1) * large_flop_s(limits, parameters)
        return parameters.start_s + maximum(compute_s, launch.bytes / (parameters.bandwidth * limits.bytes_per_s))

    def _limits_of(self, precision: Precision) -> tuple[Limits, str]:
        """With the engine that multiplies."""
        if precision not in self.limits:
            self.limits[precision] = limits_of(self.device, precision), self.device.product_peak(precision).engine
        return self.limits[precision]


def _name(launch: Launch) -> str:
    """Op of a kernel table; element-wise work where only bytes are known."""
    return ELEMENTWISE if launch.kernel is None else launch.kernel.op


def _product(op: OpCost, shape: Any) -> Product:
    """The product of an op; elements of its two factors in the formats in which they are stored."""
    runs, batch = maximum(op.repeat, 1), 1 if shape.batch is None else shape.batch
    if shape.op == "bmm":
        return Product(shape.m, shape.n, shape.k, batch, op.engine.bits / 8)
    size = op.write_bytes / maximum(runs * shape.m * shape.n, 1)  # at points of a sweep without rows nothing
    return Product(shape.m, shape.n, shape.k, batch, size, op.weight_bytes / (runs * shape.n * shape.k))


def _row_bytes(launch: Launch) -> Any:
    """Of an element, on the mean over what is read and what is written."""
    s: Any = launch.kernel
    tensors = 3 if s.op.endswith(GATED) or s.op == "add" else 2
    return launch.bytes / maximum(tensors * s.m * s.n, 1)


def _cached_bytes(op: OpCost) -> Any:
    """Of an element of keys and values."""
    s: Any = op.kernel
    if s.op == "attention_encoder":
        return op.engine.bits / 8
    return op.kv_read_bytes / (maximum(op.repeat, 1) * 2 * s.batch * s.kv_tokens * s.kv_heads * s.head_dim)
