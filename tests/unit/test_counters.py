"""Counters beside a timing, read through a double of NVML's Python module that knows its own handles only."""

import json
import sys
from types import ModuleType

import pynvml as real_nvml
import pytest

from perfkit.errors import MachineError
from perfkit.measuring.counters import NO_BRAKES, REASONS, Counters, Watch, energy_per_call, name_reasons, watch_gpu

UUID = "ffc79498-8ff3-c2dc-3b0d-fafd804516ae"
ANSWERS = {
    ("nvmlDeviceGetClockInfo", 1): 1410,  # MHz, SM
    ("nvmlDeviceGetClockInfo", 2): 1215,  # MHz, memory
    ("nvmlDeviceGetPowerUsage",): 251_500,  # mW
    ("nvmlDeviceGetTemperatureV", 0): 61,
    ("nvmlDeviceGetTemperature", 0): 61,
    ("nvmlDeviceGetCurrentClocksEventReasons",): 0x4,
    ("nvmlDeviceGetCurrentClocksThrottleReasons",): 0x4,
    ("nvmlDeviceGetTotalEnergyConsumption",): 7_250,  # mJ
}


class Double(ModuleType):
    """NVML with two like GPUs, the second with a UUID; functions in `unknown` do not exist, those in `failing` raise.

    An answer that is a list is given item by item, the last for ever; None means "not supported".
    """

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    class NVMLError_GpuIsLost(NVMLError):  # noqa: N801 - NVML's own name
        pass

    def __init__(self, answers, failing=(), unknown=()):
        super().__init__("pynvml")
        self.answers = {key: list(value) if isinstance(value, list) else value for key, value in answers.items()}
        self.failing = set(failing)
        self.unknown = set(unknown)
        self.lost = False
        self.calls = []
        self.handles = {0: object(), 1: object()}

    def __getattr__(self, name):
        if not name.startswith("nvml") or name in self.unknown:
            raise AttributeError(name)

        def function(*arguments):
            self.calls.append(name)
            if name in self.failing:
                raise self.NVMLError(f"{name} said no")
            if name in ("nvmlInit", "nvmlShutdown"):
                return None
            if name == "nvmlDeviceGetHandleByIndex":
                return self.handles[arguments[0]]
            if name == "nvmlDeviceGetHandleByUUID":
                return self.by_uuid(*arguments)
            return self.of_device(name, *arguments)

        return function

    def by_uuid(self, uuid):
        if uuid != f"GPU-{UUID}":
            raise self.NVMLError("Not Found")
        return self.handles[1]

    def of_device(self, name, handle, *arguments):
        assert handle in self.handles.values(), "no handle of this NVML"
        if self.lost:
            raise self.NVMLError_GpuIsLost("GPU is lost")
        answer = self.answers[(name, *arguments)]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer()
        if answer is None:
            raise self.NVMLError("Not Supported")
        return answer


class Clock:
    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


@pytest.fixture
def nvml(monkeypatch):
    def install(failing=(), unknown=(), **answers):
        merged = {key: answers.pop("_".join(map(str, key)), value) for key, value in ANSWERS.items()}
        assert not answers, "no such function to answer"
        double = Double(merged, failing, unknown)
        monkeypatch.setitem(sys.modules, "pynvml", double)
        return double

    return install


def read(times=1, uuid=UUID):
    with watch_gpu(uuid, interval_s=0) as watch:
        for _ in range(times):
            watch.read()
        return watch.counters()


# --- one reading


def test_figures_are_turned_into_si(nvml):
    nvml()
    assert read() == Counters(
        readings=1,
        sm_clock_hz=(1_410_000_000,) * 3,
        memory_clock_hz=(1_215_000_000,) * 3,
        power_w=pytest.approx((251.5,) * 3),
        temperature_c=(61, 61, 61),
        throttle_reasons=("sw power cap",),
        energy_j=None,  # nobody made a pass for it
    )


def test_the_energy_of_a_call_stands_beside_the_readings(nvml):
    nvml()
    with watch_gpu(UUID) as watch:
        assert watch.counters(energy_j=0.5).energy_j == 0.5
        assert watch.total_energy_j() == pytest.approx(7.25)


def test_counters_go_through_json(nvml):
    nvml()
    counters = read()
    assert json.loads(json.dumps(counters._asdict()))["sm_clock_hz"] == list(counters.sm_clock_hz)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ("nvmlDeviceGetClockInfo_1", "sm_clock_hz"),
        ("nvmlDeviceGetClockInfo_2", "memory_clock_hz"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
    ],
)
def test_what_a_card_does_not_report_is_none_and_the_rest_stays(nvml, answer, field):
    nvml()
    whole = read()
    nvml(**{answer: None})
    assert read() == whole._replace(**{field: None})


