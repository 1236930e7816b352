"""From the roofline to what was measured: kernels looked up and interpolated, launch gaps, and what is left.

The projector over 576 tokens on the device of test_validation: products of 48.318 and 193.274 us, GELU of 9.437 us.
"""

import pytest

from perfkit.kernel_shapes import KernelShape, bmm, gemm, over_rows
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.measurement import Machine, Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.ops import OpCost, Place, activation, linear
from perfkit.units import Precision
from perfkit.validation.judging import validate
from perfkit.validation.kernel_times import collect_kernels, interpolate
from perfkit.validation.waterfall import BASES, launch_gaps_s

US = 1e-6
CASE = PhaseCase("llava-1.5-7b", "projector", 576, 0, 1, "fp16")
FIRST, GELU, SECOND = gemm(576, 4096, 1024), over_rows("gelu", 576, 4096), gemm(576, 4096, 4096)
ROOFLINE_US = 48.31838208 + 9.437184 + 193.27352832

YAML = """\
name: A card of round figures
memory:
  capacity: {value: 80, unit: GB}
  bandwidth: {value: 1, unit: TB/s}
peaks:
  - {engine: tensor, precision: fp16, accumulate: fp32, dense: true, value: 100, unit: TFLOP/s}
  - {engine: vector, precision: fp32, accumulate: fp32, dense: true, value: 10, unit: TFLOP/s}
"""


@pytest.fixture
def gpu(tmp_path):
    path = tmp_path / "round.yaml"
    path.write_text(YAML)
    return str(path)


def timing(seconds):
    return Timing((seconds,) * 7, 3, stable=True)


def kernel(shape, us, precision="fp16", *, flushed=False):
    return Point(KernelCase(shape, precision, flushed), "ok", timing(us * US))


def launch(us):
    return kernel(KernelShape("launch"), us)


def waterfall(gpu, measured_us, *kernels, launches=None, case=CASE, kind="cuda"):
    machine = Machine(kind, "A card", "a clock", 80 * 10**9, 100, "Linux", {})
    point = Point(case, "ok", timing(measured_us * US), launches=launches)
    (fall,) = validate([Measurement(machine, (), (point, *kernels), "mine.json")], gpu).waterfalls
    return fall


def shares(fall):
    """Those that are not zero, of the whole of the kernels."""
    return {basis: share for basis, share in fall.shares.items() if share}


# --- parts


def test_without_kernels_all_beyond_the_roofline_is_unexplained(gpu):
    fall = waterfall(gpu, 400, launches=3)
    assert fall.parts_s == pytest.approx((ROOFLINE_US * US, 0, 0, (400 - ROOFLINE_US) * US))
    assert fall.launch_s is None  # the cost of a launch is not known
    assert shares(fall) == {"roofline": 1}
    assert fall.unmeasured == ("linear_1", "act", "linear_2")


def test_measured_kernels_launch_gaps_and_the_rest_make_up_the_measured_time(gpu):
    # Kernels 60 + 10 + 200 = 270 us; 6 launches of 50 us are 300, so the device waits 30; of 320 us 20 are left.
    fall = waterfall(gpu, 320, kernel(FIRST, 60), kernel(GELU, 10), kernel(SECOND, 200), launch(50), launches=6)
    roofline, slower, gaps, unexplained = fall.parts_s
    assert roofline == pytest.approx(ROOFLINE_US * US)
    assert slower == pytest.approx((270 - ROOFLINE_US) * US)
    assert gaps == pytest.approx(30 * US)
    assert unexplained == pytest.approx(20 * US)
    assert sum(fall.parts_s) == pytest.approx(fall.measured_s, rel=1e-12)
    assert shares(fall) == {"kernels measured": pytest.approx(1)}
    assert fall.unmeasured == ()


def test_parts_that_explain_too_much_leave_a_negative_rest(gpu):
    fall = waterfall(gpu, 250, kernel(FIRST, 60), kernel(GELU, 10), kernel(SECOND, 200))
    assert fall.unexplained_s == pytest.approx(-20 * US)
    assert sum(fall.parts_s) == pytest.approx(fall.measured_s, rel=1e-12)


def test_a_kernel_below_its_roofline_is_not_raised_to_it(gpu):
    fall = waterfall(gpu, 400, kernel(FIRST, 40), kernel(GELU, 9), kernel(SECOND, 190))
    assert fall.kernels_s == pytest.approx(239 * US)
    assert fall.slower_kernels_s < 0


