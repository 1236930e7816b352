"""A small LLaVA really timed on this CPU, against itself and against a roofline over rates that were measured too.

On one thread: several that share their cores with other processes wait for each other, small products the longest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from perfkit import analyze, measure
from perfkit.kernel_shapes import KernelShape
from perfkit.latency import Prediction
from perfkit.measuring.backend import UNKNOWN_CACHE
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.cpu import last_level_cache_bytes
from perfkit.measuring.protocol import Rules, Timing
from perfkit.models import load_model
from perfkit.units import Precision

TOKENS, TEXT = 64, 60
CACHES = 4.5  # times the last cache level: the weights of the tower, and those of the language model, each
LAYER_BYTES = 4 * (4 * 1024**2 + 2 * 1024 * 4096)  # fp32, of the tower; the language model's are a little larger
MOST_BYTES = 2 * 2**30  # of either, so that a machine with a huge cache does not build a huge model
PHASES = ["vision", "projector", "prefill", "decode"]
RULES = Rules(budget_s=2.5, minimum_s=0.8, warmup_s=0.8)
PEAK_RULES = Rules(budget_s=0.8, minimum_s=0.3, warmup_s=0.3)
MOST_RUNS, MOST_READINGS = 4, 8  # where two runs and the three readings around them leave a doubt

Run = dict[PhaseCase, Timing]
Kernels = dict[KernelCase, float]


def config(layers: int) -> dict[str, object]:
    text = {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "vocab_size": 2048,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 112,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": layers,
        "patch_size": 14,
    }
    return {"model_type": "llava", "text_config": text, "vision_config": vision, "image_token_index": 1}


def write_model(folder: Path) -> str:
    wanted = CACHES * (last_level_cache_bytes() or UNKNOWN_CACHE)
    if wanted > MOST_BYTES:
        pytest.skip(f"the last cache level is too large for a small model: {wanted / CACHES / 2**20:.0f} MiB")
    path = folder / "config.json"
    path.write_text(json.dumps(config(layers=-int(-wanted // LAYER_BYTES))))
    return str(path)


class Reading(NamedTuple):
    """What this machine reaches now: median seconds of each kernel, and the least of each phase at these rates."""

    kernels: Kernels
    rooflines: dict[str, float]


def run(model: str, folder: Path, number: int) -> Run:
    output = folder / f"run-{number}.json"
    found = measure(
        output, model=model, tokens=(TOKENS,), text_tokens=TEXT, precisions=("fp32",), device="cpu", rules=RULES
    )
    timings = {case: point.timing for case, point in found.phases.items() if point.timing}
    assert [case.phase for case in timings] == PHASES
    return timings


def read(model: str, folder: Path, number: int) -> Reading:
    """The rates of now, written as a device."""
    device = folder / f"rates-{number}.yaml"
    found = measure(device, suite="peaks", precisions=("fp32",), device="cpu", rules=PEAK_RULES)
    kernels = {case: point.timing.median_s for case, point in found.kernels.items() if point.timing}
    return Reading(kernels, {phase.phase: phase.roofline_s for phase in predict(model, device).phases})


def predict(model: str, device: Path) -> Prediction:
    return analyze(str(device), model, tokens=TOKENS, text_tokens=TEXT, precision="fp32")


def measured(next_run: Callable[[int], Run], next_reading: Callable[[int], Reading]) -> tuple[list[Run], list[Reading]]:
    """Two runs with a reading before and after each, and more only while what they say could be a disturbance."""
    runs: list[Run] = []
    readings = [next_reading(0)]
    while len(runs) < 2 or (len(runs) < MOST_RUNS and parted(runs, readings)):
        runs.append(next_run(len(runs)))
        readings.append(next_reading(len(readings)))
    while len(readings) < MOST_READINGS and beaten(runs, readings):
        readings.append(next_reading(len(readings)))
    return runs, readings


# One test, so that what is timed is timed once, however many workers the tests are spread over.
@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_runs_agree_and_none_beats_the_roofline_of_measured_rates(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    check_weights(model)
    runs, readings = measured(partial(run, model, tmp_path), partial(read, model, tmp_path))
    assert parted(runs, readings) == []
    assert beaten(runs, readings) == []
    check_one_row_products(predict(model, tmp_path / "rates-0.yaml"))


def check_weights(model: str) -> None:
    """Those of the tower and of the language model each exceed four times the last cache level."""
    spec, cache = load_model(model), last_level_cache_bytes() or UNKNOWN_CACHE
    for part in (spec.vision, spec.text):
        assert part is not None
        assert 4 * part.stack.parameters > 4 * cache  # 4 bytes a parameter


def check_one_row_products(prediction: Prediction) -> None:
    """Decode is expected at the rate that products of one row reach, not at that of a copy."""
    rate = prediction.device.gemv[Precision.FP32].value
    products = [op for op in prediction.ops if op.cost.phase == "decode" and op.cost.kind == "linear"]
    assert rate is not None
    assert {op.cost.kernel.m for op in products if op.cost.kernel} == {1}
    for op in products:
        assert op.expected_s == pytest.approx(op.cost.bytes / rate, rel=1e-12)


# --- what runs say of each other, and of a roofline


def parted(runs: Sequence[Run], readings: Sequence[Reading]) -> list[str]:
    """Cases whose timing calls itself stable in two runs or more, while no two runs agree on it.

    What disturbs the machine for a while parts some pairs of runs; a fault of the protocol parts them all. One reading
    comes before the first run, and one after each.
    """
    return [
        case.label
        for case in runs[0]
        if sum(found[case].stable for found in runs) >= 2
        and not any(
            agree(runs[i][case], runs[j][case], drift([*readings[i : i + 2], *readings[j : j + 2]]))
            for i, j in combinations(range(len(runs)), 2)
        )
    ]


def agree(one: Timing, other: Timing, drifted: float) -> bool:
    """Whether medians lie within the stated intervals of each other, or one of the two is too short to state any.

    An interval speaks of its own series; by what the machine became faster or slower between two series, as its
    kernels tell, they may lie apart.
    """
    if one.interval_s is None or other.interval_s is None:
        return True
    (low, high), (least, most) = one.interval_s, other.interval_s
    return low <= most * (1 + drifted) and least <= high * (1 + drifted)


def drift(readings: Sequence[Reading]) -> float:
    """How much the machine itself changed: the largest change of the time of any one kernel from reading to reading.

    Of kernels that every reading has: the size of a copy follows the memory that is free, where caches are large.
    """
    shared = set.intersection(*(set(reading.kernels) for reading in readings))
    series = [[reading.kernels[case] for reading in readings] for case in shared]
    return max(max(times) / min(times) for times in series) - 1


def beaten(runs: Sequence[Run], readings: Sequence[Reading]) -> list[str]:
    """Cases that some run has more than 5 % faster than the fastest of several readings of their roofline.

    What else runs on the machine can only lower a rate, so the fastest reading counts.
    """
    return [
        case.label
        for case in runs[0]
        if min(found[case].median_s for found in runs) < 0.95 * min(each.rooflines[case.phase] for each in readings)
    ]


CASE = PhaseCase("a", "decode", 64, 60, 1, "fp32")
COPY, PRODUCT = (KernelCase(KernelShape("gemm", 1, 1024, size), "fp32") for size in (1024, 4096))


def one_run(*samples: float, stable: bool = True) -> Run:
    return {CASE: Timing(samples, 0, stable)}


def around(median: float) -> Run:
    """Six samples, whose range is the interval: the median -+ 1 %."""
    return one_run(*(median * (1 + percent / 100) for percent in (-1, 1, 0.5, -0.5, 1, -1)))


def reading(copy: float = 1.0, product: float = 2.0, roofline: float = 0.5) -> Reading:
    return Reading({COPY: copy, PRODUCT: product}, {"decode": roofline, "prefill": roofline})


CALM = [reading()] * 5


def test_two_runs_whose_intervals_meet_agree() -> None:
    # 1.00 -+ 1 % ends at 1.0100; 1.02 -+ 1 % begins at 1.0098, 1.03 -+ 1 % at 1.0197.
    assert parted([around(1.0), around(1.02)], CALM) == []
    assert parted([around(1.02), around(1.0)], CALM) == []
    assert parted([around(1.0), around(1.03)], CALM) == [CASE.label]
    assert parted([around(1.03), around(1.0)], CALM) == [CASE.label]


def test_a_disturbed_run_is_outvoted() -> None:
    assert parted([around(1.0), around(1.5), around(1.0)], CALM) == []
    assert parted([around(1.5), around(1.0), around(1.0)], CALM) == []
    assert parted([around(1.0), around(1.5), around(2.0), around(1.01)], CALM) == []


def test_intervals_that_are_too_narrow_part_every_pair() -> None:
    # Medians that scatter by tens of percent, each said to be known within 1 %.
    assert parted([around(1.0), around(1.2)], CALM) == [CASE.label]
    assert parted([around(1.0), around(1.2), around(0.9), around(1.1)], CALM) == [CASE.label]


def test_each_case_is_judged_by_itself() -> None:
    other = CASE._replace(phase="prefill")
    runs = [around(first) | {other: around(second)[CASE]} for first, second in ((1.0, 1.0), (1.0, 2.0), (1.0, 4.0))]
    assert parted(runs, CALM) == [other.label]


def test_what_calls_itself_unstable_claims_nothing_alone() -> None:
    wide = one_run(3, 4, 5, 6, 7, 8, stable=False)
    assert parted([around(1.0), wide], CALM) == []
    # Beside two that claim something it agrees only with what its own interval holds: 3 to 8 hold 5, not 1 and 2.
    assert parted([around(1.0), around(2.0), wide], CALM) == [CASE.label]
    assert parted([around(1.0), around(5.0), wide], CALM) == []


def test_what_is_too_short_for_an_interval_agrees() -> None:
    short = one_run(7, 7, 7, 7, 7, stable=False)
    assert parted([around(1.0), around(2.0), short], CALM) == []


def test_a_machine_that_changed_excuses_the_runs_beside_the_change_as_far_as_it_goes() -> None:
    slower = reading(product=3.0)  # 3 / 2: by half
    assert drift([*CALM[:2], slower]) == 0.5
    runs = [around(1.0), around(1.5)]  # 1.01 * 1.5 = 1.515 is above 1.5 * 0.99 = 1.485
    for when in range(3):
        assert parted(runs, [slower if n == when else CALM[n] for n in range(3)]) == []
    assert parted(runs, [*CALM[:3], slower]) == [CASE.label]  # read after both
    assert parted([around(1.0), around(1.6)], [*CALM[:2], slower]) == [CASE.label]  # 1.584 is above 1.515


def test_a_change_that_had_gone_excuses_nothing() -> None:
    # The reading between runs 1 and 2 stands beside all pairs but 0 and 3, which are half apart: 1.0 and 1.5.
    runs = [around(1.0), around(4.0), around(10.0), around(1.5)]
    assert parted(runs, [*CALM[:2], reading(copy=1.5), *CALM[3:]]) == [CASE.label]
    assert parted(runs, [*CALM[:3], reading(copy=1.5), *CALM[4:]]) == []


def test_no_run_may_beat_the_fastest_of_all_rooflines() -> None:
    # 0.95 of 1.0 is the least that may be measured.
    one = reading(roofline=1.0)
    assert beaten([around(1.0), around(0.95)], [one]) == []
    assert beaten([around(1.0), around(0.94)], [one]) == [CASE.label]
    assert beaten([around(0.94), around(1.0)], [one]) == [CASE.label]
    assert beaten([around(0.94)], [reading(roofline=bound) for bound in (1.5, 0.98, 1.2)]) == []  # 0.931


@pytest.mark.parametrize(
    ("medians", "rooflines", "runs", "readings"),
    [
        ([1.0, 1.01], [0.5] * 3, 2, 3),  # calm
        ([1.5, 1.0, 1.01], [0.5] * 4, 3, 4),  # disturbed once
        ([1.0, 1.5, 2.25, 3.375], [0.5] * 5, MOST_RUNS, 5),  # a fault, in every pair
        ([1.0, 1.0], [1.2, 1.2, 1.2, 1.2, 1.05], 2, 5),  # rates were read too low until the fifth: 0.95 * 1.05 < 1
        ([1.0, 1.0], [1.2] * MOST_READINGS, 2, MOST_READINGS),  # a wrong roofline, however often it is read
    ],
)
def test_more_is_measured_only_while_there_is_a_doubt(
    medians: list[float], rooflines: list[float], runs: int, readings: int
) -> None:
    found = measured(lambda number: around(medians[number]), lambda number: reading(roofline=rooflines[number]))
    assert (len(found[0]), len(found[1])) == (runs, readings)
    assert bool(parted(*found)) == (runs == MOST_RUNS)
    assert bool(beaten(*found)) == (readings == MOST_READINGS)