PAIRS = [
    ("nvmlDeviceGetTemperatureV_0", "nvmlDeviceGetTemperature_0", "temperature_c"),
    ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons", "throttle_reasons"),
]


@pytest.mark.parametrize(("newer", "older", "field"), PAIRS)
def test_the_older_of_two_functions_stands_in_for_the_newer(nvml, newer, older, field):
    nvml()
    whole = read()
    for missing in (newer, older):
        nvml(**{missing: None})
        assert read() == whole
        nvml(unknown=[missing.removesuffix("_0")])  # an older library, or one that dropped what was deprecated
        assert read() == whole
    nvml(**{newer: None, older: None})
    assert read() == whole._replace(**{field: None})


def test_the_newer_function_is_asked_first_and_alone(nvml):
    double = nvml(nvmlDeviceGetTemperatureV_0=0, nvmlDeviceGetCurrentClocksEventReasons=0)
    counters = read()
    assert counters.temperature_c == (0, 0, 0)  # a zero that was read is a zero
    assert counters.throttle_reasons == ()
    assert {"nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons"} & set(double.calls) == set()


def test_a_card_without_an_energy_counter_has_none(nvml):
    nvml(nvmlDeviceGetTotalEnergyConsumption=None)
    with watch_gpu(UUID) as watch:
        assert watch.total_energy_j() is None


def test_nothing_read_is_nothing_known(nvml):
    nvml()
    assert read(times=0) == Counters(0, None, None, None, None, None, None)


# --- several readings


def test_readings_are_summed_up_as_least_median_and_largest(nvml):
    nvml(
        nvmlDeviceGetClockInfo_1=[1410, 1200, 1380],
        nvmlDeviceGetPowerUsage=[100_000, 300_000, 290_000],
        nvmlDeviceGetTemperatureV_0=[50, 52, 57],
    )
    counters = read(times=3)
    assert counters.readings == 3
    assert counters.sm_clock_hz == (1_200_000_000, 1_380_000_000, 1_410_000_000)
    assert counters.power_w == pytest.approx((100, 290, 300))
    assert counters.temperature_c == (50, 52, 57)


def test_the_median_of_an_even_number_was_really_read(nvml):
    nvml(nvmlDeviceGetTemperatureV_0=[60, 50, 57, 52])
    assert read(times=4).temperature_c == (50, 52, 60)


def test_reasons_of_all_readings_are_gathered(nvml):
    nvml(nvmlDeviceGetCurrentClocksEventReasons=[0x0, 0x40, 0x1, 0x4, 0x40])
    assert read(times=5).throttle_reasons == ("sw power cap", "hw thermal slowdown")


def test_a_figure_that_fails_once_is_none_for_the_readings(nvml):
    nvml(nvmlDeviceGetPowerUsage=[100_000, None, 300_000])
    counters = read(times=3)
    assert counters.power_w is None
    assert counters.sm_clock_hz is not None


def test_a_gpu_lost_in_the_middle_leaves_the_timing_its_way(nvml):
    double = nvml()
    with watch_gpu(UUID, interval_s=0) as watch:
        watch.read()
        double.lost = True
        watch.read()
        assert watch.total_energy_j() is None
        assert watch.counters() == Counters(2, None, None, None, None, None, None)
    assert double.calls[-1] == "nvmlShutdown"


def test_clearing_forgets_the_readings(nvml):
    nvml(nvmlDeviceGetTemperatureV_0=[90, 40])
    with watch_gpu(UUID, interval_s=0) as watch:
        watch.read()
        watch.clear()
        assert watch.counters().readings == 0
        watch.read()
        assert watch.counters().temperature_c == (40, 40, 40)


def test_readings_keep_their_distance(nvml):
    double, clock = nvml(), Clock()
    watch = Watch(double, double.handles[1], interval_s=0.5, now=clock)
    watch.read()
    asked = len(double.calls)
    for _ in range(9):
        watch.read()
        clock.s += 0.0625  # 9 * 0.0625 = 0.5625, and the ninth read comes at 0.5
    assert len(double.calls) == 2 * asked
    assert watch.counters().readings == 2


def test_a_cleared_watch_reads_at_once(nvml):
    double, clock = nvml(), Clock()
    watch = Watch(double, double.handles[1], interval_s=0.5, now=clock)
    watch.read()
    watch.clear()
    watch.read()
    assert watch.counters().readings == 1


def test_slow_readings_are_followed_by_a_pause(nvml):
    clock = Clock()

    def slow():
        clock.s += 2.0
        return 61

    double = nvml(nvmlDeviceGetTemperatureV_0=slow)
    watch = Watch(double, double.handles[1], interval_s=0.5, now=clock)
    watch.read()
    watch.read()
    assert watch.counters().readings == 1