def test_an_op_without_a_kernel_is_taken_at_its_roofline_and_named(gpu):
    fall = waterfall(gpu, 400, kernel(FIRST, 60), kernel(SECOND, 200))
    assert fall.kernels_s == pytest.approx(269.437184 * US)  # 60 + 9.437184 + 200
    assert shares(fall) == pytest.approx({"kernels measured": 260 / 269.437184, "roofline": 9.437184 / 269.437184})
    assert fall.unmeasured == ("act",)


def test_an_op_without_a_kernel_is_taken_at_its_expected_time_where_there_is_one(tmp_path):
    path = tmp_path / "this.yaml"
    rate = "  gemv_bandwidth:\n  - {precision: fp16, value: 500, unit: GB/s}\n"
    path.write_text(YAML.replace("peaks:", f"{rate}peaks:"))
    fall = waterfall(str(path), 400, kernel(FIRST, 60), kernel(SECOND, 200))
    assert shares(fall) == pytest.approx({"kernels measured": 260 / 269.437184, "expected": 9.437184 / 269.437184})


def test_shares_always_make_a_whole(gpu):
    known = [kernel(gemm(288, 4096, 1024), 40), kernel(gemm(1152, 4096, 1024), 160), kernel(SECOND, 200)]
    fall = waterfall(gpu, 400, *known)
    assert sum(fall.shares.values()) == pytest.approx(1)
    assert tuple(fall.shares) == BASES


def test_launches_of_an_op_count_each(gpu):
    # 32 layers ask for the norm twice each, and once more before the head: 65 launches of 4096.
    norms = [kernel(over_rows("rmsnorm", rows, 4096), 1000) for rows in (92,)]
    case = PhaseCase("llava-1.5-7b", "prefill", 32, 60, 1, "fp16", "sdpa")
    fall = waterfall(gpu, 1e6, *norms, case=case)
    assert fall.shares["kernels measured"] * fall.kernels_s == pytest.approx(65 * 1e-3)


# --- looking kernels up


def op(kernel_shape, engine=Precision.FP16):
    return OpCost("prefill", "op", "linear", 1, engine, kernel=kernel_shape)


def found_us(shape, *points):
    found = collect_kernels(points).find(op(shape))
    return None if found is None else pytest.approx(found.seconds / US)


def test_interpolation_is_straight_in_logarithms():
    # m doubles from 288 to 576 and again to 1152: half way between 40 and 160 in logarithms is 80.
    ends = [kernel(gemm(288, 4096, 1024), 40), kernel(gemm(1152, 4096, 1024), 160)]
    assert found_us(FIRST, *ends) == 80
    assert not collect_kernels(ends).find(op(FIRST)).exact


def test_nearest_neighbours_are_taken_and_an_exact_shape_before_them():
    line = [kernel(gemm(m, 4096, 1024), us) for m, us in ((64, 1), (288, 40), (1152, 160), (4096, 9999))]
    assert found_us(FIRST, *line) == 80
    assert found_us(FIRST, *line, kernel(FIRST, 77)) == 77


@pytest.mark.parametrize("m", [100, 2000])
def test_nothing_is_extrapolated(m):
    assert found_us(gemm(m, 4096, 1024), kernel(gemm(288, 4096, 1024), 40), kernel(FIRST, 60)) is None


@pytest.mark.parametrize(
    "other",
    [
        kernel(gemm(576, 4096, 1025), 1),
        kernel(gemm(576, 4097, 1024), 1),
        kernel(FIRST, 1, precision="bf16"),
        kernel(over_rows("gelu", 576, 4096), 1),
    ],
)
def test_all_else_must_be_equal(other):
    assert found_us(FIRST, other) is None


def attention(kind, q, kv, batch=1):
    return KernelShape(f"attention_{kind}", None, None, None, batch, q, kv, 32, 32, 128, int(kind == "prefill"))


def test_attention_is_interpolated_over_its_tokens():
    prefill = [kernel(attention("prefill", n, n), us) for n, us in ((100, 1), (400, 16))]
    assert found_us(attention("prefill", 200, 200), *prefill) == 4
    decode = [kernel(attention("decode", 1, n), us) for n, us in ((100, 1), (400, 4))]
    assert found_us(attention("decode", 1, 200), *decode) == 2
    assert found_us(attention("decode", 1, 200, batch=8), *decode) is None
    assert found_us(attention("encoder", 200, 200), *prefill) is None


