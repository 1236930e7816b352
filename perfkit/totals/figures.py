"""Figures that papers print, beside the counts of the same model and workload."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from perfkit.conventions import Convention, Figure
from perfkit.printed import read_printed
from perfkit.totals.asked import forward_of, stored_execution
from perfkit.totals.counted import Count, counted_workload
from perfkit.units import Amount
from perfkit.workload import Workload


class Citation(NamedTuple):
    """A figure that the convention's paper prints, and what the count gives: its total, or the mean of a layer."""

    convention: Convention
    figure: Figure
    value: Amount

    @property
    def given(self) -> bool:
        """Whether the value comes out as printed, by the convention's rule."""
        return self.convention.gives(self.figure, self.value)

    @property
    def rounded(self) -> bool:
        """Whether the value, rounded, is what is printed: the strictest rule."""
        return read_printed(self.figure.printed).given_by(self.value, "half unit")

    @property
    def cut_off(self) -> bool:
        """Whether the value is what is printed where further digits are dropped, and not where it is rounded."""
        digits = read_printed(self.figure.printed).digits.replace(".", "")
        return not self.rounded and int(self._scaled * 10**self._decimals) == int(digits)

    @property
    def shown(self) -> str:
        """The value in the unit that the paper prints, with one digit more: `0.4155 T`."""
        unit = self.figure.printed.split()[-1]
        return f"{float(self._scaled):.{self._decimals + 1}f} {unit}"

    @property
    def _scaled(self) -> Fraction:
        return Fraction(self.value) / read_printed(self.figure.printed).prefix

    @property
    def _decimals(self) -> int:
        return len(read_printed(self.figure.printed).digits.partition(".")[2])


def cited(count: Count) -> tuple[Citation, ...]:
    """Figures that the convention's paper prints of this very model and workload.

    >>> from perfkit.totals.counted import count
    >>> (citation,) = cited(count("llava-1.5-7b", tokens=64, convention="vscan"))
    >>> citation.figure.printed, citation.shown, citation.given  # 32 (4*64*4096^2 + 2*64^2*4096 + 3*64*4096*11008)
    ('0.415 T', '0.4155 T', False)
    """
    if count.convention.overrides:
        return ()
    convention = count.convention
    figures = (figure for figure in convention.figures if _is_of(figure, count))
    return tuple(Citation(convention, figure, _value(figure, count)) for figure in figures)


def _value(figure: Figure, count: Count) -> Amount:
    layers = count.model.text.stack.layers if count.model.text else 1
    return Fraction(count.total, layers) if figure.per_layer else count.total


def _is_of(figure: Figure, count: Count) -> bool:
    if figure.model != count.model.name or not _same_bits(figure, count):
        return False
    theirs = counted_workload(_workload(figure, count), count.convention)
    return _tokens(theirs, count) == _tokens(count.counted, count)


def _same_bits(figure: Figure, count: Count) -> bool:
    """Whether the formats agree, as far as they change the count."""
    bits = stored_execution(figure.precision).product.bits
    return not count.convention.bits_scaling or bits == count.execution.product.bits


def _tokens(workload: Workload, count: Count) -> tuple[object, ...]:
    """What of a workload a count of the language model depends on."""
    layers = count.model.text.stack.layers if count.model.text else 0
    return workload.batch, workload.text_tokens, workload.visual_tokens, workload.layer_groups(layers)


def _workload(figure: Figure, count: Count) -> Workload:
    return forward_of(
        count.model,
        count.convention,
        tokens=figure.visual_tokens,
        text_tokens=figure.text_tokens,
        reduction=figure.reduction or None,
    )
