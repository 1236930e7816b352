"""Formulas of data files: exact arithmetic, numbers put in place, and nothing that is not arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest

from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.formulas import DEEPEST, LONGEST, Formula

LAYER = Formula("4*n*d**2 + 2*n**2*d + 3*n*d*m")


def refused(text: str) -> str:
    with pytest.raises(InvalidSpec) as caught:
        Formula(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


# --- values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("2 + 3*4", 14),
        ("(2 + 3)*4", 20),
        ("-2**2", -4),
        ("+5 - -3", 8),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 / 2", Fraction(7, 2)),
        ("8 / 2", 4),
        ("0.1 + 0.2", Fraction(3, 10)),  # 0.30000000000000004 in floats
        ("0.5 * 6", 3),
        ("1/3 + 1/6", Fraction(1, 2)),
    ],
)
def test_arithmetic_is_exact(text: str, value: Fraction) -> None:
    result = Formula(text).evaluate({})
    assert result == value
    assert isinstance(result, int) == (Fraction(value).denominator == 1)


def test_a_layer_of_llava() -> None:
    # 4*576*4096^2 = 38 654 705 664; 2*576^2*4096 = 2 717 908 992; 3*576*4096*11008 = 77 913 391 104
    values = {"n": 576, "d": 4096, "m": 11008}
    assert LAYER.evaluate(values) == 38_654_705_664 + 2_717_908_992 + 77_913_391_104
    assert LAYER.filled(values) == "4*576*4096**2 + 2*576**2*4096 + 3*576*4096*11008"


def test_numbers_stay_exact_where_floats_would_round() -> None:
    big = 10**17 + 1
    assert Formula("n * 3").evaluate({"n": big}) == 3 * 10**17 + 3
    assert Formula("n / 1").evaluate({"n": big}) == big
    assert Formula("n * 0.5").evaluate({"n": big}) == Fraction(big, 2)


def test_a_float_or_an_array_goes_through() -> None:
    import numpy

    assert Formula("n * 0.5 + 1").evaluate({"n": 3.0}) == 2.5
    result = Formula("n * 0.5 + 1 / 4").evaluate({"n": numpy.array([1.0, 2.0])})
    assert result.dtype == "float64"
    assert result.tolist() == [0.75, 1.25]


def test_names_stand_once_in_their_order() -> None:
    assert LAYER.names == ("n", "d", "m")
    assert Formula("3").names == ()


def test_a_formula_over_several_lines_is_one_line() -> None:
    assert Formula("n\n   * d").text == "n * d"
    assert str(Formula(" n ")) == "n"


def test_equal_texts_are_equal_formulas() -> None:
    assert Formula("n*d") == Formula("n*d")
    assert len({Formula("n*d"), Formula("n*d"), Formula("d*n")}) == 2


def test_a_missing_value_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match=r"'width'.*nearest: widths"):
        Formula("n * width").evaluate({"n": 1, "widths": 2})
    with pytest.raises(UnknownName):
        Formula("n").filled({})


@pytest.mark.parametrize("text", ["1 / n", "1 // n", "n / (n - n)"])
def test_a_division_by_zero_is_an_error_of_a_value(text: str) -> None:
    with pytest.raises(InvalidValue, match="divides by zero"):
        Formula(text).evaluate({"n": 0})


# --- filled


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "2*5"),
        (-5, "2*(-5)"),
        (Fraction(1, 2), "2*0.5"),
        (Fraction(-1, 8), "2*(-0.125)"),
        (Fraction(1, 3), "2*(1/3)"),
        (Fraction(-7, 6), "2*(-7/6)"),
        (Fraction(100, 1), "2*100"),
        (Fraction(1, 5**9), "2*0.000000512"),
        (2.5, "2*2.5"),
        (1e21, "2*1000000000000000000000"),
    ],
)
def test_numbers_as_a_formula_writes_them(value: Fraction, shown: str) -> None:
    filled = Formula("2*n").filled({"n": value})
    assert filled == shown
    assert Formula(filled).evaluate({}) == 2 * value


def test_a_name_inside_another_is_left_alone() -> None:
    assert Formula("n*nn + n").filled({"n": 1, "nn": 2}) == "1*2 + 1"


# --- what is no arithmetic


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("__import__('os')", "\"__import__('os')\""),
        ("max(n, d)", "'max(n, d)'"),
        ("n.real", "'n.real'"),
        ("n[0]", "'n[0]'"),
        ("n < d", "'n < d'"),
        ("n if d else m", "'n if d else m'"),
        ("n and d", "'n and d'"),
        ("not n", "'not n'"),
        ("~n", "'~n'"),
        ("n % d", "'n % d'"),
        ("n @ d", "'n @ d'"),
        ("n | d", "'n | d'"),
        ("n << 40", "'n << 40'"),
        ("[n]", "'[n]'"),
        ("(n, d)", "'(n, d)'"),
        ("(n := 3)", "'n := 3'"),
        ("lambda: n", "'lambda: n'"),
        ("'n'", "\"'n'\""),
        ("True * n", "'True'"),
        ("1e9 * n", "'1e9'"),
        ("1_000", "'1_000'"),
        ("0x10", "'0x10'"),
        ("3j", "'3j'"),
        ("... + n", "'...'"),
        ("f'{n}'", "\"f'{n}'\""),
        ("n × d", "'×'"),
        ("n²", "'²'"),
    ],
)
def test_anything_else_is_refused_with_the_piece_named(text: str, piece: str) -> None:
    assert f"{piece} is not allowed" in refused(text)


@pytest.mark.parametrize("text", ["", "  ", "n +", "n d", "(n", "n = 3", "import os", "n; d", "2n", "n\0", "007"])
def test_what_cannot_be_parsed_is_refused(text: str) -> None:
    assert "not arithmetic" in refused(text)


@pytest.mark.parametrize(
    "text", ["9**9**9", "2**3**2", "n**n", "n**-1", "n**0.5", "n**33", "n**(2)**9", "2**999999999"]
)
def test_exponents_are_small_whole_numbers(text: str) -> None:
    assert "as an exponent" in refused(text) or "factors multiplied" in refused(text)


def test_powers_of_powers_are_bounded() -> None:
    text = "n"
    for _ in range(8):
        text = f"({text})**9"
    assert "more than 32 factors" in refused(text)
    assert "more than 32 factors" in refused("*".join(["n"] * 40))


def test_too_long_and_too_deep() -> None:
    assert f"at most {LONGEST}" in refused("n" * (LONGEST + 1))
    assert f"more than {DEEPEST} operations" in refused("-" * (DEEPEST + 1) + "n")
    assert "not arithmetic" in refused("(" * 900 + "n" + ")" * 900)
    assert Formula(" + ".join(["n"] * (DEEPEST - 1))).evaluate({"n": 2}) == 2 * (DEEPEST - 1)


def test_the_largest_result_is_still_quick() -> None:
    largest = Formula("(" + "+".join(["n"] * 60) + ")**32").evaluate({"n": 10**18})
    assert largest == (60 * 10**18) ** 32
