"""Time of what GPUs exchange: all-reduces, gathers and hand-overs, within a node and between nodes.

A ring of n workers moves 2 (n - 1) / n of the tensor in 2 (n - 1) hops, a pair of trees all of it up and down in
2 ceil(log2 n) hops. Either goes by the quicker of two protocols: one that starts at once and reaches a part of the
link, one that takes longer to start and reaches more of it. With L bytes a second of a link in one direction:

    ring    = 2 (n - 1) hop_s + over(2 (n - 1) / n bytes),   tree = 2 ceil(log2 n) hop_s + over(2 bytes)
    over(x) = min(x / (quick L), bulk_s + x / (bandwidth L))
    time    = start_s + min(ring, tree)

A gather makes half the ring's way and a hand-over one hop with all bytes. Between N nodes of g GPUs each, nodes are
the workers, each with the rate of one port: measured nodes gain little by more GPUs, whatever ports they have.

Source: NCCL's algorithms (ring, double binary tree) and protocols (LL128, Simple), docs.nvidia.com/deeplearning/nccl;
Gibiansky, Bringing HPC techniques to deep learning (Baidu, 2017), for the ring; Sanders et al., Two-tree algorithms
(Parallel Computing 35, 2009). Only + - * / ** and the smaller of two, so the same lines serve one size and arrays.
"""

from __future__ import annotations

from typing import NamedTuple

from perfkit.ops import maximum, minimum
from perfkit.parallel.exchanging import ALL_GATHER, ALL_REDUCE, Exchange
from perfkit.units import Amount


class CollectiveParameters(NamedTuple):
    """What a calibration says of exchanges within a node, or of those between nodes.

    `start_s`: all that does not depend on size and workers. `hop_s`: one step from a worker to the next. `quick`:
    share of the link that the low-latency protocol reaches. `bulk_s`: what the other takes more to start. `bandwidth`:
    share of the link that the other reaches.
    """

    start_s: float
    hop_s: float
    quick: float
    bulk_s: float
    bandwidth: float


def all_reduce_s(size_bytes: Amount, workers: int, link_bytes_per_s: float, parameters: CollectiveParameters) -> Amount:
    """Seconds to sum a tensor of so many bytes over `workers` (2 or more).

    >>> # ring: moved 2 * 7/8 * 64e6 = 112e6; at once / 150e9 = 747 us, in bulk 50 us + / 240e9 = 517 us; 14 * 0.5 us
    >>> # tree: moved 128e6; in bulk 50 us + / 240e9 = 583 us; 6 * 0.5 us; the ring is quicker, 40 us before it
    >>> round(all_reduce_s(64e6, 8, 300e9, CollectiveParameters(40e-6, 0.5e-6, 0.5, 50e-6, 0.8)) * 1e6)
    564
    """
    around, deep = 2 * (workers - 1), 2 * (workers - 1).bit_length()
    ring = around * parameters.hop_s + _over_s(around / workers * size_bytes, link_bytes_per_s, parameters)
    tree = deep * parameters.hop_s + _over_s(2 * size_bytes, link_bytes_per_s, parameters)
    return parameters.start_s + minimum(ring, tree)


def _over_s(moved: Amount, link_bytes_per_s: float, parameters: CollectiveParameters) -> Amount:
    """Seconds over a link, by the quicker protocol."""
    at_once = moved / (parameters.quick * link_bytes_per_s)
    return minimum(at_once, parameters.bulk_s + moved / (parameters.bandwidth * link_bytes_per_s))


def exchange_s(exchange: Exchange, within: CollectiveParameters, between: CollectiveParameters) -> Amount:
    """Seconds of an exchange; of one between nodes the slower of its ways inside nodes and between them.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.parallel.links import neighbours
    >>> ring = CollectiveParameters(40e-6, 0.5e-6, 0.5, 50e-6, 0.8)
    >>> send = Exchange("send", 3e6, neighbours(load_device("a100"), same_node=True))
    >>> # start 40 us, a hop 0.5 us, 3e6 bytes at 0.5 * 300e9 = 20 us
    >>> round(exchange_s(send, ring, ring) * 1e6, 1)
    60.5
    """
    group = exchange.group
    inside = _level_s(exchange, group.of_node, group.link_bytes_per_s, within)
    if group.nodes == 1:
        return inside
    across = _level_s(exchange, group.nodes, group.network_bytes_per_s, between)
    return across if group.of_node == 1 else maximum(inside, across)


def _level_s(exchange: Exchange, workers: int, rate: float, parameters: CollectiveParameters) -> Amount:
    if exchange.what == ALL_REDUCE:
        return all_reduce_s(exchange.size_bytes, workers, rate, parameters)
    moved = exchange.size_bytes * exchange.passes * (workers - 1) / workers
    hops = workers - 1 if exchange.what == ALL_GATHER else 1
    return parameters.start_s + hops * parameters.hop_s + _over_s(moved, rate, parameters)
