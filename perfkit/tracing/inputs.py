"""Inputs as they are typed: `1x16:int64`, `1x3x224x224`, `inputs_embeds=1x16x4096:float16`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.units import LONGEST_SHOWN, parse_choice, parse_count

DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
FORM = "SHAPE, SHAPE:DTYPE or NAME=SHAPE:DTYPE, such as 1x16:int64"


class InputSpec(NamedTuple):
    """One input: its name, if it goes by one, its shape, and its dtype, if it is not the module's own."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def tensor(self, module: Any) -> Any:
        """The input, on torch's default device; without a dtype that of the module's first floating-point parameter."""
        import torch

        own = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
        dtype = getattr(torch, self.dtype) if self.dtype else next(own, torch.float32)
        return torch.empty(self.shape, dtype=dtype)


def parse_input(option: str, text: str) -> InputSpec:
    """Input as typed, FORM.

    Raises:
        InvalidValue: of another form, or a dimension out of range.
        UnknownName: no such dtype.

    >>> parse_input("--input", "1x16:int64")
    InputSpec(name='', shape=(1, 16), dtype='int64')
    """
    found = re.fullmatch(r"(?:([A-Za-z_]\w*)=)?([0-9]+(?:x[0-9]+)*)(?::(\w+))?", text)
    if found is None:
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        raise InvalidValue(f"{option} must read {FORM}, not {shown!r}")
    name, shape, dtype = found.groups("")
    sizes = tuple(parse_count(f"{option}: each dimension", size) for size in shape.split("x"))
    return InputSpec(name, sizes, parse_choice(f"dtype of {option}", dtype, DTYPES) if dtype else "")
