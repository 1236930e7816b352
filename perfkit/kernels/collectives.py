"""Time of an all-reduce among the GPUs of one node; between nodes it is another, which this does not say.

Each of n workers sends and receives 2 (n - 1) / n of the tensor in 2 (n - 1) hops, by the quicker of two protocols:
one that starts at once and reaches a part of the link, one that takes longer to start and reaches more of it.

    moved = 2 (n - 1) / n bytes
    time  = start_s + 2 (n - 1) hop_s + min(moved / (quick L), bulk_s + moved / (bandwidth L))

Only + - * / and the smaller of two, so the same lines serve one size and arrays of them.
"""

from __future__ import annotations

from typing import NamedTuple

from perfkit.ops import minimum
from perfkit.units import Amount


class CollectiveParameters(NamedTuple):
    """What a calibration says of all-reduces within a node.

    `start_s`: all that does not depend on size and workers. `hop_s`: one step of the ring from a worker to the next.
    `quick`: share of the link that the low-latency protocol reaches. `bulk_s`: what the other takes more to start.
    `bandwidth`: share of the link that the other reaches.
    """

    start_s: float
    hop_s: float
    quick: float
    bulk_s: float
    bandwidth: float


def all_reduce_s(
    size_bytes: Amount, workers: Amount, link_bytes_per_s: float, parameters: CollectiveParameters
) -> Amount:
    """Seconds to sum a tensor of so many bytes over the `workers` (2 or more) of one node; links in each direction.

    >>> # moved 2 * 7/8 * 64e6 = 112e6; at once / 150e9 = 747 us, in bulk 50 us + / 240e9 = 517 us; 40 us + 14 * 0.5 us
    >>> round(all_reduce_s(64e6, 8, 300e9, CollectiveParameters(40e-6, 0.5e-6, 0.5, 50e-6, 0.8)) * 1e6)
    564
    """
    moved = 2 * (workers - 1) / workers * size_bytes
    at_once = moved / (parameters.quick * link_bytes_per_s)
    in_bulk = parameters.bulk_s + moved / (parameters.bandwidth * link_bytes_per_s)
    return parameters.start_s + 2 * (workers - 1) * parameters.hop_s + minimum(at_once, in_bulk)
