"""The measurement file: what is written is read again, a file of version 1 for ever, and a bad file never."""

import json
import os
from pathlib import Path

import pytest
from doubles import ATTENTION, COUNTERS, DECODE, GEMM, MACHINE, MEASUREMENT, POINTS, PROJECTOR, RUN, VISION
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import InvalidSpec
from perfkit.kernel_shapes import KernelShape
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.counters import Counters
from perfkit.measuring.measurement import Machine, Measurement, Point, Run
from perfkit.measuring.protocol import Timing
from perfkit.measuring.schema import MAXIMUM_BYTES, line_of, read_measurement, text_of

GOLDEN = Path(__file__).parents[1] / "golden" / "measurement-v1.json"
TEXT = text_of(MACHINE, MEASUREMENT.runs, map(line_of, POINTS))


def written(tmp_path, text):
    path = tmp_path / "out.json"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, *points, machine=MACHINE, runs=(RUN,)):
    """What stands in a file of these points."""
    return read_measurement(written(tmp_path, text_of(machine, runs, map(line_of, points))))


def error_line(path):
    """The one line with which a file is refused; it begins with the file."""
    with pytest.raises(InvalidSpec) as caught:
        read_measurement(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    assert len(line) < 500
    return line.removeprefix(f"{path}: ")


def changed(tmp_path, *place, to=None, drop=False):
    """File with one value of POINTS' document changed, or dropped."""
    document = json.loads(TEXT)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = to
    return written(tmp_path, json.dumps(document))


# --- round trip


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.case.label)
def test_every_kind_of_point_comes_back(point, tmp_path):
    found = read(tmp_path, point)
    assert found.points == (point,)
    assert (found.machine, found.runs, found.file) == (MACHINE, (RUN,), str(tmp_path / "out.json"))


def test_points_keep_their_order_and_runs_theirs(tmp_path):
    found = read_measurement(written(tmp_path, TEXT))
    assert found.points == POINTS
    assert found.runs == MEASUREMENT.runs
    assert list(found.phases) == [DECODE, VISION, PROJECTOR]
    assert list(found.kernels) == [GEMM, ATTENTION]


def test_a_file_without_points_comes_back(tmp_path):
    assert read(tmp_path, runs=()) == Measurement(MACHINE, (), (), str(tmp_path / "out.json"))


def test_a_machine_of_which_little_is_known_comes_back(tmp_path):
    plain = Machine("cpu", "AMD EPYC µ “7”", "monotonic clock", 1, 2, "Linux", {})
    assert read(tmp_path, machine=plain).machine == plain


def test_text_of_any_language_and_quotes_come_back(tmp_path):
    note = 'Speicher "voll"\\\n\t無 \u2028'
    point = Point(DECODE, "out of memory", note=note)
    run = Run("2026", "perfkit measure --output 'a b\\\".json'", "0.1.0")
    found = read(tmp_path, point, runs=(run,))
    assert found.points[0].note == note
    assert found.runs == (run,)


