"""Errors: one tree, and messages that offer the nearest names."""

import pytest

from perfkit.errors import InvalidSpec, InvalidValue, MachineError, PerfkitError, UnknownName, UnsupportedPrecision

GPUS = ["a100", "h100", "t4", "v100", "v100s"]


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (InvalidValue, ValueError),
        (InvalidSpec, ValueError),
        (UnsupportedPrecision, ValueError),
        (MachineError, RuntimeError),
        (UnknownName, LookupError),
    ],
)
def test_every_error_is_perfkits_own_and_the_builtin_one_that_callers_expect(kind, base):
    assert issubclass(kind, PerfkitError)
    assert issubclass(kind, base)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("v10", "v100"), ("V100x", "v100"), ("a10o", "a100"), ("h-100", "h100"), ("t44", "t4")],
)
def test_a_typo_gets_the_name_that_was_meant_first(typed, nearest):
    message = str(UnknownName("GPU", typed, GPUS))
    assert message.startswith(f"unknown GPU {typed!r}; nearest: {nearest}")


def test_a_part_of_a_name_finds_the_names_that_hold_it():
    # "8b" is too short to be similar to "llama-3-8b"; it is contained in it.
    assert "; nearest: llama-3-8b; " in str(UnknownName("model", "8b", ["llama-3-8b", "qwen2-72b-it"]))


def test_a_short_list_is_given_whole():
    assert str(UnknownName("GPU", "zzzzz", GPUS)) == "unknown GPU 'zzzzz'; allowed: a100, h100, t4, v100, v100s"
    assert str(UnknownName("GPU", "v10", GPUS)).endswith("; allowed: a100, h100, t4, v100, v100s")


def test_a_long_list_is_left_to_the_hint():
    message = str(UnknownName("GPU", "zzzzz", [f"a{i:02}" for i in range(21)], "; see the list"))
    assert message == "unknown GPU 'zzzzz'; see the list"


def test_an_empty_name_is_answered_too():
    assert str(UnknownName("GPU", "", GPUS)).startswith("unknown GPU ''; allowed: a100")


def test_the_hint_ends_the_message():
    assert str(UnknownName("GPU", "v10", GPUS, "; or a path")).endswith("; or a path")


def test_line_breaks_in_a_name_do_not_break_the_line():
    assert len(str(UnknownName("GPU", "v1\n00", GPUS)).splitlines()) == 1
