"""Reducers on a real NVIDIA GPU: captured in CUDA graphs, waited for as often as promised, as exact as on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from perfkit.reduction import REDUCERS, ReducedTokens, TokenReducer, reduce

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch sees; there is none here"),
]

MERGING = ("prumerge", "prumerge+")
DRAWING = "random"
SIDE, BATCH, HIDDEN, RATIO = 24, 4, 1024, 0.1
KEPT = 57  # floor(57.6)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Features, queries and keys, on the CPU."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(BATCH, SIDE**2 + one, HIDDEN) for one in (0, 1, 1)]
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


def on_gpu(seen: list[Tensor]) -> list[Tensor]:
    return [tensor.cuda() for tensor in seen]


def captured(reducer: TokenReducer, seen: list[Tensor]) -> tuple[torch.cuda.CUDAGraph, ReducedTokens]:
    """A graph of one run, and the tensors that its replays fill."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            reducer(*seen)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = reducer(*seen)
    return graph, made


@pytest.mark.parametrize("method", [name for name in REDUCERS if name != DRAWING])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_fixed_ratio_is_captured_once_and_replayed_on_other_pictures(method: str, dtype: torch.dtype) -> None:
    place = on_gpu(drawn(0, dtype))
    reducer = TokenReducer(method, RATIO, non_finite="skip")
    graph, made = captured(reducer, place)
    for seed in (1, 2):
        others = on_gpu(drawn(seed, dtype))
        others[0][1, 5, 5] = torch.nan  # a picture that is skipped, found without a look
        for kept, new in zip(place, others, strict=True):
            kept.copy_(new)
        graph.replay()
        expected = reducer(*others)
        assert made.skipped.tolist() == [False, True, False, False]
        assert torch.equal(made.kept, expected.kept)
        assert torch.equal(made.mask, expected.mask)
        torch.testing.assert_close(made.tokens, expected.tokens)


def test_a_captured_draw_is_another_at_every_replay() -> None:
    place = on_gpu(drawn(0))
    graph, made = captured(TokenReducer(DRAWING, RATIO, non_finite="skip"), place)
    draws = []
    for _ in range(3):
        graph.replay()
        draws.append(made.kept.clone())
        assert made.kept.sum(dim=1).tolist() == [KEPT] * BATCH
        for image, patches in enumerate(made.kept):
            assert torch.equal(made.tokens[image], place[0][image, patches])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])


def waits_of(run: Callable[[], object]) -> int:
    """How often the host waits for the device in a run that is not the first."""
    run()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def test_waits_are_seen() -> None:
    numbers = torch.arange(4.0, device="cuda")
    assert waits_of(lambda: numbers * 2) == 0
    assert waits_of(lambda: numbers.max().item()) == 1
    assert waits_of(lambda: numbers[numbers > 1]) >= 1


@pytest.mark.parametrize("method", REDUCERS)
def test_a_fixed_ratio_that_skips_never_waits(method: str) -> None:
    seen = on_gpu(drawn(0))
    assert waits_of(lambda: reduce(method, *seen, RATIO, non_finite="skip")) == 0


@pytest.mark.parametrize("method", REDUCERS)
def test_refusing_what_is_not_finite_waits_once(method: str) -> None:
    seen = on_gpu(drawn(0))
    assert waits_of(lambda: reduce(method, *seen, RATIO)) == 1


@pytest.mark.parametrize("method", MERGING)
@pytest.mark.parametrize("non_finite", ["raise", "skip"])
def test_an_adaptive_count_waits_once(method: str, non_finite: str) -> None:
    seen = on_gpu(drawn(0))
    assert waits_of(lambda: reduce(method, *seen, non_finite=non_finite)) == 1


@pytest.mark.parametrize(
    ("method", "ratio"),
    [*((name, None) for name in MERGING), *((name, RATIO) for name in REDUCERS if name != DRAWING)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tokens_are_those_of_a_cpu(method: str, ratio: float | None, dtype: torch.dtype) -> None:
    assert_as_on_a_cpu(method, drawn(3, dtype), ratio)


@pytest.mark.parametrize("method", MERGING)
@pytest.mark.parametrize("ratio", [None, RATIO])
def test_autocast_around_it_changes_nothing(method: str, ratio: float | None) -> None:
    seen = on_gpu(drawn(5))
    expected = reduce(method, *seen, ratio)
    with torch.autocast("cuda", torch.float16):
        found = reduce(method, *seen, ratio)
    assert torch.equal(found.kept, expected.kept)
    torch.testing.assert_close(found.tokens, expected.tokens)


@pytest.mark.parametrize("method", MERGING)
def test_equal_keys_go_by_their_place_as_on_a_cpu(method: str) -> None:
    features, queries, keys = drawn(4)
    few = keys[:, :12].repeat(1, 49, 1)[:, : SIDE**2 + 1]  # 12 different keys for all 577 positions
    for ratio in (None, RATIO):
        assert_as_on_a_cpu(method, [features, queries, few], ratio)


def assert_as_on_a_cpu(method: str, seen: list[Tensor], ratio: float | None) -> None:
    expected, found = reduce(method, *seen, ratio), reduce(method, *on_gpu(seen), ratio)
    assert torch.equal(found.kept.cpu(), expected.kept)
    assert torch.equal(found.mask.cpu(), expected.mask)
    torch.testing.assert_close(found.tokens.cpu(), expected.tokens)
