"""Exchanges between GPUs: their formula by hand, a table read, and parameters found again."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfkit.calibration.collectives import fit_collectives, judge_collectives, read_collectives, with_collectives
from perfkit.calibration.parameters import COLLECTIVE_START, NETWORK_START
from perfkit.errors import InvalidSpec
from perfkit.hardware import load_device
from perfkit.kernels.calibrations import CAUTIOUS, FittedOn, Spread, calibration_for, read_bundled
from perfkit.kernels.collectives import CollectiveParameters, all_reduce_s, exchange_s
from perfkit.kernels.forms import BETWEEN_NODES, COLLECTIVES
from perfkit.parallel import Exchange
from perfkit.parallel.links import group_of, neighbours
from scripts.collective_errors import errors

A100 = load_device("a100")
WITHIN = CollectiveParameters(start_s=20e-6, hop_s=2e-6, quick=0.4, bulk_s=30e-6, bandwidth=0.7)
BETWEEN = CollectiveParameters(start_s=50e-6, hop_s=10e-6, quick=0.2, bulk_s=100e-6, bandwidth=0.4)
SIZES = [2048 + 8192 * step for step in range(0, 8000, 53)]


def write_table(path: Path) -> Path:
    """Times by the formula itself."""
    lines = ["source,op,workers,devices_per_node,size_bytes,measured_s"]
    for workers, of_node in ((2, 2), (4, 4), (8, 8), (2, 1), (16, 8)):
        group = group_of(A100, of_node)._replace(nodes=workers // of_node)
        for size in SIZES:
            seconds = exchange_s(Exchange("all_reduce", size, group), WITHIN, BETWEEN)
            lines.append(f"made,all_reduce,{workers},{of_node},{size},{seconds!r}")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_small_tensors_go_by_trees_and_large_ones_by_rings() -> None:
    # 8 workers, 8 kB: 6 hops of a tree, 16e3 / (0.4 * 300e9) = 133 ns; a ring would hop 14 times.
    assert all_reduce_s(8e3, 8, 300e9, WITHIN) == pytest.approx(20e-6 + 6 * 2e-6 + 16e3 / 120e9)
    # 1 GB: 14 hops and 1.75e9 / (0.7 * 300e9); a tree would move 2e9.
    assert all_reduce_s(1e9, 8, 300e9, WITHIN) == pytest.approx(20e-6 + 14 * 2e-6 + 30e-6 + 1.75e9 / 210e9)


def test_gathers_and_sends() -> None:
    gather = Exchange("all_gather", 8e3, group_of(A100, 8))
    assert exchange_s(gather, WITHIN, BETWEEN) == pytest.approx(20e-6 + 7 * 2e-6 + 7e3 / 120e9)
    send = Exchange("send", 8e3, neighbours(A100, same_node=False))
    assert exchange_s(send, WITHIN, BETWEEN) == pytest.approx(50e-6 + 10e-6 + 8e3 / (0.2 * 25e9))


def test_between_nodes_the_slower_level_counts() -> None:
    two_nodes = Exchange("all_reduce", 1e6, group_of(A100, 16))
    # Two nodes as two workers: 2 hops, 1e6 / (0.2 * 25e9) = 200 us at once, in bulk 100 + 100 us.
    assert exchange_s(two_nodes, WITHIN, BETWEEN) == pytest.approx(50e-6 + 20e-6 + 200e-6)
    quick = BETWEEN._replace(start_s=0.0, hop_s=0.0, quick=1e3)
    assert exchange_s(two_nodes, WITHIN, quick) == all_reduce_s(1e6, 8, 300e9, WITHIN)


def test_arrays_are_single_sizes_side_by_side() -> None:
    group = group_of(A100, 16)
    swept = exchange_s(Exchange("all_reduce", np.array(SIZES, dtype=float), group), WITHIN, BETWEEN)
    alone = [exchange_s(Exchange("all_reduce", size, group), WITHIN, BETWEEN) for size in SIZES]
    assert swept == pytest.approx(alone, rel=1e-12)


def test_a_table_is_read_by_groups(tmp_path: Path) -> None:
    sets = read_collectives(write_table(tmp_path / "made.csv.gz"), A100)
    groups = [(each.group.of_node, each.group.nodes) for each in sets]
    assert groups == [(1, 2), (2, 1), (4, 1), (8, 1), (8, 2)]
    assert {len(each.sizes) for each in sets} == {len(SIZES)}


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv.gz"
    plain.write_text("workers,size_bytes\n2,1\n")
    other.write_bytes(gzip.compress(b"workers,size_bytes\n2,1\n"))
    for path in (plain, other, tmp_path / "absent.csv.gz"):
        with pytest.raises(InvalidSpec, match="no gzipped table of all-reduces with workers, devices_per_node"):
            read_collectives(path, A100)


def test_a_fit_finds_the_parameters_again(tmp_path: Path) -> None:
    sets = read_collectives(write_table(tmp_path / "made.csv.gz"), A100)
    fitted = fit_collectives(sets)
    assert fitted.within == pytest.approx(WITHIN, rel=0.01)
    assert fitted.between.bandwidth == pytest.approx(BETWEEN.bandwidth, rel=0.05)  # few rows are small ones
    assert all(np.abs(held.ratios - 1).mean() < 0.02 for held in judge_collectives(sets))
    assert fit_collectives(sets) == fitted


def test_a_calibration_takes_exchanges_up(tmp_path: Path) -> None:
    sets = read_collectives(write_table(tmp_path / "made.csv.gz"), A100)
    table = FittedOn("made.csv.gz", 5 * len(SIZES), "0123456789abcdef", A100.id)
    bare = replace(read_bundled("h200-sxm-141gb"), errors=(), spread={})
    found = with_collectives(bare, sets, table)
    assert found.fitted_on[-1] == table
    assert {COLLECTIVES, BETWEEN_NODES} <= set(found.forms)
    assert [error.op for error in found.errors] == [COLLECTIVES, BETWEEN_NODES]
    own, cautious = found.spread[COLLECTIVES], with_collectives(replace(bare, id=CAUTIOUS), sets, table).spread
    assert cautious[COLLECTIVES] == Spread(own.low**2, own.high**2)


def test_machines_without_data_borrow_them() -> None:
    own, borrowed = calibration_for(A100), calibration_for(load_device("h100"))
    assert COLLECTIVES not in own.borrowed
    assert borrowed.borrowed[COLLECTIVES] == borrowed.borrowed[BETWEEN_NODES] == CAUTIOUS
    assert borrowed.forms[COLLECTIVES] == own.forms[COLLECTIVES]


def test_starts_can_be() -> None:
    for start in (COLLECTIVE_START, NETWORK_START):
        assert 0 < start.quick < start.bandwidth < 1


def test_the_table_of_errors_has_a_row_a_group(tmp_path: Path) -> None:
    table = errors(write_table(tmp_path / "made.csv.gz"), "a100")
    assert [row[0] for row in table.rows] == ["2 in 2 nodes", "2", "4", "8", "16 in 2 nodes"]
    assert [column.header for column in table.columns][:3] == ["GPUs", "to 64 KiB", "64 KiB to 256 KiB"]
    assert table.rows[1][-1].startswith("0.0% (")
