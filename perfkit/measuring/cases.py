"""What can be timed: a phase of a model, or a single kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.kernel_shapes import KernelShape
from perfkit.models.spec import ModelSpec

SUITES = ("model", "kernels", "peaks")
PHASES = ("vision", "projector", "prefill", "decode")
ATTENTIONS = ("sdpa", "eager")  # Hugging Face's names; sdpa takes a fused kernel where torch has one
RUNTIMES = ("eager", "graph")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")


class PhaseCase(NamedTuple):
    """One phase of a model; tokens are per sequence.

    Vision runs the whole tower, so its `visual_tokens` are the model's own; what a phase does not depend on is 0 or
    None, so that equal work is one case. Decode is one step with a cache of visual and text tokens, whose `runtime`
    is eager launches or a CUDA graph over a static cache. `flushed`: the last cache level was emptied before each
    repeat.
    """

    model: str
    phase: str
    visual_tokens: int
    text_tokens: int
    batch: int
    precision: str
    attention: str | None = None
    runtime: str = "eager"
    flushed: bool = False

    @property
    def label(self) -> str:
        """As a progress line shows it.

        >>> PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "bf16", "sdpa", "graph").label
        'llava-1.5-7b decode, 32 + 60 tokens, batch 1, bf16, sdpa, graph'
        """
        tokens = (
            f"{self.visual_tokens} + {self.text_tokens} tokens" if self.text_tokens else f"{self.visual_tokens} tokens"
        )
        parts = [f"{self.model} {self.phase}", tokens, f"batch {self.batch}", self.precision, self.attention]
        parts += [self.runtime if self.phase == "decode" else None, "cold cache" if self.flushed else None]
        return ", ".join(part for part in parts if part)


class KernelCase(NamedTuple):
    """One kernel of a table of kernels."""

    shape: KernelShape
    precision: str
    flushed: bool = False

    @property
    def label(self) -> str:
        """As a progress line shows it.

        >>> KernelCase(KernelShape("gemm", 1, 4096, 11008), "bf16").label
        'gemm m=1 n=4096 k=11008 bf16'
        """
        sizes = [f"{key}={value}" for key, value in self.shape._asdict().items() if key != "op" and value is not None]
        return " ".join([self.shape.op, *sizes, self.precision])


Case: TypeAlias = PhaseCase | KernelCase


class Grid(NamedTuple):
    """What to time of a model: every combination, each phase by what it depends on."""

    tokens: Sequence[int]
    text_tokens: int
    batches: Sequence[int]
    precisions: Sequence[str]
    attentions: Sequence[str]
    runtimes: Sequence[str]
    phases: Sequence[str]


def phase_cases(spec: ModelSpec, grid: Grid, *, flushed: bool = False) -> list[PhaseCase]:
    """Cases of a grid, grouped by precision and attention, since these change the model itself.

    Raises:
        InvalidValue: more visual tokens than the model makes, counts out of range, tokens beyond a sliding window.
    """
    for tokens, batch in product(grid.tokens, grid.batches):
        workload_of(spec, tokens=tokens, text_tokens=grid.text_tokens, batch=batch)  # refuses what cannot be
        _check_window(spec, tokens + grid.text_tokens)
    found = (
        case._replace(flushed=flushed)
        for precision, attention, batch in product(grid.precisions, grid.attentions, grid.batches)
        for tokens in grid.tokens
        for case in _cases_of(spec, grid, precision, attention, batch, tokens)
        if case.phase in grid.phases
    )
    return list(dict.fromkeys(found))


def _check_window(spec: ModelSpec, tokens: int) -> None:
    """What lies beyond a sliding window is counted as if it were seen, so it must not be timed otherwise."""
    window = spec.text.stack.attention.sliding_window if spec.text else None
    if window is not None and tokens >= window:
        raise InvalidValue(f"{tokens} tokens reach the sliding window of {spec.name} ({window}): measure fewer")


def _cases_of(
    spec: ModelSpec, grid: Grid, precision: str, attention: str, batch: int, tokens: int
) -> Iterator[PhaseCase]:
    text = grid.text_tokens
    if tokens:
        yield PhaseCase(spec.name, "vision", spec.visual_tokens, 0, batch, precision, attention)
        yield PhaseCase(spec.name, "projector", tokens, 0, batch, precision)
    yield PhaseCase(spec.name, "prefill", tokens, text, batch, precision, attention)
    for runtime in grid.runtimes:
        yield PhaseCase(spec.name, "decode", tokens, text, batch, precision, attention, runtime)
