"""One forward under every convention: why papers print different numbers for the same model."""

from __future__ import annotations

from dataclasses import dataclass

from perfkit.conventions import Convention, convention_names, load_convention
from perfkit.errors import InvalidValue
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.models.spec import ModelSpec
from perfkit.totals.asked import forward_of, stored_execution
from perfkit.totals.counted import Count, tally
from perfkit.totals.figures import Citation, cited
from perfkit.units import Amount
from perfkit.workload import Execution, Workload


@dataclass(frozen=True, slots=True)
class Row:
    """A convention's count, None where it cannot count this model (`why_not` says why).

    `cited` are the figures that its paper prints for this very workload, given or missed.
    """

    convention: Convention
    count: Count | None
    cited: tuple[Citation, ...]
    why_not: str = ""

    @property
    def language_model(self) -> Amount | None:
        """The count of the language model alone."""
        return self.count.by_phase.get("prefill") if self.count else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All conventions over one forward, the smallest total first; `workload` has the usual text tokens.

    A convention whose paper has text tokens of its own counts with those, unless they were asked for.
    """

    model: ModelSpec
    workload: Workload
    execution: Execution
    rows: tuple[Row, ...]


def compare(
    model: str = DEFAULT_MODEL,
    *,
    tokens: int | None = None,
    text_tokens: int | None = None,
    batch: int = 1,
    images: int = 1,
    reduction: str | None = None,
    precision: str = "fp16",
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
) -> Comparison:
    """Every convention's count of one forward of `model`: the options of `perfkit count --compare`.

    Raises:
        UnknownName: no such model, reduction or precision.
        InvalidValue: counts out of range.

    >>> comparison = compare("llava-1.5-7b")
    >>> [row.convention.name for row in comparison.rows if row.cited]
    ['fastv', 'pyramiddrop', 'vscan', 'sparsevlm', 'prumerge']
    """
    spec, execution = load_model(model), stored_execution(precision, weights, activations, kv)

    def forward(convention: Convention) -> Workload:
        return forward_of(
            spec, convention, tokens=tokens, text_tokens=text_tokens, batch=batch, images=images, reduction=reduction
        )

    conventions = [load_convention(name) for name in convention_names()]
    rows = [_row(spec, forward(each), execution, each) for each in conventions]
    return Comparison(spec, forward(load_convention("torch")), execution, tuple(sorted(rows, key=_size)))


def _row(spec: ModelSpec, workload: Workload, execution: Execution, convention: Convention) -> Row:
    try:
        count = tally(spec, workload, execution, convention)
    except InvalidValue as error:
        return Row(convention, None, (), str(error))
    return Row(convention, count, cited(count))


def _size(row: Row) -> tuple[bool, Amount, str]:
    """Sorting key: what could not be counted last."""
    return row.count is None, row.count.total if row.count else 0, row.convention.name
