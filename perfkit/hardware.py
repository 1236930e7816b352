"""Devices: what their datasheets print, each figure with unit, source and doubt; one YAML a device.

A name is an id (`v100-sxm2-32gb`), an alias of aliases.yaml (`v100`), or a path to a YAML of the same form.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from perfkit.documents import Section, read_yaml
from perfkit.errors import InvalidSpec, UnknownName, UnsupportedPrecision
from perfkit.units import COMPUTE_PRECISIONS, Precision

ENGINES = ("tensor", "vector")
CONFIDENCES = ("high", "medium", "low")
UNKNOWN = "unknown"

_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BANDWIDTHS = {f"{unit}/s": scale for unit, scale in _BYTES.items() if unit not in ("B", "KiB")}
_PREFIXES = {"G": 1e9, "T": 1e12, "P": 1e15}
_RATES = {f"{prefix}{kind}/s": scale for prefix, scale in _PREFIXES.items() for kind in ("FLOP", "OP")}
_CLOCKS = {"MHz": 1e6, "GHz": 1e9}
_WATTS = {"W": 1.0}
_COUNT = {"": 1.0}


class Figure(NamedTuple):
    """A printed figure: `value` in SI (None where sources leave it open), as printed, source, doubt and remark."""

    value: float | None
    printed: str
    source: str
    confidence: str | None = None
    note: str | None = None


class Peak(NamedTuple):
    """Dense peak rate of an engine (tensor or vector) for products in `precision`, summed in `accumulate`.

    `sustained`: rate of large products that others measured, where the board's power or its issue of instructions holds
    them well below the peak; None where nobody did, or where the peak is near. It enters expected times only.
    """

    engine: str
    precision: Precision
    accumulate: str
    rate: Figure
    sustained: Figure | None = None

    @property
    def known(self) -> bool:
        """Whether a source prints the rate."""
        return self.rate.value is not None

    @property
    def flops_per_s(self) -> float:
        """Rate of the engine.

        Raises:
            InvalidSpec: no source prints it.
        """
        if self.rate.value is None:
            what = f"the rate of {self.precision} products on the {self.engine} engine"
            raise InvalidSpec(f"{what} is unknown: {self.rate.note or 'no source prints it'}")
        return self.rate.value

    @property
    def wide(self) -> bool:
        """Whether sums are kept in at least 32 bits, as frameworks ask for."""
        return self.accumulate in ("fp32", "int32", "fp64")


class Link(NamedTuple):
    """Connection to other cards or to the host; bandwidth of one direction."""

    name: str
    bandwidth: Figure


@dataclass(frozen=True, slots=True)
class Device:
    """One SKU. Optional figures are None where the device has no such thing or no source prints it.

    `gemm`, `gemv`: measured rate of large products and bandwidth of products of a single row, by their precision;
    empty where nobody measured them.
    `power`: what a card was measured to draw in `prefill` and in `decode`; empty where nobody did.
    `file`: path of a device that does not come with perfkit, whose id may be that of one that does.
    """

    id: str
    name: str
    peaks: tuple[Peak, ...]
    capacity: Figure
    bandwidth: Figure
    gemm: dict[Precision, Figure] = field(default_factory=dict, hash=False)
    gemv: dict[Precision, Figure] = field(default_factory=dict, hash=False)
    memory_type: str | None = None
    l2: Figure | None = None
    sm_count: Figure | None = None
    clocks: dict[str, Figure] = field(default_factory=dict, hash=False)
    links: tuple[Link, ...] = ()
    pcie: Link | None = None
    tdp: Figure | None = None
    power: dict[str, Figure] = field(default_factory=dict, hash=False)
    vendor: str | None = None
    architecture: str | None = None
    family: str | None = None
    compute_capability: str | None = None
    year: int | None = None
    confidence: str | None = None
    sources: dict[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    file: str | None = None

    @property
    def memory_bytes(self) -> float:
        """Capacity as printed, decimal."""
        return _known(self, "memory capacity", self.capacity)

    @property
    def bytes_per_s(self) -> float:
        """Memory bandwidth."""
        return _known(self, "memory bandwidth", self.bandwidth)

    def product_peak(self, precision: Precision) -> Peak:
        """Fastest engine for products in `precision`; sums in 32 bits where the card has such an engine.

        An engine whose rate is unknown is not passed over for a slower one.

        Raises:
            UnsupportedPrecision: the card has none, or no source prints its rate.

        >>> load_device("v100").product_peak(Precision.FP16).rate.printed
        '125 TFLOP/s'
        """
        candidates = self._candidates(precision)
        unknown = [peak for peak in candidates if not peak.known]
        if not candidates:
            raise UnsupportedPrecision(f"{self.id} has no engine for {precision} products; {self._offers()}")
        if unknown:
            why = f"unknown: {unknown[0].rate.note or 'no source prints it'}"
            raise UnsupportedPrecision(f"{self.id}: the rate of {precision} products is {why}; {self._offers()}")
        return max(candidates, key=lambda peak: peak.flops_per_s)

    def vector_peak(self) -> Peak | None:
        """Engine of element-wise work: the vector engine in fp32, or None where no source prints its rate."""
        found = [p for p in self.peaks if p.engine == "vector" and p.precision is Precision.FP32 and p.known]
        return found[0] if found else None

    def precisions(self) -> list[Precision]:
        """Precisions that products of a model can run in at a known rate."""
        found = {p: self._candidates(p) for p in COMPUTE_PRECISIONS}
        return [p for p, peaks in found.items() if peaks and all(peak.known for peak in peaks)]

    def _candidates(self, precision: Precision) -> list[Peak]:
        peaks = [peak for peak in self.peaks if peak.precision is precision]
        return [peak for peak in peaks if peak.wide] or peaks

    def _offers(self) -> str:
        best = [self.product_peak(p) for p in self.precisions()]
        if not best:
            return "none of its rates is published"
        return "it multiplies in " + ", ".join(f"{p.precision} ({p.rate.printed}, {p.engine})" for p in best)


class Choice(NamedTuple):
    """What a name meant: the device, and for an alias its siblings."""

    device: Device
    name: str
    siblings: tuple[str, ...] = ()

    @property
    def is_alias(self) -> bool:
        """Whether the name is not the device's own."""
        return self.name != self.device.id and not _is_path(self.name)


