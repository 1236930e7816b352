"""Token reduction: how many visual tokens each layer sees, what it costs to choose them, and the reducers themselves.

One file a method, with one function, `read(parameters) -> Method`; a `+` in its name is `_plus` in the file's. Counting
needs no torch; `reduce`, `TokenReducer` and `reduced` do, and are imported when they are first used.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from perfkit.errors import UnknownName
from perfkit.reduction.method import Drop, Method, Pruner, Reducer, TowerOutput
from perfkit.reduction.parameters import Parameters, read_parameters
from perfkit.units import LONGEST_SHOWN

if TYPE_CHECKING:
    from perfkit.reduction.llava.in_model import reduced
    from perfkit.reduction.modules import TokenReducer
    from perfkit.reduction.reducing import ReducedTokens, reduce

__all__ = [
    "METHODS",
    "REDUCERS",
    "Drop",
    "Method",
    "Pruner",
    "ReducedTokens",
    "Reducer",
    "TokenReducer",
    "TowerOutput",
    "parse_reduction",
    "reduce",
    "reduced",
]

REDUCERS = ("prumerge", "prumerge+", "random", "sequential", "spatial")  # before the language model
METHODS = tuple(sorted((*REDUCERS, "fastv", "layers", "pyramiddrop", "sparsevlm", "vtw")))

_HOMES = {"ReducedTokens": "reducing", "TokenReducer": "modules", "reduce": "reducing", "reduced": "llava.in_model"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perfkit.reduction' has no attribute {name!r}")
    return getattr(import_module(f"perfkit.reduction.{_HOMES[name]}"), name)


@lru_cache(maxsize=256)
def parse_reduction(text: str) -> Method:
    """Method of a text such as `fastv:k=2,r=0.5`; its `text` is the canonical one.

    Raises:
        UnknownName: no such method or parameter.
        InvalidValue: a parameter that is missing, empty, there twice, or out of range.

    >>> parse_reduction("fastv:r=.50").text
    'fastv:k=2,r=0.5'
    """
    name, colon, rest = text.partition(":")
    if name not in METHODS:
        hint = "; without --reduction no token is left out" if name in ("", "none") else ""
        raise UnknownName("reduction", name[:LONGEST_SHOWN], METHODS, hint)
    parameters = read_parameters(name, rest) if colon else Parameters(name, {})
    method: Method = import_module(f"perfkit.reduction.{name.replace('+', '_plus')}").read(parameters)
    return method
