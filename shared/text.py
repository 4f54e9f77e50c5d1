"""Text of others (names, addresses, error details) made safe for where it is shown."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control and format characters (among them the ones that turn the direction of text),
lone surrogates, line and paragraph separators."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that a spreadsheet takes for a formula, the full-width forms too (OWASP: CSV
injection)."""


def printable(text: str) -> str:
    """Text as one line for a terminal: what could steer it or break the line is shown as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _UNPRINTABLE else each for each in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_cell(text: str) -> str:
    """Text for a CSV file; what a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
