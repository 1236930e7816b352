"""Which parameters of the kernel model a fit may move, how far, and where it starts.

A parameter's logarithm is fitted, so that it stays positive and its spread is a share; shares that may be 0 are fitted
as they are. The spread is how far devices lie from each other in that, the standard deviation of the prior: with few
points a parameter stays near the family's, with many it goes where they say.
"""

from __future__ import annotations

from typing import NamedTuple

from perfkit.kernels.attention import DecodeParameters, PrefillParameters
from perfkit.kernels.collectives import CollectiveParameters
from perfkit.kernels.elementwise import ElementwiseParameters
from perfkit.kernels.products import TILES, ProductParameters


class Parameter(NamedTuple):
    """One number that is fitted, in its unit; bounds are what is physically thinkable."""

    name: str
    unit: str
    low: float
    high: float
    spread: float
    logarithmic: bool = True


PRODUCTS = (
    Parameter("start_s", "s", 1e-6, 40e-6, 0.35),
    Parameter("bandwidth", "of memory's", 0.3, 1.2, 0.07),
    Parameter("overlap", "exponent", 1.0, 12.0, 0.3),
    Parameter("peak", "of the engine's", 0.2, 1.2, 0.2),
    Parameter("load", "FLOP an element", 0.005, 200.0, 0.7),
    Parameter("quantisation", "share", 0.0, 1.0, 0.2, logarithmic=False),
    Parameter("split_s", "s", 0.1e-6, 15e-6, 0.3),
    Parameter("l2_rate", "of 64 bytes a clock and multiprocessor", 0.02, 2.0, 0.5),
    Parameter("warm", "of the L2", 0.02, 3.0, 0.3),
    Parameter("step_s", "s an element of k", 1e-11, 1e-7, 0.7),
    Parameter("lone", "share", 0.0, 6.0, 0.15, logarithmic=False),
    Parameter("prologue_k", "elements of k", 1.0, 4000.0, 0.5),
    Parameter("throttle", "share", 0.0, 2.0, 0.2, logarithmic=False),
    Parameter("misaligned", "of the aligned ones' rate", 0.02, 1.0, 0.7),
)
TILE = Parameter("tiles", "of the others'", 0.4, 2.5, 0.15)
# Where a fit without a sibling begins: two places, because one may lie in the wrong valley.
STARTS = (
    ProductParameters(3e-6, 0.8, 3.0, 0.85, 10.0, 0.5, 2e-6, 0.13, 0.17, 1e-10, 0.3, 64.0, 0.1),
    ProductParameters(3e-6, 0.8, 3.0, 1.1, 30.0, 0.9, 2e-6, 0.13, 0.17, 1e-10, 0.3, 300.0, 0.4),
)
ALL = (*PRODUCTS, *(TILE,) * len(TILES))

