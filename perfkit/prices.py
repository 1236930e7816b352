"""Rental prices of devices: indicative, dated, replaceable by a file of the same form."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from perfkit.documents import Section, read_yaml
from perfkit.hardware import specs_folder


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
