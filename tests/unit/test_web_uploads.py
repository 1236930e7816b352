"""Measurement files that someone hands to the page: read as data, refused in one line, no way to other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import InvalidSpec
from perfkit.validation.judging import validate
from perfkit.web import uploads
from perfkit.web.uploads import MOST_PHASES, validation_of

MEASURED = Path(__file__).parents[2] / "reports/measured/h100-sxm-80gb/llava-1.5-7b.json"
DOCUMENT: dict[str, Any] = json.loads(MEASURED.read_text())


def refusal(data: bytes, name: str = "mine.json") -> str:
    with pytest.raises(InvalidSpec) as caught:
        validation_of(data, name)
    message = str(caught.value)
    assert "\n" not in message
    assert "measurement.json" not in message  # as it was called while it was read
    return message


def changed(**keys: Any) -> bytes:
    return json.dumps({**DOCUMENT, **keys}).encode()


def test_a_file_says_what_the_command_line_says() -> None:
    validation = validation_of(MEASURED.read_bytes(), "llava.json")
    assert [(e.phase, e.predictor, e.points, e.mape) for e in validation.errors] == [
        (e.phase, e.predictor, e.points, e.mape) for e in validate([MEASURED]).errors
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "mine.json: not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe\x00", "mine.json: not text in UTF-8"),
        (b"[1, 2]", "mine.json: must hold a JSON object, not a list"),
        (b"{" * 100_000, "mine.json: not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "mine.json: not JSON"),
        (b'{"schema": "other"}', "mine.json: no measurement of perfkit: its schema is not 'perfkit-measurement'"),
        (changed(version=99), "mine.json: written by a newer perfkit (version 99 of perfkit-measurement"),
        (changed(version="1"), "mine.json: version must be a whole number from 1, not '1'"),
        (changed(machine=7), "mine.json"),
        (changed(points=[]), "mine.json: no phase of a model was measured"),
        (changed(more=1), "mine.json"),
        (b"__import__('os').system('true')", "mine.json: not JSON"),
    ],
)
def test_what_is_no_measurement_is_refused_in_one_line(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize("sample", ["NaN", "Infinity", "-1e-3", "1e999"])
def test_times_that_cannot_be_are_refused(sample: str) -> None:
    point = next(p for p in DOCUMENT["points"] if p["timing"])
    text = json.dumps(changed_point(point, samples_s=["HERE"] * len(point["timing"]["samples_s"])))
    assert "mine.json" in refusal(text.replace('"HERE"', sample).encode())


def changed_point(point: dict[str, Any], **timing: Any) -> dict[str, Any]:
    return {**DOCUMENT, "points": [{**point, "timing": {**point["timing"], **timing}}]}


@pytest.mark.parametrize("device", ["/etc/passwd", "../hardware_specs/v100-sxm2-32gb.yaml", "~/x.yaml"])
def test_a_device_that_is_a_path_is_refused(device: str) -> None:
    message = refusal(changed(machine={**DOCUMENT["machine"], "device": device}))
    assert message == f"mine.json: device {device[:30]!r} is none of perfkit's"


def test_a_model_that_is_a_path_is_refused(tmp_path: Path) -> None:
    point = next(p for p in DOCUMENT["points"] if p["case"]["kind"] == "phase")
    there = {**point, "case": {**point["case"], "model": str(tmp_path)}}
    assert refusal(changed(points=[there])) == f"mine.json: model {str(tmp_path)[:30]!r} is none of perfkit's"


def test_more_phases_than_a_page_can_judge_are_refused() -> None:
    point = next(p for p in DOCUMENT["points"] if p["case"]["kind"] == "phase")
    many = [{**point, "case": {**point["case"], "visual_tokens": n}} for n in range(MOST_PHASES + 1)]
    assert refusal(changed(points=many)) == ("mine.json: more than 500 phases or 20000 points: use perfkit validate")


def test_a_case_twice_in_a_file_is_told_by_the_files_name() -> None:
    warnings = validation_of(changed(points=[*DOCUMENT["points"], DOCUMENT["points"][0]]), "../mine.json").warnings
    (repeated,) = [line for line in warnings if "the last counts" in line]
    assert "measured in mine.json" in repeated
    assert "/" not in repeated.partition(": ")[2]


@pytest.mark.parametrize("error", [OverflowError("too large"), ZeroDivisionError("by zero")])
def test_numbers_beyond_reckoning_are_refused_in_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr(uploads, "validate", fails)
    assert refusal(changed()) == "mine.json: holds numbers too large or too small to be compared"


def test_a_file_is_kept_by_nothing_but_its_session() -> None:
    data = MEASURED.read_bytes()
    assert validation_of(data, "mine.json") is not validation_of(data, "mine.json")


def test_a_name_is_shown_without_folders_and_in_one_line() -> None:
    assert refusal(b"x", "../../a\nb\u202e.json").startswith("a b")
    assert refusal(b"x", "l" * 500).startswith("l" * 60 + "...: not JSON")
