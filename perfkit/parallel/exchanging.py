"""What GPUs exchange among the ops of a forward: sums of partial results, logits, activations for the next stage.

| where | exchange | message |
| --- | --- | --- |
| before both residuals of a layer: of what o_proj, and down_proj or all experts, made | all-reduce | (tokens, hidden) |
| behind embed_tokens | all-reduce | (tokens, hidden) |
| behind lm_head | all-gather | all logits |
| behind the last layer of every stage but the last | send | (tokens, hidden), by each GPU of the stage |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from perfkit.ops import COMMUNICATION, OpCost, maximum
from perfkit.parallel.links import Group
from perfkit.parallel.pipelining import Layout
from perfkit.units import Amount

ALL_REDUCE, ALL_GATHER, SEND = "all_reduce", "all_gather", "send"
_BEFORE = {"attention_residual": "attention_all_reduce", "ffn_residual": "ffn_all_reduce"}
_BEHIND = {"embed_tokens": ALL_REDUCE, "lm_head": ALL_GATHER}
_SPLIT = ("prefill", "decode")  # the phases of the language model
_END = "ffn_residual"  # of a layer


class Exchange(NamedTuple):
    """One message of `size_bytes` among a group: summed on all, gathered on all, or handed on by one of two."""

    what: str
    size_bytes: Amount
    group: Group

    @property
    def passes(self) -> int:
        """Times that (n - 1) / n of the message leave each of n workers.

        Summing takes one more than gathering: parts are summed, then gathered; a send is all of it, 2 (2 - 1) / 2.
        """
        return 1 if self.what == ALL_GATHER else 2

    @property
    def roofline_s(self) -> Amount:
        """No ring is faster: what leaves a GPU over its link, or a node over the ports of its GPUs.

        Source: Patarasuk and Yuan, Bandwidth optimal all-reduce (J. Parallel Distrib. Comput. 69(2), 2009), theorem 1.

        >>> from perfkit.hardware import load_device
        >>> from perfkit.parallel.links import group_of
        >>> of_8 = Exchange("all_reduce", 64e6, group_of(load_device("a100"), 8))
        >>> round(of_8.roofline_s * 1e6, 1)  # 2 * 7 / 8 * 64e6 = 112 MB / 300e9
        373.3
        """
        g = self.group
        leaving = self.passes * self.size_bytes
        within = leaving * (g.of_node - 1) / g.of_node / g.link_bytes_per_s
        if g.nodes == 1:
            return within
        return maximum(within, leaving * (g.nodes - 1) / g.nodes / (g.of_node * g.network_bytes_per_s))


class Transfer(NamedTuple):
    """An exchange as an op of a forward: `cost` has its name and how often it runs, but no FLOPs and no memory traffic.

    What is summed and copied on the way is hidden behind the links.
    """

    cost: OpCost
    exchange: Exchange


def exchanges(forward: Iterable[OpCost], layout: Layout) -> Iterator[OpCost | Transfer]:
    """Ops of the whole model, and what GPUs exchange among them.

    Where tokens are left out between layers a stage hands on as many as its last layers saw.
    """
    layers, done = sum(layout.stages), 0
    for op in forward:
        if op.phase not in _SPLIT:
            yield op
            continue
        if layout.tensor is not None and op.name in _BEFORE:
            yield _transfer(op, _BEFORE[op.name], ALL_REDUCE, layout.tensor, op.repeat)
        yield op
        if layout.tensor is not None and op.name in _BEHIND:
            yield _transfer(op, f"{op.name}_{_BEHIND[op.name]}", _BEHIND[op.name], layout.tensor, op.repeat)
        if op.name == _END:
            yield from _sends(op, layout, done)
            done = (done + int(op.repeat)) % layers  # the next phase begins anew


def _sends(op: OpCost, layout: Layout, done: int) -> Iterator[Transfer]:
    """Hand-overs at ends of stages among the layers of `op`, `done` layers standing before them."""
    ends = accumulate(layout.stages[:-1])
    met = [group for end, group in zip(ends, layout.boundaries, strict=True) if done < end <= done + int(op.repeat)]
    for group in dict.fromkeys(group.nodes for group in met):
        same = [each for each in met if each.nodes == group]
        yield _transfer(op, "stage_send", SEND, same[0], len(same))


def _transfer(op: OpCost, name: str, what: str, group: Group, repeat: Amount) -> Transfer:
    """A transfer of what one launch of `op` writes."""
    size = op.write_bytes / maximum(op.repeat, 1)
    return Transfer(OpCost(op.phase, name, COMMUNICATION, repeat, op.engine), Exchange(what, size, group))
