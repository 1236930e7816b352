"""Published tables read strictly from `tables/`, one YAML a paper. docs/adding-a-paper.md says how to write one."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from perfkit.conventions import Convention, convention_names, load_convention
from perfkit.counting import workload_of
from perfkit.documents import Section, read_yaml, shown
from perfkit.errors import InvalidSpec, InvalidValue, PerfkitError
from perfkit.hardware import device_ids
from perfkit.models import load_model, preset_names
from perfkit.models.spec import ModelSpec
from perfkit.papers.published import (
    BASES,
    FIGURES,
    SHARES,
    UNITS,
    PaperDevice,
    Promise,
    PublishedColumn,
    PublishedPaper,
    PublishedRow,
    PublishedTable,
    Request,
    Seen,
)
from perfkit.printed import DECIMAL, RULES
from perfkit.units import MAXIMUM_COUNT, STORAGE_PRECISIONS, Amount, Precision, parse_choice
from perfkit.workload import LOGITS

TABLES = Path(__file__).parent / "tables"

_OF_OPS = ("time", "bytes", "stored activations")  # which only a table of ops gives
_FACTORS = {"fp16_tflop_per_s": 10**12, "int8_top_per_s": 10**12, "bandwidth_gb_per_s": 10**9}
_COUNTS = ("tokens", "text_tokens")


@lru_cache(maxsize=1)
def paper_names() -> tuple[str, ...]:
    """Names of all papers with a published table, sorted."""
    return tuple(sorted(path.stem for path in TABLES.glob("*.yaml")))


def load_paper(name: str) -> PublishedPaper:
    """The paper of a name.

    Raises:
        UnknownName: none of that name.

    >>> load_paper("pyramiddrop").tables[0].rows[0].printed
    {'FLOPs': '3.82'}
    """
    return read_paper(TABLES / f"{parse_choice('paper', name, paper_names())}.yaml")


def read_paper(path: Path) -> PublishedPaper:
    """The paper in a file, which bears its name.

    Raises:
        InvalidSpec: anything else than published tables, the key named.
    """
    top = Section(read_yaml(path), str(path))
    tables = tuple(_table(section) for section in top.sections("tables"))
    if not tables:
        raise InvalidSpec(f"{path}: tables holds no table: a paper has at least one")
    _once(f"{path}: rows", [f"{row.name}, {c.name}" for table in tables for row in table.rows for c in table.columns])
    paper = PublishedPaper(
        name=path.stem,
        source=top.text("source"),
        summary=top.text("summary"),
        tables=tables,
        corrections=tuple(_request(section, tables) for section in top.optional_sections("corrected")),
        promises=tuple(_promise(section, tables) for section in top.optional_sections("promises")),
        notes=top.texts("notes"),
    )
    top.finish()
    _once(f"{path}: corrected", [request.row for request in paper.corrections])
    return paper


def _once(where: str, names: list[str]) -> None:
    """Rows bear names of their own, so that a cell and what corrects it are found."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidSpec(f"{where}: {twice!r} stands there twice")


# --- tables


def _table(section: Section) -> PublishedTable:
    convention = _convention(section)
    device = _device(section.section("device")) if section.has("device") else None
    columns = tuple(_column(column, convention, device) for column in section.sections("columns"))
    of = _number(section, "of") if section.has("of") else None
    if of is None and any(column.figure in SHARES for column in columns):
        raise InvalidSpec(f"{section.where}: of is missing: say how many visual tokens a share is taken of")
    rule = section.choice("rule", RULES)
    rows = tuple(_row(row, section, convention, columns) for row in section.sections("rows"))
    table = PublishedTable(
        section.text("what"), convention, rule, RULES[rule], columns, rows, device, of, section.texts("notes")
    )
    for key in ("model", "other", "precision", "basis"):
        section.has(key)  # may stand here for all rows
    section.finish()
    if not rows:
        raise InvalidSpec(f"{section.where}: rows holds no row: a table has at least one")
    return table


def _convention(section: Section) -> Convention:
    """The named convention, of the language model alone.

    Raises:
        InvalidSpec: it counts by its own table of ops, and logits are set otherwise.
    """
    chosen = load_convention(section.choice("convention", convention_names()))
    logits = section.choice("logits", LOGITS) if section.has("logits") else None
    try:
        return chosen.switched(include=None if chosen.table else ("llm",), logits=logits)
    except InvalidValue as error:
        raise InvalidSpec(f"{section.where}: {error}") from None


def _device(section: Section) -> PaperDevice:
    fp16, int8, bandwidth = (_number(section, key) * factor for key, factor in _FACTORS.items())
    device = PaperDevice(section.text("name"), fp16, int8, bandwidth, section.text("note"))
    section.finish()
    return device


def _column(section: Section, convention: Convention, device: PaperDevice | None) -> PublishedColumn:
    figure = section.choice("figure", FIGURES)
    whole = _decimal(section, "whole") if figure == "rounded share" else ""
    column = PublishedColumn(section.text("column"), section.choice("unit", UNITS), figure, whole)
    section.finish()
    if column.unit not in FIGURES[figure]:
        raise InvalidSpec(f"{section.where}: unit of a {figure} is {' or '.join(FIGURES[figure])}, not {column.unit}")
    if figure in _OF_OPS and not convention.table:
        raise InvalidSpec(
            f"{section.where}: {figure} needs a convention with a table of ops; {convention.name} has none"
        )
    if figure == "time" and device is None:
        raise InvalidSpec(f"{section.where}: time needs a device: give the rates that the paper reckons with")
    return column


# --- rows


