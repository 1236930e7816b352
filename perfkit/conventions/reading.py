"""Conventions read strictly from their YAML files, one each. docs/conventions.md says how to write one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from perfkit.conventions.convention import (
    CAUSALS,
    FFN_MATRICES,
    PARTS,
    SCOPES,
    TABLE_KINDS,
    TOKENS_COUNTED,
    UNITS,
    Convention,
    Figure,
    Part,
    Scope,
    TableOp,
    Term,
)
from perfkit.conventions.symbols import SYMBOLS, TIMES
from perfkit.documents import Section, read_yaml, shown
from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.formulas import Formula
from perfkit.models import preset_names
from perfkit.printed import RULES, read_printed
from perfkit.units import STORAGE_PRECISIONS, parse_choice
from perfkit.workload import LOGITS

FOLDER = Path(__file__).parent

# Keys of an op's table entry beside its name, in the order of TableOp; what is left out moves nothing.
_OPERATIONS, *_BYTES = ("operations", "load_weights", "load_activations", "store_activations", "load_kv", "store_kv")


@lru_cache(maxsize=1)
def convention_names() -> tuple[str, ...]:
    """Names of all conventions, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@lru_cache(maxsize=32)
def load_convention(name: str) -> Convention:
    """The convention of a name.

    Raises:
        UnknownName: none of that name.

    >>> load_convention("pyramiddrop").unit
    'mac'
    """
    return read_convention(FOLDER / f"{parse_choice('convention', name, convention_names())}.yaml")


def read_convention(path: Path) -> Convention:
    """The convention in a file, which bears its name.

    Raises:
        InvalidSpec: anything else than a convention, the key named.
    """
    top = Section(read_yaml(path), str(path))
    convention = Convention(
        name=path.stem,
        paper=top.text("paper"),
        source=top.text("source"),
        unit=top.choice("unit", UNITS),
        causal=top.choice("causal", CAUSALS),
        logits=top.choice("logits", LOGITS),
        ffn_matrices=_matrices(top),
        tokens_counted=top.choice("tokens_counted", TOKENS_COUNTED),
        include=_include(top),
        elementwise=_flag(top, "elementwise"),
        bits_scaling=_flag(top, "bits_scaling"),
        text_tokens=_count(top, "text_tokens") if top.has("text_tokens") else None,
        leaves_out=top.text("leaves_out"),
        terms=tuple(_terms(top)),
        table=tuple(_table(top)),
        figures=tuple(_figure(section) for section in top.optional_sections("figures")),
        rule=top.choice("rule", RULES) if top.has("figures") else "half unit",
        notes=top.texts("notes"),
    )
    top.finish()
    try:
        convention.check()
    except InvalidValue as error:
        raise InvalidSpec(f"{path}: {error}") from None
    return convention


def _matrices(top: Section) -> int:
    number = _count(top, "ffn_matrices")
    if number not in FFN_MATRICES:
        raise InvalidSpec(f"{top.where}: ffn_matrices must be 2 or 3, not {number}")
    return number


def _include(top: Section) -> tuple[Part, ...]:
    parts = top.texts("include")
    for part in parts:
        if part not in PARTS:
            raise InvalidSpec(f"{top.where}: {UnknownName('include', part, PARTS)}")
    if not parts:
        raise InvalidSpec(f"{top.where}: include is missing: name what is counted out of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in parts)


def _flag(top: Section, key: str) -> bool:
    value = top.raw(key)
    if not isinstance(value, bool):
        raise InvalidSpec(f"{top.where}: {key} must be true or false, not {shown(value)}")
    return value


def _count(section: Section, key: str) -> int:
    return int(section.number(key, whole=True))


def _terms(top: Section) -> Iterator[Term]:
    """`formula`: for each scope, terms by name."""
    if not top.has("formula"):
        return
    formula = top.section("formula")
    for scope in (scope for scope in SCOPES if formula.has(scope)):
        terms = formula.section(scope)
        symbols = [symbol for symbol in SYMBOLS[scope] if symbol not in TIMES[scope]]
        for name in terms.values:
            yield Term(scope, str(name), _formula(terms, str(name), symbols))
    formula.finish()


def _table(top: Section) -> Iterator[TableOp]:
    """`ops`: for the scopes layer and head, ops with what they do and move."""
    if not top.has("ops"):
        return
    ops = top.section("ops")
    scopes: tuple[Scope, ...] = ("layer", "head")
    for scope in (scope for scope in scopes if ops.has(scope)):
        for op in ops.sections(scope):
            name, kind = op.text("op"), op.choice("kind", TABLE_KINDS)
            symbols = [symbol for symbol in SYMBOLS[scope] if symbol != "L"]  # each op is of one layer
            moved = [_formula(op, key, symbols) if op.has(key) else Formula("0") for key in _BYTES]
            yield TableOp(scope, name, kind, _formula(op, _OPERATIONS, symbols), *moved)
            op.finish()
    ops.finish()


def _formula(section: Section, key: str, symbols: Collection[str]) -> Formula:
    """A formula over known symbols; a bare number is one too."""
    text = section.raw(key)
    try:
        formula = Formula(str(text) if type(text) is int else section.text(key))
    except InvalidSpec as error:
        raise InvalidSpec(f"{section.where}: {key}: {error}") from None
    for name in formula.names:
        if name not in symbols:
            raise InvalidSpec(f"{section.where}: {key}: {UnknownName('symbol', name, symbols)}")
    return formula


def _figure(section: Section) -> Figure:
    figure = Figure(
        model=section.choice("model", preset_names()),
        visual_tokens=_count(section, "visual_tokens"),
        reduction=section.optional_text("reduction") or "",
        text_tokens=_count(section, "text_tokens") if section.has("text_tokens") else None,
        precision=section.choice("precision", STORAGE_PRECISIONS) if section.has("precision") else "fp16",
        per_layer=section.has("per_layer") and _flag(section, "per_layer"),
        printed=section.text("printed"),
        where=section.text("where"),
    )
    section.finish()
    try:
        read_printed(figure.printed)
    except InvalidSpec as error:
        raise InvalidSpec(f"{section.where}: {error}") from None
    return figure
