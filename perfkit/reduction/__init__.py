"""Token reduction: how many visual tokens each layer sees, and what it costs to choose them.

One file a method, with one function, `read(parameters) -> Method`; a `+` in its name is `_plus` in the file's.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from perfkit.errors import UnknownName
from perfkit.reduction.method import Drop, Method, Pruner, Reducer, TowerOutput
from perfkit.reduction.parameters import Parameters, read_parameters
from perfkit.units import LONGEST_SHOWN

__all__ = ["METHODS", "Drop", "Method", "Pruner", "Reducer", "TowerOutput", "parse_reduction"]

METHODS = ("fastv", "layers", "prumerge", "prumerge+", "pyramiddrop", "sequential", "sparsevlm", "spatial", "vtw")


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
