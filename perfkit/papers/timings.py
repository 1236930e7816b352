"""Published timings: what others measured on a known device, read strictly from `timings/`, one YAML a source.

A timing is of a `Forward` (phases of a model) or of a `Product` (one matrix product). Times stand as printed, in the
unit of the file, and are kept in seconds. docs/adding-a-paper.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from perfkit.counting import count_ops, execution_of, workload_of
from perfkit.documents import Section, read_yaml
from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.hardware import device_ids
from perfkit.models import load_model, preset_names, read_model
from perfkit.models.config import Config
from perfkit.models.spec import ModelSpec
from perfkit.units import COMPUTE_PRECISIONS, Precision, parse_choice
from perfkit.workload import ATTENTIONS, LOGITS, RUNTIMES, Execution, Workload

TIMINGS = Path(__file__).parent / "timings"
KINDS = ("forward", "product")
PHASES = ("vision", "projector", "prefill", "decode")  # decode: the first new token
LAYOUTS = ("NN", "NT", "TN")  # of cuBLAS; TN is what torch's Linear asks for

OURS = ("roofline", "expected")  # what perfkit predicts itself, so no other predictor bears the name

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}


class Paper(NamedTuple):
    """A source: `name` of its file, what to cite, how it measured, and what to know before comparing."""

    name: str
    source: str
    measured: str
    notes: tuple[str, ...]


class Forward(NamedTuple):
    """Phases of one request, timed together."""

    model: ModelSpec
    phases: tuple[str, ...]
    workload: Workload
    execution: Execution

    @property
    def label(self) -> str:
        """Sequences and tokens."""
        w = self.workload
        tokens = f"({w.visual_tokens} + {w.text_tokens})" if w.visual_tokens else f"{w.text_tokens}"
        return f"{w.batch} x {tokens} tokens"


class Product(NamedTuple):
    """One matrix product (m, k) x (k, n): m rows (tokens), an n x k weight, stored in a layout of cuBLAS.

    >>> Product(16, 1760, 2560, "TN", Precision.FP16).label
    'fp16 TN (16, 2560) x (2560, 1760)'
    """

    m: int
    n: int
    k: int
    layout: str
    precision: Precision

    @property
    def label(self) -> str:
        """Precision, layout and shapes."""
        return f"{self.precision} {self.layout} ({self.m}, {self.k}) x ({self.k}, {self.n})"


Work: TypeAlias = Forward | Product


class Timing(NamedTuple):
    """One measured point; `others` are what published predictors said of it, name -> seconds."""

    paper: Paper
    device: str
    what: str
    work: Work
    measured_s: float
    others: dict[str, float]


class _File(NamedTuple):
    """What the groups of a file share."""

    paper: Paper
    per_second: float
    predictors: tuple[str, ...]
    models: dict[str, ModelSpec]


def timings() -> tuple[Timing, ...]:
    """Every timing that comes with perfkit, source by source.

    >>> [round(timing.measured_s * 1e3, 2) for timing in timings() if timing.paper.name == "sparsevlm"]
    [57.82, 34.06, 30.0, 26.52]
    """
    return tuple(timing for path in sorted(TIMINGS.glob("*.yaml")) for timing in read_timings(path))


def read_timings(path: Path) -> tuple[Timing, ...]:
    """Timings of one source.

    Raises:
        InvalidSpec: anything else than a file of timings, the key named.
    """
    top = Section(read_yaml(path), str(path))
    shared = _File(
        Paper(path.stem, top.text("source"), top.text("measured"), top.texts("notes")),
        _PER_SECOND[top.choice("unit", _PER_SECOND)],
        _predictors(top),
        _models(top),
    )
    groups = top.sections("groups")
    top.finish()
    found = tuple(timing for group in groups for timing in _timings(group, shared))
    if not found:
        raise InvalidSpec(f"{path}: groups holds no point: a source has at least one")
    return found


def _predictors(top: Section) -> tuple[str, ...]:
    names = top.texts("predictors")
    for name in names:
        if name in OURS:
            raise InvalidSpec(f"{top.where}: predictors: {name} is perfkit's own; say whose it is")
    return names


def _models(top: Section) -> dict[str, ModelSpec]:
    """Models that no preset holds, each a Hugging Face configuration."""
    if not top.has("models"):
        return {}
    section = top.section("models")
    configs = {str(name): section.section(name) for name in section.values}
    return {name: replace(read_model(Config(s.values, s.where)), name=name) for name, s in configs.items()}


def _timings(group: Section, shared: _File) -> Iterator[Timing]:
    """Points of one device and one kind, which share what is not listed point by point."""
    what, device = group.text("what"), group.choice("device", device_ids())
    precision = Precision(group.choice("precision", [p.value for p in COMPUTE_PRECISIONS]))
    kind = group.choice("kind", KINDS)
    template = _template(group, shared, precision) if kind == "forward" else None
    group.optional_text("why")  # these points were chosen; for who reads the file
    points = group.sections("points")
    group.finish()
    for point in points:
        work = _product(point, precision) if template is None else _forward(point, template)
        measured_s = point.number("measured") / shared.per_second
        others = _others(point, shared)
        point.finish()
        yield Timing(shared.paper, device, f"{what}, {work.label}", work, measured_s, others)


def _template(group: Section, shared: _File, precision: Precision) -> Forward:
    """Forward of a group, whose points only differ in their workload."""
    name = group.choice("model", [*shared.models, *preset_names()])
    model = shared.models[name] if name in shared.models else load_model(name)
    phases = group.texts("phases")
    for phase in phases:
        if phase not in PHASES:
            raise InvalidSpec(f"{group.where}: {UnknownName('phases', phase, PHASES)}")
    if not phases:
        raise InvalidSpec(f"{group.where}: phases is missing: name what was timed out of {', '.join(PHASES)}")
    attention = parse_choice("attention", group.choice("attention", ATTENTIONS), ATTENTIONS)
    logits = parse_choice("logits", group.choice("logits", LOGITS), LOGITS)
    runtime = parse_choice("runtime", group.choice("runtime", RUNTIMES), RUNTIMES)
    execution = Execution(precision, precision, precision, attention, logits, runtime)
    return Forward(model, phases, Workload(0), execution_of(model, execution))


def _forward(point: Section, template: Forward) -> Forward:
    spec = template.model
    counts: dict[str, Any] = {"batch": _count(point, "batch"), "new_tokens": 1}
    if spec.vision:
        counts["tokens"] = _count(point, "visual_tokens")
    if spec.text:
        counts["text_tokens"] = _count(point, "text_tokens")
    try:
        forward = template._replace(workload=workload_of(spec, **counts))
    except InvalidValue as error:
        raise InvalidSpec(f"{point.where}: {error}") from None
    made = dict.fromkeys(op.phase for op in count_ops(spec, forward.workload, forward.execution))
    for phase in forward.phases:
        if phase not in made:
            raise InvalidSpec(f"{point.where}: {spec.name} has no phase {phase}; it has {', '.join(made)}")
    return forward


def _product(point: Section, precision: Precision) -> Product:
    m, n, k = (_count(point, key) for key in "mnk")
    return Product(m, n, k, point.choice("layout", LAYOUTS), precision)


def _count(point: Section, key: str) -> int:
    return int(point.number(key, whole=True))


def _others(point: Section, shared: _File) -> dict[str, float]:
    """What each predictor of the file said: all of them of every point, so that errors are over the same points."""
    if not shared.predictors:
        return {}
    section = point.section("others")
    others = {name: section.number(name) / shared.per_second for name in shared.predictors}
    section.finish()
    return others
