"""Figures as printed: read strictly, and given by a value only as closely as a rule says."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import pytest

from perfkit.conventions import convention_names, load_convention
from perfkit.errors import InvalidSpec
from perfkit.papers.reproducing import reproduce
from perfkit.printed import ALLOWED, RULES, distance, half_unit, one_significant_unit, read_printed
from perfkit.totals.counted import count
from perfkit.totals.figures import cited

# --- rules


@pytest.mark.parametrize(
    ("printed", "value", "half", "significant"),
    [
        ("3.82", Fraction("3.825"), True, True),  # exactly half of 0.01 away
        ("3.82", Fraction("3.8250001"), False, True),
        ("45", 44.5, True, True),
        ("45", 44.49, False, True),
        ("45", 46, False, True),  # one unit, of a whole number
        ("45", Fraction("46.01"), False, False),
        ("4.60", Fraction("4.645"), False, True),  # 4.6: 0.045 of a unit of 0.1
        ("4.60", Fraction("4.701"), False, False),
        ("0.28", Fraction("0.27"), False, True),
        ("0.28", Fraction("0.2274"), False, False),
        ("7.0", Fraction("7.9"), False, True),  # 7: one digit is significant
        ("100", 101, False, True),  # whole numbers keep their zeros
        ("0.415", Fraction("0.41554"), False, True),
        (
            "1.80",
            Fraction("1.7808"),
            False,
            True,
        ),  # the last printed digit is a hundredth, the last significant a tenth
        ("4.6", Fraction("4.5428"), False, True),
    ],
)
def test_rules(printed: str, value: Any, half: bool, significant: bool) -> None:
    assert half_unit(printed, value) is half
    assert one_significant_unit(printed, value) is significant


def test_distances_are_exact() -> None:
    assert distance("0.1", Fraction(1, 10)) == 0
    assert distance("9.3", 9) == Fraction(3, 10)


def test_every_rule_is_said_in_words() -> None:
    assert list(RULES) == list(ALLOWED)


# --- reading


@pytest.mark.parametrize(
    ("text", "digits", "prefix"),
    [
        ("3.82 T", "3.82", 10**12),
        ("99.3 B", "99.3", 10**9),
        ("99.3 G", "99.3", 10**9),
        ("1.80 T", "1.80", 10**12),  # its zero stays
        ("18 T", "18", 10**12),
    ],
)
def test_a_printed_number(text: str, digits: str, prefix: int) -> None:
    assert read_printed(text) == (digits, prefix)


def test_half_a_unit_of_the_last_digit_is_given() -> None:
    printed = read_printed("3.82 T")
    assert printed.given_by(3_825_000_000_000, "half unit")
    assert not printed.given_by(3_825_000_000_001, "half unit")
    assert printed.given_by(Fraction(7_630_000_000_000, 2), "half unit")


def test_a_printed_zero_counts_under_half_a_unit_alone() -> None:
    assert not read_printed("1.80 T").given_by(1_780_800_000_000, "half unit")
    assert read_printed("1.80 T").given_by(1_780_800_000_000, "one significant unit")


@pytest.mark.parametrize("text", ["3.82", "3.82T", "3,82 T", "1e3 G", "-3 T", "3.82 TFLOPs", ".5 T", "three T", "3. T"])
def test_other_texts_are_no_printed_number(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"such as 3\.82 T"):
        read_printed(text)


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_printed("9" * 5000)
    assert len(str(caught.value)) < 200


# --- two commands, one verdict

PAPERS = [name for name in convention_names() if load_convention(name).figures]


@pytest.mark.parametrize("name", PAPERS)
def test_no_convention_judges_more_loosely_than_it_must(name: str) -> None:
    assert load_convention(name).rule == ("one significant unit" if name == "prumerge" else "half unit")


def test_a_published_table_has_the_rule_of_its_convention() -> None:
    tables = [table for paper in reproduce() for table in paper.paper.tables if table.convention.figures]
    assert tables
    assert {(table.convention.name, table.rule_name) for table in tables} == {
        (name, load_convention(name).rule) for name in PAPERS
    }


def verdict_of(model: str, convention: str, **asked: Any) -> dict[str, bool]:
    """What `perfkit count` says of printed figures of a forward: printed -> given."""
    counted = count(model, convention=convention, **asked)
    return {citation.figure.printed: citation.given for citation in cited(counted)}


def test_count_and_reproduce_agree_on_every_cell_of_prumerge() -> None:
    reproduction = reproduce("prumerge")
    rows = {row.name: row for row in reproduction.paper.tables[0].rows}
    cells = [cell for cell in reproduction.cells if cell.column == "FLOPs"]
    assert len(cells) == 8
    for cell in cells:
        row = rows[cell.row]
        asked = {"tokens": row.seen[0].visual, "text_tokens": row.other, "precision": row.precision.value}
        assert verdict_of(row.model.name, "prumerge", **asked) == {f"{cell.printed} T": cell.matches}, cell.row


def test_the_two_cells_by_hand() -> None:
    # 13B at 700 tokens comes to 18.171 T in FP16, a quarter of it to 4.543: 0.057 from 4.6, where 0.1 is allowed.
    assert verdict_of("llava-1.5-13b", "prumerge", precision="int4") == {"4.6 T": True}
    # 7B at 70 tokens comes to 0.9095 T, a quarter of it to 0.2274: 0.0526 from 0.28, where 0.01 is allowed.
    asked = {"tokens": 40, "text_tokens": 30, "precision": "int4"}
    assert verdict_of("llava-1.5-7b", "prumerge", **asked) == {"0.28 T": False}


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_convention_gives_reproduce_marks_as_given(name: str) -> None:
    for figure in load_convention(name).figures:
        asked = {"text_tokens": figure.text_tokens, "reduction": figure.reduction or None}
        verdicts = verdict_of(figure.model, name, tokens=figure.visual_tokens, precision=figure.precision, **asked)
        assert verdicts[figure.printed] == (figure.printed in marked(name, figure.model)), figure.printed


@cache
def marked(convention: str, model: str) -> set[str]:
    """Figures that reproduce makes again as the convention's own sum or mean, not by tokens fitted to each."""
    return {
        f"{cell.printed} {cell.unit}"
        for paper in reproduce()
        for table in paper.paper.tables
        if table.convention.name == convention
        for row in table.rows
        if row.model.name == model
        for cell in paper.cells
        if (cell.table, cell.row) == (table.what, row.name) and cell.matches
        # FastV's 7B column is a rounded ratio of 99.3, which no count is; its own sums are missed, as the page says.
        if next(column for column in table.columns if column.name == cell.column).figure != "rounded share"
        if not cell.is_fitted or (cell.row, cell.printed) == ("vanilla", "4.62")  # 118 was fitted to this one
    }
