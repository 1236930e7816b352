"""Quantities and number formats: exact bytes, strict parsing, rounding without surprises."""

import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perfkit.errors import InvalidValue, UnknownName
from perfkit.units import (
    COMPUTE_PRECISIONS,
    STORAGE_PRECISIONS,
    Precision,
    check_count,
    format_quantity,
    parse_choice,
    parse_count,
    parse_precision,
)

PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


# --- precisions


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("fp64", 64),
        ("fp32", 32),
        ("tf32", 32),  # multiplied with 10 bits of mantissa, but stored as fp32
        ("fp16", 16),
        ("bf16", 16),
        ("fp8", 8),
        ("int8", 8),
        ("int4", 4),
        ("fp4", 4),
    ],
)
def test_bits_are_those_of_a_stored_element(name, bits):
    assert Precision(name).bits == bits


@pytest.mark.parametrize(
    ("precision", "elements", "expected"),
    [("fp16", 3, 6), ("int4", 3, 2), ("int4", 4, 2), ("int4", 0, 0), ("fp4", 1, 1), ("fp64", 2, 16)],
)
def test_bytes_are_rounded_up_to_whole_ones(precision, elements, expected):
    assert Precision(precision).bytes_of(elements) == expected


def test_bytes_of_a_large_count_stay_exact():
    # Above 2^53 a float would lose the last byte: (2^60 + 1) * 2.
    assert Precision.FP16.bytes_of(2**60 + 1) == 2**61 + 2


def test_products_never_run_in_four_bits_and_storage_may():
    assert {p.value for p in COMPUTE_PRECISIONS} == {"fp32", "tf32", "fp16", "bf16", "fp8", "int8"}
    assert set(STORAGE_PRECISIONS) - set(COMPUTE_PRECISIONS) == {Precision.INT4, Precision.FP4}


@pytest.mark.parametrize("text", ["", "FP16", "float16", "16", " fp16", "fp64", "int2"])
def test_another_precision_is_refused(text):
    with pytest.raises(UnknownName, match="unknown precision"):
        parse_precision(text)


def test_int4_is_a_way_to_store_and_not_to_multiply():
    assert parse_precision("int4") is Precision.INT4
    with pytest.raises(UnknownName, match="int8"):
        parse_precision("int4", COMPUTE_PRECISIONS)


# --- choices and counts


def test_a_choice_is_one_of_the_names_exactly():
    assert parse_choice("--attention", "eager", ("fused", "eager")) == "eager"
    with pytest.raises(UnknownName, match="unknown --attention 'Eager'; nearest: eager"):
        parse_choice("--attention", "Eager", ("fused", "eager"))


@pytest.mark.parametrize(("text", "minimum", "number"), [("1", 1, 1), ("0", 0, 0), ("10000000", 1, 10_000_000)])
def test_counts_at_their_limits_are_taken(text, minimum, number):
    assert parse_count("--batch", text, minimum) == number


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "1.5", "1e3", "", "ten", "nan", "inf", "0x10", "10000001", "9" * 5000],
    ids=lambda text: text[:10],
)
def test_a_count_that_cannot_be_names_the_option_and_the_range(text):
    with pytest.raises(InvalidValue, match="--batch must be a whole number from 1 to 10000000, not "):
        parse_count("--batch", text)


@pytest.mark.parametrize("number", [True, False, 1.0, 0.5, -1, 10**7 + 1, "3", None])
def test_a_count_from_python_is_a_whole_int(number):
    with pytest.raises(InvalidValue, match="batch must be a whole number"):
        check_count("batch", number)


def test_arrays_of_whole_numbers_are_counts_and_other_arrays_are_not():
    assert check_count("tokens", numpy.array([0.0, 576.0]), 0).tolist() == [0.0, 576.0]
    for bad in ([1.5], [-1.0], [1e8], [float("nan")], [float("inf")]):
        with pytest.raises(InvalidValue, match="tokens"):
            check_count("tokens", numpy.array(bad), 0)


# --- quantities


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "FLOP", "0 FLOP"),
        (0.0, "s", "0 s"),
        (None, "s", "-"),
        (1, "B", "1.00 B"),
        (999, "B", "999 B"),
        (1000, "B", "1.00 kB"),  # decimal prefixes: 1 kB is 1000 B
        (1024, "B", "1.02 kB"),
        (999.4e6, "FLOP", "999 MFLOP"),
        (999.96e6, "FLOP", "1.00 GFLOP"),  # three digits of it are 1000 M, which is 1.00 G
        (999.96e9, "B/s", "1.00 TB/s"),
        (125e12, "FLOP/s", "125 TFLOP/s"),
        (15.7e12, "FLOP/s", "15.7 TFLOP/s"),
        (2.5166e15, "FLOP/s", "2.52 PFLOP/s"),
        (4e18, "FLOP", "4000 PFLOP"),  # the largest prefix
        (-1.5e9, "FLOP", "-1.50 GFLOP"),
        (0.25, "B", "0.250 B"),  # no prefixes below one, except for seconds
        (1.0, "s", "1.00 s"),
        (0.9996, "s", "1.00 s"),
        (0.0157, "s", "15.7 ms"),
        (999.96e-6, "s", "1.00 ms"),
        (3.94e-6, "s", "3.94 µs"),
        (18.2e-9, "s", "18.2 ns"),
        (2e-12, "s", "0.00200 ns"),
        (90.0, "s", "90.0 s"),
    ],
)
def test_people_read_three_digits_and_a_prefix(value, unit, text):
    assert format_quantity(value, unit) == text


def test_digits_can_be_chosen():
    assert format_quantity(381_918_216_192, "FLOP", digits=6) == "381.918 GFLOP"


@given(st.floats(min_value=1e-3, max_value=1e18), st.sampled_from([1, -1]))
def test_what_people_read_is_within_half_a_percent(value, sign):
    number, unit = format_quantity(sign * value, "FLOP").split(" ")
    prefix = unit.removesuffix("FLOP")
    # Three digits: the error is at most half of the third, 0.005 of a number that begins with 1.00.
    assert float(number) * PREFIXES[prefix] == pytest.approx(sign * value, rel=0.005)


@given(st.floats(min_value=1e-12, max_value=1e6))
def test_seconds_are_within_half_a_percent(value):
    number, unit = format_quantity(value, "s").split(" ")
    assert float(number) * SECONDS[unit] == pytest.approx(value, rel=0.005)


@given(st.floats(min_value=1.0, max_value=999e15))
def test_the_prefix_leaves_between_one_and_a_thousand(value):
    number = float(format_quantity(value, "B").split(" ")[0])
    assert 1 <= number < 1000


@given(st.floats(min_value=1e-3, max_value=1e17), st.floats(min_value=1e-3, max_value=1e17))
def test_a_larger_value_never_reads_as_a_smaller_one(one, other):
    assume(one <= other)

    def read(value):
        number, unit = format_quantity(value, "B").split(" ")
        return float(number) * PREFIXES[unit.removesuffix("B")]

    assert read(one) <= read(other) * (1 + 1e-12)


@pytest.mark.parametrize("text", ["1_0", " 12", "12 ", "+5", "٣", "1e3", "0b1", "--1"])
def test_only_plain_digits_are_a_count(text):
    with pytest.raises(InvalidValue, match="must be a whole number"):
        parse_count("--tokens", text)


def test_a_long_number_is_not_repeated_whole():
    with pytest.raises(InvalidValue) as error:
        parse_count("--tokens", "9" * 6000)
    assert len(str(error.value)) < 120
