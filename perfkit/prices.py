"""Rental prices of devices: indicative, dated, replaceable by a file of the same form."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from perfkit.documents import Section, read_yaml
from perfkit.hardware import aliases, device_ids, specs_folder

ON_DEMAND = "on-demand"


class Price(NamedTuple):
    """Indicative price of one GPU-hour, as listed on a day; low and high differ where a range is printed."""

    gpu: str
    provider: str
    kind: str
    low_usd_per_hour: float
    high_usd_per_hour: float
    date: str
    source: str
    note: str | None = None


class HourlyPrice(NamedTuple):
    """What an hour of one GPU costs: the median of what providers list, of ranges the middle; the lowest and highest.

    `listings`: how many it is the median of; `newest`: the day of the last one.
    """

    usd_per_hour: float
    low_usd_per_hour: float
    high_usd_per_hour: float
    listings: int
    newest: str


def read_prices(path: Path | None = None) -> tuple[Price, ...]:
    """Prices of a file, by default the indicative ones that come with perfkit.

    Raises:
        InvalidSpec: a row without its fields.
    """
    path = path or specs_folder() / "prices.yaml"
    top = Section(read_yaml(path), str(path))
    prices = tuple(_price(section) for section in top.sections("prices"))
    top.finish()
    return prices


def _price(section: Section) -> Price:
    ranged = section.has("usd_per_hour_low")
    low = section.number("usd_per_hour_low" if ranged else "usd_per_hour")
    price = Price(
        gpu=section.text("gpu"),
        provider=section.text("provider"),
        kind=section.text("kind"),
        low_usd_per_hour=low,
        high_usd_per_hour=section.number("usd_per_hour_high") if ranged else low,
        date=section.text("date"),
        source=section.text("source"),
        note=section.optional_text("note"),
    )
    section.finish()
    return price


def newest(prices: Iterable[Price]) -> list[Price]:
    """The last listing of each provider and kind, the cheapest first."""
    found = {(price.provider, price.kind, price.note): price for price in sorted(prices, key=lambda p: p.date)}
    return sorted(found.values(), key=lambda price: price.low_usd_per_hour)


def hourly_price(prices: Iterable[Price], gpu: str, kind: str = ON_DEMAND) -> HourlyPrice | None:
    """Price of a device by its id among listings of one kind; None where nobody lists it, nor an alias that means it.

    >>> row = Price("b", "A", "on-demand", 2.0, 2.0, "2026-01-01", "list")
    >>> other = Price("b", "B", "on-demand", 1.0, 2.0, "2026-02-01", "list")
    >>> hourly_price([row, other], "b")  # median of 2 and (1 + 2) / 2
    HourlyPrice(usd_per_hour=1.75, low_usd_per_hour=1.0, high_usd_per_hour=2.0, listings=2, newest='2026-02-01')
    """
    from statistics import median  # with decimals and fractions: not to answer --help

    found = newest(price for price in prices if listed_device(price) == gpu and price.kind == kind)
    if not found:
        return None
    return HourlyPrice(
        usd_per_hour=median((price.low_usd_per_hour + price.high_usd_per_hour) / 2 for price in found),
        low_usd_per_hour=found[0].low_usd_per_hour,
        high_usd_per_hour=max(price.high_usd_per_hour for price in found),
        listings=len(found),
        newest=max(price.date for price in found),
    )


def listed_device(price: Price) -> str:
    """Id of the device that a listing is of; an alias is what it is taken to mean everywhere else.

    >>> listed_device(Price("v100", "A", "on-demand", 1.0, 1.0, "2026-01-01", "list"))
    'v100-sxm2-32gb'
    """
    return aliases().get(price.gpu, (price.gpu,))[0]


def unknown_gpus(prices: Iterable[Price]) -> list[str]:
    """Names in a file of prices that are no device's id, each once."""
    known = {*device_ids(), *aliases()}
    return list(dict.fromkeys(price.gpu for price in prices if price.gpu not in known))
