"""Calibrations: parameters of the kernel model, of one device or of a family, read from and written to YAML.

A device takes its own; else its family's; else the cautious default, fitted on the families that there is data for.
What one of these lacks, an engine or a form of kernel, is borrowed from the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.documents import Section, read_yaml, shown
from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.files import write_whole
from perfkit.hardware import Device, specs_folder
from perfkit.kernels.forms import FORMS, FormParameters, kind_of
from perfkit.kernels.products import TILES, ProductParameters

ENGINES = ("tensor", "vector")
CAUTIOUS = "cautious"
# How a parameter is written: a key with its unit, and how many of these are one SI unit.
_WRITTEN = {
    "start_s": ("start_us", 1e6),
    "split_s": ("split_us", 1e6),
    "block_s": ("block_us", 1e6),
    "hop_s": ("hop_us", 1e6),
    "bulk_s": ("bulk_us", 1e6),
    "step_s": ("step_ns", 1e9),
}
_LARGEST = 1e6


class FittedOn(NamedTuple):
    """A table that a fit saw: its name, how many of its rows, the start of its SHA-256, and the device measured."""

    table: str
    rows: int
    sha256: str
    device: str


class FitError(NamedTuple):
    """How far a calibration is off on rows that its fit did not see: mean and 90th percentile of absolute errors."""

    op: str
    rows: int
    mape: float
    p90: float


class Spread(NamedTuple):
    """Factors of an expected time between which nine of ten measured ones lie."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters of the kernel model, and what is known of them.

    `id`: its file's name. `device` or `family`: what it was fitted for, neither for the cautious default. `fitted_on`:
    the tables; `command`: what made it. `products`: by engine (tensor, vector); `forms`: by name, of kernels
    that are no products. `errors` and `spread`: of rows kept out of the fit, by op or kind. `borrowed`: what it took
    from others, engine or form -> their id.
    """

    id: str
    title: str
    device: str | None
    family: str | None
    fitted_on: tuple[FittedOn, ...]
    command: str
    products: Mapping[str, ProductParameters]
    forms: Mapping[str, FormParameters] = field(default_factory=dict)
    errors: tuple[FitError, ...] = ()
    spread: Mapping[str, Spread] = field(default_factory=dict)
    borrowed: Mapping[str, str] = field(default_factory=dict)

    def spread_of(self, op: str, engine: str = "") -> Spread | None:
        """That of the op, else that of its kind, of products on `engine`; None where none is known."""
        return self.spread.get(op) or self.spread.get(kind_of(op, engine))

    def check_device(self, device: Device) -> None:
        """Refuse a calibration of another device or family.

        Raises:
            InvalidValue: it was fitted for another.
        """
        wrong_device = self.device is not None and self.device != device.id
        wrong_family = self.device is None and self.family is not None and self.family != device.family
        if wrong_device or wrong_family:
            meant = self.device or f"family {self.family}"
            raise InvalidValue(f"calibration {self.id} is of {meant}, not of {device.id} (family {device.family})")


def calibrations_folder() -> Path:
    """Folder of the calibrations, beside the device files."""
    return specs_folder() / "calibrations"


def calibration_ids() -> list[str]:
    """Ids of all calibrations, sorted."""
    return sorted(path.stem for path in calibrations_folder().glob("*.yaml"))


def calibration_for(device: Device) -> Calibration:
    """The device's own calibration, else that of its family, else the cautious default; what it lacks from the next.

    >>> from perfkit.hardware import load_device
    >>> calibration_for(load_device("l40s")).id, calibration_for(load_device("mi300x")).id
    ('l40s', 'cautious')
    """
    first, *others = _chain(device)
    return _completed(first, others)


def complete(calibration: Calibration, device: Device) -> Calibration:
    """A calibration with what it lacks for `device`: from the device's own, its family's, or the cautious default."""
    return _completed(calibration, _chain(device))


def _chain(device: Device) -> list[Calibration]:
    """Own, family's, cautious: those that there are."""
    names = [device.id, device.family] if device.file is None else [device.family]  # a file's id may be anything
    found = [name for name in names if name and os.path.isfile(calibrations_folder() / f"{name}.yaml")]
    if not os.path.isfile(calibrations_folder() / f"{CAUTIOUS}.yaml"):
        raise InvalidSpec(f"{calibrations_folder()}: {CAUTIOUS}.yaml is missing")
    return [read_bundled(name) for name in (*found, CAUTIOUS)]


def _completed(calibration: Calibration, others: Iterable[Calibration]) -> Calibration:
    for other in others:
        lacking = [name for name in other.products if name not in calibration.products]
        lacking += [name for name in other.forms if name not in calibration.forms]
        calibration = replace(
            calibration,
            products={**other.products, **calibration.products},
            forms={**other.forms, **calibration.forms},
            spread={**other.spread, **calibration.spread},
            borrowed={**dict.fromkeys(lacking, other.id), **calibration.borrowed},
        )
    return calibration


@lru_cache(maxsize=32)
def read_bundled(name: str) -> Calibration:
    """The calibration of that id beside the device files."""
    return read_calibration(calibrations_folder() / f"{name}.yaml")


# --- reading


