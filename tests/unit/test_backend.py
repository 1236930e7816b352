"""The CPU by doubled system files, CUDA by a double of torch.cuda that refuses what torch refuses."""

import platform
import sys
import weakref
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from doubles import Gpu
from test_counters import ANSWERS, UUID, Double

from perfkit.errors import InvalidValue, MachineError, UnknownName
from perfkit.measuring import cpu
from perfkit.measuring.backend import Step, check_precision, library_versions, open_backend
from perfkit.measuring.cpu import CpuBackend, last_level_cache_bytes
from perfkit.measuring.cuda import WARM_CALLS, CudaBackend

# --- which one


def test_auto_is_the_cpu_without_cuda_and_cuda_with_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isinstance(open_backend("auto"), CpuBackend)
    Gpu().install(monkeypatch)
    assert isinstance(open_backend("auto"), CudaBackend)
    assert isinstance(open_backend("cuda"), CudaBackend)
    assert isinstance(open_backend("cpu"), CpuBackend)


@pytest.mark.parametrize(
    ("built_for", "message"),
    [
        (None, "it is a build without CUDA; install a CUDA build of torch, or use --device cpu"),
        ("13.0", "(built for CUDA 13.0): check `nvidia-smi` and the driver, or use --device cpu"),
    ],
)
def test_cuda_that_is_missing_says_what_was_looked_for_and_what_to_do(built_for, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(MachineError) as caught:
        open_backend("cuda")
    assert str(caught.value).startswith(f"torch {torch.__version__} finds no CUDA device")
    assert str(caught.value).endswith(message)


def test_another_device_is_refused():
    with pytest.raises(UnknownName, match="unknown --device 'gpu'; nearest: cpu; allowed: auto, cpu, cuda"):
        open_backend("gpu")


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MachineError, match=r"measuring needs torch and transformers: pip install 'perfkit\[torch\]'"):
        open_backend("auto")


def test_versions_of_what_timings_depend_on():
    found = library_versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert set(found) <= {"python", "torch", "transformers", "numpy", "nvidia-ml-py"}


