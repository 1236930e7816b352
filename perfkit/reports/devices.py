"""Reports of a `Device`: a list, or one with every figure and its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfkit.errors import UnsupportedPrecision
from perfkit.hardware import Device, Figure, Link, aliases
from perfkit.prices import Price, newest, read_prices
from perfkit.tables import Column, Table
from perfkit.units import COMPUTE_PRECISIONS, Precision

_LISTED = (
    Column("id", "GPU"),
    Column("family", "family", "", 4),
    Column("year", "year", "", 3),
    Column("memory_bytes", "memory", "B"),
    Column("bandwidth_bytes_per_s", "bandwidth", "B/s"),
    *(Column(f"{p}_flops_per_s", p.value, "FLOP/s", 9 if p is Precision.FP16 else 6) for p in COMPUTE_PRECISIONS),
    Column("tdp_w", "TDP", "W", 5),
)
_FIGURES = (
    Column("device", "device"),
    Column("figure", "figure"),
    Column("printed", "as printed"),
    Column("value", "SI value", "x"),
    Column("unit", "unit"),
    Column("source", "source"),
    Column("confidence", "confidence", "", 5),
    Column("note", "note", "prose", 6),
)
_FOR_PEOPLE = ("figure", "printed", "source", "confidence", "note")


def table(devices: Sequence[Device]) -> Table:
    """A row a device: capacity, bandwidth, dense product rates by precision (empty where it has none).

    Of a single device: a row a figure, with the document that it stands in.
    """
    if len(devices) > 1:
        return Table(_LISTED, tuple(_listed(device) for device in devices))
    return Table(_FIGURES, _figure_rows(devices[0], devices[0].sources))


def _listed(device: Device) -> tuple[Any, ...]:
    rates = [_rate(device, precision) for precision in COMPUTE_PRECISIONS]
    tdp = device.tdp.value if device.tdp else None
    return (device.id, device.family, device.year, device.capacity.value, device.bandwidth.value, *rates, tdp)


def _rate(device: Device, precision: Precision) -> float | None:
    try:
        return device.product_peak(precision).flops_per_s
    except UnsupportedPrecision:
        return None


def overview(devices: Sequence[Device]) -> list[Table]:
    """The list, or every figure of one device with its source."""
    if len(devices) > 1:
        notes = (
            "Datasheet figures; rates are dense, of the fastest engine that sums in 32 bits where there is one.",
            "perfkit gpus NAME shows every figure with its source.",
        )
        return [Table(_LISTED, table(devices).rows, title=f"{len(devices)} devices", notes=notes)]
    return _one(devices[0])


def _one(device: Device) -> list[Table]:
    compute = f"compute capability {device.compute_capability}" if device.compute_capability else ""
    parts = (device.vendor, device.architecture, compute, device.memory_type, str(device.year or ""), device.file)
    about = [part for part in parts if part]
    title = f"{device.name} ({device.id}): {', '.join(about)}"
    title += f"\nalso called {', '.join(_aliases(device))}" if _aliases(device) else ""
    sources = [f"[{key}] {text}" for key, text in device.sources.items()]
    shown = [i for i, column in enumerate(_FIGURES) if column.key in _FOR_PEOPLE]
    rows = tuple(tuple(row[i] for i in shown) for row in _figure_rows(device, {}))
    columns = tuple(_FIGURES[i] for i in shown)
    tables = [Table(columns, rows, title=title, notes=(*sources, *device.notes))]
    prices = newest(_listed_prices(device))
    return [*tables, _prices(prices)] if prices else tables


def _figure_rows(device: Device, sources: Mapping[str, str]) -> tuple[tuple[Any, ...], ...]:
    """A row a figure; a source is named as `sources` spells it out, else by its key."""
    return tuple(
        (
            device.id,
            name,
            figure.printed,
            figure.value,
            unit,
            sources.get(figure.source, figure.source),
            figure.confidence or device.confidence,
            figure.note or "",
        )
        for name, unit, figure in _figures(device)
    )


def _prices(prices: Sequence[Price]) -> Table:
    columns = (
        Column("usd", "USD/h"),
        Column("kind", "kind", "", 5),
        Column("provider", "provider"),
        Column("date", "date"),
        Column("note", "note", "prose", 4),
        Column("source", "source", "prose", 3),
    )
    rows = []
    for price in prices:
        low, high = price.low_usd_per_hour, price.high_usd_per_hour
        usd = f"{low:.2f}" if low == high else f"{low:.2f}-{high:.2f}"
        rows.append((usd, price.kind, price.provider, price.date, price.note or "", price.source))
    return Table(columns, tuple(rows), title="Indicative prices of one GPU-hour, as listed on the day")


def _figures(device: Device) -> Iterator[tuple[str, str, Figure]]:
    """Name, SI unit and figure."""
    for peak in device.peaks:
        yield f"{peak.engine} {peak.precision} (sum {peak.accumulate}, dense)", "FLOP/s", peak.rate
        if peak.sustained:
            yield f"{peak.engine} {peak.precision}, sustained by large products", "FLOP/s", peak.sustained
    yield "memory capacity", "B", device.capacity
    yield "memory bandwidth", "B/s", device.bandwidth
    yield from ((f"rate of large {p} products", "FLOP/s", figure) for p, figure in device.gemm.items())
    yield from ((f"bandwidth of one-row {p} products", "B/s", figure) for p, figure in device.gemv.items())
    named = (("L2", "B", device.l2), ("SMs", "", device.sm_count), ("TDP", "W", device.tdp))
    yield from ((name, unit, figure) for name, unit, figure in named if figure)
    yield from ((f"power drawn in {name}", "W", figure) for name, figure in device.power.items())
    yield from ((f"{name} clock", "Hz", figure) for name, figure in device.clocks.items())
    links = (*device.links, device.pcie) if device.pcie else device.links
    yield from ((f"{link.name}, each direction", "B/s", link.bandwidth) for link in links)


def document(device: Device) -> dict[str, Any]:
    """Every figure in SI, null where there is none or sources leave it open; `figures` has each with its source."""
    return {
        "id": device.id,
        "name": device.name,
        "file": device.file,
        "vendor": device.vendor,
        "architecture": device.architecture,
        "family": device.family,
        "compute_capability": device.compute_capability,
        "year": device.year,
        "confidence": device.confidence,
        "memory_type": device.memory_type,
        "memory_bytes": device.capacity.value,
        "bandwidth_bytes_per_s": device.bandwidth.value,
        "gemm_flops_per_s": {p.value: figure.value for p, figure in device.gemm.items()},
        "gemv_bytes_per_s": {p.value: figure.value for p, figure in device.gemv.items()},
        "l2_bytes": _value(device.l2),
        "sm_count": _value(device.sm_count),
        "boost_clock_hz": _value(device.clocks.get("boost")),
        "tensor_clock_hz": _value(device.clocks.get("tensor")),
        "tdp_w": _value(device.tdp),
        "peaks": [
            {
                "engine": peak.engine,
                "precision": peak.precision.value,
                "accumulate": peak.accumulate,
                "dense": True,
                "flops_per_s": peak.rate.value,
                "sustained_flops_per_s": _value(peak.sustained),
                **_origin(device, peak.rate),
            }
            for peak in device.peaks
        ],
        "links": [_link(device, link) for link in device.links],
        "pcie": _link(device, device.pcie) if device.pcie else None,
        "figures": {
            name: {"value": figure.value, "unit": unit, "printed": figure.printed, **_origin(device, figure)}
            for name, unit, figure in _figures(device)
        },
        "aliases": _aliases(device),
        "prices": [price._asdict() for price in _listed_prices(device)],
        "notes": list(device.notes),
    }


def _value(figure: Figure | None) -> float | None:
    return figure.value if figure else None


def _origin(device: Device, figure: Figure) -> dict[str, Any]:
    return {
        "source": device.sources.get(figure.source, figure.source),
        "confidence": figure.confidence or device.confidence,
        "note": figure.note,
    }


def _link(device: Device, link: Link) -> dict[str, Any]:
    return {"name": link.name, "bytes_per_s_each_direction": link.bandwidth.value, **_origin(device, link.bandwidth)}


# Aliases and prices belong to the devices that come with perfkit, not to a file that bears the name of one.


def _aliases(device: Device) -> list[str]:
    return [] if device.file else [alias for alias, taken in aliases().items() if taken[0] == device.id]


def _listed_prices(device: Device) -> list[Price]:
    return [] if device.file else [price for price in read_prices() if price.gpu == device.id]
