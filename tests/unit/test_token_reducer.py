"""A reducer as a module of torch: results and settings of the function, copies, files; methods as values and names."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawing import drawn
from torch import nn

from perfkit.errors import InvalidValue, UnknownName
from perfkit.reduction import METHODS, REDUCERS, TokenReducer, parse_reduction, reduce
from perfkit.reduction.prumerge import PruMerge
from perfkit.reduction.random import Random
from perfkit.reduction.sequential import Sequential
from perfkit.reduction.spatial import Spatial


@pytest.mark.parametrize("name", REDUCERS)
def test_a_module_does_what_the_function_does(name: str) -> None:
    seen = drawn()
    torch.manual_seed(0)
    expected = reduce(name, *seen, 0.5, neighbours=3)
    torch.manual_seed(0)
    found = TokenReducer(name, 0.5, 3, grid=4)(*seen)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_module_keeps_its_settings() -> None:
    seen = drawn(6)
    strict = TokenReducer("prumerge", 0.5, strict_reference=True)(*seen)
    assert torch.equal(strict.tokens, reduce("prumerge", *seen, 0.5, strict_reference=True).tokens)
    assert not torch.equal(strict.tokens, reduce("prumerge", *seen, 0.5).tokens)  # sums of the format's own
    seen[0][1] = torch.inf
    assert TokenReducer("prumerge", non_finite="skip")(*seen).skipped.tolist() == [False, True]
    with pytest.raises(InvalidValue, match="a grid of 4x4 has 16 patches; the features have 36"):
        TokenReducer("prumerge", grid=4)(*seen)


def test_a_module_has_nothing_to_learn_or_to_save() -> None:
    reducer = TokenReducer("prumerge+", 0.25)
    assert dict(reducer.state_dict()) == {}
    assert list(reducer.parameters()) == []
    reducer.load_state_dict({})
    settings = "ratio=0.25, strict_reference=False, non_finite=raise, grid=None"
    assert repr(reducer) == f"TokenReducer(prumerge+, {settings})"
    strict = TokenReducer("prumerge:k=16", strict_reference=True, non_finite="skip", grid=24)
    settings = "ratio=None, strict_reference=True, non_finite=skip, grid=24"
    assert repr(strict) == f"TokenReducer(prumerge:k=16, {settings})"
    assert reducer.half().to("meta").train().eval() is reducer


def saved(module: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(module: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(module))  # noqa: S301  # our own


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, saved])
@pytest.mark.parametrize("strict", [False, True])
def test_a_module_can_be_copied_and_saved_with_a_model(copied: Callable[[Any], Any], strict: bool) -> None:
    model = nn.ModuleDict({"reducer": TokenReducer("prumerge:k=3", 0.5, strict_reference=strict, grid=4)})
    other = copied(model)["reducer"]
    assert other.method == model["reducer"].method
    assert type(other.method) is type(model["reducer"].method)
    seen = drawn()
    assert torch.equal(other(*seen).tokens, model["reducer"](*seen).tokens)


# --- which method is meant


def test_a_method_may_be_given_as_a_value() -> None:
    seen = drawn()
    for value, text in ((Sequential(3), "sequential:n=3"), (Spatial(3), "spatial:n=3"), (PruMerge(2), "prumerge:k=2")):
        assert torch.equal(reduce(value, *seen).tokens, reduce(text, *seen).tokens)
        assert TokenReducer(value).method == TokenReducer(text).method == value
    assert parse_reduction("random") == Random()


@pytest.mark.parametrize("run", [lambda method: reduce(method, *drawn()), TokenReducer])
def test_methods_that_are_none_are_refused(run: Callable[[Any], Any]) -> None:
    before = f"reducers before the language model are {', '.join(REDUCERS)}"
    for name in sorted(set(METHODS) - set(REDUCERS) - {"layers"}):
        method = parse_reduction(name)
        with pytest.raises(InvalidValue) as refused:
            run(name)
        assert str(refused.value) == f"{method} drops tokens inside the language model; {before}"
    with pytest.raises(InvalidValue) as refused:
        run(None)
    assert str(refused.value) == f"None is no reducer; {before}"
    with pytest.raises(UnknownName, match="unknown reduction 'prumurge'; nearest: prumerge"):
        run("prumurge")