figures = st.integers(1, 10**10)
floats = st.floats(1e-12, 1e7)
counts = st.integers(0, 10**7)
sizes = st.none() | counts
bytes_held = st.none() | st.integers(0, 2**63 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
counters = st.builds(
    Counters,
    st.integers(0, 100),
    *[st.none() | st.tuples(figures, figures, figures)] * 2,
    st.none() | st.tuples(floats, floats, floats),
    st.none() | st.tuples(st.integers(-20, 120), st.integers(-20, 120), st.integers(-20, 120)),
    st.none() | st.lists(names).map(tuple),
    st.none() | st.floats(-1, 1e6),
)
phases = st.builds(
    PhaseCase,
    names,
    st.sampled_from(["vision", "projector", "prefill", "decode"]),
    *[counts] * 3,
    st.sampled_from(["fp32", "tf32", "fp16", "bf16"]),
    st.none() | names,
    names,
    st.booleans(),
)
kernels = st.builds(
    KernelCase,
    st.builds(KernelShape, names, *[sizes] * 10),
    st.sampled_from(["fp32", "tf32", "fp16", "bf16"]),
    st.booleans(),
)
timings = st.builds(Timing, st.lists(floats, min_size=1, max_size=30).map(tuple), st.integers(0, 99), st.booleans())
points = st.builds(Point, phases | kernels, st.just("ok"), timings, st.none() | counters, sizes, bytes_held)
failures = st.builds(Point, phases | kernels, st.just("out of memory"), note=st.none() | names)


@given(st.lists(points | failures, max_size=4))
def test_whatever_is_written_can_be_read(tmp_path_factory, points):
    found = read(tmp_path_factory.mktemp("any"), *points)
    for before, after in zip(points, found.points, strict=True):
        assert (after.case, after.counters, after.note) == (before.case, before.counters, before.note)
        assert (after.launches, after.peak_memory_bytes) == (before.launches, before.peak_memory_bytes)
        if before.timing is not None:
            assert after.timing.samples_s == pytest.approx(before.timing.samples_s, rel=5e-7)  # 7 digits
            assert (after.timing.warmup, after.timing.stable) == (before.timing.warmup, before.timing.stable)


def test_a_point_is_a_line():
    lines = TEXT.splitlines()
    held = [json.loads(line.strip().rstrip(",")) for line in lines if line.startswith('  {"case"')]
    assert [point["status"] for point in held] == ["ok", "ok", "out of memory", "ok", "ok"]
    assert [point["case"].get("phase", point["case"].get("op")) for point in held] == [
        "decode",
        "vision",
        "projector",
        "gemm",
        "attention_prefill",
    ]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\n", "\r\n"])
def test_no_separator_in_a_note_makes_a_second_line(separator, tmp_path):
    line = line_of(Point(DECODE, "out of memory", note=f"one{separator}two"))
    path = written(tmp_path, text_of(MACHINE, (RUN,), [line]))
    assert line in path.read_text().split("\n")[-4]


def test_derived_figures_stand_beside_the_samples():
    timing = json.loads(line_of(POINTS[0]))["timing"]
    # 0.0078 0.0078125 0.0079 0.008 0.0081 0.0082: between the middle two; quartiles are the 2nd and the 5th.
    assert timing == {
        "stable": False,
        "median_s": 0.00795,
        "low_s": 0.0078,
        "high_s": 0.0082,
        "min_s": 0.0078,
        "spread": 0.03616352,  # (0.0081 - 0.0078125) / 0.00795
        "warmup": 6,
        "samples_s": [0.0078125, 0.0081, 0.0079, 0.008, 0.0078, 0.0082],
    }


def test_samples_are_written_to_seven_digits():
    line = json.loads(line_of(Point(GEMM, "ok", Timing((0.000123456789,), 0, False))))
    assert line["timing"]["samples_s"] == [0.0001234568]


# --- version 1, which stays readable for ever


def test_a_file_of_version_1_is_read_by_every_perfkit():
    found = read_measurement(GOLDEN)
    assert found.machine == Machine(
        kind="cuda",
        name="NVIDIA H100 80GB HBM3",
        clock="CUDA events",
        memory_bytes=85_045_084_160,
        cores=132,
        platform="Linux-6.8.0-x86_64-with-glibc2.39",
        libraries={"python": "3.12.3", "torch": "2.11.0+cu130", "cuda": "13.0"},
        device="h100-sxm-80gb",
        cache_bytes=52_428_800,
        driver="580.65.06",
    )
    assert found.runs == (
        Run("2026-11-22T13:14:15+00:00", "perfkit measure --tokens 576,32 --output llava.json", "0.1.0"),
        Run("2026-11-23T08:00:00+00:00", "perfkit measure --resume", "0.1.0"),
    )
    decode, vision, projector, gemm, attention = found.points
    assert decode == Point(
        PhaseCase("llava-1.5-7b", "decode", 576, 60, 1, "fp16", "sdpa", "graph", False),
        "ok",
        Timing((0.0078125, 0.0081, 0.0079, 0.008, 0.0078, 0.0082), 6, False),
        Counters(
            12,
            (1_755_000_000, 1_980_000_000, 1_980_000_000),
            (2_619_000_000, 2_619_000_000, 2_619_000_000),
            (310.5, 421.25, 433.0),
            (41, 47, 49),
            ("sw power cap",),
            1.875,
        ),
        1,
        15_000_000_000,
    )
    assert vision == Point(
        PhaseCase("llava-1.5-7b", "vision", 576, 0, 8, "bf16", "eager", "eager", True),
        "ok",
        Timing((0.02,) * 7, 8, True),
        Counters(0, None, None, None, None, None, None),
        431,
        14_000_000_001,
    )
    assert projector == Point(
        PhaseCase("llava-1.5-7b", "projector", 32, 0, 1, "tf32", None, "eager", False),
        "out of memory",
        note="CUDA out of memory. Tried to allocate 2.00 GiB.",
    )
    assert gemm.case == KernelCase(KernelShape("gemm", m=1, n=4096, k=11008), "bf16", False)
    assert gemm.timing == Timing((2.5e-05, 2.75e-05), 6, False)
    assert attention.case == KernelCase(
        KernelShape(
            "attention_prefill", batch=2, q_tokens=636, kv_tokens=636, heads=32, kv_heads=8, head_dim=128, causal=1
        ),
        "fp16",
        True,
    )
    assert (attention.launches, attention.peak_memory_bytes, attention.counters) == (0, 0, None)


def test_version_1_is_still_what_is_written():
    # A change here is a new version: raise VERSION, add a reader and a golden file, and keep this one.
    assert GOLDEN.read_text(encoding="utf-8") == TEXT


# --- bad files


@pytest.mark.parametrize("percent", [0, 1, 5, 20, 35, 50, 70, 90, 97, 99])
def test_a_truncated_file_is_refused(percent, tmp_path):
    cut = len(TEXT) * percent // 100
    assert error_line(written(tmp_path, TEXT[:cut])).startswith("not JSON: ")


def test_a_file_truncated_anywhere_is_refused(tmp_path):
    whole = TEXT.rstrip()
    for cut in range(0, len(whole), 17):
        error_line(written(tmp_path, whole[:cut]))
    error_line(written(tmp_path, whole[:-1]))
    assert read_measurement(written(tmp_path, whole)).points == POINTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: Expecting value"),
        ("schema: perfkit-measurement\n", "not JSON: "),
        ("[]", "must hold a JSON object, not a list"),
        ('"perfkit-measurement"', "must hold a JSON object, not a str"),
        ("{}", "no measurement of perfkit: its schema is not 'perfkit-measurement'"),
        ('{"points": []}', "no measurement of perfkit"),
        ('{"schema": "other", "version": 1}', "no measurement of perfkit"),
        ('{"schema": ["perfkit-measurement"]}', "no measurement of perfkit"),
        ('{"schema": "perfkit-measurement"}', "version is missing"),
        ('{"schema": "perfkit-measurement", "version": 1}', "machine is missing"),
        ('{"schema": "perfkit-measurement", "schema": "perfkit-measurement"}', "not JSON: key 'schema' twice"),
        ("[" * 100_000, "not JSON: "),
    ],
    ids=range(12),
)
def test_a_foreign_file_is_refused(text, message, tmp_path):
    assert error_line(written(tmp_path, text)).startswith(message)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, "written by a newer perfkit (version 2 of perfkit-measurement; this one reads up to 1)"),
        (10**6, "written by a newer perfkit (version 1000000 of "),
        ("1", "version must be a whole number from 1, not '1'"),
        (True, "version must be a whole number from 1, not True"),
        (0, "version must be a whole number from 1, not 0"),
        (-1, "version must be a whole number from 1, not -1"),
        (1.0, "version must be a whole number from 1, not 1.0"),
        (None, "version must be a whole number from 1, not None"),
    ],
)
def test_another_version_is_refused(version, message, tmp_path):
    assert error_line(changed(tmp_path, "version", to=version)).startswith(message)


