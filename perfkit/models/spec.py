"""What a model is, as far as its cost goes: shapes of its parts, nothing of any library.

A `ModelSpec` has up to three parts: a vision tower, a projector, a language model (or text encoder).
The two transformers share one description, `StackSpec`. Parameters are counted here from the
shapes alone; the tests hold them against the real modules' `numel()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from perfkit.documents import shown
from perfkit.errors import InvalidSpec
from perfkit.ops import ACTIVATION_FLOPS

Norm = Literal["rmsnorm", "layernorm"]


class AttentionSpec(NamedTuple):
    """Self-attention: `heads` query heads share `kv_heads` key and value heads of width `head_dim`.

    `fused_qkv`: one product makes q, k and v (GPT-2). `qk_norm`: RMSNorm over each head of q and k (Qwen3).
    `sliding_window`: tokens that a query may look back at, or None for all.
    """

    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = True
    rotary: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    fused_qkv: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None

    @property
    def q_width(self) -> int:
        """Elements of all query heads of a token."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of all key heads of a token (values have as many)."""
        return self.kv_heads * self.head_dim


class FeedForwardSpec(NamedTuple):
    """Feed-forward of inner width `width`: gated has three matrices (gate, up, down), else two.

    With `experts` > 1 a router sends each token to `experts_per_token` of that many such blocks.
    """

    width: int
    gated: bool
    activation: str
    bias: bool = False
    experts: int = 1
    experts_per_token: int = 1

    @property
    def matrices(self) -> int:
        """Weight matrices of one expert."""
        return 3 if self.gated else 2