def test_a_batched_product_is_found_by_its_very_shape_only():
    known = [kernel(bmm(32, 1, n, 128), n) for n in (100, 400)]
    assert found_us(bmm(32, 1, 100, 128), *known) == 100
    assert found_us(bmm(32, 1, 200, 128), *known) is None


def test_an_op_that_no_table_holds_is_not_found():
    assert collect_kernels([kernel(FIRST, 60)]).find(op(None)) is None


@pytest.mark.parametrize("order", [1, -1])
def test_a_kernel_in_turn_over_copies_stands_before_one_after_an_emptied_cache(order):
    both = [kernel(FIRST, 60), kernel(FIRST, 90, flushed=True)]
    assert found_us(FIRST, *both[::order]) == 60
    assert found_us(FIRST, both[1]) == 90


def test_what_ran_out_of_memory_is_no_kernel():
    assert found_us(FIRST, Point(KernelCase(FIRST, "fp16"), "out of memory")) is None


def test_the_cost_of_a_launch_is_the_median_of_its_rows():
    assert collect_kernels([launch(5), launch(6), launch(9)]).launch_s == pytest.approx(6 * US)
    assert collect_kernels([kernel(FIRST, 60)]).launch_s is None


def test_interpolation_needs_a_neighbour_on_either_side():
    assert interpolate({}, 5.0) is None
    assert interpolate({4.0: 1.0}, 5.0) is None
    assert interpolate({4.0: 1.0, 6.0: 1.0}, 5.0) == pytest.approx(1.0)


# --- launch gaps


@pytest.mark.parametrize(
    ("kind", "runtime", "launches", "cost", "expected"),
    [
        ("cuda", "eager", 1000, 5e-6, 0.002),  # the host takes 5 ms, the kernels 3
        ("cuda", "eager", 500, 5e-6, 0.0),  # 2.5 ms hide behind the kernels
        ("cuda", "graph", 1, 5e-6, 0.0),
        ("cuda", "graph", None, None, 0.0),
        ("cpu", "eager", 500, 5e-6, 0.0025),  # the same threads do both
        ("cuda", "eager", None, 5e-6, None),
        ("cuda", "eager", 1000, None, None),
        ("cpu", "eager", None, None, None),
    ],
)
def test_launch_gaps(kind, runtime, launches, cost, expected):
    case = PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa", runtime)
    found = launch_gaps_s(kind, Point(case, "ok", launches=launches), 0.003, cost)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("runtime", "host_s", "expected"), [("eager", 0.012, 0.009), ("graph", 1e-5, 0.0)])
def test_the_measured_time_of_the_host_tells_the_gaps(runtime, host_s, expected):
    # 12 ms of the host, 3 of kernels; 1000 bare launches of 5 us would explain 2 of the 9 ms alone.
    case = PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa", runtime)
    point = Point(case, "ok", launches=1000, host_s=host_s)
    assert launch_gaps_s("cuda", point, 0.003, 5e-6) == pytest.approx(expected)


def test_kernels_without_products_of_a_tf32_run_are_those_of_fp32():
    place = Place("projector", 1, *[Precision.TF32] * 4)
    kernels = collect_kernels([Point(KernelCase(GELU, "fp32"), "ok", Timing((1e-5,), 0, stable=True))])
    found = kernels.find(activation(place, "act", 576, 4096, "gelu"))
    assert found is not None
    assert (found.seconds, found.exact) == (1e-5, True)
    assert kernels.find(linear(place, "linear_1", 576, 1024, 4096)) is None


def test_on_a_cpu_measured_kernels_hold_their_own_launches(gpu):
    # 10 launches of 50 us, 2 of them within the two products that were timed: 8 * 50.
    fall = waterfall(gpu, 1000, kernel(FIRST, 60), kernel(SECOND, 200), launch(50), launches=10, kind="cpu")
    assert fall.launch_s == pytest.approx(400 * US)
    assert launch_gaps_s("cpu", Point(CASE, "ok", launches=3), 0.0, 50e-6, inside=5) == 0


def test_a_graph_has_no_gaps_though_launches_are_unknown(gpu):
    case = PhaseCase("llava-1.5-7b", "decode", 32, 60, 1, "fp16", "sdpa", "graph")
    assert waterfall(gpu, 1e5, case=case).launch_s == 0
