"""Device times from a table with the host in its times, and which tables a calibration is made of."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import pytest

from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.calibrations import read_bundled
from perfkit.kernels.tables import KernelGroup, read_kernels
from perfkit.units import Precision
from scripts import calibrations
from scripts.eager_times import BEFORE_S, without_host

HEADER = "source,op,precision,batch,m,n,k,measured_s"
ROWS = (
    "neusight,gemm,fp32,1,3,12479,1554,2.54e-4",
    "neusight,bmm,fp32,8,512,64,256,1.36e-4",
    "neusight,softmax,fp32,,4096,2048,,1.22e-4",
    "neusight,gelu,fp32,,16,4,,3.8e-05",  # nothing but the host
    "neusight,add,fp32,,4096,512,,7.4e-05",  # 59 us of the device
)


def table_of(folder: Path, *rows: str, name: str = "kernels.csv.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress("\n".join([HEADER, *rows, ""]).encode()))
    return path


@pytest.fixture
def groups(tmp_path: Path) -> dict[str, KernelGroup]:
    (tmp_path / "bare").mkdir()
    path = without_host(table_of(tmp_path, *ROWS), tmp_path / "bare")
    assert path == tmp_path / "bare" / "kernels.csv.gz"
    return {group.op: group for group in read_kernels(path).groups}


def test_a_product_sums_over_what_the_table_calls_n(groups: dict[str, KernelGroup]) -> None:
    assert groups["gemm"].shape == KernelShape("gemm", m=3, n=1554, k=12479)
    assert groups["bmm"].shape == KernelShape("bmm", batch=8, m=512, n=256, k=64)
    assert groups["softmax"].shape == KernelShape("softmax", m=4096, n=2048)
    assert {group.precision for group in groups.values()} == {Precision.FP32}


def test_kernels_that_do_not_hide_the_host_are_left_out(groups: dict[str, KernelGroup]) -> None:
    assert set(groups) == {"gemm", "bmm", "softmax"}


def test_the_time_before_a_kernel_is_taken_off(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    table = read_kernels(without_host(table_of(tmp_path, *ROWS), tmp_path / "bare"))
    # 254 - 54, 136 - 36, 122 - 22 us
    assert table.measured_s == pytest.approx([200e-6, 100e-6, 100e-6])
    assert BEFORE_S["gemm"] == 54e-6


# --- which calibrations are made


def test_each_device_has_one_and_each_family_of_all_its_devices() -> None:
    asked = list(calibrations.asked())
    devices = [gpus for gpus, kind in asked if kind == "device"]
    assert sorted(devices) == sorted([gpu] for gpu in calibrations.DEVICES)
    families = [gpus for gpus, kind in asked if kind == "family"]
    assert ["v100-pcie-32gb", "v100-sxm2-32gb"] in families
    assert ["h200-sxm-141gb", "h100-sxm-80gb"] in families
    assert len(families) == len(devices) - 2
    assert [gpus for gpus, kind in asked if kind == calibrations.CAUTIOUS] == [list(calibrations.ALL)]
    assert asked[-1][1] == calibrations.CAUTIOUS


def test_the_digest_is_of_the_table_as_it_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Additions that move 3 * 4 m n bytes at 800 GB/s, 2 us of start, and the host before them.
    sizes = [(512 * height, 1024) for height in range(16, 40)]
    rows = [f"made,add,fp32,,{m},{n},,{2e-6 + 12 * m * n / 800e9 + BEFORE_S['add']}" for m, n in sizes]
    table = table_of(tmp_path, *rows, name="made.csv.gz")
    for tables in (calibrations.EAGER, calibrations.ALL):
        monkeypatch.setitem(tables, "v100-pcie-32gb", "made.csv.gz")
    made = calibrations.made(tmp_path, ["v100-pcie-32gb"], "device")
    assert [(each.table, each.rows, each.device) for each in made.fitted_on] == [("made.csv.gz", 24, "v100-pcie-32gb")]
    assert made.fitted_on[0].sha256 == sha256(table.read_bytes()).hexdigest()[:16]
    assert made.command.startswith("perfkit calibrate made.csv.gz --gpu v100-pcie-32gb --as device, after scripts/")
    assert made.errors[0].mape < 0.05


def test_a_family_of_one_measured_device_takes_its_fit() -> None:
    own = read_bundled("l40s")
    family = calibrations.widened(own, "l40s")
    assert (family.id, family.title, family.device, family.family) == ("ada", "Ada family", None, "ada")
    assert family.command.endswith("--gpu l40s --as family")
    assert (family.products, family.forms, family.errors) == (own.products, own.forms, own.errors)
