"""Whole campaigns: a small real LLaVA on the CPU behind a double of torch.cuda, and what stops or hinders them."""

import os
import re
import sys
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from doubles import Gpu, quick_torch, write_config
from test_counters import ANSWERS, Double
from test_emit import break_replace

from perfkit import __version__, measure
from perfkit.errors import InvalidSpec, InvalidValue, MachineError, UnknownName
from perfkit.measuring import bench, campaign
from perfkit.measuring.cases import PHASES
from perfkit.measuring.counters import energy_per_call
from perfkit.measuring.cpu import CpuBackend
from perfkit.measuring.cuda import HOST_CALLS, CudaBackend
from perfkit.measuring.measurement import Point
from perfkit.measuring.networks import Network
from perfkit.measuring.protocol import Rules
from perfkit.measuring.schema import point_document, read_measurement

RULES = Rules(minimum_s=0, warmup_s=0, most_samples=2)  # the first call is kept, and one more
TICK_S = 2e-3  # between two events of the made-up GPU


class CudaOnCpu(CudaBackend):
    """The CUDA backend whose tensors lie in main memory."""

    def __init__(self):
        super().__init__()
        self.device = torch.device("cpu")

    def host_s(self, step):
        return round(super().host_s(step), 3) + 1e-6  # as few digits as the file keeps


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu(tick_ms=1000 * TICK_S).install(monkeypatch)
    gpu.properties.L2_cache_size = 2**16  # what is flushed is really there
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(campaign, "open_backend", lambda _: CudaOnCpu())
    return gpu


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return write_config(folder)


@pytest.fixture
def run(model, tmp_path):
    """The campaign on the small model, into out.json."""
    (tmp_path / "out").mkdir()
    defaults = {"model": model, "text_tokens": 5, "precisions": ("fp32",), "rules": RULES}
    return lambda output="out.json", **asked: measure(tmp_path / "out" / output, **{**defaults, **asked})


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "out.json"


def names(out):
    return sorted(path.name for path in out.parent.iterdir())


def cases(measured):
    return [(point.case.phase, point.case.runtime, point.case.batch) for point in measured.points]


ALL = [("vision", "eager", 1), ("projector", "eager", 1), ("prefill", "eager", 1)]
ALL += [("decode", "eager", 1), ("decode", "graph", 1)]


def break_step(monkeypatch, phase, error):
    """Steps of a phase, by runtime too if it says so, raise an error when they are made; returns what was made."""
    made, step = [], Network.step

    def broken(self, case):
        made.append(case)
        if phase in (case.phase, (case.phase, case.runtime)):
            raise error
        return step(self, case)

    monkeypatch.setattr(Network, "step", broken)
    return made


# --- a whole campaign


def test_every_phase_is_timed_on_a_gpu(gpu, run, out):
    measured = run(command="perfkit measure --output out.json")
    kept = read_measurement(out)
    # As documents: a file holds twelve digits of a time.
    assert list(map(point_document, measured.points)) == list(map(point_document, kept.points))
    assert replace(measured, points=()) == replace(kept, points=())
    assert cases(measured) == ALL
    assert names(out) == ["out.json"]
    for point in measured.points:
        assert point.status == "ok"
        assert point.timing.samples_s == pytest.approx([TICK_S] * 2)
        assert point.peak_memory_bytes == gpu.peak
        assert point.counters is None
    launches = {(p.case.phase, p.case.runtime): p.launches for p in measured.points}
    assert launches["decode", "graph"] == 1
    assert launches["projector", "eager"] == 3  # product, GELU, product; each adds its bias
    assert launches["decode", "eager"] > 60  # 3 layers of more than 20
    (made,) = measured.runs
    assert (made.command, made.perfkit) == ("perfkit measure --output out.json", __version__)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)
    assert measured.machine.kind == "cuda"
    assert len(measured.warnings) == 5  # two samples are too few to know a median


def test_a_graph_is_captured_once_and_replayed_for_every_sample(gpu, run):
    run(phases=("decode",), runtimes=("graph",))
    assert gpu.log.count("capture") == 1
    assert gpu.log.count("replay") == HOST_CALLS + 2  # to time the host, then the two samples
    assert gpu.log.index("captured") < gpu.log.index("replay")


