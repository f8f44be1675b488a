"""Header lines kept as they came (RFC 3261 section 7.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .errors import SipError, malformed
from .grammar import is_token, split
from .remembered import remembered

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """One header line: `key` for look-up, `value` unfolded and printable, `raw` byte for byte.

    `raw` has no final CRLF; bytes that are not UTF-8 are surrogates in it, so that encoding restores
    them, and replacement characters in `value`.
    """

    key: str
    value: str
    raw: str

    @classmethod
    def parse(cls, raw: str) -> HeaderLine:
        """Read one line, folded ones included; SipError 400 when it is no header."""
        return _read(raw)

    @property
    def exact(self) -> str:
        """The unfolded value whose encoding gives the received bytes back."""
        return _unfold(self.raw.partition(":")[2])

    @classmethod
    def make(cls, name: str, value: str) -> HeaderLine:
        """A line of our own. ValueError when it would break out of its line."""
        return _made(value, name)


@remembered
def _read(raw: str) -> HeaderLine:
    name, colon, value = raw.partition(":")
    name = name.rstrip(" \t")
    if not colon or not is_token(name):
        raise malformed("Malformed header line")
    unfolded = _unfold(value)
    if _CONTROL.search(unfolded):
        raise SipError(400, "Control character in header", reason="control_character")
    return HeaderLine(key_of(name), printable(unfolded), raw)


@remembered
def _made(value: str, name: str) -> HeaderLine:
    if not is_token(name) or _CONTROL.search(value):
        raise ValueError(f"not a header: {name!r}")
    return HeaderLine(key_of(name), printable(value), f"{name}: {value}")


def _unfold(value: str) -> str:
    return _FOLD.sub(" ", value).strip(" \t")


def printable(text: str) -> str:
    """`text` without surrogates and control characters: safe for a log, a header, a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub("\ufffd", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def key_of(name: str) -> str:
    """The look-up key of a header's name in any case, long or compact."""
    lowered = name.lower()
    return COMPACT.get(lowered, lowered).lower()


_sought = lru_cache(256)(key_of)
"""The same for the names that we look for: few, and the same ones for every message."""


class Headers(tuple[HeaderLine, ...]):
    """Header lines in their order."""

    __slots__ = ()

    @classmethod
    def make(cls, pairs: Iterable[tuple[str, str]]) -> Headers:
        """Lines of our own from names and values."""
        return cls(HeaderLine.make(name, value) for name, value in pairs)

    def lines(self, name: str) -> list[HeaderLine]:
        """The lines of one header."""
        key = _sought(name)
        return [line for line in self if line.key == key]

    def first(self, name: str) -> str | None:
        """Value of the first line of that name, unfolded; None when there is none."""
        key = _sought(name)
        for line in self:
            if line.key == key:
                return line.value
        return None

    def values(self, name: str) -> list[str]:
        """Every value of a header that is a comma-separated list, over all its lines."""
        return [value for line in self.lines(name) for value in split(line.value, ",") if value]