def _known(device: Device, what: str, figure: Figure) -> float:
    if figure.value is None:
        raise InvalidSpec(f"{device.id}: {what} is unknown: {figure.note or 'no source prints it'}")
    return figure.value


# --- names


def specs_folder() -> Path:
    """Folder of the device files: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "hardware_specs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "hardware_specs"


def device_ids() -> list[str]:
    """Ids of all devices, sorted."""
    return sorted(path.stem for path in specs_folder().glob("*.yaml") if path.stem not in _INDEX_FILES)


@lru_cache(maxsize=1)
def aliases() -> dict[str, tuple[str, ...]]:
    """Alias -> the device it means, then its siblings."""
    return {str(alias): tuple(names) for alias, names in read_yaml(specs_folder() / "aliases.yaml").items()}


def choose_device(name: str) -> Choice:
    """Device of an id, alias or path, and what an alias might have meant instead.

    Raises:
        UnknownName: none of the three.
        InvalidSpec: a file that is no device.
    """
    if _is_path(name):
        return Choice(replace(read_device(Path(os.path.expanduser(name))), file=name), name)
    key = name.lower()
    # os.path, not Path: its tests answer False to names that cannot be files (too long, with a NUL).
    if key not in _INDEX_FILES and os.path.isfile(specs_folder() / f"{key}.yaml"):
        return Choice(_bundled(key), key)
    if key in aliases():
        taken, *siblings = aliases()[key]
        return Choice(_bundled(taken), key, tuple(siblings))
    raise UnknownName("GPU", name, [*device_ids(), *aliases()], "; `perfkit gpus` lists all; or a path to a YAML")


def load_device(name: str) -> Device:
    """Device of an id, alias or path.

    Raises:
        UnknownName, InvalidSpec: as `choose_device`.

    >>> load_device("v100").id
    'v100-sxm2-32gb'
    """
    return choose_device(name).device


_INDEX_FILES = ("aliases", "prices", "nvml_names")


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml"))


@lru_cache(maxsize=128)
def _bundled(device_id: str) -> Device:
    return read_device(specs_folder() / f"{device_id}.yaml")


# --- reading


def read_device(path: Path) -> Device:
    """Device of a YAML file; `name`, `peaks`, and memory's capacity and bandwidth must be there.

    Raises:
        InvalidSpec: anything else than a device file, the key named.
    """
    top = Section(read_yaml(path), str(path))
    sources = _sources(top)
    memory = top.section("memory")
    device = Device(
        id=path.stem,
        name=top.text("name"),
        vendor=top.optional_text("vendor"),
        architecture=top.optional_text("architecture"),
        family=top.optional_text("family"),
        compute_capability=top.optional_text("compute_capability"),
        year=int(top.number("year", whole=True)) if top.has("year") else None,
        confidence=top.choice("confidence", CONFIDENCES) if top.has("confidence") else None,
        sources=sources,
        sm_count=_optional_figure(top, "sm_count", _COUNT, sources),
        clocks=_named(top, "clocks", ("boost", "tensor"), _CLOCKS, sources),
        peaks=_peaks(top, sources),
        memory_type=memory.optional_text("type"),
        capacity=_figure(memory.section("capacity"), _BYTES, sources),
        bandwidth=_figure(memory.section("bandwidth"), _BANDWIDTHS, sources),
        gemm=_by_precision(top, "gemm_rate", _RATES, sources),
        gemv=_by_precision(memory, "gemv_bandwidth", _BANDWIDTHS, sources),
        l2=_optional_figure(memory, "l2", _BYTES, sources),
        links=tuple(_link(s, s.text("name"), sources) for s in top.sections("links")) if top.has("links") else (),
        pcie=_pcie(top, sources),
        tdp=_optional_figure(top, "tdp", _WATTS, sources),
        power=_named(top, "power", ("prefill", "decode"), _WATTS, sources),
        notes=top.texts("notes"),
    )
    memory.finish()
    top.finish()
    return device


def _sources(top: Section) -> dict[str, str]:
    if not top.has("sources"):
        return {}
    section = top.section("sources")
    return {key: section.text(key) for key in section.values}


def _figure(section: Section, units: dict[str, float], sources: dict[str, str]) -> Figure:
    unknown = section.raw("value") == UNKNOWN
    unit = section.optional_text("unit") or ""
    if unit not in units:
        allowed = "a count has no unit" if units is _COUNT else f"unit must be one of {', '.join(units)}"
        raise InvalidSpec(f"{section.where}: {allowed}, not {unit!r}")
    source = section.optional_text("source") or "not stated"
    if source not in (*sources, "derived", "not stated"):
        raise InvalidSpec(f"{section.where}: source {source!r} is not listed under sources ({', '.join(sources)})")
    value = None if unknown else section.number("value", whole=units is _COUNT)
    figure = Figure(
        value=None if value is None else int(value) if units is _COUNT else value * units[unit],
        printed=f"{section.values['value']} {unit}".strip(),
        source=source,
        confidence=section.choice("confidence", CONFIDENCES) if section.has("confidence") else None,
        note=section.optional_text("note"),
    )
    section.finish()
    return figure


def _optional_figure(section: Section, key: str, units: dict[str, float], sources: dict[str, str]) -> Figure | None:
    return _figure(section.section(key), units, sources) if section.has(key) else None


def _by_precision(
    within: Section, key: str, units: dict[str, float], sources: dict[str, str]
) -> dict[Precision, Figure]:
    found: dict[Precision, Figure] = {}
    for section in within.sections(key) if within.has(key) else ():
        precision = Precision(section.choice("precision", [p.value for p in COMPUTE_PRECISIONS]))
        if precision in found:
            raise InvalidSpec(f"{section.where}: {precision} is given twice")
        found[precision] = _figure(section, units, sources)
    return found


def _named(
    top: Section, key: str, names: tuple[str, ...], units: dict[str, float], sources: dict[str, str]
) -> dict[str, Figure]:
    """Figures of an optional section, by their names."""
    if not top.has(key):
        return {}
    section = top.section(key)
    found = {name: _figure(section.section(name), units, sources) for name in names if section.has(name)}
    section.finish()
    return found


def _peaks(top: Section, sources: dict[str, str]) -> tuple[Peak, ...]:
    peaks: dict[tuple[str, str, str], Peak] = {}
    for section in top.sections("peaks"):
        engine = section.choice("engine", ENGINES)
        precision = section.choice("precision", [p.value for p in Precision])
        accumulate = section.choice("accumulate", ("fp16", "fp32", "fp64", "int32"))
        if section.raw("dense") is not True:
            raise InvalidSpec(f"{section.where}: dense must be true: give the rate without structured sparsity")
        key = (engine, precision, accumulate)
        if key in peaks:
            raise InvalidSpec(f"{section.where}: {' '.join(key)} is given twice")
        sustained = _optional_figure(section, "sustained", _RATES, sources)
        peaks[key] = Peak(engine, Precision(precision), accumulate, _figure(section, _RATES, sources), sustained)
    if not peaks:
        raise InvalidSpec(f"{top.where}: peaks is empty: a device has at least one rate")
    return tuple(peaks.values())


def _link(section: Section, name: str, sources: dict[str, str]) -> Link:
    if section.raw("direction") != "each":
        raise InvalidSpec(f"{section.where}: direction must be each: give the bandwidth of one direction")
    return Link(name, _figure(section, _BANDWIDTHS, sources))


def _pcie(top: Section, sources: dict[str, str]) -> Link | None:
    if not top.has("pcie"):
        return None
    section = top.section("pcie")
    return _link(section, f"PCIe {section.number('generation'):g}", sources)