def test_the_grid_is_every_combination_of_what_a_phase_depends_on(gpu, run):
    measured = run(tokens=(4, 1), batches=(1, 2), runtimes=("eager",), attentions=("sdpa", "eager"))
    counts = {phase: sum(point.case.phase == phase for point in measured.points) for phase in PHASES}
    # vision: batches x attentions; projector: batches x tokens; prefill and decode: all three
    assert counts == {"vision": 4, "projector": 4, "prefill": 8, "decode": 8}
    assert len({point.case for point in measured.points}) == 24
    assert gpu.log.count("capture") == 0


def test_flushing_is_asked_for_and_told(gpu, run):
    measured = run(phases=("projector",), flush=True)
    assert measured.points[0].case.flushed
    assert gpu.log[-1] == "reset peak"


def test_the_peak_is_that_of_the_case_alone(gpu, run, monkeypatch):
    peaks = iter([100, 200, 300])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: next(peaks))
    measured = run(phases=("vision", "projector", "prefill"))
    assert [point.peak_memory_bytes for point in measured.points] == [100, 200, 300]
    assert gpu.log.count("reset peak") >= 3


@pytest.mark.usefixtures("gpu")
def test_the_model_is_built_once_for_a_precision(run, monkeypatch):
    built, build = [], Network.__init__

    def count(self, spec, backend, precision):
        built.append(precision)
        build(self, spec, backend, precision)

    monkeypatch.setattr(Network, "__init__", count)
    run(phases=("vision", "projector"), precisions=("fp32", "bf16"), batches=(1, 2))
    assert built == ["fp32", "bf16"]


@pytest.mark.usefixtures("gpu")
def test_no_gradients_are_kept(run, monkeypatch):
    modes, step = [], Network.step

    def look(self, case):
        modes.append(torch.is_inference_mode_enabled())
        return step(self, case)

    monkeypatch.setattr(Network, "step", look)
    run(phases=("projector",))
    assert modes == [True]
    assert not torch.is_inference_mode_enabled()


# --- counters


class Joules:
    """An energy counter that moves whenever it is asked."""

    def __init__(self):
        self.mj = 1000

    def __call__(self):
        self.mj += 10
        return self.mj


@pytest.fixture
def nvml(monkeypatch):
    def install():
        double = Double(ANSWERS)
        double.nvmlSystemGetDriverVersion = lambda: "580.65.06"
        monkeypatch.setitem(sys.modules, "pynvml", double)
        monkeypatch.setattr(bench, "energy_per_call", partial(energy_per_call, minimum_s=0.01))
        return double

    return install


def test_counters_and_energy_stand_beside_every_phase(gpu, run, out, nvml):
    energy = ("nvmlDeviceGetTotalEnergyConsumption",)
    double = nvml()
    double.answers[energy] = Joules()
    measured = run(phases=("vision", "decode"))
    assert len(measured.points) == 3
    for point in read_measurement(out).points:
        assert point.counters.sm_clock_hz == (1_410_000_000,) * 3
        assert point.counters.readings >= 1
        assert 0 < point.counters.energy_j < 0.0101  # 10 mJ a move, and one call or more in it
    assert measured.machine.driver == "580.65.06"
    assert double.calls[-1] == "nvmlShutdown"
    assert gpu.log.count("replay") > 2  # those for energy too


@pytest.mark.usefixtures("gpu")
def test_a_card_without_an_energy_counter_has_the_other_counters(run, nvml):
    nvml().answers[("nvmlDeviceGetTotalEnergyConsumption",)] = None
    (point,) = run(phases=("vision",)).points
    assert point.counters.energy_j is None
    assert point.counters.power_w == pytest.approx((251.5,) * 3)


# --- memory