class StackSpec(NamedTuple):
    """`layers` equal transformer layers of width `hidden`, two norms each.

    `norm_weights`: whether the norms over `hidden`, here and around the stack, are learned (OPT may leave it out).
    """

    hidden: int
    layers: int
    attention: AttentionSpec
    feed_forward: FeedForwardSpec
    norm: Norm
    norm_weights: bool = True

    @property
    def norm_parameters(self) -> int:
        """Parameters of one norm over `hidden`."""
        return norm_parameters(self.norm, self.hidden) if self.norm_weights else 0

    @property
    def linear_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(inputs, outputs, how many) of the weight matrices of one layer."""
        h, a, f = self.hidden, self.attention, self.feed_forward
        expert = f.experts
        shapes = [(h, a.q_width, 1), (h, a.kv_width, 2), (a.q_width, h, 1)]
        shapes += [(h, f.width, (f.matrices - 1) * expert), (f.width, h, expert)]
        if expert > 1:
            shapes.append((h, expert, 1))
        return tuple(shapes)

    @property
    def linear_parameters(self) -> int:
        """Elements of the weight matrices of one layer, all experts, without biases."""
        return sum(inputs * outputs * count for inputs, outputs, count in self.linear_shapes)

    @property
    def other_parameters(self) -> int:
        """Biases and norms of one layer."""
        a, f = self.attention, self.feed_forward
        norms = 2 * self.norm_parameters + (2 * a.head_dim if a.qk_norm else 0)
        qkv = (a.q_width + 2 * a.kv_width) if a.qkv_bias else 0
        output = self.hidden if a.output_bias else 0
        inner = f.experts * ((f.matrices - 1) * f.width + self.hidden) if f.bias else 0
        return norms + qkv + output + inner

    @property
    def parameters(self) -> int:
        """All parameters of all layers."""
        return self.layers * (self.linear_parameters + self.other_parameters)


class TextSpec(NamedTuple):
    """Language model or text encoder: embeddings, a stack, and a head.

    `embedding_width`: width of the token table where it is not `hidden` (OPT-350m; two products bridge it).
    `position_rows`: rows of a learned position table, 0 for rotary. `context`: positions that the model was made for.
    """

    stack: StackSpec
    vocab: int
    context: int
    embedding_width: int
    position_rows: int = 0
    token_types: int = 0
    embedding_norm: bool = False
    final_norm: bool = True
    lm_head: bool = True
    tied: bool = False
    pooler: bool = False

    @property
    def bridged(self) -> bool:
        """Whether products stand between the embedding's width and the stack's."""
        return self.embedding_width != self.stack.hidden

    @property
    def embedding_parameters(self) -> int:
        """Token, position and type tables, with the norm after them."""
        h = self.stack.hidden
        norm = self.stack.norm_parameters if self.embedding_norm else 0
        bridge = self.embedding_width * h if self.bridged else 0
        return self.vocab * self.embedding_width + (self.position_rows + self.token_types) * h + norm + bridge

    @property
    def head_parameters(self) -> int:
        """Final norm, the product back to the embedding's width, lm_head unless tied, BERT's pooler."""
        h = self.stack.hidden
        norm = self.stack.norm_parameters if self.final_norm else 0
        bridge = h * self.embedding_width if self.bridged else 0
        head = self.vocab * self.embedding_width if self.lm_head and not self.tied else 0
        return norm + bridge + head + (h * h + h if self.pooler else 0)

    @property
    def parameters(self) -> int:
        """All parameters, a tied lm_head counted once."""
        return self.embedding_parameters + self.stack.parameters + self.head_parameters


class VisionSpec(NamedTuple):
    """Vision transformer: square patches, a stack, and what comes after it.

    `pre_norm`: norm before the stack (CLIP). `post_norm`: after it, over the class token alone (`pooled`, CLIP),
    over every position (`all`, SigLIP), or `none`. `pooling_head`: SigLIP's attention pooling by one learned query.
    `kept_positions`: positions of a tile that become visual tokens (576 of CLIP's 577 in LLaVA). `unread_layers`: last
    layers that run, but whose output goes nowhere (1 in LLaVA, whose features are those of the last but one).
    """

    stack: StackSpec
    image_size: int
    patch_size: int
    kept_positions: int
    channels: int = 3
    class_token: bool = True
    patch_bias: bool = False
    pre_norm: bool = True
    post_norm: Literal["pooled", "all", "none"] = "pooled"
    pooling_head: bool = False
    unread_layers: int = 0

    @property
    def patches(self) -> int:
        """Patches of one tile."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def positions(self) -> int:
        """Sequence length in the tower."""
        return self.patches + int(self.class_token)

    @property
    def patch_elements(self) -> int:
        """Pixels times channels of a patch: the inner dimension of the patch convolution."""
        return self.channels * self.patch_size**2

    @property
    def parameters(self) -> int:
        """All parameters of the tower."""
        h = self.stack.hidden
        embedding = h * self.patch_elements + (h if self.patch_bias else 0) + self.positions * h
        embedding += h if self.class_token else 0
        norms = int(self.pre_norm) + int(self.post_norm != "none")
        return embedding + norms * self.stack.norm_parameters + self.stack.parameters + self._head

    @property
    def _head(self) -> int:
        if not self.pooling_head:
            return 0
        h, width = self.stack.hidden, self.stack.feed_forward.width
        attention = h + 3 * h * h + 3 * h + h * h + h  # probe, in_proj, out_proj
        return attention + self.stack.norm_parameters + 2 * h * width + width + h


class ProjectorSpec(NamedTuple):
    """Two linear layers with an activation between: inputs -> outputs -> outputs."""

    inputs: int
    outputs: int
    activation: str
    bias: bool = True

    @property
    def parameters(self) -> int:
        """All parameters."""
        return (self.inputs + self.outputs + (2 if self.bias else 0)) * self.outputs


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: its parts, and what of an image reaches layer 0.

    `tiles`: tower passes that one image takes (5 for LLaVA-NeXT's largest grid, 8 frames for Video-LLaVA).
    `visual_tokens`: tokens that one image makes in the language model, `newline_tokens` of them learned row ends
    that no projector makes. `idle_parameters`: loaded but not run for images (Video-LLaVA's second tower; newline).
    `defaults`: configuration keys that were absent and took Hugging Face's class defaults.
    `source`: where the configuration comes from. `notes`: what a reader must know of the counting.

    Raises:
        InvalidSpec: heads or experts that cannot be shared, an activation without a formula, patches beyond the image.
    """

    name: str
    family: str
    source: str
    text: TextSpec | None = None
    vision: VisionSpec | None = None
    projector: ProjectorSpec | None = None
    tiles: int = 1
    visual_tokens: int = 0
    newline_tokens: int = 0
    idle_parameters: int = 0
    defaults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in (self.text, self.vision):
            if part is not None:
                _check_stack(part.stack)
        if self.vision is not None and self.vision.image_size < self.vision.patch_size:
            size, patch = self.vision.image_size, self.vision.patch_size
            raise InvalidSpec(f"image_size {size} is smaller than patch_size {patch}")
        if self.projector is not None:
            check_activation(self.projector.activation)

    @property
    def has_decoder(self) -> bool:
        """Whether tokens can be generated: a language model with a head (BERT and bare towers have none)."""
        return self.text is not None and self.text.lm_head

    @property
    def projected_tokens(self) -> int:
        """Tokens of one image that come out of the projector: every kept position of every tile."""
        return self.tiles * self.vision.kept_positions if self.vision is not None else 0

    @property
    def parameters(self) -> int:
        """All parameters, those that stay idle included."""
        parts = (self.text, self.vision, self.projector)
        return sum(part.parameters for part in parts if part is not None) + self.idle_parameters


def norm_parameters(norm: Norm, width: int) -> int:
    """Scale, and for layer norm shift, of one norm over `width`."""
    return width if norm == "rmsnorm" else 2 * width


def _check_stack(stack: StackSpec) -> None:
    a, f = stack.attention, stack.feed_forward
    if a.heads % a.kv_heads:
        raise InvalidSpec(f"{a.heads} query heads cannot share {a.kv_heads} key and value heads evenly")
    if f.experts_per_token > f.experts:
        raise InvalidSpec(f"a token cannot go to {f.experts_per_token} of {f.experts} experts")
    check_activation(f.activation)


def head_width(hidden: int, heads: int) -> int:
    """Width of one head where `heads` heads share the hidden width evenly.

    Raises:
        InvalidSpec: `hidden` is not a multiple of `heads`.

    >>> head_width(4096, 32)
    128
    """
    if hidden % heads:
        raise InvalidSpec(f"the hidden width {hidden} cannot be split evenly into {heads} heads")
    return hidden // heads


def check_activation(name: str) -> None:
    """Refuse an activation that no cost formula covers.

    Raises:
        InvalidSpec: `perfkit.ops` has no formula for it.
    """
    if name not in ACTIVATION_FLOPS:
        known = ", ".join(sorted(ACTIVATION_FLOPS))
        raise InvalidSpec(f"the cost of activation {shown(name)} is not known; known: {known}")