def read_calibration(path: Path) -> Calibration:
    """Calibration of a YAML file.

    Raises:
        InvalidSpec: anything else, the key named.
    """
    top = Section(read_yaml(path), str(path))
    products = top.section("products")
    calibration = Calibration(
        id=path.stem,
        title=top.text("title"),
        device=top.optional_text("device"),
        family=top.optional_text("family"),
        fitted_on=tuple(_fitted_on(section) for section in top.sections("fitted_on")),
        command=top.text("command"),
        products={e: _product_parameters(products.section(e)) for e in ENGINES if products.has(e)},
        forms={name: _form(top.section(name), kind) for name, kind in FORMS.items() if top.has(name)},
        errors=tuple(_error(section) for section in top.sections("errors")) if top.has("errors") else (),
        spread=_spread(top.section("spread")) if top.has("spread") else {},
    )
    products.finish()
    top.finish()
    return calibration


def _product_parameters(section: Section) -> ProductParameters:
    values: list[Any] = [_parameter(section, name) for name in ProductParameters._fields[:-1]]
    tiles = section.section("tiles")
    reached = tuple(_number(tiles, _tile(tile)) for tile in TILES)
    tiles.finish()
    section.finish()
    return ProductParameters._make([*values, reached])


def _form(section: Section, kind: type[Any]) -> FormParameters:
    values = [_parameter(section, name) for name in kind._fields]
    section.finish()
    parameters: FormParameters = kind._make(values)
    return parameters


def _parameter(section: Section, name: str) -> float:
    key, units = _WRITTEN.get(name, (name, 1))
    return _number(section, key) / units


def _number(section: Section, key: str) -> float:
    """A plain number from 0; unlike a printed figure it may be 0."""
    value = section.raw(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise InvalidSpec(f"{section.where}: {key} must be a number from 0 to {_LARGEST:.0f}, not {shown(value)}")
    return float(value)


def _fitted_on(section: Section) -> FittedOn:
    found = FittedOn(
        section.text("table"),
        int(section.number("rows", whole=True)),
        section.text("sha256"),
        section.text("device"),
    )
    section.finish()
    return found


def _error(section: Section) -> FitError:
    error = FitError(
        section.text("op"), int(section.number("rows", whole=True)), _number(section, "mape"), _number(section, "p90")
    )
    section.finish()
    return error


def _spread(section: Section) -> dict[str, Spread]:
    found = {op: section.section(op) for op in section.values}
    spread = {op: Spread(_number(each, "low"), _number(each, "high")) for op, each in found.items()}
    for each in found.values():
        each.finish()
    section.finish()
    return spread


def _tile(tile: tuple[int, int]) -> str:
    return "x".join(map(str, tile))


# --- writing


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write it as YAML, whole or not at all; six digits of each parameter."""
    write_whole(path, "\n".join(_lines(calibration)) + "\n")


def _lines(calibration: Calibration) -> list[str]:
    lines = [f"title: {_quoted(calibration.title)}"]
    lines += [f"{key}: {value}" for key in ("device", "family") if (value := getattr(calibration, key))]
    lines += ["fitted_on:", *(f"  - {_flow(each)}" for each in calibration.fitted_on)]
    lines += [f"command: {_quoted(calibration.command)}", "products:" if calibration.products else "products: {}"]
    for engine, parameters in calibration.products.items():
        lines += [f"  {engine}:", *(f"    {line}" for line in _parameter_lines(parameters))]
    for name, form in calibration.forms.items():
        lines += [f"{name}:", *(f"  {line}" for line in _written(form._fields, form))]
    lines += ["errors:"] if calibration.errors else []
    lines += [f"  - {{op: {e.op}, rows: {e.rows}, mape: {e.mape:.4f}, p90: {e.p90:.4f}}}" for e in calibration.errors]
    lines += ["spread:"] if calibration.spread else []
    lines += [f"  {op}: {{low: {each.low:.4f}, high: {each.high:.4f}}}" for op, each in calibration.spread.items()]
    return lines


def _parameter_lines(parameters: ProductParameters) -> list[str]:
    names = ProductParameters._fields[:-1]
    lines = _written(names, [getattr(parameters, name) for name in names])
    tiles = ", ".join(f"{_tile(tile)}: {_plain(one)}" for tile, one in zip(TILES, parameters.tiles, strict=True))
    return [*lines, f"tiles: {{{tiles}}}"]


def _written(names: Iterable[str], values: Iterable[float]) -> list[str]:
    keys = [(_WRITTEN.get(name, (name, 1)), value) for name, value in zip(names, values, strict=True)]
    return [f"{key}: {_plain(value * units)}" for (key, units), value in keys]


def _plain(value: float) -> str:
    """Decimal digits without an exponent, which YAML 1.1 reads as text.

    >>> _plain(0.0000123456789), _plain(205.5331814)
    ('0.0000123457', '205.533')
    """
    from decimal import Decimal

    return f"{Decimal(f'{value:.6g}'):f}"


def _flow(fitted_on: FittedOn) -> str:
    table, rows, digest, device = fitted_on
    return f"{{table: {_quoted(table)}, rows: {rows}, sha256: {_quoted(digest)}, device: {_quoted(device)}}}"


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