def test_memory_that_runs_out_is_a_row_and_the_rest_goes_on(gpu, run, out, monkeypatch):
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")
    break_step(monkeypatch, "prefill", error)
    measured = run()
    assert cases(measured) == ALL
    assert [point.status for point in measured.points] == ["ok", "ok", "out of memory", "ok", "ok"]
    assert measured.points[2] == Point(
        measured.points[2].case, "out of memory", note="CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    assert read_measurement(out) == measured
    assert [line for line in measured.warnings if "prefill" in line and "Tried to allocate" in line]
    assert gpu.log[-1] == "reset peak"


@pytest.mark.usefixtures("gpu")
def test_memory_that_ran_out_without_a_word_can_be_read_again(run, out, monkeypatch):
    break_step(monkeypatch, "vision", torch.cuda.OutOfMemoryError())
    run(phases=("vision",))
    assert read_measurement(out).points[0].note == "OutOfMemoryError"


@pytest.mark.usefixtures("gpu")
def test_what_did_not_fit_is_freed_before_the_next_case(run, monkeypatch):
    class Tensor:
        """Something large."""

    large, alive = [], []

    def prefill(*_):
        tensor = Tensor()
        large.append(weakref.ref(tensor))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Network, "_prefill", prefill)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append([ref() for ref in large]))
    run(phases=("prefill",))
    assert alive[-1] == [None]  # when torch is told to give memory back, nobody holds it


@pytest.mark.usefixtures("gpu")
def test_a_model_that_runs_out_while_it_is_built_is_a_row_for_every_case(run, monkeypatch):
    def build(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Network, "__init__", build)
    assert [point.status for point in run().points] == ["out of memory"] * 5


def test_a_model_too_large_for_the_card_is_refused_before_anything_is_done(monkeypatch, tmp_path):
    Gpu(free=7 * 10**9).install(monkeypatch)  # and 2 GB that torch holds unused
    with pytest.raises(MachineError) as caught:
        measure(tmp_path / "out.json")
    # 7,063,427,072 parameters of 2 bytes and 2^30: 14.127 + 1.074 = 15.201 GB
    assert str(caught.value) == (
        "llava-1.5-7b in fp16 needs 15.2 GB (weights and 1 GiB for the runtime); 9.00 GB of the card are free: "
        "take a smaller model or a narrower --precision"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_this_machine_is_refused_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: 20 * 10**9)
    with pytest.raises(MachineError, match=r"llava-1\.5-7b in fp32 needs 29\.3 GB .*20\.0 GB of this machine's memory"):
        measure(tmp_path / "out.json", device="cpu", precisions=("bf16", "fp32"))  # 4 * 7.063 + 1.074; bf16 would fit
    assert list(tmp_path.iterdir()) == []


def test_a_case_too_large_for_a_cpu_is_a_row_that_says_it_was_not_tried(run, monkeypatch):
    step = Network.step

    def cautious(self, case):
        assert case.batch == 1, "this would take the memory of whoever runs the tests"
        return step(self, case)

    monkeypatch.setattr(Network, "step", cautious)
    monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: 2 * 10**9)
    measured = run(device="cpu", phases=("prefill",), batches=(1, 10**6))
    small, large = measured.points
    assert (small.status, large.status) == ("ok", "out of memory")
    # The cache alone: 10^6 * (4 + 5 + 1) tokens * 3 layers * 2 * 16 wide * 4 bytes = 3.84 GB
    assert re.fullmatch(r"not tried: cache and activations need [\d.]+ GB, 2\.00 GB are free", large.note)
    assert float(re.search(r"[\d.]+", large.note)[0]) >= 3.84


def test_room_for_a_case_is_what_the_weights_leave(run, monkeypatch):
    built, build = [], Network.__init__

    def note(self, *arguments):
        build(self, *arguments)
        built.append(True)

    monkeypatch.setattr(Network, "__init__", note)
    monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: 100 if built else 2 * 10**9)
    measured = run(device="cpu", phases=("prefill",))
    assert measured.points[0].note.startswith("not tried: ")


