"""What a plan must keep to, and by how much a candidate misses it."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.ops import minimum
from perfkit.planning.figures import Figures
from perfkit.units import format_quantity


class Goals(NamedTuple):
    """Upper limits, None where there is none.

    `ttft_s`, `tpot_s`: of a request, seconds. `memory_bytes`: of each GPU, the runtime's reserve included, where that
    is less than the card has. `usd_per_hour`: of all GPUs together.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    memory_bytes: float | None = None
    usd_per_hour: float | None = None


class Limit(NamedTuple):
    """One limit: its name, the option that sets it, its unit, what stands against it, and the most that it may be.

    `asked`: whether a looser goal would allow the value; the card's memory and the model's context are no goals.
    """

    name: str
    option: str
    unit: str
    value: Any
    most: Any
    asked: Any = True

    @property
    def excess(self) -> Any:
        """How far beyond it, as a share of it; 0 or less where it is kept, at each point of arrays."""
        return self.value / self.most - 1

    def missed(self) -> str:
        """In words, of a single value.

        >>> Limit("TTFT", "--ttft", "s", 0.412, 0.2).missed()
        'TTFT 412 ms, more than 200 ms'
        """
        return f"{self.name} {self.shown(self.value)}, more than {self.shown(self.most)}"

    def shown(self, value: float) -> str:
        """A value in its unit."""
        return f"${value:.2f}/h" if self.unit == "$/h" else format_quantity(float(value), self.unit)

    def loosened(self) -> str:
        """The option that would allow the value, rounded up to three digits.

        >>> Limit("TTFT", "--ttft", "s", 0.41234, 0.2).loosened()
        '--ttft 413ms'
        >>> Limit("price", "--budget", "$/h", 4.0, 3.0).loosened()
        '--budget 4'
        """
        step = 10.0 ** (floor(log10(self.value)) - 2)
        value = ceil(self.value / step - 1e-9) * step
        if self.unit == "$/h":
            return f"{self.option} {value:.4g}"
        return f"{self.option} {self.shown(value)}".replace(" ms", "ms").replace(" s", "s").replace(" GB", "GB")


def limits_of(figures: Figures, goals: Goals) -> tuple[Limit, ...]:
    """Every limit that stands for a candidate, the card's memory and the model's context among them.

    A price that is not known keeps to no budget: it stands as infinite.
    """
    memory: Any = figures.capacity_bytes
    if goals.memory_bytes is not None:
        memory = minimum(memory, goals.memory_bytes)
    holds = figures.memory_bytes <= figures.capacity_bytes
    limits = [
        Limit("memory", "--memory", "B", figures.memory_bytes, memory, asked=holds),
        Limit("context", "--text-tokens", "tokens", figures.context_tokens, figures.context_limit, asked=False),
    ]
    if goals.ttft_s is not None:
        limits.append(Limit("TTFT", "--ttft", "s", figures.ttft_s, goals.ttft_s))
    if goals.tpot_s is not None:
        limits.append(Limit("TPOT", "--tpot", "s", figures.tpot_s, goals.tpot_s))
    if goals.usd_per_hour is not None:
        price = float("inf") if figures.usd_per_hour is None else figures.usd_per_hour
        limits.append(Limit("price", "--budget", "$/h", price, goals.usd_per_hour, asked=price < float("inf")))
    return tuple(limits)


def check_goals(goals: Goals) -> Goals:
    """The goals, if every limit is above zero.

    Raises:
        InvalidValue: the option named.
    """
    for name, value in zip(("--ttft", "--tpot", "--memory", "--budget"), goals, strict=True):
        if value is not None and not 0 < value < float("inf"):
            raise InvalidValue(f"{name} must be above zero, not {value:g}")
    return goals