@pytest.mark.parametrize(
    "place",
    [
        ("extra",),
        ("machine", "extra"),
        ("runs", 0, "extra"),
        ("points", 0, "extra"),
        ("points", 0, "case", "extra"),
        ("points", 3, "case", "extra"),
        ("points", 0, "timing", "extra"),
        ("points", 0, "counters", "extra"),
    ],
    ids=str,
)
def test_an_unknown_key_is_named(place, tmp_path):
    assert "extra" in error_line(changed(tmp_path, *place, to=1))


@pytest.mark.parametrize(
    "place",
    [
        ("machine",),
        ("runs",),
        ("points",),
        ("machine", "kind"),
        ("machine", "libraries"),
        ("machine", "cores"),
        ("runs", 0, "date"),
        ("points", 0, "case"),
        ("points", 0, "case", "kind"),
        ("points", 0, "case", "phase"),
        ("points", 0, "case", "precision"),
        ("points", 3, "case", "op"),
        ("points", 3, "case", "precision"),
        ("points", 0, "status"),
        ("points", 0, "timing", "samples_s"),
        ("points", 0, "timing", "stable"),
        ("points", 0, "timing", "warmup"),
        ("points", 0, "counters", "readings"),
    ],
    ids=str,
)
def test_a_missing_key_is_named(place, tmp_path):
    assert str(place[-1]) in error_line(changed(tmp_path, *place, drop=True))


