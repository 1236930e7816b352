"""Counts of an axis: single ones and ranges, as typed and as given in Python."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from perfkit.errors import InvalidValue
from perfkit.sweeping.ranges import counts_of, length_of, parse_counts, values_of


def typed(text: str, minimum: int = 0) -> list[float]:
    values: list[float] = values_of(parse_counts("--tokens", text, minimum)).tolist()
    return values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32", [32]),
        ("32,144,576", [32, 144, 576]),
        ("0:576:144", [0, 144, 288, 432, 576]),  # the stop is included
        ("0:575:144", [0, 144, 288, 432]),  # where a step meets it
        ("1:4", [1, 2, 3, 4]),
        ("5:5", [5]),
        ("7,1:3,9", [7, 1, 2, 3, 9]),  # in the order given
        ("3,1:4,3", [3, 1, 2, 4]),  # each once
        ("10000000", [10**7]),
    ],
)
def test_counts_as_typed(text: str, expected: list[int]) -> None:
    assert typed(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:1", "--tokens '5:1' goes down: a range is start:stop or start:stop:step, the stop included"),
        ("a:b", "--tokens must be a whole number from 0 to 10000000, not 'a'"),
        ("1:b", "--tokens must be a whole number from 0 to 10000000, not 'b'"),
        ("1:9:0", "the step of --tokens must be a whole number from 1 to 10000000, not 0"),
        ("1:9:-2", "the step of --tokens must be a whole number from 1 to 10000000, not -2"),
        ("-1:9", "--tokens must be a whole number from 0 to 10000000, not -1"),
        ("1:99999999", "--tokens must be a whole number from 0 to 10000000, not 99999999"),
        ("1:2:3:4", "--tokens '1:2:3:4': a range is start:stop or start:stop:step, the stop included"),
        ("1,,2", "--tokens must be a whole number from 0 to 10000000, not ''"),
        ("1:", "--tokens must be a whole number from 0 to 10000000, not ''"),
        (":", "--tokens must be a whole number from 0 to 10000000, not ''"),
        ("1.5:3", "--tokens must be a whole number from 0 to 10000000, not '1.5'"),
    ],
)
def test_what_is_no_range_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        typed(text)
    assert str(caught.value) == message


def test_zero_is_refused_where_a_count_starts_at_one() -> None:
    with pytest.raises(InvalidValue, match="--tokens must be a whole number from 1 to 10000000, not 0"):
        typed("0:4", minimum=1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (8, [8]),
        ((8, 1), [8, 1]),
        ([1, 1], [1]),
        (range(1, 4), [1, 2, 3]),  # as Python has it, without the stop
        (range(3, 0, -1), [1, 2, 3]),
        (np.array([2, 4]), [2, 4]),
        ("1:2", [1, 2]),
    ],
)
def test_counts_as_given_in_python(given: Any, expected: list[int]) -> None:
    assert values_of(counts_of("batch", given)).tolist() == expected


@pytest.mark.parametrize("given", [0, (1, 0), range(4), (), range(4, 4), (1.5,), True, (10**7 + 1,)])
def test_what_is_no_count_is_refused(given: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^batch"):
        counts_of("batch", given)


def test_a_long_range_takes_no_room() -> None:
    counts = parse_counts("--batch", "1:10000000")
    assert length_of(counts) == 10**7
    assert len(pickle.dumps(counts)) < 100
