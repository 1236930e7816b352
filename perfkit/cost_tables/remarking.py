"""What stands below a cost table: the workload, what each column is and rests on, devices, methods, warnings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import perfkit
from perfkit import remarks
from perfkit.cost_tables.building import CostTable
from perfkit.cost_tables.columns import BASES, BY_CONVENTION, EXPECTED, CostColumn, Point, columns_of
from perfkit.cost_tables.keys import PREPOSITIONS, constants_of, keys_of
from perfkit.cost_tables.naming import model_title
from perfkit.cost_tables.request import USUAL_LOGITS
from perfkit.hardware import Device, Peak
from perfkit.kernels import has_measured_rates
from perfkit.units import Precision


class Remark(NamedTuple):
    """A warning, and the rows that it is of."""

    text: str
    rows: frozenset[int]


def caption_of(table: CostTable) -> str:
    """The caption that was asked for, else what all rows share."""
    return table.request.caption or f"Inference cost{_of(constants_of(table))}."


def _of(constants: str) -> str:
    """Behind a noun: what begins with a name takes `of`, what begins with a preposition stays."""
    if not constants:
        return ""
    return f" {constants}" if constants.split()[0] in PREPOSITIONS else f" of {constants}"


def notes_of(table: CostTable) -> list[str]:
    """Notes for all rows, as few and short as they can be, in the order in which a reader asks."""
    return [
        _workload(table),
        _bases(table),
        *_convention(table),
        *dict.fromkeys(_device(table, point) for point in table.points),
        *_methods(table),
        *dict.fromkeys(note for point in table.points for note in _of_model(point)),
        *_gaps(table),
    ]


def warnings_of(table: CostTable) -> list[Remark]:
    """What to worry about, each with the rows that it is of."""
    found: dict[str, set[int]] = {}
    for index, point in enumerate(table.points):
        for text in remarks.warnings(point.prediction):
            found.setdefault(text, set()).add(index)
    return [Remark(text, frozenset(rows)) for text, rows in found.items()]


def footnotes_of(table: CostTable) -> list[Remark]:
    """Warnings as a paper's footnotes: rows that do not fit share one, whatever each of them would need."""
    over = {text for point in table.points for text in remarks.memory_warnings(point.prediction)}
    rows = [remark.rows for remark in warnings_of(table) if remark.text in over]
    shared = [Remark("Does not fit: memory plus 1 GiB for the runtime exceeds the card.", frozenset().union(*rows))]
    return [*(shared if rows else []), *(remark for remark in warnings_of(table) if remark.text not in over)]


def background_of(table: CostTable) -> list[str]:
    """How the predictions came about, beyond the notes: what an alias meant, keys that took their defaults."""
    predictions = [point.prediction for point in table.points]
    below = {note for p in predictions for note in remarks.reduction_notes(p.model, p.workload)}
    below |= {f"{p.model.name}: {note}" for p in predictions for note in p.model.notes}
    found = (note for p in predictions for note in remarks.notes(p, brief=True))
    return [note for note in dict.fromkeys(found) if note not in below]


def told(table: CostTable) -> Iterator[str]:
    """Warnings in full, after the rows that they are of where not all are meant."""
    keys = keys_of(table)
    for text, rows in warnings_of(table):
        names = [keys.name_of(table.points[row]) for row in sorted(rows)]
        some = len(names) < len(table.points)
        yield f"{'; '.join(dict.fromkeys(names))}: {text}" if some else text


def _chosen(table: CostTable) -> tuple[CostColumn, ...]:
    return columns_of(table.request.columns, table.convention)


def _workload(table: CostTable) -> str:
    constants = constants_of(table) if table.request.caption else ""
    parts = [f"Costs{_of(constants)}"] if constants else []
    return ", ".join([*parts, *_tokens(table), *_run(table)]) + "."


def _tokens(table: CostTable) -> Iterator[str]:
    """Text tokens, after the convention that set them where they were not asked for, and new ones."""
    text_tokens = max(point.prediction.workload.text_tokens for point in table.points)
    if text_tokens:
        origin = f" (convention {table.convention.name})" if table.request.text_tokens is None else ""
        yield f"{_several(text_tokens, 'text token')}{origin}"
    if any(point.prediction.model.has_decoder for point in table.points):
        yield _several(table.request.new_tokens, "new token")


