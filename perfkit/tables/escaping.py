"""Text as each format reads it: what people write can become neither markup, nor a formula, nor another row."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category

# Besides TeX's own ten: < > | are other glyphs in its old encoding, " is active in some languages, [ and * mean
# something after the end of a row, and ` makes ligatures.
_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    **{character: f"{{{character}}}" for character in "[]*`"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
}
_MARKDOWN = {**{character: f"\\{character}" for character in "\\`*_{}[]|~$#"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}

# What makes a spreadsheet take text for a formula; the last four are the same signs in full width.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_PLAIN_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def one_line(text: str) -> str:
    """`text` with blanks for line breaks and control characters, and a mark for bytes that were no text.

    >>> one_line("two\\nlines")
    'two lines'
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    kind = category(character)
    if kind == "Cs":  # half of a pair: what is left of a byte that was not UTF-8
        return "\ufffd"
    return " " if kind in ("Cc", "Zl", "Zp") else character


def latex(text: str) -> str:
    """`text` as LaTeX prints it letter by letter.

    >>> print(latex("100 % of my_model"))
    100 \\% of my\\_model
    """
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_LATEX.get(character, character) for character in one_line(text)))


def markdown(text: str) -> str:
    """`text` as GitHub's Markdown shows it letter by letter.

    >>> print(markdown("a|b <i>"))
    a\\|b &lt;i&gt;
    """
    return "".join(_MARKDOWN.get(character, character) for character in one_line(text))


def html(text: str) -> str:
    """`text` as a page shows it letter by letter, within an attribute too.

    >>> html("<b> & more")
    '&lt;b&gt; &amp; more'
    """
    from html import escape

    return escape(one_line(text))


def csv(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that starts like one gets an apostrophe in front.

    Numbers stay as they are, and so does text that reads as a plain one.

    >>> csv("=1+1"), csv("-2.5"), csv(-2.5), csv(None)
    ("'=1+1", '-2.5', -2.5, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _PLAIN_NUMBER.fullmatch(value):
        return value
    return f"'{value}"
