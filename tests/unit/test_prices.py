"""Indicative prices: dated, sourced, of devices that there are."""

import re

import pytest

from perfkit.errors import InvalidSpec
from perfkit.hardware import aliases, device_ids, specs_folder
from perfkit.prices import read_prices


def test_every_row_of_prices_is_read():
    assert len(read_prices()) == (specs_folder() / "prices.yaml").read_text().count("{gpu:") > 0


def test_prices_are_dated_sourced_and_plausible():
    for price in read_prices():
        # Some sources print the month alone.
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?", price.date), price
        assert 0.05 < price.low_usd_per_hour <= price.high_usd_per_hour < 20, price
        assert price.kind in ("on-demand", "spot", "reserved"), price
        assert price.source, price


def test_prices_are_of_devices_or_aliases():
    odd = {price.gpu for price in read_prices()} - set(device_ids()) - set(aliases())
    # One source prices "legacy" cards together: no device, and kept as printed.
    assert odd == {"legacy-cohort-(v100-etc.)"}


def test_a_price_range_keeps_both_ends():
    ranged = [p for p in read_prices() if p.gpu == "h100-sxm-80gb" and p.note == "hyperscaler"]
    assert [(p.low_usd_per_hour, p.high_usd_per_hour) for p in ranged] == [(3.5, 5.0)]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour: '1', date: '2026-01-01', source: y}", "usd_per_hour"),
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour: -1, date: '2026-01-01', source: y}", "usd_per_hour"),
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour: 1, date: 2026-01-01, source: y}", "date"),
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour: 1, source: y}", "date"),
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour_low: 1, date: '2026-01-01', source: y}", "usd_per_hour_high"),
        ("{gpu: t4, provider: x, kind: spot, usd_per_hour: 1, date: '2026-01-01', source: y, eur: 1}", "eur"),
    ],
)
def test_a_bad_price_is_refused_by_row_and_key(row, key, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(f"prices:\n  - {row}\n")
    with pytest.raises(InvalidSpec, match=rf"prices.yaml: prices\[0\]: .*{key}"):
        read_prices(path)
