"""All conventions side by side: numbers, printed figures, and why one cannot count a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfkit.cli import main
from perfkit.conventions import convention_names, load_convention
from perfkit.totals.comparing import Comparison, Row, compare
from perfkit.totals.counted import count
from perfkit.units import format_quantity

LLAVA = "llava-1.5-7b"
GUIDE = Path(__file__).parents[2] / "docs" / "conventions.md"


def rows_of(comparison: Comparison) -> dict[str, Row]:
    return {row.convention.name: row for row in comparison.rows}


def printed(row: Row) -> list[str]:
    return [citation.figure.printed for citation in row.cited if citation.given]


def missed(row: Row) -> list[str]:
    return [citation.figure.printed for citation in row.cited if not citation.given]


def test_the_well_known_numbers_of_one_model() -> None:
    rows = rows_of(compare(LLAVA))
    shown = {
        name: (
            row.count.counted.prompt_tokens,
            row.convention.unit,
            format_quantity(row.language_model, ""),
            format_quantity(row.count.total, ""),
        )
        for name, row in rows.items()
        if row.count
    }
    assert shown == {
        "visionzip": (576, "mac", "2.99 T", "2.99 T"),
        "fastv": (612, "mac", "3.18 T", "3.18 T"),
        "pyramiddrop": (576, "mac", "3.82 T", "3.82 T"),
        "vscan": (576, "mac", "3.82 T", "3.82 T"),
        "sparsevlm": (694, "mac", "4.62 T", "4.62 T"),
        "torch": (636, "flop", "8.45 T", "8.86 T"),
        "calflops": (636, "flop", "8.62 T", "9.02 T"),
        "prumerge": (700, "flop", "9.33 T", "9.33 T"),
    }


def test_every_convention_stands_there_the_smallest_first() -> None:
    comparison = compare(LLAVA)
    assert sorted(rows_of(comparison)) == list(convention_names())
    totals = [row.count.total for row in comparison.rows if row.count]
    assert totals == sorted(totals)


def test_each_row_is_what_the_convention_counts_alone() -> None:
    for name, row in rows_of(compare(LLAVA, tokens=100, batch=2)).items():
        assert row.count == count(LLAVA, tokens=100, batch=2, convention=name)


def test_printed_figures_of_this_workload() -> None:
    given = {name: printed(row) for name, row in rows_of(compare(LLAVA)).items() if row.cited}
    assert given == {
        "fastv": ["99.3 B"],
        "pyramiddrop": ["3.82 T"],
        "vscan": ["3.817 T"],
        "sparsevlm": ["4.62 T"],
        "prumerge": ["9.3 T"],
    }


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"tokens": 192}, {"vscan": ["1.253 T"]}),
        ({"tokens": 64}, {"sparsevlm": ["1.19 T"]}),
        ({"tokens": 40, "text_tokens": 30}, {"prumerge": ["0.91 T"]}),
        ({"reduction": "pyramiddrop"}, {"pyramiddrop": ["1.78 T"]}),
        ({"reduction": "layers:8=288,16=144,24=72"}, {"pyramiddrop": ["1.78 T"]}),  # the same tokens in every layer
        ({"reduction": "fastv"}, {"pyramiddrop": ["2.01 T"]}),
        ({"model": "llava-next-7b", "tokens": 2880}, {"pyramiddrop": ["20.8 T"]}),
        ({"model": "llava-1.5-13b", "reduction": "fastv:k=5,r=0.75"}, {"fastv": ["58.4 B"]}),
        ({"tokens": 577 - 1, "batch": 2}, {}),
        ({"tokens": 100}, {}),
        ({"model": "vicuna-7b"}, {}),
    ],
)
def test_printed_figures_of_other_workloads(options: dict[str, object], given: dict[str, list[str]]) -> None:
    rows = rows_of(compare(**options))  # type: ignore[arg-type]
    assert {name: printed(row) for name, row in rows.items() if printed(row)} == given


@pytest.mark.parametrize(
    ("options", "misses"),
    [
        ({}, {}),
        ({"tokens": 64}, {"vscan": ["0.415 T"]}),
        ({"tokens": 192}, {"sparsevlm": ["2.05 T"]}),
        ({"tokens": 128}, {"sparsevlm": ["1.62 T"]}),
        ({"tokens": 128, "text_tokens": 60}, {}),
        ({"reduction": "fastv:k=3,r=0.75"}, {"fastv": ["34.8 B"]}),
        ({"tokens": 100}, {}),
    ],
)
def test_figures_of_this_workload_that_do_not_come_out(options: dict[str, Any], misses: dict[str, list[str]]) -> None:
    rows = rows_of(compare(LLAVA, **options))
    assert {name: missed(row) for name, row in rows.items() if missed(row)} == misses


def test_each_row_has_the_workload_that_the_convention_alone_has() -> None:
    rows = rows_of(compare(LLAVA, reduction="pyramiddrop", images=2, batch=3))
    assert rows["sparsevlm"].count == count(
        LLAVA, reduction="pyramiddrop", images=2, batch=3, convention="sparsevlm", text_tokens=118
    )


def test_formats_matter_only_where_bits_scale() -> None:
    rows = rows_of(compare(LLAVA, precision="int4"))
    assert printed(rows["prumerge"]) == ["2.3 T"]
    assert printed(rows["pyramiddrop"]) == ["3.82 T"]
    assert printed(rows_of(compare(LLAVA, precision="int8"))["prumerge"]) == []


def test_text_tokens_that_were_asked_for_hold_for_all() -> None:
    rows = rows_of(compare(LLAVA, text_tokens=60))
    tokens = {row.count.counted.prompt_tokens for row in rows.values() if row.count}
    assert tokens == {576, 636}
    assert printed(rows["sparsevlm"]) == []


@pytest.mark.parametrize(
    ("model", "cannot"),
    [
        ("mixtral-8x7b", {"prumerge", "pyramiddrop", "visionzip", "vscan"}),
        ("vicuna-7b", {"pyramiddrop", "visionzip", "vscan"}),
        ("clip-vit-l-14-336", {"fastv", "prumerge", "pyramiddrop", "sparsevlm", "visionzip", "vscan"}),
        ("bert-base", {"prumerge", "pyramiddrop", "visionzip", "vscan"}),
    ],
)
def test_what_cannot_be_counted_says_why_and_comes_last(model: str, cannot: set[str]) -> None:
    comparison = compare(model)
    missing = [row for row in comparison.rows if row.count is None]
    assert {row.convention.name for row in missing} == cannot
    assert all(model in row.why_not and row.language_model is None and not row.cited for row in missing)
    assert missing == list(comparison.rows[-len(missing) :])


def test_why_not_names_no_option_that_a_comparison_refuses() -> None:
    reasons = [row.why_not for model in ("vicuna-7b", "clip-vit-l-14-336") for row in compare(model).rows]
    assert [reason for reason in reasons if "--" in reason] == []


def test_what_counts_text_too_is_named_rightly() -> None:
    (reason,) = {row.why_not for row in compare("vicuna-7b").rows if row.convention.name == "vscan"}
    assert reason == (
        "vscan counts visual tokens only, and vicuna-7b sees no images; conventions that count text too: "
        "calflops, fastv, prumerge, sparsevlm, torch"
    )
    assert {load_convention(name).tokens_counted for name in ("torch", "calflops", "sparsevlm")} == {"all"}


def test_the_table_of_the_guide_is_what_the_command_prints() -> None:
    shown = GUIDE.read_text().split("```text\n")[1].split("```")[0].splitlines()
    output = CliRunner(env={"COLUMNS": "130"}).invoke(main, ["count", "--compare"]).output.splitlines()
    assert [line for line in shown if line.rstrip() not in [one.rstrip() for one in output]] == []
