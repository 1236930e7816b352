"""This machine's GPUs, read through a double of NVML's Python module that records what it was asked."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from perfkit.cli import main
from perfkit.errors import MachineError
from perfkit.measuring.nvml import detect_gpus, device_of_name

V100 = {
    "nvmlDeviceGetName": "Tesla V100-SXM2-32GB",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=34_359_738_368),  # 32 GiB
    "nvmlDeviceGetMaxClockInfo": {1: 1530, 2: 877},  # MHz
    "nvmlDeviceGetEnforcedPowerLimit": 300_000,  # mW
    "nvmlDeviceGetMaxPcieLinkGeneration": 3,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
}
ODD = {**V100, "nvmlDeviceGetName": "NVIDIA Graphics Device", "nvmlDeviceGetMaxPcieLinkWidth": None}


class Double(ModuleType):
    """NVML with some GPUs; a function that has None for an answer raises, as NVML does for "not supported"."""

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    class NVMLError(Exception):
        pass

    def __init__(self, gpus, broken=()):
        super().__init__("pynvml")
        self.gpus = gpus
        self.broken = broken
        self.calls = []

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def function(*arguments):
            self.calls.append(name)
            if name in self.broken:
                raise self.NVMLError(f"{name} said no")
            general = {
                "nvmlInit": None,
                "nvmlShutdown": None,
                "nvmlSystemGetDriverVersion": "550.54.15",
                "nvmlDeviceGetCount": len(self.gpus),
            }
            if name in general:
                return general[name]
            if name == "nvmlDeviceGetHandleByIndex":
                return self.gpus[arguments[0]]
            answer = arguments[0][name]
            if answer is None:
                raise self.NVMLError("Not Supported")
            return answer[arguments[1]] if isinstance(answer, dict) else answer

        return function


@pytest.fixture
def nvml(monkeypatch):
    def install(gpus, broken=()):
        double = Double(gpus, broken)
        monkeypatch.setitem(sys.modules, "pynvml", double)
        return double

    return install


def test_figures_are_turned_into_si(nvml):
    nvml([V100])
    (gpu,) = detect_gpus()
    assert (gpu.index, gpu.name, gpu.device) == (0, "Tesla V100-SXM2-32GB", "v100-sxm2-32gb")
    assert gpu.memory_bytes == 32 * 2**30
    assert (gpu.sm_clock_hz, gpu.memory_clock_hz) == (1_530_000_000, 877_000_000)
    assert gpu.power_limit_w == pytest.approx(300)
    assert (gpu.pcie_generation, gpu.pcie_width) == (3, 16)
    assert gpu.driver == "550.54.15"


def test_every_gpu_is_read_in_order(nvml):
    nvml([ODD, V100])
    assert [(gpu.index, gpu.device) for gpu in detect_gpus()] == [(0, None), (1, "v100-sxm2-32gb")]


def test_a_figure_that_the_card_does_not_report_is_none_and_the_rest_stays(nvml):
    nvml([ODD])
    (gpu,) = detect_gpus()
    assert gpu.pcie_width is None
    assert gpu.pcie_generation == 3


def test_one_function_that_fails_for_all_cards_is_none_for_all(nvml):
    nvml([V100, ODD], broken=("nvmlDeviceGetEnforcedPowerLimit",))
    assert [gpu.power_limit_w for gpu in detect_gpus()] == [None, None]


def test_nvml_is_shut_down_after_use(nvml):
    double = nvml([V100])
    detect_gpus()
    assert double.calls[0] == "nvmlInit"
    assert double.calls[-1] == "nvmlShutdown"
    assert double.calls.count("nvmlShutdown") == 1


def test_nvml_is_shut_down_after_a_failure_too(nvml):
    double = nvml([V100], broken=("nvmlDeviceGetHandleByIndex",))
    with pytest.raises(MachineError, match="NVML failed: nvmlDeviceGetHandleByIndex said no"):
        detect_gpus()
    assert double.calls[-1] == "nvmlShutdown"


def test_no_driver_is_one_clear_line(nvml):
    double = nvml([], broken=("nvmlInit",))
    with pytest.raises(MachineError) as caught:
        detect_gpus()
    message = str(caught.value)
    assert "no NVIDIA GPU can be read on this machine: nvmlInit said no" in message
    assert "driver" in message
    assert len(message.splitlines()) == 1
    assert "nvmlShutdown" not in double.calls  # what never began is not ended


def test_a_driver_without_a_gpu_says_so(nvml):
    nvml([])
    with pytest.raises(MachineError, match="finds no GPU"):
        detect_gpus()


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # import then fails
    with pytest.raises(MachineError, match="pip install nvidia-ml-py"):
        detect_gpus()


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("Tesla V100-SXM2-32GB", "v100-sxm2-32gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80gb"),
        ("Tesla V100", None),  # which of five it is nobody can say
        ("", None),
    ],
)
def test_product_names_belong_to_devices(name, device):
    assert device_of_name(name) == device


# --- the command


def run(*arguments):
    return CliRunner().invoke(main, ["gpus", "--detect", *arguments])


def test_the_command_shows_a_row_a_gpu(nvml):
    nvml([V100, ODD])
    result = run()
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = [line for line in result.stdout.splitlines() if "V100" in line or "Graphics Device" in line]
    assert len(rows) == 2
    assert "v100-sxm2-32gb" in rows[0]
    assert "34.4 GB" in rows[0]  # 34.36e9 bytes, decimal
    assert " - " in rows[1]


def test_the_command_gives_json_in_si(nvml):
    nvml([V100, ODD])
    result = run("--format", "json")
    assert result.exit_code == 0
    first, second = json.loads(result.stdout)
    assert first == {
        "index": 0,
        "name": "Tesla V100-SXM2-32GB",
        "device": "v100-sxm2-32gb",
        "memory_bytes": 34_359_738_368,
        "sm_clock_hz": 1_530_000_000,
        "memory_clock_hz": 877_000_000,
        "power_limit_w": pytest.approx(300),
        "pcie_generation": 3,
        "pcie_width": 16,
        "driver": "550.54.15",
    }
    assert (second["device"], second["pcie_width"]) == (None, None)


def test_one_gpu_is_a_list_of_one(nvml):
    nvml([V100])
    assert len(json.loads(run("--format", "json").stdout)) == 1


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "html"])
def test_the_other_formats_carry_si_numbers(form, nvml):
    nvml([V100])
    result = run("--format", form)
    assert result.exit_code == 0
    assert "34359738368" in result.stdout
    assert "1530000000" in result.stdout


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName"])
def test_the_command_fails_in_one_line(broken, nvml, tmp_path):
    nvml([V100], broken=(broken,))
    target = tmp_path / "gpus.json"
    result = run("--output", str(target))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert f"{broken} said no" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_beside_detect_is_refused(nvml):
    nvml([V100])
    result = CliRunner().invoke(main, ["gpus", "v100", "--detect"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --detect takes no name")
