"""How reducers run: no loop over tokens, no look of the host at the device but the one promised, bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from drawing import Tensors, drawn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.reducers import Seen, lean_loop, peak_bytes, published_loop, vectorised
from perfkit.errors import InvalidValue
from perfkit.reduction import REDUCERS, TokenReducer, reduce

MERGING = ("prumerge", "prumerge+")
# Ops whose result the host reads, or whose shape the device decides.
DATA_DEPENDENT = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique", "is_nonzero", "bincount")
# Ways of a tensor to the host that go past the dispatcher, where the tensor lies on the CPU.
TO_HOST = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__index__", "__float__", "__array__")
PATCHES = 576


class Ops(TorchDispatchMode):
    """Names of all ops that run, views of parts left out: a part that is the whole goes by another name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in ("alias", "slice"):
            self.names.append("nonzero" if name == "index" and _by_mask(args[1]) else name)
        return func(*args, **(kwargs or {}))


def _by_mask(indices: list[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def ops_of(run: Callable[[], object]) -> list[str]:
    with Ops() as ops:
        run()
    return ops.names


@contextmanager
def counted_looks() -> Iterator[list[str]]:
    """Looks of the host, by the names of the methods that take them."""
    looks: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        own = getattr(torch.Tensor, name)

        def look(*args: Any, **kwargs: Any) -> Any:
            looks.append(name)
            return own(*args, **kwargs)

        return look

    with pytest.MonkeyPatch.context() as patch:
        for name in TO_HOST:
            patch.setattr(torch.Tensor, name, counting(name))
        yield looks


def looks_of(run: Callable[[], object]) -> list[str]:
    with counted_looks() as looks:
        names = ops_of(run)
    # One look may show in both: at the tensor's method, and at the op beneath.
    return looks or [name for name in names if name.startswith(DATA_DEPENDENT)]


def test_looks_are_seen() -> None:
    numbers = torch.arange(4.0)
    assert looks_of(lambda: numbers.max().item()) == ["item"]
    assert looks_of(lambda: numbers.tolist()) == ["tolist"]
    assert looks_of(lambda: 1 if numbers[0] > 1 else 2) == ["__bool__"]
    assert looks_of(lambda: range(numbers.long()[3])) == ["__index__"]
    assert looks_of(lambda: numbers[numbers > 1]) == ["nonzero"]
    assert looks_of(lambda: numbers.unique()) == ["_unique2"]
    assert looks_of(lambda: numbers.sort(stable=True)) == []


# --- looks of the host


@pytest.mark.parametrize("method", REDUCERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_ratio_that_skips_takes_no_look(method: str, batch: int) -> None:
    seen = drawn(24, batch)
    assert looks_of(lambda: reduce(method, *seen, 0.1, non_finite="skip")) == []


@pytest.mark.parametrize("method", REDUCERS)
def test_a_fixed_ratio_that_skips_needs_no_numbers_at_all(method: str) -> None:
    # On the meta device there are shapes alone: whatever reads a number stops with an error.
    seen = [tensor.to("meta") for tensor in drawn(24, 3, hidden=32)]
    found = TokenReducer(method, 0.1, non_finite="skip")(*seen)
    most = {"prumerge": 57 + 1, "prumerge+": 57 + 58 + 1}.get(method, 57)  # floor(57.6); every 10th from 5 on: 58
    assert [tuple(tensor.shape) for tensor in found] == [(3, most, 32), (3, most), (3, PATCHES)]
    message = "tensors on the meta device have no numbers: give a fixed count and non_finite='skip'"
    with pytest.raises(InvalidValue) as refused:
        reduce(method, *seen, 0.1)  # "raise" has to look
    assert str(refused.value) == message
    if method in MERGING:
        for strict in (False, True):
            with pytest.raises(InvalidValue) as refused:
                reduce(method, *seen, strict_reference=strict, non_finite="skip")  # the counts have to be looked at
            assert str(refused.value) == message


@pytest.mark.parametrize("method", MERGING)
@pytest.mark.parametrize("non_finite", ["raise", "skip"])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_adaptive_count_takes_one_look(method: str, non_finite: str, batch: int) -> None:
    seen = drawn(24, batch)
    assert looks_of(lambda: reduce(method, *seen, non_finite=non_finite)) == ["tolist"]


@pytest.mark.parametrize("method", REDUCERS)
def test_refusing_what_is_not_finite_takes_one_look(method: str) -> None:
    seen = drawn(24, 3)
    assert looks_of(lambda: reduce(method, *seen, 0.1)) == ["tolist"]


# --- no loop over tokens


def ops_at(method: str, batch: int, ratio: float, device: str) -> list[str]:
    seen = [tensor.to(device) for tensor in drawn(24, batch)]
    return ops_of(lambda: reduce(method, *seen, ratio, non_finite="skip"))


@pytest.mark.parametrize("method", REDUCERS)
def test_ops_are_as_many_whatever_is_kept_and_however_many_images(method: str) -> None:
    # The meta device stands for all but the CPU.
    expected = ops_at(method, 1, 0.1, "meta")
    assert expected
    for batch, ratio in ((1, 0.9), (1, 1 / PATCHES), (5, 0.1), (5, 0.9)):
        assert ops_at(method, batch, ratio, "meta") == expected


@pytest.mark.parametrize("method", REDUCERS)
def test_ops_on_a_cpu_repeat_themselves_image_by_image_whatever_is_kept(method: str) -> None:
    single, several, more = (ops_at(method, batch, 0.1, "cpu") for batch in (1, 3, 5))
    for ratio in (1 / PATCHES, 0.9):
        assert ops_at(method, 1, ratio, "cpu") == single
        assert ops_at(method, 5, ratio, "cpu") == more
    assert len(several) <= 3 * len(single)
    # Two images more: the same ops twice more
    assert not (Counter(several) - Counter(more))
    assert all(count % 2 == 0 for count in (Counter(more) - Counter(several)).values())
    assert method in MERGING or single == more


@pytest.mark.parametrize("method", MERGING)
def test_ops_do_not_follow_how_many_an_image_calls_for(method: str) -> None:
    def ops(batch: int, sharpness: float) -> tuple[int, list[str]]:
        seen = drawn(24, batch, sharpness=sharpness)
        return int(reduce(method, *seen).counts.max()), ops_of(lambda: reduce(method, *seen))

    for batch in (1, 5):
        flat, peaked = ops(batch, 0.5), ops(batch, 4)
        assert flat[0] < peaked[0]
        assert flat[1] == peaked[1]


# --- memory


def allocations(run: Callable[[], object]) -> list[int]:
    """Bytes of each piece of memory that torch takes, those inside an op included."""
    run()
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        run()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    return [event.nbytes() for event in events if event.name() == "[memory]" and event.nbytes() > 0]


def largest(method: str, kept: int, batch: int, hidden: int) -> int:
    seen: Tensors = drawn(24, batch, hidden)
    return max(allocations(lambda: reduce(method, *seen, kept / PATCHES, non_finite="skip")))


def test_allocations_are_seen() -> None:
    assert allocations(lambda: torch.ones(1000, dtype=torch.float64)) == [8000]
    pool, near = torch.ones(PATCHES, 64), torch.zeros(10, 32, dtype=torch.int64)
    assert max(allocations(lambda: pool[near].sum(dim=1))) == 10 * 32 * 64 * 4  # neighbours side by side


@pytest.mark.parametrize("method", MERGING)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kept", [40, 144, 288])
def test_nothing_larger_than_the_keys_in_float64_is_made_at_clip_s_width(method: str, batch: int, kept: int) -> None:
    # Beside them there are at most cosines of all kept patches with all 576, narrower than 1024 in float64 too:
    # nothing of kept x 32 x 1024, which is 1.2 times as large for 40 kept in float32, let alone of kept x 576 x 1024.
    assert largest(method, kept, batch, 1024) <= 8 * batch * (1 + PATCHES) * 1024


@pytest.mark.parametrize("method", MERGING)
def test_the_largest_tensor_grows_as_the_kept_patches_where_vectors_are_short(method: str) -> None:
    # 16 numbers a patch. PruMerge keeps what is asked, PruMerge+ at most a grid of as many besides: every 16th, 8th and
    # 4th of 576 are 36, 72 and 144. Each in float64 beside 576 cosines.
    found = [largest(method, kept, 2, 16) for kept in (36, 72, 144)]
    for kept, size in zip((36, 72, 144), found, strict=True):
        assert size <= 8 * 2 * kept * PATCHES * (1 if method == "prumerge" else 2)
    assert found[1] / found[0] == pytest.approx(2, rel=0.02)
    assert found[2] / found[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("hidden", [16, 1024])
@pytest.mark.parametrize("kept", [40, 320])
def test_peak_memory_grows_with_kept_times_patches_alone(kept: int, hidden: int) -> None:
    seen = Seen(*drawn(24, 1, hidden))
    run = partial(vectorised, seen, kept)
    run()
    # Of a kept patch and a patch: cosine in float64 8, in float32 4, its bits 4, its rank in int64 8.
    pairs = (8 + 4 + 4 + 8) * kept * PATCHES
    # Keys of the image in float64, tokens in float32; scores, places, counts and masks: at most 8 x 8 bytes a patch.
    rows = 8 * (1 + PATCHES) * hidden + 4 * kept * hidden + 8 * 8 * (1 + PATCHES)
    assert pairs < peak_bytes(run, torch.device("cpu")) <= pairs + rows


# --- the benchmark's references


@pytest.mark.parametrize("kept", [1, 5, 40])
@pytest.mark.parametrize("loop", [published_loop, lean_loop])
def test_the_loops_that_time_is_compared_with_give_the_same_tokens(
    loop: Callable[[Seen, int], torch.Tensor], kept: int
) -> None:
    seen = Seen(*drawn(8, 2, 16))  # 64 patches, more than the loops' 32 neighbours
    torch.testing.assert_close(loop(seen, kept), vectorised(seen, kept), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(loop(seen, kept), vectorised(seen, kept + 1)[:, : kept + 1], rtol=1e-4, atol=1e-4)
