"""PyramidDrop: the layers are split into equal stages, and a fraction of the visual tokens survives each.

At the end of a stage the tokens are ranked by the attention that the last text token would pay them in the next layer.
For that the next layer's keys of all tokens and its query of that one token are made ahead; the layer then makes its
own from the tokens that are kept. All attention stays fused.

Source: Xing et al., PyramidDrop (arXiv 2410.17247, CVPR 2025); Cooperx521/PyramidDrop at 3f89f94,
llava/model/modeling_llama_pdrop.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from perfkit import ops
from perfkit.errors import InvalidValue
from perfkit.ops import OpCost
from perfkit.reduction import costs
from perfkit.reduction.method import Drop, Entry, Pruner
from perfkit.reduction.parameters import Parameters, decimal
from perfkit.units import Amount


@dataclass(frozen=True, slots=True)
class PyramidDrop(Pruner):
    """`stages` stages, as equal as whole layers allow; `keep` of a stage's tokens, rounded down, enter the next.

    >>> PyramidDrop(4, Fraction("0.5")).schedule(32, 576)[2:]
    (LayerGroup(layers=8, visual_tokens=144), LayerGroup(layers=8, visual_tokens=72))
    """

    name: ClassVar[str] = "pyramiddrop"
    title: ClassVar[str] = "PyramidDrop"
    stages: int
    keep: Fraction

    @property
    def parameters(self) -> dict[str, str]:
        """`stages` and `keep`."""
        return {"stages": str(self.stages), "keep": decimal(self.keep)}

    def drops(self, entry: Entry) -> tuple[tuple[int, Amount], ...]:
        """At the end of each stage but the last."""
        found, tokens = [], entry.visual_tokens
        for stage in range(1, min(self.stages, entry.layers + 1)):
            tokens = tokens * self.keep.numerator // self.keep.denominator
            found.append((stage * entry.layers // self.stages, tokens))
        return tuple(found)

    def allowed_layers(self, layers: int) -> str:
        """At least one layer a stage."""
        return f"stages is from 2 to {layers}"

    def selection_ops(self, drop: Drop) -> Iterator[OpCost]:
        """The next layer's scores of the last token, their mean over the heads, and the best tokens."""
        yield from (op._replace(kind=costs.SELECTION) for op in _projections(drop))
        heads, head_dim = drop.stack.attention.heads, drop.stack.attention.head_dim
        shared = heads // drop.stack.attention.kv_heads
        pairs = drop.batch * heads
        yield costs.product(drop.place, "rank_scores", pairs, 1, drop.tokens, head_dim, shared)
        yield costs.softmax(drop.place, "rank_softmax", pairs * drop.tokens)
        yield costs.mean(drop.place, "mean_over_heads", heads, drop.batch * drop.before)
        yield costs.pick(drop.place, "pick_tokens", drop.batch * drop.before, drop.batch * drop.after)
        yield drop.gather()

    @property
    def note(self) -> str:
        """What is made twice."""
        return (
            f"{self.name}: before each drop the next layer's keys of all tokens are made once more, to rank the tokens"
        )


def _projections(drop: Drop) -> Iterator[OpCost]:
    """Norm and keys of all tokens, the query of the last text token, both rotated."""
    stack, a, rows = drop.stack, drop.stack.attention, drop.batch * drop.tokens
    yield ops.norm(drop.place, "rank_norm", rows, stack.hidden, stack.norm, learned=stack.norm_weights)
    yield ops.linear(drop.weights, "rank_k_proj", rows, stack.hidden, a.kv_width, bias=a.qkv_bias)
    yield ops.linear(drop.weights, "rank_q_proj", drop.batch, stack.hidden, a.q_width, bias=a.qkv_bias)
    if a.qk_norm:
        yield ops.norm(drop.place, "rank_k_norm", rows * a.kv_heads, a.head_dim, stack.norm)
        yield ops.norm(drop.place, "rank_q_norm", drop.batch * a.heads, a.head_dim, stack.norm)
    if a.rotary:
        yield ops.rotary(drop.place, "rank_k_rotary", rows, drop.tokens, a.kv_width, a.head_dim)
        yield ops.rotary(drop.place, "rank_q_rotary", drop.batch, 1, a.q_width, a.head_dim)


def read(given: Parameters) -> PyramidDrop:
    """Method of its parameters; four stages that keep half are the paper's.

    Raises:
        InvalidValue: fewer than two stages, or keep = 0, which leaves no tokens.
    """
    given.only("stages", "keep")
    stages, keep = given.count("stages", "4", minimum=2), given.fraction("keep", "0.5")
    if keep == 0:
        raise InvalidValue("pyramiddrop: keep must be above 0, since it leaves no tokens; vtw drops all after a layer")
    return PyramidDrop(stages, keep)