def _run(table: CostTable) -> Iterator[str]:
    every, asked = [point.prediction for point in table.points], table.request
    yield f"batch {asked.batch}"
    if any(p.model.vision and p.workload.visual_tokens for p in every):
        yield _several(asked.images, "image")
    yield f"{every[0].execution.attention} attention"
    if any(p.model.has_decoder for p in every):
        yield f"logits {_logits(table)}"


def _logits(table: CostTable) -> str:
    """Those of the predictions."""
    return table.request.logits or USUAL_LOGITS


def _several(number: int, noun: str) -> str:
    """A number of things.

    >>> _several(1, "image"), _several(2, "image")
    ('1 image', '2 images')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _bases(table: CostTable) -> str:
    """What each column is, after what it rests on."""
    groups = []
    for basis in BASES:
        named = [f"{column.header} ({column.what})" for column in _chosen(table) if column.basis == basis]
        groups += [f"{basis}: {', '.join(named)}"] if named else []
    return f"By perfkit {perfkit.__version__}. {'. '.join(map(_sentence, groups))}."


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _convention(table: CostTable) -> Iterator[str]:
    if any(column.key in BY_CONVENTION for column in _chosen(table)):
        c = table.convention
        whole = f", by its own table of ops (left out: {c.leaves_out})" if c.table else ""
        yield f"Convention {c.label}: {', '.join(_switches(table))}{whole}."


def _switches(table: CostTable) -> Iterator[str]:
    """How the convention counts; logits where they are not those of the predictions."""
    c = table.convention
    yield f"multiply-add = {c.multiply_add}"
    yield {"full": "causal mask in full", "half": "half of the causal mask"}[c.causal]
    yield "matrix products and element-wise work" if c.elementwise else "matrix products alone"
    yield f"of {' + '.join(c.include)}"
    if c.tokens_counted == "visual":
        yield "visual tokens alone"
    if c.ffn_matrices == 2:
        yield "no gate matrix in the FFN"
    if c.bits_scaling:
        yield "work in b bits as b/16"
    if c.logits != _logits(table) and any(point.prediction.model.has_decoder for point in table.points):
        yield f"its own logits: {c.logits}"


def _device(table: CostTable, point: Point) -> str:
    device = point.prediction.device
    peaks = {
        peak.precision: peak
        for other in table.points
        if other.prediction.device == device
        for peak in other.prediction.engines.peaks.values()
    }
    origin = "measured" if has_measured_rates(device) else "datasheet"
    origin += "" if device.id == device.name.lower() and not device.file else f" of {device.file or device.id}"
    rates = ", ".join(f"{peak.precision} {peak.rate.printed} ({_engine(device, peak)})" for peak in peaks.values())
    memory = f"{device.capacity.printed} at {device.bandwidth.printed}"
    return f"{device.name} ({origin}): {rates}, {memory}{_tdp(table, device)}."


def _engine(device: Device, peak: Peak) -> str:
    by_dp4a = peak.precision is Precision.INT8 and peak.engine == "vector" and device.vendor == "NVIDIA"
    return "vector, by DP4A" if by_dp4a else peak.engine


def _tdp(table: CostTable, device: Device) -> str:
    if "energy" not in table.request.columns:
        return ""
    if device.tdp is None or device.tdp.value is None:
        return ", TDP not published"
    return f", TDP {device.tdp.printed}"


def _methods(table: CostTable) -> Iterator[str]:
    """What a reader must know of the methods, all in one note."""
    predictions = [point.prediction for point in table.points]
    notes = dict.fromkeys(note for p in predictions for note in remarks.reduction_notes(p.model, p.workload))
    if notes:
        yield f"{'. '.join(notes)}."


def _of_model(point: Point) -> Iterator[str]:
    """What a reader must know of a model, save the keys that a configuration leaves to its defaults."""
    model = point.prediction.model
    yield from (f"{model_title(model.name)}: {note}." for note in model.notes)


def _gaps(table: CostTable) -> Iterator[str]:
    """Why cells are empty, where the columns do not say it."""
    if any(column.basis == EXPECTED for column in _chosen(table)):
        without = dict.fromkeys(p.prediction.expectation.problem for p in table.points)
        yield from (f"Expected by a rule of thumb: {problem}." for problem in without if problem)
    if any(column.key == "macs" for column in _chosen(table)) and table.convention.table:
        yield f"Convention {table.convention.label} has a table of its own, which does not tell multiply-adds apart."
