"""Expected time of kernels: what is to be expected, where the roofline says what cannot be beaten.

`measured_rates` takes the rates of a device file that holds measured ones. `products`, `attention`, `elementwise` and
`collectives` are the mechanistic models of kernels' times, whose parameters a calibration (`calibrations`) holds for a
device or for all of its family; `tables` holds kernel tables against both.
"""

from perfkit.kernels.measured_rates import calibration_of, expect_ops

__all__ = ["calibration_of", "expect_ops"]
