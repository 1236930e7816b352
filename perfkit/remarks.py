"""What a reader of a prediction should know: how its figures came about, and what to worry about."""

from __future__ import annotations

from itertools import groupby

from perfkit.hardware import Device, Figure
from perfkit.kernels import Expectation
from perfkit.kernels.calibrations import CAUTIOUS
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES, ELEMENTWISE, form_of
from perfkit.latency import Prediction
from perfkit.memory import Remedy, remedies
from perfkit.models import preset_names
from perfkit.models.spec import ModelSpec
from perfkit.parallel import Group
from perfkit.roofline import Engines
from perfkit.units import Precision, format_quantity
from perfkit.workload import Workload, anywhere

DOUBTED = ("medium", "low")


def notes(prediction: Prediction, *, brief: bool = False) -> list[str]:
    """How the figures came about: what an alias meant, class defaults, conventions of the model.

    `brief`: the class defaults of a preset are counted, not listed; `perfkit models` lists them.
    """
    choice, spec = prediction.choice, prediction.model
    found = []
    if choice.is_alias:
        siblings = f"; its siblings: {', '.join(choice.siblings)}" if choice.siblings else ""
        found.append(f"{choice.name} means {choice.device.id}{siblings}")
    if choice.device.file:
        found.append(f"{choice.device.id} is read from {choice.device.file}")
    int8 = prediction.engines.peaks.get(Precision.INT8)
    if int8 is not None and int8.engine == "vector":
        how = " by DP4A" if choice.device.vendor == "NVIDIA" else ""
        found.append(f"{choice.device.id}: int8 products run{how} on the vector engine: it has no INT8 tensor cores")
    found += _borrowings(prediction)
    found += parallel_notes(prediction)
    found += reduction_notes(spec, prediction.workload)
    found += [f"{spec.name}: {note}" for note in spec.notes]
    if spec.defaults:
        count = len(spec.defaults)
        listed = f"{count} {'key' if count == 1 else 'keys'}, see `perfkit models {spec.name}`"
        keys = listed if brief and spec.name in preset_names() else _by_section(spec.defaults)
        found.append(f"{spec.name}: absent keys take Hugging Face's class defaults: {keys}")
    return found


def _borrowings(prediction: Prediction) -> list[str]:
    """What expected times took from calibrations of other devices."""
    expectation = prediction.expectation
    calibration, device = expectation.calibration, expectation.device
    if calibration is None or expectation.problem:
        return []
    found = []
    if expectation.is_borrowed:
        found.append(f"no calibration of {device.id} or its family ({device.family}): expected times borrow {CAUTIOUS}")
    needed = _parameters_of(prediction)
    lenders: dict[str, list[str]] = {}
    for name, lender in calibration.borrowed.items():
        if name in needed:
            lenders.setdefault(lender, []).append(name.replace("_", " "))
    borrowings = (f"{', '.join(names)} from {lender}" for lender, names in lenders.items())
    return [*found, *(f"calibration {calibration.id} borrows {what}" for what in borrowings)]


def _parameters_of(prediction: Prediction) -> set[str]:
    """Engines and forms of kernels that its expected times rest on."""
    engines = {peak.engine for peak in prediction.engines.peaks.values()}
    forms = {form_of(time.cost.kernel.op) for time in prediction.ops if time.cost.kernel}
    return {ELEMENTWISE, *engines, *forms, *(_form_of(group) for group in _groups(prediction))}


def _groups(prediction: Prediction) -> list[Group]:
    """GPUs that exchange, each kind of group once."""
    layout = prediction.layout
    if layout is None:
        return []
    return list(dict.fromkeys(group for group in (layout.tensor, *layout.boundaries) if group is not None))


def _form_of(group: Group) -> str:
    return COLLECTIVES if group.nodes == 1 else BETWEEN_NODES


def parallel_notes(prediction: Prediction) -> list[str]:
    """How several GPUs share a model, over which links, and what each has whole.

    >>> from perfkit.latency import analyze
    >>> parallel_notes(analyze("a100", tp=2))[0]
    'tp 2 over NVLink3, 300 GB/s each way (datasheet); vision tower and projector run whole on each GPU'
    """
    layout, execution, spec = prediction.layout, prediction.execution, prediction.model
    if layout is None:
        return []
    found = []
    if layout.tensor is not None:
        whole = "; vision tower and projector run whole on each GPU" if spec.vision else ""
        found.append(f"tp {execution.tp} over {layout.tensor} ({_rate_source(layout.tensor)}){whole}")
    if layout.boundaries:
        links = dict.fromkeys(f"{group} ({_rate_source(group)})" for group in layout.boundaries)
        layers = "+".join(map(str, layout.stages))
        found.append(f"pp {execution.pp}: stages of {layers} layers, one after the other, over {' and '.join(links)}")
    return [*found, "FLOPs, bytes and times are of the whole model, memory is per GPU"]


def _rate_source(group: Group) -> str:
    """Of the rate that an exchange is reckoned with."""
    return "datasheet" if group.nodes == 1 else "assumed: one 200 Gb/s port a GPU, as in a DGX A100"


