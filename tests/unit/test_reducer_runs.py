"""How reducers run: no loop over tokens, no look of the host at the device but the one promised, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from drawing import Tensors, drawn
from torch.utils._python_dispatch import TorchDispatchMode

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
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        reduce(method, *seen, 0.1)  # "raise" has to look


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


@pytest.mark.parametrize("method", REDUCERS)
def test_ops_are_as_many_whatever_is_kept_and_however_many_images(method: str) -> None:
    def ops(batch: int, ratio: float) -> list[str]:
        seen = drawn(24, batch)
        return ops_of(lambda: reduce(method, *seen, ratio, non_finite="skip"))

    expected = ops(1, 0.1)
    assert expected
    for batch, ratio in ((1, 0.9), (1, 1 / PATCHES), (5, 0.1), (5, 0.9)):
        assert ops(batch, ratio) == expected


@pytest.mark.parametrize("method", MERGING)
def test_ops_do_not_follow_how_many_an_image_calls_for(method: str) -> None:
    def ops(batch: int, sharpness: float) -> tuple[int, list[str]]:
        seen = drawn(24, batch, sharpness=sharpness)
        return int(reduce(method, *seen).counts.max()), ops_of(lambda: reduce(method, *seen))

    flat, peaked, several = ops(1, 0.5), ops(1, 4), ops(5, 4)
    assert flat[0] < peaked[0]
    assert flat[1] == peaked[1] == several[1]


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
