"""Docstrings as the site shows them; an extension of Griffe, named in mkdocs.yml.

Doctests stand between sentences in our docstrings. Markdown takes `>>>` for three quotations within each other, so they
are put in a block of their own.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", flags=re.MULTILINE)  # up to the next empty line


class FencedDoctests(Extension):
    """Fences around the doctests of every docstring."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Fence those of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    r"""A docstring with its doctests in blocks.

    >>> fenced("One.\n\n>>> 1 + 1\n2")
    'One.\n\n```pycon\n>>> 1 + 1\n2\n```'
    """
    return DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