# --- reasons


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, ()),
        (0x1, ()),  # idle
        (0x2, ()),  # applications clocks setting
        (0x4, ("sw power cap",)),
        (0x8, ("hw slowdown",)),
        (0x10, ("sync boost",)),
        (0x20, ("sw thermal slowdown",)),
        (0x40, ("hw thermal slowdown",)),
        (0x80 | 0x8, ("hw slowdown", "hw power brake")),
        (0x1000, ("reason 0x1000",)),
    ],
)
def test_reasons_have_names(mask, names):
    assert name_reasons(mask) == names


def test_the_bits_are_those_of_the_library():
    every = real_nvml.nvmlClocksThrottleReasonAll | real_nvml.nvmlClocksEventReasonAll
    idle, set_by_hand = real_nvml.nvmlClocksEventReasonGpuIdle, real_nvml.nvmlClocksEventReasonApplicationsClocksSetting
    assert idle | set_by_hand == NO_BRAKES
    assert every & ~NO_BRAKES & ~sum(REASONS) == 0  # all that this library knows have a name
    for name, reason in [
        ("SwPowerCap", "sw power cap"),
        ("HwSlowdown", "hw slowdown"),
        ("SyncBoost", "sync boost"),
        ("SwThermalSlowdown", "sw thermal slowdown"),
        ("HwThermalSlowdown", "hw thermal slowdown"),
        ("HwPowerBrakeSlowdown", "hw power brake"),
        ("DisplayClockSetting", "display clock setting"),
    ]:
        assert REASONS[getattr(real_nvml, f"nvmlClocksEventReason{name}")] == reason


# --- which GPU, and whether there is one


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}"])
def test_a_gpu_is_found_by_its_uuid_whatever_its_number(nvml, uuid):
    double = nvml()
    with watch_gpu(uuid) as watch:
        assert watch._handle is double.handles[1]


def test_without_a_uuid_it_is_the_first(nvml):
    double = nvml()
    with watch_gpu() as watch:
        assert watch._handle is double.handles[0]


@pytest.mark.parametrize("uuid", ["GPU-00000000-0000-0000-0000-000000000000", "MIG-41b36b5c", ""])
def test_a_gpu_that_nvml_does_not_know_is_not_another_one(nvml, uuid):
    double = nvml()
    with watch_gpu(uuid) as watch:
        assert watch is None
    assert double.calls[-1] == "nvmlShutdown"


def test_a_machine_without_a_gpu_has_no_watch(nvml):
    nvml(failing=["nvmlDeviceGetHandleByIndex"])
    with watch_gpu() as watch:
        assert watch is None


def test_without_a_driver_a_measurement_goes_on(nvml):
    double = nvml(failing=["nvmlInit"])
    with watch_gpu(UUID) as watch:
        assert watch is None
    assert double.calls == ["nvmlInit"]


def test_without_the_library_a_measurement_goes_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # import then fails
    with watch_gpu(UUID) as watch:
        assert watch is None


def test_the_real_library_is_asked_without_harm():
    with watch_gpu() as watch:  # None on a machine without a GPU
        counters = watch and (watch.read(), watch.counters())[1]
    assert counters is None or counters.readings == 1


def test_an_error_of_the_measurement_is_its_own(nvml):
    double = nvml()
    with pytest.raises(MachineError, match="out of memory"), watch_gpu(UUID):
        raise MachineError("out of memory")
    assert double.calls[-1] == "nvmlShutdown"
    assert double.calls.count("nvmlShutdown") == 1


# --- energy


class Board:
    """A GPU in made-up time: a call takes `call_s` and `call_j`, and the counter ticks every `tick_s`.

    A call that `queues` costs the host nothing until `synchronize` waits for it. At rest the board draws `rest_w`.
    """

    def __init__(self, call_s, call_j, tick_s=0.1, rest_w=0.0, queues=True):
        self.now = Clock()
        self.call_s, self.call_j, self.tick_s, self.rest_w = call_s, call_j, tick_s, rest_w
        self.queues = queues
        self.queued = self.calls = self.waits = 0
        self.history = [(self.now.s, 1000.0)]  # when, and joules by then

    def call(self):
        self.queued += 1
        if not self.queues:
            self.synchronize()

    def rest(self, seconds):
        self.pass_time(seconds, seconds * self.rest_w)

    def synchronize(self):
        self.pass_time(self.queued * self.call_s, self.queued * self.call_j)
        self.calls += self.queued
        self.waits += 1
        self.queued = 0

    def pass_time(self, seconds, joules):
        self.now.s += seconds
        self.history.append((self.now.s, self.history[-1][1] + joules))

    def counter_mj(self):
        tick = self.now.s // self.tick_s * self.tick_s
        (before_s, before_j), (after_s, after_j) = self.around(tick)
        share = (tick - before_s) / (after_s - before_s) if after_s > before_s else 0.0
        return round(1000 * (before_j + share * (after_j - before_j)))

    def around(self, when_s):
        after = next((point for point in self.history if point[0] >= when_s), self.history[-1])
        before = [point for point in self.history if point[0] <= when_s]
        return (before[-1] if before else self.history[0]), after