SAMPLES = ("points", 0, "timing", "samples_s")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "a timing needs samples, all of them finite and above zero"),
        ([0.1, 0.0], "a timing needs samples"),
        ([0.1, -0.1], "a timing needs samples"),
        ([0.1, float("nan")], "a timing needs samples"),
        ([float("inf")], "a timing needs samples"),
        ([0.1, "0.1"], "samples_s must be a list of numbers"),
        ([0.1, True], "samples_s must be a list of numbers"),
        ([0.1, None], "samples_s must be a list of numbers"),
        ([[0.1]], "samples_s must be a list of numbers"),
        ("0.1", "samples_s must be a list of numbers"),
        (0.1, "samples_s must be a list of numbers"),
        ([0.1, 1e308], "samples_s must be seconds from 1e-12 to 1e+07, not 1e+308"),
        ([1.1e7], "samples_s must be seconds from 1e-12 to 1e+07, not 11000000.0"),
        ([0.1, 1e-320], "samples_s must be seconds from 1e-12 to 1e+07, not 1e-320"),
        ([10**400, 0.1], "samples_s must be seconds from 1e-12 to 1e+07, not 1000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_samples_that_are_no_times_are_refused(samples, message, tmp_path):
    assert error_line(changed(tmp_path, *SAMPLES, to=samples)).startswith(f"points[0]: timing: {message}")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("machine",), "H100"),
        (("machine", "kind"), "tpu"),
        (("machine", "name"), ""),
        (("machine", "memory_bytes"), "80 GB"),
        (("machine", "cores"), 1.5),
        (("machine", "cache_bytes"), -1),
        (("machine", "libraries"), ["torch"]),
        (("machine", "libraries", "torch"), 2.11),
        (("runs",), {}),
        (("runs", 0), "perfkit measure"),
        (("runs", 0, "date"), 2026),
        (("points",), {}),
        (("points", 0), None),
        (("points", 0, "status"), "done"),
        (("points", 0, "status"), None),
        (("points", 0, "launches"), -1),
        (("points", 0, "launches"), 1.0),
        (("points", 0, "peak_memory_bytes"), True),
        (("points", 0, "note"), 7),
        (("points", 0, "timing"), 0.1),
        (("points", 0, "timing", "warmup"), "six"),
        (("points", 0, "timing", "warmup"), None),
        (("points", 0, "timing", "warmup"), -1),
        (("points", 0, "timing", "stable"), "no"),
        (("points", 0, "timing", "stable"), None),
        (("points", 0, "case", "kind"), "layer"),
        (("points", 0, "case", "phase"), "training"),
        (("points", 0, "case", "precision"), "fp17"),
        (("points", 0, "case", "model"), 7),
        (("points", 0, "case", "batch"), "1"),
        (("points", 0, "case", "batch"), True),
        (("points", 0, "case", "visual_tokens"), 576.5),
        (("points", 0, "case", "visual_tokens"), [576]),
        (("points", 0, "case", "runtime"), None),
        (("points", 0, "case", "flushed"), 1),
        (("points", 3, "case", "precision"), None),
        (("points", 3, "case", "n"), {}),
        (("points", 3, "case", "n"), -4096),
        (("points", 0, "counters"), []),
        (("points", 0, "counters", "readings"), None),
        (("points", 0, "counters", "power_w"), [1.0, 2.0]),
        (("points", 0, "counters", "power_w"), [1.0, 2.0, "3"]),
        (("points", 0, "counters", "power_w"), [1.0, 2.0, float("nan")]),
        (("points", 0, "counters", "power_w"), 251.0),
        (("points", 0, "counters", "throttle_reasons"), "heat"),
        (("points", 0, "counters", "throttle_reasons"), [4]),
        (("points", 0, "counters", "energy_j"), "1 J"),
        (("points", 0, "counters", "energy_j"), 10**400),
        (("points", 0, "counters", "energy_j"), -1e308),
        (("points", 0, "host_s"), 1e308),
        (("points", 0, "host_s"), 1e-320),
        (("points", 0, "host_s"), 10**400),
        (("points", 0, "launches"), 10**400),
        (("points", 0, "launches"), 10**7 + 1),
        (("points", 0, "peak_memory_bytes"), 2**63),
        (("points", 0, "case", "text_tokens"), 10**400),
        (("points", 3, "case", "n"), 10**400),
        (("points", 3, "case", "n"), 10**7 + 1),
        (("machine", "cores"), 10**400),
        (("machine", "memory_bytes"), 10**400),
        (("machine", "name"), "a\ud800b"),
        (("machine", "libraries", "torch"), "\udfff"),
        (("runs", 0, "command"), "perfkit \udc80"),
        (("points", 0, "case", "model"), "\ud800"),
        (("points", 3, "case", "op"), "gem\ud800"),
        (("points", 2, "note"), "\ud800"),
        (("points", 0, "counters", "throttle_reasons"), ["heat\ud800"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_value_of_another_kind_is_refused_and_named(place, value, tmp_path):
    line = error_line(changed(tmp_path, *place, to=value))
    where = "".join(f"[{key}]" if isinstance(key, int) else f" {key}" for key in place)
    assert [word for word in where.replace("[", " [").split() if word.strip("[]") not in line] == []


def test_a_library_whose_name_is_no_text_is_refused(tmp_path):
    line = error_line(changed(tmp_path, "machine", "libraries", to={"\ud800": "1"}))
    assert line == "machine: libraries: a name must be text, not half a surrogate pair: '\\ud800'"


@pytest.mark.parametrize(("status", "keeps"), [("ok", False), ("out of memory", True)])
def test_a_timing_stands_if_and_only_if_the_status_is_ok(status, keeps, tmp_path):
    document = json.loads(TEXT)
    document["points"][0]["status"] = status
    if not keeps:
        document["points"][0]["timing"] = None
    path = written(tmp_path, json.dumps(document))
    assert error_line(path) == "points[0]: a point has a timing if, and only if, its status is ok"


def test_a_file_too_large_for_a_measurement_is_not_even_read(tmp_path):
    path = written(tmp_path, TEXT)
    os.truncate(path, MAXIMUM_BYTES + 1)  # a hole, which takes no room
    assert error_line(path) == "larger than 256 MiB, so not a file of this kind"


def test_what_is_no_file_is_refused(tmp_path):
    assert error_line(tmp_path / "none.json") == "no such file"
    assert error_line(tmp_path) == "not a regular file"


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "out.json"
    path.write_bytes(b"\xff\xfe" + TEXT.encode("utf-16-le"))
    assert error_line(path) == "not text in UTF-8"


@given(st.integers(0, len(TEXT) - 1), st.characters(exclude_categories=["Cs"]))
def test_one_wrong_character_is_one_clear_line_or_harmless(tmp_path_factory, place, character):
    path = written(tmp_path_factory.mktemp("any"), TEXT[:place] + character + TEXT[place + 1 :])
    problem = f"{path}: none"
    try:
        read_measurement(path)
    except InvalidSpec as error:
        problem = str(error)
    assert problem.startswith(f"{path}: ")
    assert len(problem.splitlines()) == 1


def test_unreadable_counters_are_none_and_not_zero(tmp_path):
    document = json.loads(TEXT)
    document["points"][0]["counters"] = {"readings": 3}
    found = read_measurement(written(tmp_path, json.dumps(document))).points[0].counters
    assert found == Counters(3, None, None, None, None, None, None)
    assert COUNTERS.readings == 12