def _row(
    section: Section, table: Section, convention: Convention, columns: tuple[PublishedColumn, ...]
) -> PublishedRow:
    model = load_model(_inherited(section, table, "model").choice("model", preset_names()))
    precision = _precision(section, table)
    row = PublishedRow(
        name=section.text("row"),
        model=model,
        seen=_seen(section, model),
        other=_other(section, table),
        precision=precision,
        basis=_inherited(section, table, "basis").choice("basis", BASES),
        printed=_printed(section, columns),
        notes=_cells(section, "notes", columns),
        misprints=_cells(section, "misprints", columns),
    )
    section.finish()
    _check_tokens(row, convention, section.where)
    return row


def _inherited(row: Section, table: Section, key: str) -> Section:
    """Where a key stands: in the row, or else in the table, for all its rows."""
    return row if row.has(key) else table


def _precision(section: Section, table: Section) -> Precision:
    place = _inherited(section, table, "precision")
    return place.choice("precision", STORAGE_PRECISIONS) if place.has("precision") else Precision.FP16


def _other(section: Section, table: Section) -> Amount:
    place = _inherited(section, table, "other")
    return _tokens(place, "other") if place.has("other") else 0


def _seen(section: Section, model: ModelSpec) -> tuple[Seen, ...]:
    """`visual` tokens in every layer, or `seen`: a list of layers with the tokens that they see."""
    if model.text is None:
        raise InvalidSpec(f"{section.where}: {model.name} has no language model, whose layers are counted here")
    layers = model.text.stack.layers
    if not section.has("seen"):
        return (Seen(layers, _tokens(section, "visual")),)
    seen = tuple(_group(group) for group in section.sections("seen"))
    if sum(group.layers for group in seen) != layers:
        listed = sum(group.layers for group in seen)
        raise InvalidSpec(f"{section.where}: seen lists {listed} layers; {model.name} has {layers}")
    if any(later.visual > earlier.visual for earlier, later in pairwise(seen)):
        tokens = ", ".join(str(group.visual) for group in seen)
        raise InvalidSpec(f"{section.where}: seen: visual tokens cannot grow from layer to layer: {tokens}")
    return seen


def _group(section: Section) -> Seen:
    group = Seen(int(section.number("layers", whole=True)), _tokens(section, "visual"))
    section.finish()
    return group


def _check_tokens(row: PublishedRow, convention: Convention, where: str) -> None:
    """Some tokens in every layer; none but visual ones where only these count; whole ones for a table of ops."""
    if any(not group.visual + row.other for group in row.seen):
        raise InvalidSpec(f"{where}: a layer sees no tokens at all")
    if convention.tokens_counted == "visual" and row.other:
        raise InvalidSpec(f"{where}: {convention.name} counts visual tokens alone, so other must not be given")
    tokens = [row.other, *(group.visual for group in row.seen)]
    if convention.table and any(not isinstance(number, int) for number in tokens):
        raise InvalidSpec(f"{where}: {convention.name} counts whole tokens only")


def _printed(section: Section, columns: tuple[PublishedColumn, ...]) -> dict[str, str]:
    """Figures as printed, none of them rounded or completed."""
    printed = _cells(section, "printed", columns)
    return {column: _decimal(section.section("printed"), column) for column in printed}


def _decimal(section: Section, key: str) -> str:
    text = section.text(key)
    if not re.fullmatch(DECIMAL, text):
        raise InvalidSpec(f"{section.where}: {key} must be a decimal number as printed, not {shown(text)}")
    if not Fraction(text):
        raise InvalidSpec(f"{section.where}: {key} must be above zero, not {shown(text)}")
    return text


def _cells(section: Section, key: str, columns: tuple[PublishedColumn, ...]) -> dict[str, str]:
    """Texts by column; a cell without one is left out."""
    if not section.has(key):
        return {}
    cells = section.section(key)
    found = {column.name: cells.text(column.name) for column in columns if cells.has(column.name)}
    cells.finish()
    return found


def _tokens(section: Section, key: str) -> Amount:
    """A count of tokens, which may be a mean and so a fraction, or zero."""
    if type(section.raw(key)) is int and not section.values[key]:
        return 0
    tokens = _number(section, key)
    if tokens > MAXIMUM_COUNT:
        raise InvalidSpec(f"{section.where}: {key} must be at most {MAXIMUM_COUNT}, not {float(tokens):g}")
    return tokens


def _number(section: Section, key: str) -> Amount:
    """A number above zero exactly as written: an int where it is whole, else the fraction that the decimal is."""
    number = Fraction(repr(section.number(key)))
    return number.numerator if number.denominator == 1 else number


# --- what stands beside


def _request(section: Section, tables: tuple[PublishedTable, ...]) -> Request:
    """What perfkit is asked for beside a row; that it can be counted is checked here, where the file is known."""
    row = section.choice("row", [row.name for table in tables for row in table.rows])
    gpu = section.choice("gpu", device_ids()) if section.has("gpu") else None
    options: dict[str, Any] = {"model": section.choice("model", preset_names())}
    if section.has("weights"):
        options["weights"] = section.choice("weights", STORAGE_PRECISIONS).value
    if section.has("reduction"):
        options["reduction"] = section.text("reduction")
    options |= {key: int(section.number(key, whole=True)) for key in _COUNTS if section.has(key)}
    section.finish()
    asked = {key: options[key] for key in ("reduction", *_COUNTS) if key in options}
    try:
        workload_of(load_model(options["model"]), **asked)
    except PerfkitError as error:
        raise InvalidSpec(f"{section.where}: {error}") from None
    return Request(row, gpu, options)


def _promise(section: Section, tables: tuple[PublishedTable, ...]) -> Promise:
    column = section.choice("column", [column.name for table in tables for column in table.columns])
    rows = [row.name for table in tables for row in table.rows if column in row.printed]
    promise = Promise(section.text("what"), column, section.choice("before", rows), section.choice("after", rows))
    section.finish()
    return promise
