"""Expected time of one kernel on a device, by a calibration."""

from __future__ import annotations

from perfkit.hardware import Device
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.calibrations import Calibration
from perfkit.kernels.forms import PRODUCTS, form_of, form_s
from perfkit.kernels.limits import limits_of
from perfkit.kernels.products import Product, product_s
from perfkit.units import Amount, Precision


def expected_s(
    shape: KernelShape, precision: Precision, device: Device, calibration: Calibration, *, warm: bool = True
) -> Amount | None:
    """Seconds of one launch; None where the calibration has no model for such a kernel.

    `warm`: what fits in the L2 is found there, as where one kernel runs again and again; a whole model's weights are
    not. `shape` holds numbers, or float64 arrays of many shapes of one op.

    Raises:
        UnsupportedPrecision: the device has no engine for it.
        InvalidSpec: a figure that the model needs is not known of the device.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.kernels.calibrations import calibration_for
    >>> from perfkit.kernel_shapes import gemm
    >>> v100 = load_device("v100")
    >>> seconds = expected_s(gemm(4096, 4096, 4096), Precision.FP16, v100, calibration_for(v100))
    >>> seconds > 2 * 4096**3 / 125e12  # no faster than the roofline
    True
    """
    if (name := form_of(shape.op)) != PRODUCTS:
        form = calibration.forms.get(name)
        return (
            None if form is None else form_s(shape, precision.bits / 8, limits_of(device, precision), form, warm=warm)
        )
    parameters = calibration.products.get(device.product_peak(precision).engine)
    if parameters is None:
        return None
    assert shape.m is not None  # noqa: S101  # every product has m, n and k
    assert shape.n is not None  # noqa: S101
    assert shape.k is not None  # noqa: S101
    batch = 1 if shape.batch is None else shape.batch
    product = Product(shape.m, shape.n, shape.k, batch, precision.bits / 8)
    return product_s(product, limits_of(device, precision), parameters if warm else parameters._replace(warm=0.0))
