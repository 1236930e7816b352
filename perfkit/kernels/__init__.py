"""Expected time of kernels: what is to be expected, where the roofline says what cannot be beaten.

`products`, `attention`, `elementwise` and `collectives` are the mechanistic models of kernels' times, whose parameters
a calibration (`calibrations`) holds for a device or for all of its family; `tables` holds kernel tables against both.
`launching` says which kernels run for an op, `host` what launching them takes, and `expecting` adds up a model's;
`exchanging` joins one GPU's ops with what several exchange; `measured_rates` takes the rates of a device file that
holds measured ones instead.
"""

from perfkit.kernels.expecting import Expectation, expect_ops, expectation_of
from perfkit.kernels.measured_rates import has_measured_rates

__all__ = ["Expectation", "expect_ops", "expectation_of", "has_measured_rates"]
