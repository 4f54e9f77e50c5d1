"""Text of others (names, addresses, error details) made safe for where it is shown."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control and format characters (among them the ones that turn the direction of text),
lone surrogates, line and paragraph separators."""

_JOINERS = frozenset({"\u200c", "\u200d"})
"""Format characters that some scripts, and some emoji, are written with."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, in full-width forms too (OWASP, CSV injection;
the tabs and line breaks it names are not printable)."""


def printable(text: str) -> str:
    """Text as one line for a terminal: what could steer it or break the line is shown as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if _steers(each) else each for each in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_cell(text: str) -> str:
    """Printable text for a CSV file; what a spreadsheet would take for a formula gets an apostrophe."""
    cell = printable(text)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can write the text: it has no lone surrogate, which bytes of another encoding become."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _steers(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTABLE and character not in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
