"""Markdown tables of pages that scripts write."""

from __future__ import annotations

from collections.abc import Iterable

from perfkit.tables import escaping


def table(heads: Iterable[str], rows: Iterable[Iterable[object]], *, right: Iterable[int] = ()) -> str:
    """A table; text between backticks stands as it is. `right`: columns of figures.

    >>> print(table(["what", "off by"], [("a_b `c_d`", "2 %")], right=[1]))
    | what | off by |
    | --- | ---: |
    | a\\_b `c_d` | 2 % |
    """
    heads, right = list(heads), set(right)
    rules = ["---:" if i in right else "---" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *([_cell(c) for c in row] for row in rows)])


def _cell(value: object) -> str:
    parts = " ".join(str(value).split()).split("`")
    return "`".join(part if i % 2 else escaping.markdown(part) for i, part in enumerate(parts))