def test_a_library_that_is_missing_is_left_out(monkeypatch):
    def version(name):
        if name != "torch":
            raise PackageNotFoundError(name)
        return "2.11.0"

    monkeypatch.setattr("perfkit.measuring.backend.version", version)
    assert set(library_versions()) == {"python", "torch"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precisions_of_a_cpu(precision):
    check_precision(CpuBackend(), precision)


def test_fp16_on_a_cpu_is_refused_with_the_reason():
    with pytest.raises(InvalidValue) as caught:
        check_precision(CpuBackend(), "fp16")
    assert str(caught.value) == (
        "fp16 is not timed on cpu: a CPU emulates fp16 products, a hundred times slower than bf16; allowed: fp32, bf16"
    )
    with pytest.raises(InvalidValue, match="tf32 is not timed on cpu; allowed: fp32, bf16"):
        check_precision(CpuBackend(), "tf32")


@pytest.mark.parametrize(
    ("major", "allowed"),
    [(7, ("fp32", "fp16")), (8, ("fp32", "tf32", "fp16", "bf16")), (12, ("fp32", "tf32", "fp16", "bf16"))],
)
def test_precisions_of_a_gpu_follow_its_generation(major, allowed, monkeypatch):
    Gpu(major=major).install(monkeypatch)
    backend = CudaBackend()
    assert backend.precisions == allowed
    if "bf16" not in allowed:
        with pytest.raises(InvalidValue, match="bf16 is not timed on cuda; allowed: fp32, fp16"):
            check_precision(backend, "bf16")


# --- the CPU

MEMINFO = "MemTotal:       65000000 kB\nMemFree:         1000000 kB\nMemAvailable:   40000000 kB\n"
CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\nprocessor\t: 1\nmodel name\t: other\n"


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """System files of a made-up machine, in a container without limits."""
    monkeypatch.setattr(cpu, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(cpu, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "CACHES", tmp_path / "cache")
    limits = [(tmp_path / f"{name}.max", tmp_path / f"{name}.current") for name in ("v2", "v1")]
    monkeypatch.setattr(cpu, "LIMITS", tuple(limits))
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    for index, size in enumerate(["32K", "32K", "512K", "32M"]):
        (tmp_path / "cache" / f"index{index}").mkdir(parents=True)
        (tmp_path / "cache" / f"index{index}" / "size").write_text(f"{size}\n")
    return tmp_path


@pytest.mark.usefixtures("linux")
def test_a_cpu_is_described_by_what_linux_says():
    machine = CpuBackend().machine()
    assert (machine.kind, machine.name, machine.clock) == ("cpu", "AMD EPYC 7763 64-Core Processor", "monotonic clock")
    assert machine.memory_bytes == 65_000_000 * 1024
    assert machine.cache_bytes == 32 * 2**20
    assert machine.cores == torch.get_num_threads()
    assert machine.libraries == library_versions()
    assert (machine.device, machine.driver) == (None, None)


@pytest.mark.parametrize(
    ("sizes", "largest"),
    [(["32K", "1024K"], 2**20), (["512K", "36M", "48K"], 36 * 2**20), (["odd", "", "7"], None), ([], None)],
)
def test_the_last_cache_level_is_the_largest(sizes, largest, linux, monkeypatch):
    monkeypatch.setattr(cpu, "CACHES", linux / "others")
    for index, size in enumerate(sizes):
        (linux / "others" / f"index{index}").mkdir(parents=True)
        (linux / "others" / f"index{index}" / "size").write_text(size)
    (linux / "others" / "index9").mkdir(parents=True)  # without a size
    assert last_level_cache_bytes() == largest


def test_a_machine_that_hides_everything_is_described_all_the_same(linux):
    for path in ("meminfo", "cpuinfo"):
        (linux / path).unlink()
    machine = CpuBackend().machine()
    assert machine.name
    assert machine.memory_bytes > 2**20
    (linux / "cpuinfo").write_text("Hardware\t: something\n")
    assert CpuBackend().machine().name


@pytest.mark.usefixtures("linux")
def test_free_memory_is_what_linux_can_give():
    assert CpuBackend().free_bytes() == 40_000_000 * 1024


@pytest.mark.parametrize(
    ("name", "limit", "used", "free"),
    [
        ("v2", "8000000000\n", "3000000000\n", 5_000_000_000),
        ("v1", "8000000000\n", "3000000000\n", 5_000_000_000),
        ("v2", "8000000000", "9000000000", 0),  # over a limit that was lowered
        ("v2", "max\n", "3000000000\n", 40_000_000 * 1024),
        ("v1", "9223372036854771712", "0", 40_000_000 * 1024),  # cgroup v1's word for no limit
        ("v2", "900000000000", "0", 40_000_000 * 1024),  # more than the machine has
    ],
)
def test_a_container_may_have_less(name, limit, used, free, linux):
    (linux / f"{name}.max").write_text(limit)
    (linux / f"{name}.current").write_text(used)
    assert CpuBackend().free_bytes() == free


class Times:
    """The clock of a CPU sample, which notes when it is read."""

    def __init__(self, log, *nanoseconds):
        self.log, self.nanoseconds = log, iter(nanoseconds)

    def __call__(self):
        self.log.append("clock")
        return next(self.nanoseconds)


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.usefixtures("linux")
def test_a_cpu_sample_times_the_call_alone(flush, monkeypatch):
    log = []
    monkeypatch.setattr("time.perf_counter_ns", Times(log, 1000, 3500, 10_000, 10_250))
    backend = CpuBackend()
    monkeypatch.setattr(backend, "_flush", lambda: log.append("flush"))
    sample = backend.sampler(Step(lambda: log.append("call"), lambda: log.append("before")), flush=flush)
    assert log == []  # nothing is called before it is asked for
    assert sample() == pytest.approx(2.5e-6)  # 3500 - 1000 ns
    assert sample() == pytest.approx(0.25e-6)
    assert log == ["before", *["flush"] * flush, "clock", "call", "clock"] * 2


def test_flushing_writes_over_more_than_the_last_level(linux):
    (linux / "cache" / "index3" / "size").write_text("2M")
    backend = CpuBackend()
    sample = backend.sampler(Step(lambda: None), flush=True)
    sample()
    sample()
    assert backend._scratch.numel() == 4 * 2 * 2**20
    first = backend._scratch.data_ptr()
    sample()
    assert backend._scratch.data_ptr() == first  # taken once


@pytest.mark.usefixtures("linux")
def test_a_step_without_preparation_is_sampled():
    assert CpuBackend().sampler(Step(lambda: None), flush=False)() > 0


def test_a_cpu_has_neither_graphs_nor_counters():
    backend = CpuBackend()
    with pytest.raises(MachineError, match="a CPU has no CUDA graphs: use --runtime eager"):
        backend.capture(Step(lambda: None))
    with backend.watch() as watch:
        assert watch is None
    assert backend.peak_bytes() is None
    assert backend.must_foresee
    assert backend.runtimes == ("eager",)
    assert (backend.synchronize(), backend.release()) == (None, None)


def test_memory_that_ran_out_on_a_cpu_is_known():
    backend = CpuBackend()
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)  # torch's own words
    assert backend.ran_out(caught.value)
    assert backend.ran_out(MemoryError())
    assert not backend.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not backend.ran_out(KeyboardInterrupt())


# --- CUDA


@pytest.fixture
def gpu(monkeypatch):
    return Gpu().install(monkeypatch)


def test_the_double_refuses_what_torch_refuses(gpu):
    start, end, plain = (torch.cuda.Event(enable_timing=timed) for timed in (True, True, False))
    with pytest.raises(ValueError, match="recorded"):
        start.elapsed_time(end)
    start.record()
    gpu.launch(2.0)
    end.record()
    with pytest.raises(ValueError, match="completed"):
        start.elapsed_time(end)
    end.synchronize()
    assert start.elapsed_time(end) == 2.0
    assert end.elapsed_time(start) == -2.0
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(plain)
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        torch.cuda.CUDAGraph().replay()
    with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.cuda.synchronize()


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_described_by_torch_and_nvml(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    monkeypatch.setattr("perfkit.measuring.cuda.driver_version", lambda: "580.65.06")
    machine = CudaBackend().machine()
    assert (machine.kind, machine.name, machine.clock) == ("cuda", "NVIDIA H100 80GB HBM3", "CUDA events")
    assert machine.device == "h100-sxm-80gb"
    assert (machine.cores, machine.memory_bytes, machine.cache_bytes) == (132, 85_045_084_160, 50 * 2**20)
    assert machine.libraries == {**library_versions(), "cuda": "13.0", "cudnn": "91300"}
    assert machine.driver == "580.65.06"


def test_what_an_older_torch_does_not_say_of_a_gpu_is_none(gpu):
    del gpu.properties.L2_cache_size
    gpu.properties.name = "NVIDIA Graphics Device"
    machine = CudaBackend().machine()
    assert (machine.cache_bytes, machine.device) == (None, None)


def test_free_memory_of_a_gpu_is_the_cards_and_what_torch_holds_unused(gpu):
    gpu.free, gpu.reserved, gpu.allocated = 60 * 10**9, 3 * 10**9, 10**9
    assert CudaBackend().free_bytes() == 62 * 10**9


def scratch(gpu, backend):
    class Scratch:
        def zero_(self):
            gpu.launch(100.0, "flush")

    backend._scratch = Scratch()


def test_a_gpu_sample_is_what_lies_between_two_events_on_an_idle_device(gpu):
    backend = CudaBackend()
    scratch(gpu, backend)
    step = Step(lambda: gpu.launch(2.5), lambda: gpu.launch(40.0, "before"))
    sample = backend.sampler(step, flush=True)
    assert gpu.log == []
    assert sample() == pytest.approx(2.5e-3)  # milliseconds to seconds, neither 40 nor 100 ms in it
    assert gpu.log == ["before", "flush", "synchronize", "record", "kernel", "record", "wait for event"]
    assert sample() == pytest.approx(2.5e-3)


def test_a_gpu_sample_without_preparation(gpu):
    sample = CudaBackend().sampler(Step(lambda: gpu.launch(0.25)), flush=False)
    assert sample() == pytest.approx(0.25e-3)
    assert gpu.log == ["synchronize", "record", "kernel", "record", "wait for event"]


@pytest.mark.parametrize(("cache", "size"), [(50 * 2**20, 200 * 2**20), (None, 512 * 2**20)])
def test_flushing_a_gpu_writes_over_four_times_its_l2(cache, size, gpu, monkeypatch):
    taken = []

    class Scratch:
        def zero_(self):
            gpu.launch(0.1, "zero")

    def empty(size, *, dtype, device):
        taken.append((size, dtype, device.type))
        return Scratch()

    gpu.properties.L2_cache_size = cache
    monkeypatch.setattr(torch, "empty", empty)
    sample = CudaBackend().sampler(Step(lambda: gpu.launch(1.0)), flush=True)
    sample()
    sample()
    assert taken == [(size, torch.uint8, "cuda")]
    assert gpu.log.count("zero") == 2


def test_a_step_is_captured_after_warm_calls_on_a_side_stream(gpu):
    results = iter("abcdefgh")

    def call():
        gpu.launch(0.5)
        return next(results)

    captured = CudaBackend().capture(Step(call, lambda: gpu.launch(0.0, "before")))
    assert gpu.log == [
        "side waits for default",
        *["before on side", "kernel on side"] * WARM_CALLS,
        "default waits for side",
        "before",
        "capture",
        "kernel on side",
        "captured",
    ]
    assert captured.call() == "d"  # the capture's own result, after those of three warm calls
    assert gpu.log[-1] == "replay"


def test_a_captured_step_is_timed_by_its_replay_and_prepared_as_before(gpu):
    backend = CudaBackend()
    captured = backend.capture(Step(lambda: gpu.launch(0.5), lambda: gpu.launch(3.0, "before")))
    gpu.log.clear()
    assert backend.sampler(captured, flush=False)() == pytest.approx(0.5e-3)
    assert gpu.log == ["before", "synchronize", "record", "replay", "record", "wait for event"]


@pytest.mark.usefixtures("gpu")
def test_what_a_graph_writes_to_lives_as_long_as_its_step():
    class Output:
        pass

    captured = CudaBackend().capture(Step(Output))
    kept = weakref.ref(captured.call())
    assert kept() is not None
    del captured
    assert kept() is None


def test_an_error_while_capturing_is_raised(gpu):
    def call():
        if gpu.capturing:
            torch.cuda.synchronize()  # what a graph cannot hold

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        CudaBackend().capture(Step(call))
    assert gpu.capturing is None
    assert gpu.streams == ["default"]


def test_counters_are_read_while_the_device_works(gpu):
    step = Step(lambda: gpu.launch(2.0))
    sample = CudaBackend().sampler(step, flush=False, meanwhile=lambda: gpu.log.append("read"))
    assert sample() == pytest.approx(2e-3)
    assert gpu.log == ["synchronize", "record", "kernel", "record", "read", "wait for event"]


def test_the_host_is_timed_on_an_idle_device_without_waiting(gpu, monkeypatch):
    # Calls of 1, 2, 3, 4 and 100 ms: the median is 3 ms.
    ends = [(10 * i, 10 * i + taken) for i, taken in enumerate((1, 2, 3, 4, 100))]
    clock = iter([1e-3 * moment for pair in ends for moment in pair])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    host_s = CudaBackend().host_s(Step(gpu.launch, lambda: gpu.launch(0.0, "before")))
    assert host_s == pytest.approx(3e-3)
    assert gpu.log == [*["before", "synchronize", "kernel"] * 5, "synchronize"]


def test_a_cpu_is_host_and_device():
    assert CpuBackend().host_s(Step(lambda: None)) is None


def test_peak_and_release(gpu):
    backend = CudaBackend()
    gpu.peak = 123
    assert backend.peak_bytes() == 123
    backend.release()
    assert gpu.log == ["empty cache", "reset peak"]
    backend.synchronize()
    assert gpu.log[-1] == "synchronize"
    assert not backend.must_foresee
    assert backend.runtimes == ("eager", "graph")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),  # of a graph or a launch
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("out of range"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.usefixtures("gpu")
def test_memory_that_ran_out_on_a_gpu_is_known(error, memory):
    assert CudaBackend().ran_out(error) is memory


def test_a_capture_that_broke_because_memory_ran_out_is_known(gpu):
    def break_capture():
        try:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        finally:
            gpu.graph(None).nothing_of_the_kind  # noqa: B018  # as capture_end raises an error of its own

    with pytest.raises(AttributeError) as caught:
        break_capture()
    assert CudaBackend().ran_out(caught.value)


@pytest.mark.parametrize("uuid", [UUID, None])
def test_counters_are_those_of_the_very_card(uuid, gpu, monkeypatch):
    nvml = Double(ANSWERS)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpu.properties.uuid = uuid
    if uuid is None:
        del gpu.properties.uuid
    with CudaBackend().watch() as watch:
        assert watch._handle is nvml.handles[0 if uuid is None else 1]
    assert nvml.calls[-1] == "nvmlShutdown"


@pytest.mark.usefixtures("gpu")
def test_without_nvml_a_gpu_has_no_counters(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    backend = CudaBackend()
    with backend.watch() as watch:
        assert watch is None
    assert backend.machine().driver is None
