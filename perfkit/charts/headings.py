"""Words of charts of predictions: what all of them share, and where their figures come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from perfkit.kernels import has_measured_rates
from perfkit.latency import Prediction
from perfkit.views.naming import tokens_of


def listed(words: Iterable[str]) -> str:
    """Different words as a sentence lists them.

    >>> listed(["a", "b", "c", "a"])
    'a, b and c'
    """
    different = list(dict.fromkeys(words))
    return " and ".join(filter(None, (", ".join(different[:-1]), different[-1])))


def shared_work(predictions: Sequence[Prediction], *, tokens: bool = True) -> str:
    """Workload and execution as far as all share them, with or without their visual tokens."""
    readers: tuple[Callable[[Prediction], str], ...] = (
        tokens_of if tokens else lambda p: p.workload.reduction,
        _other_tokens,
        lambda p: f"{p.workload.images} images" if p.workload.images > 1 else "",
        lambda p: f"batch {p.workload.batch}",
        lambda p: p.execution.formats,
        lambda p: f"{p.execution.attention} attention",
        lambda p: f"tp {p.execution.tp}, pp {p.execution.pp}" if p.execution.gpus > 1 else "",
    )
    found = [{read(p) for p in predictions} for read in readers]
    return ", ".join(words for several in found if len(several) == 1 for words in several if words)


def _other_tokens(p: Prediction) -> str:
    counts = [f"{p.workload.text_tokens} text"] if p.model.text else []
    counts += [f"{p.workload.new_tokens} new"] if p.model.has_decoder else []
    return f"{' and '.join(counts)} tokens" if counts else ""


def origin_of_rates(predictions: Iterable[Prediction]) -> str:
    """Where rates and bandwidths come from."""
    return listed("measured rates" if has_measured_rates(p.device) else "datasheets" for p in predictions)


def short_name(p: Prediction) -> str:
    """A device as it was asked for, which is shorter than its id where that was an alias."""
    return p.choice.name if p.choice.is_alias else p.device.id
