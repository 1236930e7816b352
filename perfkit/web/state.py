"""What the page is asked (`Asked`): every choice of it as one frozen value, from a link and back to one.

A link is a list of choices by the names of the command line's options; what it leaves out keeps its default. Names of
models and GPUs are those that perfkit bundles: a link never makes the machine behind the page read a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from perfkit.cost_tables.columns import DEFAULT_COLUMNS, column_of
from perfkit.cost_tables.request import NO_REDUCTION
from perfkit.errors import InvalidValue, PerfkitError, UnknownName
from perfkit.hardware import aliases, choose_device, device_ids
from perfkit.models import DEFAULT_MODEL, preset_names
from perfkit.planning.request import RANKS
from perfkit.reduction import parse_reduction
from perfkit.units import (
    COMPUTE_PRECISIONS,
    SECONDS,
    STORAGE_PRECISIONS,
    Precision,
    parse_choice,
    parse_count,
    parse_positive,
    parse_precision,
    parse_quantity,
)
from perfkit.views.breakdown import MOST_BARS
from perfkit.web.tabs import TABS, TITLES
from perfkit.workload import ATTENTIONS, NEW_TOKENS, RUNTIMES, TEXT_TOKENS

SAME = ""  # a format that is that of the precision
MOST_GPUS = MOST_BARS  # that one page compares
LONGEST = 200  # characters of a choice in a link
CANDIDATES = ("chosen", "listed")  # GPUs that a plan looks at: those of the page, or all with a price


@dataclass(frozen=True, slots=True)
class Asked:
    """Choices of the page, as the options of `perfkit roofline` are named.

    `tokens`: None for the model's own, or what a reduction leaves. `weights`, `kv`: formats, SAME for the precision's.
    `table_*`: axes of the paper table beside these; its tokens are typed, with commas. `ttft` to `candidates`: of a
    plan, its goals as typed ("200ms"), empty where there is none.
    """

    view: str = TABS[0]
    model: str = DEFAULT_MODEL
    gpu: tuple[str, ...] = ("v100-sxm2-32gb",)
    tokens: int | None = None
    reduction: str = NO_REDUCTION
    text_tokens: int = TEXT_TOKENS
    new_tokens: int = NEW_TOKENS
    batch: int = 1
    images: int = 1
    precision: str = "fp16"
    weights: str = SAME
    kv: str = SAME
    attention: str = "fused"
    runtime: str = "graph"
    table_model: tuple[str, ...] = ()
    table_reduction: tuple[str, ...] = ()
    table_tokens: str = ""
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    ttft: str = "200ms"
    tpot: str = "30ms"
    budget: str = ""
    rank: str = RANKS[0]
    candidates: str = CANDIDATES[0]
    plan_tokens: str = ""


# --- what a choice may be


def _gpu(_: str, text: str) -> str:
    key = text.lower()
    if key in device_ids() or key in aliases():
        return choose_device(key).device.id
    raise UnknownName("GPU", text, [*device_ids(), *aliases()])


def model_named(_: str, text: str) -> str:
    """A preset.

    Raises:
        UnknownName: it is none; a path is none either.
    """
    if text.lower() not in preset_names():
        raise UnknownName("model", text[:LONGEST], preset_names())
    return text.lower()


def _reduction(_: str, text: str) -> str:
    return text if text == NO_REDUCTION else parse_reduction(text).text


def _one_of(allowed: Sequence[str]) -> Callable[[str, str], str]:
    return lambda what, text: parse_choice(what, text, allowed)


def _format_of(allowed: Iterable[Precision]) -> Callable[[str, str], str]:
    return lambda what, text: parse_precision(text, allowed, what).value


def counts_typed(what: str, text: str) -> tuple[int, ...]:
    """Counts from 0, by commas; none of an empty text.

    >>> counts_typed("tokens", "576, 32")
    (576, 32)
    """
    return tuple(parse_count(what, part.strip(), minimum=0) for part in text.split(",") if part.strip())


def _typed_counts(what: str, text: str) -> str:
    return ",".join(map(str, counts_typed(what, text)))


def _typed(read: Callable[[str, str], Any]) -> Callable[[str, str], str]:
    """Text that `read` takes, as it stands; an empty one says that there is none."""

    def check(what: str, text: str) -> str:
        if text:
            read(what, text)
        return text

    return check


def seconds_typed(what: str, text: str) -> float | None:
    """A time such as `200ms`, None of an empty text."""
    return parse_quantity(what, text, SECONDS) if text else None


def dollars_typed(what: str, text: str) -> float | None:
    """Dollars, None of an empty text."""
    return parse_positive(what, text) if text else None


# Name of a choice -> what reads one value of it from a link. Choices of a tuple stand there once for each value.
READERS: dict[str, Callable[[str, str], Any]] = {
    "view": _one_of(TABS),
    "model": model_named,
    "gpu": _gpu,
    "tokens": lambda what, text: parse_count(what, text, minimum=0),
    "reduction": _reduction,
    **dict.fromkeys(("text_tokens", "new_tokens", "batch", "images"), parse_count),
    "precision": _format_of(COMPUTE_PRECISIONS),
    "weights": _format_of(STORAGE_PRECISIONS),
    "kv": _format_of(STORAGE_PRECISIONS),
    "attention": _one_of(ATTENTIONS),
    "runtime": _one_of(RUNTIMES),
    "table_model": model_named,
    "table_reduction": _reduction,
    "table_tokens": _typed_counts,
    "columns": lambda _, text: column_of(text).key,
    "ttft": _typed(seconds_typed),
    "tpot": _typed(seconds_typed),
    "budget": _typed(dollars_typed),
    "rank": _one_of(RANKS),
    "candidates": _one_of(CANDIDATES),
    "plan_tokens": _typed_counts,
}
_NOTHING = {"tokens": "the model's own", "weights": "the precision's", "kv": "the precision's"}
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Asked)}


# --- links


def option_of(name: str) -> str:
    """A choice as a link and the command line name it.

    >>> option_of("text_tokens")
    'text-tokens'
    """
    return name.replace("_", "-")


def read_link(query: Mapping[str, Sequence[str]]) -> tuple[Asked, tuple[str, ...]]:
    """What a link asks, and a line for each choice that cannot be; its default stands in its place.

    >>> asked, problems = read_link({"gpu": ["h100"], "tokens": ["32"], "batch": ["many"]})
    >>> asked.gpu, asked.tokens, asked.batch
    (('h100-sxm-80gb',), 32, 1)
    >>> problems
    ("batch must be a whole number from 1 to 10000000, not 'many'; the page shows its default, 1",)
    """
    found: dict[str, Any] = {}
    problems = []
    names = {option_of(name): name for name in READERS}
    for option, texts in query.items():
        try:
            if option not in names:
                raise UnknownName("choice in the link", _short(option), names)
            found[names[option]] = _value(names[option], texts)
        except PerfkitError as error:
            problems.append(f"{error}{_instead(names.get(option))}")
    return replace(Asked(), **found), tuple(problems)


def _value(name: str, texts: Sequence[str]) -> Any:
    if any(len(text) > LONGEST for text in texts):
        raise InvalidValue(f"{option_of(name)} has more than {LONGEST} characters")
    several = isinstance(_DEFAULTS[name], tuple)
    texts = [text for text in texts if text or not several]  # an empty one: none is chosen
    values = tuple(dict.fromkeys(READERS[name](option_of(name), text) for text in texts))
    if name == "gpu" and len(values) > MOST_GPUS:
        raise InvalidValue(f"at most {MOST_GPUS} GPUs, not {len(values)}")
    return values if several else values[-1]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _instead(name: str | None) -> str:
    if name is None:
        return ""
    default = _DEFAULTS[name]
    shown = ", ".join(default) if isinstance(default, tuple) else str(default or _NOTHING.get(name, "none"))
    return f"; the page shows its default, {TITLES.get(shown, shown)}"


def link_of(asked: Asked) -> dict[str, list[str]]:
    """The link that asks the same: all that is not the default.

    >>> link_of(Asked(tokens=32))
    {'tokens': ['32']}
    """
    given = {name: getattr(asked, name) for name in READERS}
    return {option_of(name): _texts(value) for name, value in given.items() if value != _DEFAULTS[name]}


def _texts(value: Any) -> list[str]:
    texts = value if isinstance(value, tuple) else ("" if value is None else str(value),)
    return list(texts or [""])  # a name without a value: none is chosen


def query_of(asked: Asked) -> str:
    """Its link as text.

    >>> query_of(Asked(tokens=32, gpu=("v100-sxm2-32gb", "h100-sxm-80gb")))
    '?gpu=v100-sxm2-32gb&gpu=h100-sxm-80gb&tokens=32'
    """
    return f"?{urlencode(link_of(asked), doseq=True)}"