def energy(nvml, board, minimum_s=1.0, **answers):
    double = nvml(**{"nvmlDeviceGetTotalEnergyConsumption": board.counter_mj, **answers})
    watch = Watch(double, double.handles[1], now=board.now)
    return energy_per_call(watch, board.call, board.synchronize, minimum_s, board.now), watch


def test_energy_is_the_counters_gain_over_the_calls(nvml):
    # Two calls, one a batch; the counter shows 1.0 J, then 2.5 J and 4.5 J: (4.5 - 2.5) / (2 - 1) = 2 J.
    clock = Clock()
    double = nvml(nvmlDeviceGetTotalEnergyConsumption=[1000, 2500, 4500])

    def call():
        clock.s += 1.0

    watch = Watch(double, double.handles[1], now=clock)
    assert energy_per_call(watch, call, lambda: None, 1.0, clock) == pytest.approx(2.0)


@pytest.mark.parametrize("queues", [True, False])
@pytest.mark.parametrize(
    ("call_s", "call_j", "within"),
    [
        (0.0001, 0.03, 0.05),  # 300 W; an end known to 0.04 s of 1 s
        (0.004, 0.8, 0.05),
        (0.5, 150.0, 0.15),  # three calls; an end known to a tick, 0.1 s
        (5.0, 1500.0, 0.03),  # longer than the pass
    ],
)
def test_energy_is_near_that_of_a_call(nvml, call_s, call_j, within, queues):
    board = Board(call_s, call_j, queues=queues)
    joules, _ = energy(nvml, board)
    assert joules == pytest.approx(call_j, rel=within)


def test_rest_before_the_pass_is_not_charged(nvml):
    board = Board(call_s=0.001, call_j=0.3, rest_w=100.0)
    board.rest(60.09)  # and the counter still owes most of a tick of it
    joules, _ = energy(nvml, board)
    assert joules == pytest.approx(0.3, rel=0.05)


def test_a_longer_pass_is_finer(nvml):
    board = Board(call_s=0.003, call_j=0.9)
    joules, _ = energy(nvml, board, minimum_s=30.0)
    assert board.now.s - 100.0 > 30.0
    assert joules == pytest.approx(0.9, rel=0.002)


def test_the_pass_does_not_queue_far_ahead(nvml):
    board = Board(call_s=0.01, call_j=3.0)
    energy(nvml, board)
    assert board.now.s - 100.0 < 1.3  # a tick, the pass, a batch


def test_the_pass_seldom_waits(nvml):
    board = Board(call_s=0.0001, call_j=0.03)
    energy(nvml, board)
    assert board.calls > 10_000  # back to back: 1 s / 0.0001 s
    assert board.waits < 60  # 1.1 s / 0.02 s and the 8 doublings of a batch until there


def test_a_short_pass_waits_for_what_it_queued(nvml):
    board = Board(call_s=0.001, call_j=0.3)
    energy(nvml, board)
    assert board.queued == 0


def test_readings_are_taken_while_the_gpu_works(nvml):
    board, queued = Board(call_s=0.001, call_j=0.3), []

    def clock_mhz():
        queued.append(board.queued)
        return 1410

    _, watch = energy(nvml, board, nvmlDeviceGetClockInfo_1=clock_mhz)
    assert watch.counters().readings > 10  # of 20 in a second
    assert min(queued) > 0


def test_without_a_counter_no_call_is_made(nvml):
    board = Board(call_s=0.001, call_j=0.3)
    joules, _ = energy(nvml, board, nvmlDeviceGetTotalEnergyConsumption=None)
    assert joules is None
    assert board.calls == 0


@pytest.mark.parametrize("readings", [[7250], [7250, 7250, 8000]], ids=["never", "once"])
def test_a_counter_that_hardly_moves_is_none_never_zero(nvml, readings):
    board = Board(call_s=0.01, call_j=3.0)
    joules, _ = energy(nvml, board, nvmlDeviceGetTotalEnergyConsumption=readings)
    assert joules is None
    assert 1.0 <= board.now.s - 100.0 < 1.3  # and nobody waits for it for ever


def test_a_counter_that_fails_in_the_middle_is_none(nvml):
    board = Board(call_s=0.01, call_j=3.0)
    joules, _ = energy(nvml, board, nvmlDeviceGetTotalEnergyConsumption=[1000, 2000, 3000, 4000, None])
    assert joules is None
    assert board.queued == 0
