"""What is asked of a model (`Workload`) and how it is run (`Execution`).

A workload holds Python ints, and every count made from it is then exact; or float64 arrays of one shape, for
sweeps, through the same formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from perfkit.units import Amount, Precision, check_count

Attention = Literal["fused", "eager"]
Logits = Literal["last", "all", "none"]
Runtime = Literal["graph", "eager", "captured"]

ATTENTIONS: tuple[Attention, ...] = ("fused", "eager")
LOGITS: tuple[Logits, ...] = ("last", "all", "none")
RUNTIMES: tuple[Runtime, ...] = ("graph", "eager", "captured")
WEIGHT_GROUP = 128  # weights that share one fp16 scale in weight-only formats
DEFAULT_MODEL = "llava-1.5-7b"  # of a request, where nothing else is asked
TEXT_TOKENS = 60  # of a prompt
NEW_TOKENS = 128


class LayerGroup(NamedTuple):
    """`layers` consecutive layers of the language model that see `visual_tokens` visual tokens a sequence."""

    layers: int
    visual_tokens: Amount


@dataclass(frozen=True, slots=True)
class Workload:
    """One request, `batch` sequences of it at once; all token counts are per sequence.

    `visual_tokens` enter layer 0, all `images` together; `schedule` lists how many of them later layers see, and
    is empty where all layers see them all. `reduction` is the canonical text of the method that left tokens out, whose
    own work is counted too; empty where there is none.

    Raises:
        InvalidValue: a count that is no whole number from its minimum to 10^7.

    >>> Workload(visual_tokens=32).prompt_tokens
    92
    """

    visual_tokens: Amount
    text_tokens: Amount = TEXT_TOKENS
    new_tokens: Amount = NEW_TOKENS
    batch: Amount = 1
    images: Amount = 1
    schedule: tuple[LayerGroup, ...] = ()
    reduction: str = ""

    def __post_init__(self) -> None:
        check_count("visual tokens", self.visual_tokens, 0)
        check_count("text tokens", self.text_tokens, 0)
        check_count("new tokens", self.new_tokens, 0)
        check_count("batch", self.batch)
        check_count("images", self.images, 0)

    @property
    def prompt_tokens(self) -> Amount:
        """Visual and text tokens that enter layer 0."""
        return self.visual_tokens + self.text_tokens

    def layer_groups(self, layers: int) -> tuple[LayerGroup, ...]:
        """The schedule, or one group of all `layers` where there is none."""
        return self.schedule or (LayerGroup(layers, self.visual_tokens),)

    @property
    def mean_extra_tokens(self) -> Amount:
        """New tokens that the cache holds beside the prompt, on average over the new tokens: 0, 1, ... N - 1."""
        return (self.new_tokens - 1) / 2


def anywhere(condition: Any) -> bool:
    """Whether a condition holds, at any point of a sweep.

    >>> anywhere(3 > 2)
    True
    """
    return bool(condition.any()) if hasattr(condition, "dtype") else bool(condition)


@dataclass(frozen=True, slots=True)
class Execution:
    """Precisions, attention kernel, which logits are made, and who launches the kernels.

    Products of the language model's linear layers run on the engine of the wider of `weights` and `activations`,
    attention products on that of `activations`; `kv` is how the cache is stored. `runtime`: `graph`, one fused kernel
    an op and no gaps between launches; `eager`, the kernels of Hugging Face's eager code, launched by the host one
    by one; `captured`, the same over a static cache in a CUDA graph, without gaps. It changes expected times only. `tp`
    GPUs share every layer, `pp` stages of such share the layers.

    Raises:
        InvalidValue: a degree that is no whole number from 1.
    """

    weights: Precision = Precision.FP16
    activations: Precision = Precision.FP16
    kv: Precision = Precision.FP16
    attention: Attention = "fused"
    logits: Logits = "last"
    runtime: Runtime = "graph"
    tp: int = 1
    pp: int = 1

    def __post_init__(self) -> None:
        check_count("tp", self.tp)
        check_count("pp", self.pp)

    @property
    def gpus(self) -> int:
        """That it takes: tp times pp.

        >>> Execution(tp=4, pp=2).gpus
        8
        """
        return self.tp * self.pp

    @property
    def product(self) -> Precision:
        """Precision in which the language model's linear layers multiply.

        >>> Execution(weights=Precision.INT4).product.value
        'fp16'
        """
        return self.weights if self.weights.bits > self.activations.bits else self.activations

    @property
    def weight_only(self) -> bool:
        """Whether weights are quantised below what they are multiplied in, so with a scale a group.

        >>> Execution(weights=Precision.INT8).weight_only, Execution(activations=Precision.FP32).weight_only
        (True, False)
        """
        return self.weights.bits <= 8 and self.weights.bits < self.activations.bits

    @property
    def formats(self) -> str:
        """Number formats of weights and activations, and of the cache where it has one of its own.

        >>> Execution().formats, Execution(weights=Precision.INT4, kv=Precision.INT8).formats
        ('fp16', 'W4A16, KV int8')
        """
        weights, activations, cache = self.weights, self.activations, self.kv
        # W4A16 says int4 and fp16; any other pair is written out.
        usual = weights in (Precision.INT4, Precision.INT8) and activations is Precision.FP16
        pair = f"W{weights.bits}A{activations.bits}" if usual else f"W {weights} A {activations}"
        own = activations.value if weights == activations else pair
        return own if cache == activations else f"{own}, KV {cache}"