def reduction_notes(spec: ModelSpec, workload: Workload) -> list[str]:
    """What a reader must know of the method that leaves visual tokens of `spec` out.

    >>> from perfkit.models import load_model
    >>> reduction_notes(load_model("llava-1.5-7b"), Workload(40, reduction="sequential:n=64"))
    ['sequential: 40 visual tokens as asked, instead of its 64']
    """
    if not workload.reduction:
        return []
    from perfkit.reduction import Reducer, parse_reduction  # not on the way of whoever reduces nothing

    method, tokens = parse_reduction(workload.reduction), workload.visual_tokens
    if isinstance(method, Reducer) and method.says_tokens:
        usual = workload.images * method.image_tokens(spec)
        if anywhere(tokens != usual):
            return [f"{method.name}: {tokens} visual tokens as asked, instead of its {usual}"]
    return [method.note] if method.note else []


def _by_section(defaults: tuple[str, ...]) -> str:
    """Keys of a section after its name, which stands once.

    >>> _by_section(("text_config.hidden_size=4096", "text_config.hidden_act=silu", "tie_word_embeddings=False"))
    'text_config (hidden_size=4096, hidden_act=silu), tie_word_embeddings=False'
    """
    parts = []
    for section, members in groupby(defaults, key=_section_of):
        keys = ", ".join(default.removeprefix(f"{section}.") for default in members)
        parts.append(f"{section} ({keys})" if section else keys)
    return ", ".join(parts)


def _section_of(default: str) -> str:
    return default.partition("=")[0].rpartition(".")[0]


def warnings(prediction: Prediction) -> list[str]:
    """What to worry about: figures in doubt, a context or a card that is exceeded."""
    return [
        *_doubts(prediction.device, prediction.engines),
        *_rough_expectation(prediction.expectation),
        *_context_warnings(prediction),
        *memory_warnings(prediction),
    ]


def _doubts(device: Device, engines: Engines) -> list[str]:
    found = []
    if engines.vector is None:
        found.append(f"{device.id}: no vector rate is published, so element-wise work is bounded by memory alone")
    if device.confidence in DOUBTED:
        found.append(f"{device.id}: the figures of this device are of {device.confidence} confidence")
    return found + [
        f"{device.id}: {what} {figure.printed} is of {figure.confidence} confidence: {figure.note or 'see its source'}"
        for what, figure in figures_used(engines)
        if figure.confidence in DOUBTED
    ]


def figures_used(engines: Engines) -> list[tuple[str, Figure]]:
    """Figures of a device that its roofline rests on, by what they are.

    >>> from perfkit.latency import analyze
    >>> [f"{what}: {figure.printed}" for what, figure in figures_used(analyze("v100").engines)]
    ['fp16 peak: 125 TFLOP/s', 'vector fp32 rate: 15.7 TFLOP/s', 'bandwidth: 900 GB/s', 'capacity: 32 GB']
    """
    device, vector = engines.device, engines.vector
    found = [(f"{p.precision} peak", p.rate) for p in engines.peaks.values()]
    found += [("vector fp32 rate", vector.rate)] if vector else []
    return [*found, ("bandwidth", device.bandwidth), ("capacity", device.capacity)]


def _rough_expectation(expectation: Expectation) -> list[str]:
    return [f"expected times are a rule of thumb: {expectation.problem}"] if expectation.problem else []


def _context_warnings(prediction: Prediction) -> list[str]:
    spec = prediction.model
    if spec.text is None:
        return []
    found = []
    tokens = prediction.workload.prompt_tokens + prediction.workload.new_tokens
    window = spec.text.stack.attention.sliding_window
    if window is not None and tokens > window:
        found.append(f"{spec.name}: attention is counted over all tokens, not over its sliding window of {window}")
    if not prediction.within_context:
        found.append(f"{tokens} tokens exceed the context of {spec.name} ({spec.text.context})")
    return found


def memory_warnings(prediction: Prediction) -> list[str]:
    """Whether the card is exceeded, and what would fit."""
    need, capacity = prediction.footprint, prediction.device.memory_bytes
    if need.fits(capacity):
        return []
    found = remedies(prediction.model, prediction.workload, prediction.execution, need, capacity)
    ways = ", or ".join(map(_in_words, found))
    return [
        f"does not fit: {format_quantity(need.needed, 'B')}{_each(prediction)} with the runtime's reserve, "
        f"{prediction.device.id} has {format_quantity(capacity, 'B')}; what would fit: {ways}"
    ]


def _each(prediction: Prediction) -> str:
    return " per GPU" if prediction.execution.gpus > 1 else ""


def _in_words(remedy: Remedy) -> str:
    """As an option of the command line, or as the card to look for.

    >>> _in_words(Remedy("weights", Precision.INT4)), _in_words(Remedy("capacity", 30_450_000_001))
    ('--weights int4', 'a card with at least 30.5 GB')
    """
    if remedy.change != "capacity":
        return f"--{remedy.change} {remedy.value}"
    # Rounded up to the three digits that are shown, since a card of a little less would not do.
    needed = int(remedy.value)
    step = int(10 ** max(0, len(str(needed)) - 3))
    return f"a card with at least {format_quantity(-(-needed // step) * step, 'B')}"