# Of the other kernels those are named that a fit moves, in the order of their fields; what is not named stays as it
# starts, which costs nothing in error. Starts are what measured devices have in common: of prompts and new tokens fits
# to an A100, H200, B200 and L40S together (of new tokens with the L2 held between the H200's and the B200's, because
# what a table finds there says how it was measured), of encoders the geometric mean of the last three; the rest is the
# A100's.
ATTENTION_PREFILL = (
    Parameter("start_s", "s", 1e-6, 40e-6, 0.25),
    Parameter("peak", "of the engine's", 0.3, 1.1, 0.12),
    Parameter("tail", "of the longest block", 0.02, 2.0, 0.6),
    Parameter("bandwidth", "of memory's", 0.3, 1.0, 0.15),
    Parameter("warm", "of the L2", 0.1, 2.0, 0.3),
    Parameter("packed", "share", 0.02, 1.0, 0.7),
    Parameter("bare", "of the exponentials", 0.05, 2.0, 0.4),
    Parameter("narrow", "exponent", 0.0, 1.5, 0.1, logarithmic=False),
)
ATTENTION_PREFILL_START = PrefillParameters(
    start_s=7.51e-6,
    peak=0.662,
    block_s=3.2e-6,
    tail=0.549,
    bandwidth=0.705,
    l2_rate=0.28,
    warm=0.918,
    packed=0.807,
    bare=0.316,
    narrow=0.308,
)
# Bidirectional, heads of 64: `packed` has no effect where every query head has its own keys.
ATTENTION_ENCODER = (
    Parameter("start_s", "s", 1e-6, 40e-6, 0.25),
    Parameter("peak", "of the engine's", 0.3, 1.1, 0.12),
    Parameter("block_s", "s", 0.3e-6, 10e-6, 0.2),
    Parameter("tail", "of the longest block", 0.02, 2.0, 0.6),
    Parameter("bandwidth", "of memory's", 0.3, 1.0, 0.15),
    Parameter("l2_rate", "of 64 bytes a clock and multiprocessor", 0.05, 2.0, 0.4),
    Parameter("warm", "of the L2", 0.1, 2.0, 0.3),
    Parameter("reread", "of each tile's keys and values", 1e-4, 1.0, 1.0),
)
ATTENTION_ENCODER_START = PrefillParameters(
    start_s=6.78e-6,
    peak=0.805,
    block_s=1.6e-6,
    tail=0.224,
    bandwidth=0.52,
    l2_rate=0.136,
    warm=1.08,
    packed=0.7,
    reread=0.116,
)
ATTENTION_DECODE = (
    Parameter("start_s", "s", 1e-6, 40e-6, 0.2),
    Parameter("bandwidth", "of memory's", 0.4, 1.0, 0.1),
    Parameter("block_s", "s", 0.05e-6, 10e-6, 0.6),
    Parameter("block_bytes", "bytes a clock", 2.0, 250.0, 0.6),
    Parameter("l2_rate", "of 64 bytes a clock and multiprocessor", 0.03, 2.0, 0.4),
    Parameter("warm", "of the L2", 0.3, 1.5, 0.2),
    Parameter("packed", "share", 0.02, 1.0, 0.7),
)
ATTENTION_DECODE_START = DecodeParameters(
    start_s=8.19e-6,
    bandwidth=0.857,
    block_s=1.45e-6,
    block_bytes=82.6,
    split_s=2.5e-6,
    l2_rate=0.446,
    warm=0.838,
    packed=0.783,
)
ELEMENTWISE = (
    Parameter("start_s", "s", 0.3e-6, 20e-6, 0.5),
    Parameter("bandwidth", "of memory's", 0.3, 1.2, 0.15),
    Parameter("l2_rate", "of 64 bytes a clock and multiprocessor", 0.02, 2.0, 0.7),
    Parameter("warm", "of the L2", 0.02, 3.0, 0.5),
    Parameter("passes", "times", 1.0, 5.0, 0.4),
    Parameter("lone", "elements a clock", 0.2, 100.0, 0.7),
    Parameter("full", "elements a clock", 0.2, 100.0, 0.7),
)
ELEMENTWISE_START = ElementwiseParameters(
    start_s=1.27e-6,
    bandwidth=0.919,
    l2_rate=0.283,
    warm=0.803,
    passes=1.71,
    lone=3.74,
    full=7.15,
)
COLLECTIVE = (  # within a node
    Parameter("start_s", "s", 1e-6, 100e-6, 0.3),
    Parameter("hop_s", "s", 1e-8, 20e-6, 0.7),
    Parameter("quick", "of the link's", 0.1, 1.0, 0.2),
    Parameter("bulk_s", "s", 1e-6, 1e-3, 0.5),
    Parameter("bandwidth", "of the link's", 0.3, 1.0, 0.15),
)
COLLECTIVE_START = CollectiveParameters(start_s=39.1e-6, hop_s=0.37e-6, quick=0.487, bulk_s=45.5e-6, bandwidth=0.654)
NETWORK = (  # between nodes
    Parameter("start_s", "s", 1e-6, 1e-3, 0.5),
    Parameter("hop_s", "s", 1e-8, 100e-6, 0.7),
    Parameter("quick", "of the port's", 0.01, 1.0, 0.5),
    Parameter("bulk_s", "s", 1e-6, 10e-3, 0.7),
    Parameter("bandwidth", "of the port's", 0.05, 1.0, 0.5),
)
NETWORK_START = CollectiveParameters(start_s=40e-6, hop_s=10e-6, quick=0.1, bulk_s=100e-6, bandwidth=0.25)
