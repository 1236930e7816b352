"""How papers and counters count: one data file a convention, read strictly.

    convention + op costs --perfkit.totals--> a count

docs/conventions.md says why papers disagree, what each switch means, and how to add one.
"""

from __future__ import annotations

from perfkit.conventions.convention import DEFAULT_CONVENTION, Convention, Figure, TableOp, Term
from perfkit.conventions.reading import convention_names, load_convention, read_convention
from perfkit.conventions.symbols import SYMBOLS, TIMES, symbols_of

__all__ = [
    "DEFAULT_CONVENTION",
    "SYMBOLS",
    "TIMES",
    "Convention",
    "Figure",
    "TableOp",
    "Term",
    "convention_names",
    "load_convention",
    "read_convention",
    "symbols_of",
]