# --- what stops it


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (RuntimeError("CUDA error: an illegal memory access\nFor debugging consider"), MachineError, "decode.*: CUDA"),
        (InvalidValue("no such thing"), InvalidValue, "^no such thing$"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_another_error_is_raised_and_finished_points_stay(error, raised, message, run, out, monkeypatch):
    break_step(monkeypatch, ("decode", "graph"), error)
    with pytest.raises(raised, match=message) as caught:
        run()
    assert len(str(caught.value).splitlines()) <= 1
    assert cases(read_measurement(out)) == ALL[:-1]
    assert names(out) == ["out.json"]


@pytest.mark.usefixtures("gpu")
def test_resume_measures_only_what_is_missing(run, out, monkeypatch):
    with monkeypatch.context() as patch:
        break_step(patch, "decode", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(command="first")
    before = read_measurement(out).points
    made = break_step(monkeypatch, None, None)
    whole = run(command="second", resume=True)
    assert [(case.phase, case.runtime) for case in made] == [("decode", "eager"), ("decode", "graph")]
    assert whole.points[:3] == before
    assert cases(whole) == ALL
    assert [run.command for run in whole.runs] == ["first", "second"]


@pytest.mark.usefixtures("gpu")
def test_resume_with_another_grid_adds_to_the_file(run, out, monkeypatch):
    run(phases=("projector",))
    made = break_step(monkeypatch, None, None)
    run(phases=("projector",), batches=(1, 2), resume=True)
    assert [case.batch for case in made] == [2]
    assert len(read_measurement(out).points) == 2


@pytest.mark.usefixtures("gpu")
def test_resume_does_not_try_again_what_ran_out_of_memory(run, monkeypatch):
    with monkeypatch.context() as patch:
        break_step(patch, "vision", torch.cuda.OutOfMemoryError("CUDA out of memory."))
        run(phases=("vision",))
    made = break_step(monkeypatch, None, None)
    assert [point.status for point in run(phases=("vision",), resume=True).points] == ["out of memory"]
    assert made == []


@pytest.mark.usefixtures("gpu")
def test_a_file_that_stands_already_is_refused_before_anything_is_built(run, out, monkeypatch):
    out.write_text("mine")
    made = break_step(monkeypatch, None, None)
    with pytest.raises(MachineError, match="stands already: --resume finishes it"):
        run()
    with pytest.raises(InvalidSpec, match="not JSON"):
        run(resume=True)
    assert made == []
    assert out.read_text() == "mine"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("seconds", "points"), [(0.1, 1), (0.25, 2), (1000.0, 5)])
def test_no_point_is_begun_after_the_time_is_up(seconds, points, run, monkeypatch):
    begin = [100.0]

    def now():
        begin[0] += 0.2  # asked at the start, and after every point: 0.2, 0.4, ...
        return begin[0]

    monkeypatch.setattr(campaign, "time", type("Clock", (), {"monotonic": staticmethod(now)}))
    assert len(run(stop_after_s=seconds).points) == points


@pytest.mark.usefixtures("gpu")
def test_a_full_disk_stops_it_and_keeps_what_stands(run, out, monkeypatch):
    step = Network.step

    def fill(self, case):
        if case.phase == "prefill":
            break_replace(monkeypatch)
        return step(self, case)

    monkeypatch.setattr(Network, "step", fill)
    with pytest.raises(MachineError, match="No space left on device"):
        run()
    assert cases(read_measurement(out)) == ALL[:2]
    assert names(out) == ["out.json"]


@pytest.mark.usefixtures("gpu")
def test_progress_goes_through_what_is_left(run):
    seen = []

    @contextmanager
    def progress(left):
        seen.append([case.phase for case in left])
        yield left

    run(phases=("vision",), progress=progress)
    run(phases=("vision", "projector"), progress=progress, resume=True)
    assert seen == [["vision"], ["projector"]]


# --- tf32


@pytest.fixture
def own_settings():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("gpu", "own_settings")
@pytest.mark.parametrize("fails", [False, True])
def test_tf32_is_set_for_its_cases_alone_and_put_back(fails, run, monkeypatch):
    seen, step = [], Network.step

    def look(self, case):
        seen.append((case.precision, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        if fails and len(seen) == 2:
            raise ZeroDivisionError
        return step(self, case)

    monkeypatch.setattr(Network, "step", look)
    asked = {"phases": ("projector",), "precisions": ("fp32", "tf32", "bf16")}
    if fails:
        with pytest.raises(MachineError, match=r"tf32: ZeroDivisionError$"):
            run(**asked)
    else:
        run(**asked)
    expected = [("fp32", "highest", False), ("tf32", "high", True), ("bf16", "highest", False)]
    assert seen == expected[: 2 if fails else 3]
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("medium", True)


# --- what is refused


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"suite": "layers"}, UnknownName, "unknown --suite 'layers'"),
        ({"model": "bert-base"}, InvalidValue, "bert-base is a BertModel; measured are Llava"),
        ({"model": "siglip-so400m"}, InvalidValue, "measured are Llava"),
        ({"model": "nothing"}, UnknownName, "unknown model 'nothing'"),
        ({"attentions": ("flash",)}, UnknownName, "unknown --attention 'flash'"),
        ({"runtimes": ("jit",)}, UnknownName, "unknown --runtime 'jit'"),
        ({"runtimes": ("eager", "graph")}, InvalidValue, "--runtime graph: a cpu has no CUDA graphs; allowed: eager"),
        ({"phases": ("training",)}, UnknownName, "unknown --phase 'training'"),
        ({"batches": (0,)}, InvalidValue, "--batch must be a whole number from 1"),
        ({"batches": (1.5,)}, InvalidValue, "--batch must be a whole number from 1"),
        ({"precisions": ("fp16",)}, InvalidValue, "fp16 is not timed on cpu"),
        ({"precisions": ("fp8",)}, InvalidValue, "fp8 is not timed on cpu"),
        ({"tokens": (5,)}, InvalidValue, ""),  # the model makes 4
        ({"tokens": (-1,)}, InvalidValue, ""),
        ({"text_tokens": 0}, InvalidValue, ""),
        ({"device": "tpu"}, UnknownName, "unknown --device 'tpu'"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_written(asked, error, message, run, out):
    with pytest.raises(error) as caught:
        run(**{"device": "cpu", **asked})
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert names(out) == []


@pytest.mark.parametrize(
    ("suite", "name", "allowed"),
    [
        ("model", "out.csv", r"\.json, not \.csv"),
        ("model", "out", r"\.json, not a name without end"),
        ("kernels", "out.yaml", r"\.json or \.csv, not \.yaml"),
        ("peaks", "out.csv", r"\.json or \.yaml or \.yml, not \.csv"),
    ],
)
def test_an_ending_that_means_something_else_is_refused(suite, name, allowed, run, out):
    with pytest.raises(InvalidValue, match=rf"--output .*{name}: suite {suite} writes {allowed}"):
        run(name, suite=suite, device="cpu")
    assert names(out) == []


@pytest.mark.usefixtures("gpu")
def test_a_missing_folder_is_refused(run):
    with pytest.raises(MachineError, match="no such folder"):
        run("none/out.json")


# --- on the CPU, without any double


def test_a_small_llava_is_really_timed_on_the_cpu(run, out):
    begin = time.perf_counter()
    measured = run(device="cpu", rules=Rules(minimum_s=0.01, warmup_s=0.1, budget_s=0.3))
    assert cases(measured) == ALL[:-1]
    assert all(point.status == "ok" and point.timing.min_s > 0 for point in measured.points)
    assert sum(sum(point.timing.samples_s) for point in measured.points) < time.perf_counter() - begin
    assert {(p.counters, p.peak_memory_bytes) for p in measured.points} == {(None, None)}
    assert measured.machine.kind == "cpu"
    assert read_measurement(out).phases.keys() == measured.phases.keys()


def test_a_text_model_has_prefill_and_decode_alone(run, tmp_path):
    measured = run(device="cpu", model=write_config(tmp_path, "llama"))
    assert cases(measured) == [("prefill", "eager", 1), ("decode", "eager", 1)]
    assert {(point.case.visual_tokens, point.case.text_tokens) for point in measured.points} == {(0, 5)}


def test_a_llava_without_an_image_has_prefill_and_decode_alone(run):
    measured = run(device="cpu", tokens=(0,))
    assert cases(measured) == [("prefill", "eager", 1), ("decode", "eager", 1)]


def test_bf16_is_the_default_on_a_cpu_and_fp16_on_a_gpu(run, monkeypatch, tmp_path):
    measured = run(device="cpu", precisions=None, phases=("projector",))
    assert measured.points[0].case.precision == "bf16"
    gpu = Gpu(free=0).install(monkeypatch)
    gpu.reserved = gpu.allocated
    with pytest.raises(MachineError, match=r"llava-1\.5-7b in fp16 needs"):
        measure(tmp_path / "gpu.json")


def test_the_environment_is_left_as_it_was(run):
    before = dict(os.environ), torch.get_num_threads(), torch.get_default_dtype()
    run(device="cpu", phases=("projector",))
    assert (dict(os.environ), torch.get_num_threads(), torch.get_default_dtype()) == before
