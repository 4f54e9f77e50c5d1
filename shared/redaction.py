"""Camera addresses without their secrets, for logs, errors, tables and the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "***"

_SECRET_WORDS = ("pass", "pwd", "psw", "token", "key", "auth", "secret", "sig", "cred", "session", "sid")
_SECRET_NAMES = frozenset(("pw", "pin", "pp"))

_NAME = re.compile(r"[^&?#/;=]+(?==)")


def redacted(source: str) -> str:
    """A camera's source without its user's password and other secrets; what is no address stays as it is.

    Passwords may hold any character, also such as belong percent-encoded (`/ ? # @ : %`), so everything up to
    the last `@` counts as user and password, and a value whose name sounds like a secret (`?password=...`,
    `/user=a_password=b`) ends only at the next `&`.  Where that is not certain more is hidden than need be.
    """
    scheme, separator, rest = source.partition("://")
    return f"{scheme}://{_hidden(rest)}" if separator else source


def redacted_path(text: str) -> str:
    """Like `redacted`, also for an address without its scheme, which is taken for a path."""
    if "://" in text:
        return redacted(text)
    before, at, place = text.rpartition("@")
    user, colon, _ = before.partition(":")
    return f"{user}:{HIDDEN}@{place}" if at and colon else text


def _hidden(text: str) -> str:
    """What follows `://`, with every stretch that may be secret replaced."""
    secret = sorted([*_password(text), *_secret_values(text)])
    shown, at = [], 0
    for begin, end in secret:
        if begin >= at:
            shown += [text[at:begin], HIDDEN]
        at = max(at, end)
    return "".join([*shown, text[at:]])


def _password(text: str) -> Iterator[tuple[int, int]]:
    """Where the password before the last `@` lies; all before it where no `:` ends the user's name."""
    end = text.rfind("@")
    if end >= 0:
        yield text.find(":", 0, end) + 1, end


def _secret_values(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of names that sound like secrets lie."""
    for name in _NAME.finditer(text):
        if _is_secret(name.group()):
            end = text.find("&", name.end())
            yield name.end() + 1, len(text) if end < 0 else end


def _is_secret(name: str) -> bool:
    plain = unquote(name).lower()
    return re.split(r"[\W_]", plain)[-1] in _SECRET_NAMES or any(word in plain for word in _SECRET_WORDS)
