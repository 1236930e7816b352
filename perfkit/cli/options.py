"""Options that several commands share; a bad value is perfkit's own error (exit 1), an unknown option click's (2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from perfkit.errors import InvalidValue
from perfkit.sweeping.ranges import parse_counts
from perfkit.tables import FORMATS
from perfkit.units import (
    COMPUTE_PRECISIONS,
    LONGEST_SHOWN,
    STORAGE_PRECISIONS,
    Precision,
    parse_choice,
    parse_count,
    parse_positive,
    parse_precision,
)
from perfkit.workload import ATTENTIONS, DEFAULT_MODEL, LOGITS, NEW_TOKENS, RUNTIMES, TEXT_TOKENS

Command = TypeVar("Command", bound=Callable[..., Any])


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A value read by one of perfkit's parsers, whose errors name the option; `words`: all that it may be."""

    def __init__(self, name: str, parse: Callable[[str, str], Any], words: Iterable[str] = ()) -> None:
        self.name = name
        self.words = tuple(words)
        self._parse = parse

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """The name as it stands; click alone would put it in capitals."""
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of a text; a default is one already."""
        option = param.opts[0] if param else self.name
        return self._parse(option, value) if isinstance(value, str) else value


def _share(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 1:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        raise InvalidValue(f"{option} must be a number above 0 and at most 1, not {shown!r}")
    return number


COUNT = Parsed("N", parse_count)
COUNT_OR_ZERO = Parsed("N", lambda option, text: parse_count(option, text, minimum=0))


COUNTS = Parsed("N,...", lambda option, text: tuple(parse_count(option, part) for part in text.split(",")))
COUNTS_OR_ZERO = Parsed("N,...", lambda option, text: tuple(parse_count(option, p, minimum=0) for p in text.split(",")))
NAMES = Parsed("NAME,...", lambda _, text: tuple(text.split(",")))
SECONDS = Parsed("S", parse_positive)
RATIO = Parsed("R", _share)
PERCENT = Parsed("%", lambda option, text: parse_positive(option, text) / 100)


_RANGE = Parsed("N,A:B:STEP", parse_counts)
_RANGE_OR_ZERO = Parsed("N,A:B:STEP", lambda option, text: parse_counts(option, text, minimum=0))


def axis(name: str, text: str, *, zero: bool = False) -> Callable[[Command], Command]:
    """An option of counts: by commas, by repetition, as ranges; `zero`: from 0."""
    return click.option(name, type=_RANGE_OR_ZERO if zero else _RANGE, multiple=True, help=text)


def flat(given: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Values of an option that was given several times, each time with one or more of them, each once."""
    return tuple(dict.fromkeys(value for values in given for value in values))


def choice(allowed: tuple[str, ...]) -> Parsed:
    """Type of an option that takes one of some words."""
    return Parsed("|".join(allowed), lambda option, text: parse_choice(option, text, allowed), allowed)


def choices(allowed: tuple[str, ...]) -> Parsed:
    """Type of an option that takes several of some words."""
    return Parsed(
        "NAME,...", lambda option, text: tuple(parse_choice(option, part, allowed) for part in text.split(",")), allowed
    )


def _format(allowed: Collection[Precision]) -> Parsed:
    return Parsed("P", lambda option, text: parse_precision(text, allowed, option).value, allowed)


def _formats(allowed: Collection[Precision]) -> Parsed:
    return Parsed(
        "P,...", lambda option, text: tuple(parse_precision(p, allowed, option).value for p in text.split(",")), allowed
    )


COMPUTE, STORAGE = _format(COMPUTE_PRECISIONS), _format(STORAGE_PRECISIONS)
COMPUTES, STORAGES = _formats(COMPUTE_PRECISIONS), _formats(STORAGE_PRECISIONS)


def _chain(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


formats = _chain(  # several of each, as axes of a grid
    click.option("--precision", type=COMPUTES, multiple=True, help="fp32 tf32 fp16 (default) bf16 fp8 int8."),
    click.option("--weights", type=STORAGES, multiple=True, help="Also int4, fp4; default: the precision."),
    click.option("--activations", type=COMPUTES, multiple=True, help="Default: the precision."),
    click.option("--kv", type=STORAGES, multiple=True, help="Also int4, fp4; default: the precision."),
)


def _remember_verbose(ctx: click.Context, _: click.Parameter, verbose: bool) -> None:
    if verbose:
        ctx.find_root().meta["perfkit.verbose"] = True


def _form_of(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--format", "form", type=choice(FORMATS), default=default, show_default=True, help="Output format."
    )


verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember_verbose,
    help="Show the traceback of an error.",
)
_output = click.option("--output", type=click.Path(), metavar="FILE", help="Write there, whole or not at all.")

output = _chain(_form_of("table"), _output, verbose)
form = _chain(_form_of("table"), verbose)


def output_as(default: str) -> Callable[[Command], Command]:
    """`output` of a command whose result is a file before it is something to look at."""
    return _chain(_form_of(default), _output, verbose)


model = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME",
    help="A preset (`perfkit models` lists them), or a path to a Hugging Face config.json.",
)

logits = click.option("--logits", type=choice(LOGITS), default="last", show_default=True, help="Positions with logits.")
attention = click.option(
    "--attention",
    type=choice(ATTENTIONS),
    default="fused",
    show_default=True,
    help="fused: scores stay on the chip; eager: they pass through memory.",
)

parallel = _chain(
    click.option("--tp", type=COUNT, default=1, show_default=True, help="GPUs that share every layer."),
    click.option("--pp", type=COUNT, default=1, show_default=True, help="Stages of such GPUs that share the layers."),
)
expected = _chain(
    click.option(
        "--runtime",
        type=choice(RUNTIMES),
        default="graph",
        show_default=True,
        help="Of expected times. graph: one fused kernel an op, no launch gaps; eager: the kernels of Hugging Face's "
        "eager code, launched one by one; captured: these over a static cache in a CUDA graph, no gaps.",
    ),
    click.option("--calibration", metavar="FILE", help="Of expected times, instead of the device's own."),
)

_image_tokens = _chain(
    click.option("--tokens", type=COUNT_OR_ZERO, help="Visual tokens a sequence; default: the model's own; 0: none."),
    click.option(
        "--reduction",
        metavar="SPEC",
        help="Token reduction: prumerge, prumerge+, sequential:n=64, spatial:n=64, random:n=64 before the language "
        "model; fastv:k=2,r=0.5, pyramiddrop:stages=4,keep=0.5, vtw:k=16, sparsevlm, layers:2=288,16=144 inside it.",
    ),
)
_sizes = _chain(
    click.option("--batch", type=COUNT, default=1, show_default=True, help="Sequences."),
    click.option("--images", type=COUNT, default=1, show_default=True, help="Images a sequence."),
)

forward = _chain(
    _image_tokens,
    click.option("--text-tokens", type=COUNT, default=TEXT_TOKENS, show_default=True, help="Text tokens a sequence."),
    _sizes,
    logits,
)
# A counting convention sets what of these is not given.
counted_forward = _chain(
    _image_tokens,
    click.option(
        "--text-tokens", type=COUNT, help=f"Text tokens a sequence; default: the convention's own, else {TEXT_TOKENS}."
    ),
    _sizes,
    click.option("--logits", type=choice(LOGITS), help="Positions with logits; default: the convention's."),
)

execution = _chain(
    click.option("--new-tokens", type=COUNT, default=NEW_TOKENS, show_default=True, help="Tokens to generate."),
    click.option("--precision", type=COMPUTE, default="fp16", show_default=True, help="fp32 tf32 fp16 bf16 fp8 int8."),
    click.option("--weights", type=STORAGE, help="Weights of the language model's linear layers; also int4, fp4."),
    click.option("--activations", type=COMPUTE, help="Activations, and attention's products."),
    click.option("--kv", type=STORAGE, help="How the cache is stored; also int4, fp4."),
    attention,
    parallel,
    expected,
)

# A count needs no engine for its products, so any format that a tensor may have.
stored_formats = _chain(
    click.option("--precision", type=STORAGE, default="fp16", show_default=True, help="fp32 ... fp8 int8 int4 fp4."),
    click.option("--weights", type=STORAGE, help="Weights of the language model's linear layers."),
    click.option("--activations", type=STORAGE, help="Activations."),
    click.option("--kv", type=STORAGE, help="How the cache is stored."),
)


def given(ctx: click.Context) -> dict[str, str]:
    """Options and arguments that the command line gives, by the names of their parameters."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name: option for name, option in settled(ctx).items() if sources[name] is not ParameterSource.DEFAULT_MAP}


def settled(ctx: click.Context) -> dict[str, str]:
    """Those that it gives, and those that a configuration file does."""
    return {
        parameter.name: parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name in ctx.params and ctx.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
    }


def given_beside(ctx: click.Context, allowed: Collection[str]) -> list[str]:
    """Those of them whose parameters are none of `allowed`."""
    return [option for name, option in given(ctx).items() if name not in allowed]


def compared(gpu: str, model: str, reduction: str) -> Callable[[Command], Command]:
    """`--gpu`, `--model` and `--reduction`, each repeatable, for parameters of these names."""
    return _chain(
        click.option(
            "--gpu", gpu, multiple=True, metavar="NAME", help="Device id, alias, or path to a YAML. Repeatable."
        ),
        click.option(
            "--model",
            model,
            multiple=True,
            default=(DEFAULT_MODEL,),
            show_default=True,
            metavar="NAME",
            help="A preset, or a path to a Hugging Face config.json. Repeatable.",
        ),
        click.option(
            "--reduction",
            reduction,
            multiple=True,
            default=("none",),
            show_default=True,
            metavar="SPEC",
            help="Token reduction, as `perfkit roofline` takes it; none: without. Repeatable.",
        ),
    )
